"""What happened to pods and to the host, told as Events (S8): equal ones are one Event with a count.

Rule: the name of an Event follows from what it says and from this boot of the agent, so that hearing it twice makes no
second one.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Callable

from mesh.model.times import to_timestamp
from mesh.v1.core_pb2 import ContainerStatus, Event, Pod, PodStatus
from mesh.v1.meta_pb2 import ObjectReference
from nodeagent.board import Board

REMEMBERED = 1000
COMPONENT = "nodeagent"


class Events:
    """Writes Events on the board; `clock` gives nanoseconds since the epoch."""

    def __init__(self, board: Board, clock: Callable[[], int]) -> None:
        self._board = board
        self._clock = clock
        self._known: OrderedDict[str, Event] = OrderedDict()

    def normal(self, pod: Pod, reason: str, message: str, container: str = "") -> None:
        """Something went as it should."""
        self._tell(_about(pod, container), "Normal", reason, message)

    def follow(self, pod: Pod, reason: str, first: str, message: str, container: str = "") -> None:
        """How far that has come which was told as `first`: the same Event says something else from now on."""
        self._tell(_about(pod, container), "Normal", reason, message, first)

    def warning(self, pod: Pod, reason: str, message: str, container: str = "") -> None:
        """Something did not."""
        self._tell(_about(pod, container), "Warning", reason, message)

    def host_warning(self, reason: str, message: str) -> None:
        """Something is wrong with this host."""
        node = self._board.node
        about = ObjectReference(kind="Node", api_version="v1", name=node, uid=node)
        self._tell(about, "Warning", reason, message)

    def _tell(self, about: ObjectReference, kind: str, reason: str, message: str, first: str = "") -> None:
        now = to_timestamp(self._clock())
        identity = "\0".join((self._board.boot, about.uid, about.field_path, kind, reason, first or message))
        name = f"{about.name}.{hashlib.sha256(identity.encode()).hexdigest()[:16]}"
        event = Event()
        known = self._known.pop(name, None)
        if known is not None:
            event.CopyFrom(known)
        else:
            event.metadata.name = name
            event.metadata.namespace = about.namespace or "default"
            event.metadata.creation_timestamp.CopyFrom(now)
            event.involved_object.CopyFrom(about)
            event.reason, event.type = reason, kind
            event.source.component, event.source.host = COMPONENT, self._board.node
            event.reporting_component, event.reporting_instance = COMPONENT, self._board.node
            event.first_timestamp.CopyFrom(now)
        event.last_timestamp.CopyFrom(now)
        event.message = message
        event.count += 1  # by which meshd knows that it is news
        self._known[name] = event
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        self._board.put_event(event)


def _about(pod: Pod, container: str) -> ObjectReference:
    meta = pod.metadata
    about = ObjectReference(kind="Pod", api_version="v1", namespace=meta.namespace, name=meta.name, uid=meta.uid)
    if container:
        kind, _, volume = container.rpartition("/")  # "volume/data" is the subject of an image volume
        about.field_path = f"spec.{kind or 'container'}s{{{volume}}}"
    return about


def backoffs(events: Events, pod: Pod, before: PodStatus | None, after: PodStatus) -> None:
    """An event for each container that has just begun to wait (S8)."""
    old = {s.name: s.state.waiting.reason for s in statuses_of(before)} if before else {}
    meta = pod.metadata
    for status in statuses_of(after):
        reason = status.state.waiting.reason
        if reason == old.get(status.name):
            continue
        if reason == "CrashLoopBackOff":
            words = f"Back-off restarting failed container {status.name} in pod "
            words += f"{meta.name}_{meta.namespace}({meta.uid})"
            events.warning(pod, "BackOff", words, status.name)
        elif reason == "ImagePullBackOff":
            events.normal(pod, "BackOff", f'Back-off pulling image "{status.image}"', status.name)
            events.warning(pod, "Failed", "Error: ImagePullBackOff", status.name)


def statuses_of(status: PodStatus) -> list[ContainerStatus]:
    """Those of all containers."""
    return [*status.init_container_statuses, *status.container_statuses]
