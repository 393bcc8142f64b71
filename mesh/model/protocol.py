"""Which version of the wire a program speaks, and with whom it can talk.

Rule: pure. Each side of a connection says in its first message what it speaks and the oldest that it understands; who
says nothing is of before that was said. PROTOCOL grows with a release whose messages mean something new to the other
side, and OLDEST follows one behind: neighbours understand each other, others are refused in words.
"""

from mesh.v1.node_pb2 import Protocol

PROTOCOL = 2  # 1: nothing was said
OLDEST = 1
_UNSAID = 1


def ours() -> Protocol:
    """What this program says of itself."""
    return Protocol(speaks=PROTOCOL, oldest=OLDEST)


def spoken(said: Protocol) -> int:
    """What the other side speaks."""
    return said.speaks or _UNSAID


def why_not(who: str, said: Protocol) -> str:
    """Why there is no talking with `who`; empty: there is."""
    if spoken(said) < OLDEST:
        return f"{who} speaks protocol {spoken(said)}, and this release needs at least {OLDEST}: upgrade {who} first"
    if said.oldest > PROTOCOL:
        return f"{who} needs at least protocol {said.oldest}, and this release speaks {PROTOCOL}: upgrade this one"
    return ""
