"""Waits at start for the passphrase of the store's keys, at a unix socket that only root reaches.

Rule: the passphrase comes over the socket (`mesh secrets unlock`) or from systemd, never from a command line or an
environment; a wrong one is answered, and the next awaited. It is kept while meshd runs, for `rotate-keys`.
"""

import asyncio
import os
import socket as socketlib
from pathlib import Path

import structlog

from mesh.errors import MeshError, Unavailable
from mesh.store.keyring import Keyring
from mesh.store.keysource import PassphraseKeys

_log = structlog.get_logger("mesh.app")

CREDENTIAL = "mesh-store-passphrase"  # under which systemd may hand the passphrase over
LONGEST = 4096  # bytes of a passphrase
OK = "unlocked"


async def unlocked(key_file: Path, socket: Path) -> tuple[PassphraseKeys, Keyring]:
    """The keys, once somebody has said the right passphrase."""
    directory = os.environ.get("CREDENTIALS_DIRECTORY", "")
    if directory and (Path(directory) / CREDENTIAL).exists():
        source = PassphraseKeys(key_file, (Path(directory) / CREDENTIAL).read_text().rstrip("\n"))
        return source, await asyncio.to_thread(source.load)
    opened: asyncio.Future[tuple[PassphraseKeys, Keyring]] = asyncio.get_running_loop().create_future()

    async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            said = (await reader.readline()).decode().rstrip("\n")
            source = PassphraseKeys(key_file, said)
            ring = await asyncio.to_thread(source.load)
        except (MeshError, ValueError) as error:
            writer.write(f"{error}\n".encode())
        else:
            writer.write(f"{OK}\n".encode())
            if not opened.done():
                opened.set_result((source, ring))
        await writer.drain()
        writer.close()

    listener = await asyncio.to_thread(_listen, socket)
    server = await asyncio.start_unix_server(ask, sock=listener, limit=LONGEST)
    _log.warning("waiting_for_passphrase", message="the store's keys are under a passphrase: `mesh secrets unlock`")
    try:
        return await opened
    finally:
        server.close()
        await asyncio.to_thread(socket.unlink, missing_ok=True)


def _listen(path: Path) -> socketlib.socket:
    """A socket that is its owner's alone from the moment it is there."""
    path.unlink(missing_ok=True)
    listener = socketlib.socket(socketlib.AF_UNIX)
    before = os.umask(0o177)
    try:
        listener.bind(str(path))
    finally:
        os.umask(before)
    return listener


async def unlock(socket: Path, passphrase: str) -> None:
    """Says the passphrase to a meshd that waits for it.

    Raises Unavailable when none waits, or in its words when it is the wrong one.
    """
    try:
        reader, writer = await asyncio.open_unix_connection(socket)
    except OSError as error:
        raise Unavailable(f"no meshd waits for a passphrase at {socket}: {error.strerror}") from error
    writer.write(passphrase.encode() + b"\n")
    await writer.drain()
    answer = (await reader.readline()).decode().strip()
    writer.close()
    if answer != OK:
        raise Unavailable(answer or "meshd did not answer")
