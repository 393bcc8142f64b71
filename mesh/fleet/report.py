"""What a host's news means for the store: its Node, the status of its pods, mirrors of its static pods, events.

Rule: pure and level-triggered: the same news written twice writes nothing the second time, news of pods that are not
this host's (another uid, another node) mean nothing, and a terminal phase is never left (S1).
"""

from collections.abc import Iterator

from mesh.fleet.needs import is_retired
from mesh.fleet.registration import ended_with_their_host, is_new_host, node_write, stamp
from mesh.model import claims, conditions, gates
from mesh.model.keys import Key
from mesh.model.kinds import key_of, revision_of
from mesh.model.pods import MIRROR, TERMINAL, is_mirror
from mesh.model.times import SECOND, from_timestamp, whole_seconds
from mesh.store.port import Write
from mesh.v1.core_pb2 import Event, PersistentVolume, Pod, PodStatus
from mesh.v1.node_pb2 import Observed, PodReport
from mesh.view import View

_PASSING = ("PodResizePending", "PodResizeInProgress")  # there while the host says them (L20)
EVENT_MEMORY = 3600 * SECOND  # S8


def writes_for(
    observed: Observed, view: View, now_ns: int, pod_cidr: str, *, barred: bool = False, skew: str = ""
) -> list[Write]:  # fmt: skip
    """The writes that make the store say what `observed` says, each resting on the revision seen in `view`.

    `pod_cidr` is the range of pod addresses for the host, should it not have one yet. Of a host that was removed from
    the mesh (`barred`) nothing counts but what it says of its pods. `skew`: why it is given nothing.
    """
    writes: dict[Key, Write] = {}
    if observed.HasField("report") and not barred:
        if is_new_host(observed.node, observed.report, view):
            for write in ended_with_their_host(observed.node, view, now_ns):
                _add(writes, write)
        _add(writes, node_write(observed.node, observed.report, view, now_ns, pod_cidr, skew))
        for name in observed.report.removed_volumes:
            _add(writes, _removed_volume(observed.node, name, view))
    for report in observed.pods:
        if _is_mirror(report, view):
            _add(writes, _mirror(observed.node, report, view, now_ns))
        else:
            _add(writes, _pod(observed.node, report, view, now_ns))
    if observed.full:
        for write in _vanished_mirrors(observed, view):
            _add(writes, write)
    for event in observed.events:
        _add(writes, _event(event, view, now_ns))
    return list(writes.values())


def _add(writes: dict[Key, Write], write: Write | None) -> None:
    if write is not None:
        writes[write.key] = write  # one write per key in a commit: the last word counts


def _removed_volume(node: str, name: str, view: View) -> Write | None:
    """A directory of this host is no more (V17)."""
    held = view.get(Key("PersistentVolume", "", name))
    if not isinstance(held, PersistentVolume) or not is_retired(held) or claims.host_of(held) != node:
        return None
    left = [f for f in held.metadata.finalizers if f != claims.DIRECTORY]
    if not left:
        return Write(key_of(held), None, revision_of(held))
    changed = PersistentVolume()
    changed.CopyFrom(held)
    changed.metadata.finalizers[:] = left
    return Write(key_of(held), changed, revision_of(held))


# ---- its pods ---------------------------------------------------------------------------------------------------


def _pod(node: str, report: PodReport, view: View, now_ns: int) -> Write | None:
    held = view.pod(report.namespace, report.name)
    if held is None or held.metadata.uid != report.uid or held.spec.node_name != node:
        return None
    deleted = held.metadata.HasField("deletion_timestamp")
    if report.gone and deleted and not held.metadata.finalizers:
        return Write(key_of(held), None, revision_of(held))
    pod = Pod()
    pod.CopyFrom(held)
    if report.HasField("status"):
        pod.status.CopyFrom(_status(held.status, report.status))
        gates.judge(pod, conditions.find(held.status.conditions, "Ready"), now_ns)
    if report.gone and deleted:
        pod.metadata.deletion_grace_period_seconds = 0  # nothing is left but what the finalizers wait for
    return None if pod == held else Write(key_of(pod), pod, revision_of(held))


