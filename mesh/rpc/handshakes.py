"""Refused handshakes, written down: who comes without a certificate, or with a wrong one, never reaches a handler.

Rule: the library that speaks TLS tells of them on file descriptor 2 alone, in lines of its own; so what is written
there passes through here. Python's own standard error does not: the loop that reads here may not wait for itself. A
flood is counted, not copied.
"""

import asyncio
import os
import re
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from mesh.rpc.audit import Audit

_FAILED = re.compile(rb"Handshake failed with error [A-Z_]+: (?:error:[0-9a-f]+:SSL routines:OPENSSL_internal:)?(.*)")
_MOST = 20  # lines of the audit log in a second
_REASONS = (
    (b"PEER_DID_NOT_RETURN_A_CERTIFICATE", "no client certificate"),
    (b"certificate has expired", "the client's certificate has expired"),
    (b"certificate is not yet valid", "the client's certificate is not valid yet"),
    (b"unsuitable certificate purpose", "the client's certificate is none of clients"),
    (b"CERTIFICATE_VERIFY_FAILED", "the client's certificate is not of this mesh's authority"),
    (b"WRONG_VERSION_NUMBER", "this was not TLS"),
    (b"HTTP_REQUEST", "this was not TLS"),
)


def apart() -> None:
    """Gives Python's standard error a descriptor of its own; before anything is configured to write there."""
    sys.stderr.flush()
    sys.stderr = os.fdopen(os.dup(2), "w", buffering=1, errors="backslashreplace")


@asynccontextmanager
async def watched(audit: Audit, clock: Callable[[], int]) -> AsyncIterator[None]:
    """Refused handshakes go to the audit log while the body runs; `clock`: nanoseconds since the epoch."""
    beyond, (reading, writing) = os.dup(2), os.pipe()
    os.set_blocking(reading, False)
    os.set_blocking(writing, False)  # rather a line less than a thread that waits
    os.dup2(writing, 2)
    os.close(writing)
    lines = Lines(audit, clock, beyond)
    loop = asyncio.get_running_loop()
    loop.add_reader(reading, lines.read, reading)
    try:
        yield
    finally:
        os.dup2(beyond, 2)
        loop.remove_reader(reading)
        lines.read(reading)
        lines.end()
        os.close(reading)
        os.close(beyond)


class Lines:
    """Tells apart what is read: refused handshakes, and everything else, which goes on to the descriptor `beyond`."""

    def __init__(self, audit: Audit, clock: Callable[[], int], beyond: int) -> None:
        self._audit = audit
        self._clock = clock
        self._beyond = beyond
        self._rest = b""
        self._second, self._told, self._more = 0.0, 0, 0

    def read(self, descriptor: int) -> None:
        """All that is there."""
        try:
            while data := os.read(descriptor, 65536):
                *lines, self._rest = (self._rest + data).split(b"\n")
                for line in lines:
                    self._take(line)
        except BlockingIOError:
            return

    def end(self) -> None:
        """The rest, without a line's end."""
        self._forward(self._rest)

    def _take(self, line: bytes) -> None:
        found = _FAILED.search(line)
        if found is None:
            self._forward(line + b"\n")
        else:
            self._tell(reason(found[1]))

    def _tell(self, why: str) -> None:
        now = time.monotonic()
        if now - self._second >= 1:
            self._second, self._told = now, 0
        self._told += 1
        if self._told > _MOST:
            self._more += 1
            return
        at = datetime.fromtimestamp(self._clock() / 1e9, UTC).isoformat(timespec="microseconds")
        more = {"more": self._more} if self._more else {}
        self._audit.write({"time": at, "user": "", "method": "handshake", "allowed": False, "why": why, **more})
        self._more = 0

    def _forward(self, data: bytes) -> None:
        while data:
            data = data[os.write(self._beyond, data) :]


def reason(said: bytes) -> str:
    """What the library said, in words."""
    return next((words for mark, words in _REASONS if mark in said), said.decode(errors="replace")[:200])
