"""A server for pods that stops being ready now and then: `python flipping.py PORT PROBE_PORT`; standard library alone.

Answers requests at PORT, and HTTP readiness probes at PROBE_PORT. Every other second it says that it is not ready; then
it prints how long after that answer the last new connection came, in milliseconds (0: none came).
"""

import asyncio
import sys
import time

SPELL = 1.5  # seconds of each state


class Flipping:
    """What was said and seen."""

    def __init__(self) -> None:
        self.ready = True
        self.said = 0.0  # when it was first said that it is not ready
        self.last = 0.0  # the last connection

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        self.last = time.monotonic()
        try:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nx\n")
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def probe(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One look of the agent."""
        try:
            await reader.readuntil(b"\r\n\r\n")
            words = b"200 OK" if self.ready else b"503 Not Ready"
            writer.write(b"HTTP/1.1 " + words + b"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            await writer.drain()
            if not self.ready and not self.said:
                self.said = time.monotonic()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


async def main() -> None:
    """Until it is killed."""
    one = Flipping()
    await asyncio.start_server(one.serve, "0.0.0.0", int(sys.argv[1]), backlog=1024)  # noqa: S104
    await asyncio.start_server(one.probe, "0.0.0.0", int(sys.argv[2]))  # noqa: S104
    while True:
        one.ready, one.said = True, 0.0
        await asyncio.sleep(SPELL)
        busy = time.monotonic() - one.last < 0.2
        one.ready = False
        await asyncio.sleep(SPELL)
        if one.said and busy:
            print(f"{max(0.0, one.last - one.said) * 1000:.1f}", flush=True)


if __name__ == "__main__":
    asyncio.run(main())