def _status(held: PodStatus, said: PodStatus) -> PodStatus:
    """The host's word, with the conditions that are not its own (PodScheduled, readiness gates) kept."""
    if held.phase in TERMINAL and said.phase != held.phase:
        return held
    status = PodStatus()
    status.CopyFrom(said)
    if not status.qos_class and held.qos_class:
        status.qos_class = held.qos_class
    types = {c.type for c in said.conditions}
    kept = [c for c in held.conditions if c.type not in types and c.type not in _PASSING]
    del status.conditions[:]
    status.conditions.extend([*kept, *said.conditions])
    return status


# ---- static pods (G10) ------------------------------------------------------------------------------------------


def _is_mirror(report: PodReport, view: View) -> bool:
    if report.HasField("mirror"):
        return True
    held = view.pod(report.namespace, report.name)
    return held is not None and held.metadata.uid == report.uid and is_mirror(held)


def _mirror(node: str, report: PodReport, view: View, now_ns: int) -> Write | None:
    held = view.pod(report.namespace, report.name)
    if held is not None and not (is_mirror(held) and held.spec.node_name == node):
        return None  # the name belongs to a pod of the API
    if report.gone:
        return None if held is None else Write(key_of(held), None, revision_of(held))
    if view.namespace(report.namespace) is None:
        return None
    pod = Pod()
    if report.HasField("mirror"):
        pod.CopyFrom(report.mirror)
    elif held is not None:
        pod.CopyFrom(held)
    if held is not None and held.metadata.uid == report.uid:
        pod.metadata.creation_timestamp.CopyFrom(held.metadata.creation_timestamp)
        pod.metadata.resource_version = held.metadata.resource_version
        pod.status.CopyFrom(held.status)
    else:
        pod.metadata.creation_timestamp.CopyFrom(whole_seconds(now_ns))
        pod.metadata.ClearField("resource_version")
    pod.api_version, pod.kind = "v1", "Pod"
    pod.metadata.name, pod.metadata.namespace, pod.metadata.uid = report.name, report.namespace, report.uid
    pod.metadata.annotations[MIRROR] = report.uid
    pod.spec.node_name = node
    before = Pod(status=pod.status)
    pod.status.CopyFrom(_status(before.status, report.status))
    gates.judge(pod, conditions.find(before.status.conditions, "Ready"), now_ns)
    if pod == held:
        return None
    return Write(key_of(pod), pod, revision_of(held) if held is not None else 0)


def _vanished_mirrors(observed: Observed, view: View) -> Iterator[Write]:
    there = {report.uid for report in observed.pods if not report.gone}
    for pod in view.pods_on(observed.node):
        if is_mirror(pod) and pod.metadata.uid not in there:
            yield Write(key_of(pod), None, revision_of(pod))


# ---- events (S8) ------------------------------------------------------------------------------------------------


def _event(said: Event, view: View, now_ns: int) -> Write | None:
    key = Key("Event", said.metadata.namespace or "default", said.metadata.name)
    if not key.name or view.namespace(key.namespace) is None:
        return None
    if now_ns - from_timestamp(said.last_timestamp) > EVENT_MEMORY:
        return None  # a host repeats its events to a new meshd, forgotten ones too
    held = view.get(key)
    if isinstance(held, Event) and held.count >= said.count:
        return None
    event = Event()
    event.CopyFrom(said)
    event.api_version, event.kind = "v1", "Event"
    event.metadata.namespace = key.namespace
    if isinstance(held, Event):
        event.metadata.CopyFrom(held.metadata)
        event.first_timestamp.CopyFrom(held.first_timestamp)
    else:
        stamp(event.metadata, f"event/{key.namespace}/{key.name}", now_ns)
    return Write(key, event, revision_of(held) if held is not None else 0)
