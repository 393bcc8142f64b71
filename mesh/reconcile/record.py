"""Events of the control side: what meshd itself has to tell of an object, counted instead of repeated (S8).

Rule: pure; the same reason and message of the same object is one Event whose count grows.
"""

import hashlib
import uuid

from mesh.model.keys import Key
from mesh.model.kinds import Object, kind_of, revision_of
from mesh.model.times import to_timestamp, whole_seconds
from mesh.store.port import Write
from mesh.v1.core_pb2 import Event
from mesh.view import View

_LONGEST = 1024  # characters of a message


def record(view: View, about: Object, reason: str, message: str, now_ns: int, *, warning: bool = False) -> list[Write]:
    """The write that tells `message` of an object; none when the namespace of the Event is not there."""
    namespace = about.metadata.namespace or "default"
    if view.namespace(namespace) is None:
        return []
    message = message[:_LONGEST]
    same = hashlib.blake2b(f"{about.metadata.uid}/{reason}/{message}".encode(), digest_size=6).hexdigest()
    key = Key("Event", namespace, f"{about.metadata.name[:240]}.{same}")
    held = view.get(key)
    event = Event()
    if isinstance(held, Event):
        event.CopyFrom(held)
    else:
        event.CopyFrom(_new(key, about, now_ns))
    event.reason, event.message, event.type = reason, message, "Warning" if warning else "Normal"
    event.count += 1
    event.last_timestamp.CopyFrom(to_timestamp(now_ns))
    return [Write(key, event, revision_of(held) if held is not None else 0)]


def _new(key: Key, about: Object, now_ns: int) -> Event:
    event = Event(api_version="v1", kind="Event")
    event.metadata.name, event.metadata.namespace = key.name, key.namespace
    event.metadata.uid = str(uuid.uuid5(uuid.NAMESPACE_OID, f"{key}/{now_ns}"))
    event.metadata.creation_timestamp.CopyFrom(whole_seconds(now_ns))
    kind = kind_of(about)
    event.involved_object.api_version, event.involved_object.kind = kind.api_version, kind.name
    event.involved_object.namespace, event.involved_object.name = about.metadata.namespace, about.metadata.name
    event.involved_object.uid = about.metadata.uid
    event.source.component = event.reporting_component = "meshd"
    event.first_timestamp.CopyFrom(to_timestamp(now_ns))
    return event
