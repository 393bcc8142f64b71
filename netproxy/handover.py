"""What a proxy tells the next one of a connection that it hands over.

Rule: pure: words in, words out; the sockets travel beside them. A proxy that does not understand what it is given ends
that connection and no other.
"""

from typing import Any

from netproxy.relay import Side
from netproxy.routes import Backend, Listen

KINDS = ("new", "tcp", "udp")  # of connections: not connected yet, and the two protocols


def words_of_side(side: Side) -> dict[str, Any]:
    """One side of a connection."""
    return {"waiting": side.waiting.hex(), "ended": side.ended, "told": side.told, "count": side.count}


def set_side(side: Side, words: dict[str, Any]) -> None:
    """Makes a side as it was."""
    side.waiting = bytes.fromhex(words["waiting"])
    side.ended, side.told, side.count = words["ended"], words["told"], words["count"]


def words_of_place(service: str, backend: Backend, listen: Listen) -> dict[str, Any]:
    """Which Service a connection belongs to."""
    return {"service": service, "backend": list(backend), "listen": list(listen)}


def place_of_words(words: dict[str, Any]) -> tuple[str, Backend, Listen]:
    """The other way."""
    ip, port, pod, uid, *via = words["backend"]  # another release's may say less of it, or more
    protocol, address, number = words["listen"]
    return str(words["service"]), Backend(ip, int(port), pod, uid, *via[:1]), Listen(protocol, address, int(number))
