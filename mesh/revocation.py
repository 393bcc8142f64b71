"""Whether a certificate counts no more though it has not expired: by meshd's list, or by what hosts are told of it.

Rule: pure. An entry names an identity, and counts for what was issued to it up to a moment; or one certificate by its
number.
"""

import hashlib
from collections.abc import Callable

from mesh.pki import Identity


def entry_of(kind: str, name: str) -> str:
    """The key of an entry: of a "user" or "node" by name, or of one certificate by its "serial" in hexadecimal."""
    word = name.upper().lstrip("0") if kind == "serial" else hashlib.sha256(name.encode()).hexdigest()[:40]
    return f"{kind}.{word}"


def counts_no_more(identity: Identity, until: Callable[[str], float | None]) -> bool:
    """Whether it was revoked; `until` gives an entry's moment (seconds since the epoch), None for no such entry."""
    if until(entry_of("serial", f"{identity.serial:X}")) is not None:
        return True
    at = until(entry_of(identity.kind, identity.name))
    return at is not None and identity.issued <= at
