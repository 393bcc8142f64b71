"""Asks a pod's host again and again: `python -m tests.harness.answer_probe POD CONTAINER`, on the host with meshd.

Prints "ready" at the first answer, then, each time that answers failed and came again, for how many seconds there
were none. Runs until its standard input ends.
"""

import asyncio
import sys
import threading
import time

from mesh.errors import MeshError
from mesh.sdk import AsyncClient

PAUSE = 0.05


async def probe(pod: str, container: str) -> None:
    """See above."""
    last, failed = 0.0, False
    async with AsyncClient() as client:
        while True:
            try:
                await client.exec(pod, ["true"], container=container)
            except MeshError:
                failed = True
            else:
                now = time.monotonic()
                if not last:
                    print("ready", flush=True)
                elif failed:
                    print(f"{now - last:.3f}", flush=True)
                last, failed = now, False
            await asyncio.sleep(PAUSE)


async def main() -> None:
    """Until nobody listens any more."""
    asking = asyncio.ensure_future(probe(sys.argv[1], sys.argv[2]))
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), loop.call_soon_threadsafe(ended.set)), daemon=True).start()
    waiting = asyncio.ensure_future(ended.wait())
    await asyncio.wait({asking, waiting}, return_when=asyncio.FIRST_COMPLETED)
    if asking.done():
        asking.result()


if __name__ == "__main__":
    asyncio.run(main())
