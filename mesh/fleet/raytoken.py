"""The secret that all of Ray's processes share, and how it becomes another one while pods run.

Rules: the next one lies beside the file of the present one until every host that can be reached has it; then this
host's file is replaced, and the head's Ray, the last of all, is started with it. A meshd that dies in between goes on
from the files. Who is left out (a host that was removed, or is away) is no part of the mesh's Ray any more.
"""

import asyncio
import hashlib
import secrets
from collections.abc import Callable, Iterable
from pathlib import Path

import structlog

from mesh.files import whole_file
from mesh.v1.node_pb2 import HostKey

_log = structlog.get_logger("mesh.fleet.raytoken")

FIRST = 3.0  # seconds until the first look: by then who is removed has been told to end its pods
LOOK = 1.0  # seconds between looks whether it is so far, while there is a change
PATIENCE = 30.0  # seconds for hosts to take it, and for a removed one to end its pods


class RayToken:
    """`file` holds the present one. `head`: the host of Ray's head, "" while it is not known."""

    def __init__(self, file: Path, head: Callable[[], str]) -> None:
        self._file = file
        self._next = file.with_name(f"{file.name}.next")
        self._head = head
        self._held: dict[str, bytes] = {}  # digests, by host
        self._news = asyncio.Event()
        self._pending = self._next.exists()
        if self._pending:
            self._news.set()
        self._wanted = _read(self._next) or _read(file)

    def rotate(self) -> None:
        """Begins with another one; raises OSError."""
        if not self._pending:
            self._wanted, self._pending = secrets.token_hex(32), True
            with whole_file(self._next) as file:
                file.write(self._wanted.encode())
            _log.info("ray_token_changes")
        self._news.set()

    def due(self, node: str, told: HostKey) -> tuple[str, bool]:
        """The token that a host is to have, "" when it has it; and whether its Ray is to be started with it at once."""
        if not self._wanted or not told.ray_token:
            return "", False  # a host without Ray
        if self._held.get(node) != told.ray_token:
            self._held[node] = told.ray_token
        has = told.ray_token == _digest(self._wanted)
        if node == self._head():  # whose file is this process' own, unless another of several meshd leads
            late = told.ray_stale or not has
            return (self._wanted, True) if late and not self._pending else ("", False)
        return ("", False) if has else (self._wanted, False)

    async def run(self, waits: Callable[[Callable[[str], bool]], Iterable[str]]) -> None:
        """Until cancelled. `waits` names the hosts for which it is too early, given who has the token."""
        while True:
            await self._news.wait()
            self._news.clear()
            if self._pending:
                await self._spread(waits)

    async def _spread(self, waits: Callable[[Callable[[str], bool]], Iterable[str]]) -> None:
        try:
            async with asyncio.timeout(PATIENCE):
                await asyncio.sleep(FIRST)
                while left := list(waits(self._has)):
                    _log.debug("ray_token_waits", hosts=left)
                    await asyncio.sleep(LOOK)
        except TimeoutError:
            _log.warning("hosts_left_without_ray", hosts=list(waits(self._has)))
        self._next.replace(self._file)
        self._pending = False
        _log.info("ray_token_changed")

    def _has(self, node: str) -> bool:
        return node == self._head() or self._held.get(node) == _digest(self._wanted)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        return ""
