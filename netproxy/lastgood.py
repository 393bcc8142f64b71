"""What was last served, on disk, so that a proxy that starts alone serves at once.

Rules: 0600; orders are appended as they are carried out and the file is made anew, atomically, when it has grown to
twice its size, so that one changed endpoint costs no more than itself. What was cut off by a crash of the machine is
left out; a file that cannot be read at all is set aside and reported, never fatal.
"""

import os
import struct
import zlib
from collections.abc import Iterable
from pathlib import Path

import structlog
from google.protobuf.message import DecodeError

from mesh.v1.node_pb2 import HostSide, ProxyOrder, ServiceTable

log = structlog.get_logger()
SLACK = 1_000_000  # bytes that may be appended before the file is made anew, at least
_HEAD = struct.Struct(">II")  # length, CRC-32


def load(path: Path) -> list[ProxyOrder]:
    """The orders saved, in order; an unreadable file is renamed to `<name>.bad`."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return []
    orders, at = [], 0
    while at + _HEAD.size <= len(data):
        length, check = _HEAD.unpack_from(data, at)
        body = data[at + _HEAD.size : at + _HEAD.size + length]
        try:
            if len(body) != length or zlib.crc32(body) != check:
                break
            orders.append(ProxyOrder.FromString(body))
        except DecodeError:
            break
        at += _HEAD.size + length
    if at < len(data) and not orders:
        aside = path.with_name(path.name + ".bad")
        path.replace(aside)
        log.error("last_table_unreadable", moved_to=str(aside))
    return orders


class LastGood:
    """The file of one proxy."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._whole = self._appended = 0

    def rewrite(self, table: ServiceTable, host: HostSide | None) -> None:
        """Makes the file anew: the host's side and the whole table."""
        orders = [ProxyOrder(host=host)] if host is not None else []
        if table.digest:
            orders.append(ProxyOrder(table=table))
        fresh = self._path.with_name(self._path.name + ".new")
        self._whole, self._appended = _write(fresh, os.O_TRUNC, orders), 0
        fresh.replace(self._path)

    def append(self, orders: Iterable[ProxyOrder]) -> bool:
        """Adds orders just carried out; False: the file is to be made anew instead."""
        if not self._whole or self._appended > max(SLACK, self._whole):
            return False
        self._appended += _write(self._path, os.O_APPEND, orders)
        return True


def _write(path: Path, how: int, orders: Iterable[ProxyOrder]) -> int:
    """Returns the bytes written."""
    bodies = [order.SerializeToString() for order in orders]
    data = b"".join(_HEAD.pack(len(body), zlib.crc32(body)) + body for body in bodies)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | how, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
    return len(data)
