"""Asks an HTTP server again and again: `python http_load.py ADDRESS PORT WORKERS MODE RATE`; standard library alone.

MODE is `close` (a connection for each request) or `keep` (reused; one that was closed before the first byte of an
answer is opened anew and the request repeated once, as HTTP clients do). RATE: requests per second of all workers, 0
for as many as go. Prints "ready" after the first answer, and once its standard input ends one line of JSON: how many
requests, how many failed and why, answers by name, and the slowest in seconds.
"""

import asyncio
import json
import sys
import threading
import time
from collections import Counter

PATIENCE = 20.0


class Load:
    """All workers' sums."""

    def __init__(self, address: str, port: int) -> None:
        self.target = (address, port)
        self.asked = 0
        self.failed: Counter[str] = Counter()
        self.names: Counter[str] = Counter()
        self.slowest = 0.0
        self.ended = False
        self.reused = 0

    async def worker(self, keep: bool, pause: float) -> None:
        """Until `ended`."""
        connection: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        while not self.ended:
            began = time.monotonic()
            try:
                async with asyncio.timeout(PATIENCE):
                    connection = await self._ask(connection, keep)
            except (OSError, asyncio.IncompleteReadError, TimeoutError, ValueError) as error:
                self.failed[f"{type(error).__name__}: {error}"] += 1
                connection = None
            if self.asked == 0:
                print("ready", flush=True)
            self.asked += 1
            took = time.monotonic() - began
            self.slowest = max(self.slowest, took)
            if pause:
                await asyncio.sleep(max(0.0, pause - took))
        if connection:
            connection[1].close()

    async def _ask(
        self, connection: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None, keep: bool
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        fresh = connection is None
        reader, writer = connection or await asyncio.open_connection(*self.target)
        words = "keep-alive" if keep else "close"
        try:
            writer.write(f"GET / HTTP/1.1\r\nHost: web\r\nConnection: {words}\r\n\r\n".encode())
            await writer.drain()
            first = await reader.readexactly(1)
        except (OSError, asyncio.IncompleteReadError):
            writer.close()
            if fresh:
                raise
            return await self._ask(None, keep)
        head = first + await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            raise ValueError(head.split(b"\r\n")[0].decode())
        length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        self.names[(await reader.readexactly(length)).decode().strip()] += 1
        self.reused += not fresh
        if keep and b"connection: close" not in head.lower():
            return reader, writer
        writer.close()
        return None


async def main() -> None:
    """Until standard input ends."""
    address, port, workers, mode, rate = (
        sys.argv[1],
        int(sys.argv[2]),
        int(sys.argv[3]),
        sys.argv[4],
        float(sys.argv[5]),
    )
    load = Load(address, port)
    threading.Thread(target=lambda: (sys.stdin.read(), setattr(load, "ended", True)), daemon=True).start()
    began = time.monotonic()
    await asyncio.gather(*(load.worker(mode == "keep", workers / rate if rate else 0.0) for _ in range(workers)))
    print(json.dumps({
        "asked": load.asked, "failed": dict(load.failed), "names": dict(load.names), "slowest": round(load.slowest, 3),
        "seconds": round(time.monotonic() - began, 1), "reused": load.reused,
    }))  # fmt: skip


if __name__ == "__main__":
    asyncio.run(main())
