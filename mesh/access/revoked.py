"""Certificates that count no more, though they have not expired: of an identity up to a moment, or one by its number.

Rule: pure. The list is a ConfigMap of kube-system, so it is stored, backed up, watched and seen as everything is; an
entry that can't be read revokes all that its key names.
"""

import json

from mesh.model.keys import Key
from mesh.pki import Identity
from mesh.revocation import counts_no_more
from mesh.v1.core_pb2 import ConfigMap
from mesh.view import View

LIST = Key("ConfigMap", "kube-system", "mesh-revoked")
_FOR_EVER = 2**62  # seconds since the epoch


def words(name: str, at: int, by: str, why: str) -> str:
    """The value of an entry; `at`: what was issued until then (seconds since the epoch) counts no more."""
    return json.dumps({"name": name, "at": at, "by": by, "why": why})


def is_revoked(identity: Identity, view: View) -> bool:
    """Whether this certificate counts no more."""
    held = view.get(LIST)
    if not isinstance(held, ConfigMap):
        return False
    data = held.data
    return counts_no_more(identity, lambda entry: _at(data[entry]) if entry in data else None)


def told_hosts(view: View) -> dict[str, int]:
    """The list as hosts are told it: entries and their moments, nothing of who and why."""
    held = view.get(LIST)
    entries = held.data if isinstance(held, ConfigMap) else {}
    return {entry: int(min(_at(entries[entry]), _FOR_EVER)) for entry in entries}


def _at(text: str) -> float:
    try:
        return float(json.loads(text)["at"])
    except (ValueError, KeyError, TypeError):
        return float("inf")
