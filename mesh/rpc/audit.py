"""The audit log: who wished what, when, and whether it was allowed; a JSON object a line, never a value.

Rule: a line is there before the deed is done. What cannot be written down is told in meshd's log and the call goes on:
a full disk must not keep an administrator from emptying it.
"""

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import structlog

from mesh.v1.node_pb2 import Refusal

_log = structlog.get_logger("mesh.rpc")


class Audit(Protocol):
    """Takes records; must not block for long."""

    def write(self, record: Mapping[str, Any]) -> None:
        """Keeps one record."""
        ...


class NoAudit:
    """Keeps nothing."""

    def write(self, record: Mapping[str, Any]) -> None:
        """Forgets it."""


def refused_by_host(audit: Audit, node: str, refusal: Refusal, now: int) -> None:
    """Writes down what came to a host as meshd's and was refused there; `now`: nanoseconds since the epoch. Who
    had sent it is not known: somebody with meshd's certificate, or between meshd and the host."""
    secret = {"namespace": refusal.namespace, "name": refusal.name, "uid": refusal.uid, "revision": refusal.revision}
    audit.write({
        "time": datetime.fromtimestamp(now / 1e9, UTC).isoformat(timespec="microseconds"),
        "user": "",
        "from": f"the orders of host {node}",
        "method": refusal.method or "assign",
        "allowed": False,
        "why": refusal.why,
        "what": [{"verb": "open", "resource": "secrets", **secret}] if refusal.name else [],
    })  # fmt: skip


class AuditFile:
    """A file, 0600, that is set aside as FILE.1 … FILE.`keep` when it has `max_bytes`."""

    def __init__(self, path: Path, max_bytes: int = 64 << 20, keep: int = 10) -> None:
        """Opens it for appending; raises OSError."""
        self._path = path
        self._max_bytes = max_bytes
        self._keep = keep
        self._failed = False
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._open()

    def write(self, record: Mapping[str, Any]) -> None:
        """Appends one line; it is with the kernel when this returns."""
        line = json.dumps(record, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"
        try:
            if self._size and self._size + len(line) > self._max_bytes:
                self._rotate()
            os.write(self._file, line)
        except OSError as error:
            if not self._failed:
                _log.error("audit_not_written", path=str(self._path), error=str(error))
            self._failed = True
        else:
            self._size += len(line)
            self._failed = False

    def close(self) -> None:
        """Lets go of the file."""
        os.close(self._file)

    def _open(self) -> None:
        self._file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        os.fchmod(self._file, 0o600)
        self._size = os.fstat(self._file).st_size

    def _rotate(self) -> None:
        for number in reversed(range(1, self._keep)):
            with suppress(FileNotFoundError):
                self._aside(number).replace(self._aside(number + 1))
        self._path.replace(self._aside(1))
        os.close(self._file)
        self._open()

    def _aside(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}")
