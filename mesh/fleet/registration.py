"""A host's Node object: made at its first news, kept as it says, with a range of pod addresses of its own (G11, G12).

Rule: pure. A heartbeat alone is written every five minutes only; what changes is written at once. A host reinstalled
under the same name is a new host: another Node, with the old one's range; the old one's pods ended with it.
"""

import ipaddress
import uuid
from collections.abc import Iterable, Iterator
from functools import lru_cache

from mesh.errors import Unavailable
from mesh.model.hosts import REACHABLE, SKEW
from mesh.model.kinds import key_of, revision_of
from mesh.model.times import SECOND, from_timestamp, to_timestamp, whole_seconds
from mesh.store.port import Write
from mesh.v1.core_pb2 import Node, NodeCondition, NodeStatus, Pod
from mesh.v1.meta_pb2 import ObjectMeta
from mesh.v1.node_pb2 import NodeReport
from mesh.view import View

HEARTBEAT = 300 * SECOND  # G12
INSTALLATION = "mesh/installation"  # which installation of the mesh on that machine the Node is of


def node_write(name: str, report: NodeReport, view: View, now_ns: int, pod_cidr: str, skew: str = "") -> Write | None:
    """The write that makes the Node say what its host reports, or None when it does; and `skew`, why its agent and we
    do not understand each other."""
    held = view.node(name)
    node = Node()
    if held is None or is_new_host(name, report, view):
        node.api_version, node.kind = "v1", "Node"
        node.metadata.name = name
        stamp(node.metadata, f"node/{name}", now_ns)
    else:
        node.CopyFrom(held)
    node.metadata.labels.update(report.labels)
    if report.installation:
        node.metadata.annotations[INSTALLATION] = report.installation
    if not node.spec.pod_cidr:
        node.spec.pod_cidr = pod_cidr
        node.spec.pod_cidrs[:] = [pod_cidr]
    status = NodeStatus()
    status.CopyFrom(report.status)
    del status.conditions[:]
    status.conditions.extend(_merged(list(node.status.conditions), [*report.status.conditions, *_skewed(skew)], now_ns))
    node.status.CopyFrom(status)
    if held is not None and not _stale(held.status.conditions, now_ns) and _same_but_heartbeat(node, held):
        return None
    return Write(key_of(node), node, revision_of(held) if held is not None else 0)


def is_new_host(name: str, report: NodeReport, view: View) -> bool:
    """Whether the host was reinstalled since its Node was made: nothing of what the old one ran is there."""
    held = view.node(name)
    known = held.metadata.annotations.get(INSTALLATION, "") if held is not None else ""
    return bool(known and report.installation) and known != report.installation


def ended_with_their_host(name: str, view: View, now_ns: int) -> Iterator[Write]:
    """The end of all pods that a host had before it was reinstalled."""
    for held in view.pods_on(name):
        if not held.metadata.finalizers:
            yield Write(key_of(held), None, revision_of(held))
            continue
        pod = Pod()
        pod.CopyFrom(held)
        if not pod.metadata.HasField("deletion_timestamp"):
            pod.metadata.deletion_timestamp.CopyFrom(whole_seconds(now_ns))
        pod.metadata.deletion_grace_period_seconds = 0
        yield Write(key_of(pod), pod, revision_of(held))


def free_range(cluster_cidr: str, node_mask: int, used: Iterable[str]) -> str:
    """The lowest /`node_mask` of the cluster's range that overlaps none of `used`; raises Unavailable when all are."""
    first, last = _span(cluster_cidr)
    size = 1 << (32 - node_mask)
    candidate = first
    for begin, end in sorted(_span(cidr) for cidr in used if cidr):
        if begin >= candidate + size:
            break
        if end >= candidate:
            candidate = -(-(end + 1) // size) * size
    if candidate + size - 1 > last:
        raise Unavailable(f"cannot give a host a range of pod addresses: every /{node_mask} of {cluster_cidr} is taken")
    return f"{ipaddress.IPv4Address(candidate)}/{node_mask}"


@lru_cache(maxsize=1 << 14)
def _span(cidr: str) -> tuple[int, int]:
    """First and last address of a range, as numbers."""
    network = ipaddress.IPv4Network(cidr)
    return int(network.network_address), int(network.broadcast_address)


def stamp(metadata: ObjectMeta, what: str, now_ns: int) -> None:
    """Gives a new object its uid, unique to `what` and the moment, and its time of creation."""
    metadata.uid = str(uuid.uuid5(uuid.NAMESPACE_OID, f"{what}/{now_ns}"))
    metadata.creation_timestamp.CopyFrom(whole_seconds(now_ns))


def _skewed(why: str) -> list[NodeCondition]:
    return [NodeCondition(type=SKEW, status="True", reason="Unsupported", message=why)] if why else []


def _merged(held: list[NodeCondition], said: list[NodeCondition], now_ns: int) -> list[NodeCondition]:
    """The host's conditions with our times: a transition is when the status changed here."""
    before = {c.type: c for c in held}
    passing = {REACHABLE, SKEW, *(s.type for s in said)}  # it speaks itself
    merged = [c for c in held if c.type not in passing]
    for condition in said:
        fresh = NodeCondition()
        fresh.CopyFrom(condition)
        fresh.last_heartbeat_time.CopyFrom(whole_seconds(now_ns))
        old = before.get(condition.type)
        same = old is not None and old.status == condition.status
        fresh.last_transition_time.CopyFrom(old.last_transition_time if old and same else whole_seconds(now_ns))
        merged.append(fresh)
    return merged


def _stale(conditions: Iterable[NodeCondition], now_ns: int) -> bool:
    beats = [from_timestamp(c.last_heartbeat_time) for c in conditions]
    return bool(beats) and to_timestamp(now_ns).seconds - max(beats) // SECOND >= HEARTBEAT // SECOND


def _same_but_heartbeat(node: Node, held: Node) -> bool:
    bare = Node()
    bare.CopyFrom(node)
    times = {c.type: c.last_heartbeat_time for c in held.status.conditions}
    for condition in bare.status.conditions:
        if condition.type in times:
            condition.last_heartbeat_time.CopyFrom(times[condition.type])
    return bare == held
