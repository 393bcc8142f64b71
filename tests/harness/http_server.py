"""A small HTTP server for pods in tests: `python http_server.py PORT NAME`; standard library alone.

Answers every request with NAME, keeps connections open when asked to, and ends at once when told to (TERM), as a server
does that knows nothing of being drained.
"""

import asyncio
import signal
import sys


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, name: str) -> None:
    """One connection."""
    try:
        while head := await reader.readuntil(b"\r\n\r\n"):
            keep = b"connection: close" not in head.lower() and b" HTTP/1.1\r\n" in head
            body = name.encode() + b"\n"
            words = b"keep-alive" if keep else b"close"
            writer.write(
                b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: %s\r\n\r\n%s" % (len(body), words, body)
            )
            await writer.drain()
            if not keep:
                break
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


async def main() -> None:
    """Until TERM."""
    name = sys.argv[2]
    server = await asyncio.start_server(lambda r, w: serve(r, w, name), "0.0.0.0", int(sys.argv[1]), backlog=1024)  # noqa: S104
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    await ended.wait()
    server.close()


if __name__ == "__main__":
    asyncio.run(main())
