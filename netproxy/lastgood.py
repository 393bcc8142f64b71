"""The last table on disk, so that a proxy that starts alone serves at once.

Rule: replaced atomically and durably, 0600; an unreadable file is set aside and reported, never fatal.
"""

import os
from pathlib import Path

import structlog
from google.protobuf.message import DecodeError

from mesh.v1.node_pb2 import ServiceTable

log = structlog.get_logger()


def load(path: Path) -> ServiceTable | None:
    """The table saved last, or None; an unreadable file is renamed to `<name>.bad`."""
    try:
        return ServiceTable.FromString(path.read_bytes())
    except FileNotFoundError:
        return None
    except DecodeError as error:
        aside = path.with_name(path.name + ".bad")
        path.replace(aside)
        log.error("last_table_unreadable", moved_to=str(aside), error=str(error))
        return None


def save(path: Path, table: ServiceTable) -> None:
    """Replaces the file; returns when it is on disk."""
    fresh = path.with_name(path.name + ".new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(table.SerializeToString())
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
