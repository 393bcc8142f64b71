"""Certificates that count no more, though they have not expired: of an identity up to a moment, or one by its number.

Rule: pure. The list is a ConfigMap of kube-system, so it is stored, backed up, watched and seen as everything is; an
entry that can't be read revokes all that its key names.
"""

import hashlib
import json

from mesh.model.keys import Key
from mesh.pki import Identity
from mesh.v1.core_pb2 import ConfigMap
from mesh.view import View

LIST = Key("ConfigMap", "kube-system", "mesh-revoked")


def entry_of(kind: str, name: str) -> str:
    """The key of an entry: of a "user" or "node" by name, or of one certificate by its "serial" in hexadecimal."""
    word = name.upper().lstrip("0") if kind == "serial" else hashlib.sha256(name.encode()).hexdigest()[:40]
    return f"{kind}.{word}"


def words(name: str, at: int, by: str, why: str) -> str:
    """The value of an entry; `at`: what was issued until then (seconds since the epoch) counts no more."""
    return json.dumps({"name": name, "at": at, "by": by, "why": why})


def is_revoked(identity: Identity, view: View) -> bool:
    """Whether this certificate counts no more."""
    held = view.get(LIST)
    if not isinstance(held, ConfigMap):
        return False
    if entry_of("serial", f"{identity.serial:X}") in held.data:
        return True
    text = held.data.get(entry_of(identity.kind, identity.name))
    return text is not None and identity.issued <= _at(text)


def _at(text: str) -> float:
    try:
        return float(json.loads(text)["at"])
    except (ValueError, KeyError, TypeError):
        return float("inf")
