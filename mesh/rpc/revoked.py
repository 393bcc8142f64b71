"""The list of what counts no more, as it is written and shown.

Rule: an entry stays until everything it is about has expired by itself.
"""

import json
from collections.abc import Iterator

from mesh import pki
from mesh.access.revoked import LIST, words
from mesh.admission import admit
from mesh.admission.admit import Stamp
from mesh.model.fields import copy_of
from mesh.model.kinds import revision_of
from mesh.revocation import entry_of
from mesh.store.port import Write
from mesh.v1.access_pb2 import RevokedIdentity, RevokeRequest
from mesh.v1.core_pb2 import ConfigMap
from mesh.view import View

_SECOND = 1_000_000_000


def writes(request: RevokeRequest, by: str, now: int, view: View) -> list[Write]:
    """Adds an entry, and drops what is of no use any more; `now` in nanoseconds."""
    held = view.get(LIST)
    changed = copy_of(held) if isinstance(held, ConfigMap) else _new()
    at = now // _SECOND
    for key, text in list(changed.data.items()):
        if _told(text).get("at", at) < at - pki.HOST_LIFE - pki.DAY:
            del changed.data[key]
    changed.data[entry_of(request.kind, request.name)] = words(request.name, at, by, request.why)
    stamp = Stamp(now, "mesh-revoked", "")
    made = admit.update(changed, held, view, stamp) if held is not None else admit.create(changed, view, stamp)
    return [Write(LIST, made.object, revision_of(held) if held is not None else 0)]


def listed(view: View) -> Iterator[RevokedIdentity]:
    """The entries, by name."""
    held = view.get(LIST)
    entries = held.data if isinstance(held, ConfigMap) else {}
    for key in sorted(entries):
        told = _told(entries[key])
        yield RevokedIdentity(
            kind=key.partition(".")[0],
            name=str(told.get("name", "?")),
            at=int(told.get("at", 0)),
            by=str(told.get("by", "")),
            why=str(told.get("why", "")),
        )


def _new() -> ConfigMap:
    made = ConfigMap(api_version="v1", kind="ConfigMap")
    made.metadata.namespace, made.metadata.name = LIST.namespace, LIST.name
    return made


def _told(text: str) -> dict[str, int]:
    try:
        told = json.loads(text)
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}
