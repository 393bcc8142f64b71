"""The proxy's end of the holder: what listens is kept there too, what is open is left there at the end.

Rules: the holder is a help, never a need: without it, or when it goes away, everything is served all the same, and it
is given all listeners again as soon as it is back. Nothing waits for it for longer than `PATIENCE`, but the beginning.
"""

import asyncio
import json
import os
import socket
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import structlog

from netproxy.hold import MOST, receive, send
from netproxy.routes import Listen
from netproxy.turns import Turns

log = structlog.get_logger()
PATIENCE = 5.0  # seconds for the holder to take something
BEGINNING = 30.0  # seconds for it to give everything, on a host that is just short of processors: else connections wait
# at sockets that nobody listens to any more
AGAIN = 1.0  # seconds between tries to find the holder
Left = tuple[dict[str, Any], list[int]]


class Holding:
    """See the module; `path` None: there is no holder."""

    def __init__(self, turns: Turns, loop: asyncio.AbstractEventLoop, path: Path | None) -> None:
        self._turns = turns
        self._loop = loop
        self._path = path
        self._sock: socket.socket | None = None
        self._kept: dict[Listen, socket.socket] = {}
        self.inherited: dict[Listen, socket.socket] = {}

    def begin(self) -> list[Left]:
        """Takes over what is held: `inherited`, and what the last proxy has left."""
        left: list[Left] = []
        if not self._connect() or self._sock is None:
            self._later()
            return left
        try:
            self._sock.settimeout(BEGINNING)
            send(self._sock, {"do": "give"})
            while (message := receive(self._sock)) is not None and "done" not in message[0]:
                said, descriptors = message
                if "left" in said:
                    left.append((said["left"], descriptors))
                else:
                    self._inherit(said["names"], descriptors)
        except (OSError, ValueError, KeyError) as error:
            self._lost(error)
        else:
            self._sock.settimeout(PATIENCE)
        return left

    def reach(self) -> None:
        """Finds the holder, and takes nothing over."""
        if not self._connect():
            self._later()

    def _inherit(self, names: Iterable[str], descriptors: Iterable[int]) -> None:
        for name, descriptor in zip(names, descriptors, strict=True):
            sock = socket.socket(fileno=descriptor)
            sock.setblocking(False)
            protocol, ip, port = name.split()
            self.inherited[Listen(protocol, ip, int(port))] = sock

    def keep(self, sockets: Mapping[Listen, socket.socket]) -> None:
        """These are to outlive this process."""
        self._kept.update(sockets)
        self._keep(sockets)

    def _keep(self, sockets: Mapping[Listen, socket.socket]) -> None:
        items = list(sockets.items())
        for start in range(0, len(items), MOST):
            part = items[start : start + MOST]
            self._say({"do": "keep", "names": [_name(listen) for listen, _ in part]}, [s.fileno() for _, s in part])

    def drop(self, listens: Iterable[Listen]) -> None:
        """These are not wanted any more."""
        known = [listen for listen in listens if listen in self._kept or listen in self.inherited]
        for listen in known:
            self._kept.pop(listen, None)
            self.inherited.pop(listen, None)
        names = [_name(listen) for listen in known]
        for start in range(0, len(names), MOST):
            self._say({"do": "drop", "names": names[start : start + MOST]})

    def leave(self, flows: list[Left]) -> bool:
        """Leaves what is open for the next proxy; False: nobody takes it."""
        part: list[dict[str, Any]] = []
        descriptors: list[int] = []
        for flow, its in flows:
            if len(descriptors) + len(its) + 1 > MOST:
                self._leave(part, descriptors)
                part, descriptors = [], []
            part.append({**flow, "sockets": len(its)})
            descriptors.extend(its)
        if part:
            self._leave(part, descriptors)
        return self._sock is not None

    def _leave(self, flows: list[dict[str, Any]], descriptors: list[int]) -> None:
        """The words are in a file in memory, for they may be more than a message takes."""
        words = os.memfd_create("flows", os.MFD_CLOEXEC)
        try:
            with os.fdopen(os.dup(words), "wb") as file:
                file.write(json.dumps(flows).encode())
            self._say({"do": "leave", "what": {"flows": len(flows)}}, [words, *descriptors])
        finally:
            os.close(words)

    # ---- the connection

    def _connect(self) -> bool:
        if self._path is None:
            return False
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        sock.settimeout(PATIENCE)
        try:
            sock.connect(str(self._path))
        except OSError:
            sock.close()
            return False
        self._sock = sock
        self._turns.watch(sock.fileno(), self._heard)
        return True

    def _heard(self) -> None:
        """The holder says nothing unasked: this is its end."""
        self._lost(ConnectionResetError("it has ended"))

    def _say(self, said: dict[str, Any], descriptors: list[int] | None = None) -> None:
        if self._sock is None:
            return
        try:
            send(self._sock, said, descriptors)
        except OSError as error:
            self._lost(error)

    def _lost(self, error: Exception) -> None:
        log.error("holder_lost", error=str(error))
        if self._sock is not None:
            self._turns.forget(self._sock.fileno())
            self._sock.close()
            self._sock = None
        self._later()

    def _later(self) -> None:
        if self._path is not None:
            self._loop.call_later(AGAIN, self._again)
            self._turns.leave()

    def _again(self) -> None:
        if self._connect():
            self._keep({**self._kept, **self.inherited})
        else:
            self._later()


def words_of(left: Left) -> tuple[list[dict[str, Any]], list[int]]:
    """The flows of one thing left, and their descriptors in order."""
    _, descriptors = left
    with os.fdopen(descriptors[0], "rb") as file:
        file.seek(0)
        flows: list[dict[str, Any]] = json.load(file)
    return flows, descriptors[1:]


def _name(listen: Listen) -> str:
    return f"{listen.protocol} {listen.ip} {listen.port}"
