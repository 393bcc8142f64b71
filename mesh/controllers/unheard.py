"""Pods of a host that is given up are not ready (N2): nobody knows how they are.

Rule: pure. It is said when pods that say nothing of such hosts are asked to go, of those too that stay; controllers
then count them as not available. The host's next word of its pods replaces it. A host that answers though its agent
does not is not given up: its pods stay as they were last seen.
"""

from collections.abc import Iterable

from mesh.controllers.evictions import DELAY
from mesh.controllers.nodekeys import NodeKeys
from mesh.model import fit
from mesh.model.conditions import is_true, set_condition
from mesh.model.fields import copy_of
from mesh.model.hosts import given_up
from mesh.model.keys import Key
from mesh.model.kinds import key_of, revision_of
from mesh.model.pods import is_terminal
from mesh.model.times import SECOND, from_timestamp
from mesh.reconcile.plan import NOTHING, Plan
from mesh.reconcile.record import record
from mesh.store.port import Event, Write
from mesh.v1.core_pb2 import Node, Pod
from mesh.view import View


class Unheard:
    """`delay`: seconds from the moment at which a host is given up."""

    name = "unheard"

    def __init__(self, delay: float = DELAY) -> None:
        self._delay = delay
        self._nodes = NodeKeys(given_up)

    def keys(self, event: Event) -> Iterable[Key]:
        """The node of the event, when it is given up; of a pod's event, only if it was so before."""
        return self._nodes.of(event)

    def reconcile(self, key: Key, view: View, now_ns: int) -> Plan:
        """Takes readiness from the pods of one host."""
        node = view.node(key.name)
        if node is None or not given_up(node):
            return NOTHING
        left = (_since(node) - now_ns) / SECOND + self._delay
        if left > 0:
            return Plan([], left)
        return Plan([write for pod in view.pods_on(key.name) for write in _not_ready(pod, view, now_ns)])


def _since(node: Node) -> int:
    mine = (t for t in node.spec.taints if t.key == fit.UNREACHABLE_TAINT and t.effect == "NoExecute")
    return max(from_timestamp(t.time_added) for t in mine)


def _not_ready(held: Pod, view: View, now_ns: int) -> list[Write]:
    if is_terminal(held) or not is_true(held.status.conditions, "Ready"):
        return []
    pod = copy_of(held)
    set_condition(pod.status.conditions, "Ready", "False", now=now_ns, reason="NodeNotReady",
                  message="The host's agent stopped answering.")  # fmt: skip
    said = record(view, pod, "NodeNotReady", "Node is not ready", now_ns, warning=True)
    return [Write(key_of(held), pod, revision_of(held)), *said]
