"""Keeps an asyncio server open until it is no longer wanted.

Rule: the end waits for no connection: asyncio's own `serve_forever`, and leaving a server's `async with`, wait from
Python 3.12 on until every client has gone, and one that stays would hold up a program's end until it is killed.
"""

import asyncio


async def until_cancelled(server: asyncio.Server) -> None:
    """Returns never; when cancelled, nobody new is let in, and open connections are left to who serves them."""
    try:
        await asyncio.Event().wait()
    finally:
        server.close()
