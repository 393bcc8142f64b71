"""Which nodes are to be looked at after an event, when only those matter of which something holds.

Rule: pure. What holds of a node is taken from its own events; a pod's event costs nothing while it holds of none.
"""

from collections.abc import Callable, Iterable

from mesh.model.keys import Key
from mesh.store.port import Event
from mesh.v1.core_pb2 import Node, Pod


class NodeKeys:
    """`holds` says of a node whether it matters."""

    def __init__(self, holds: Callable[[Node], bool]) -> None:
        self._holds = holds
        self._names: set[str] = set()

    def of(self, event: Event) -> Iterable[Key]:
        """The node of the event, when it matters; of a pod's event, only if it did so before."""
        obj = event.object
        if isinstance(obj, Node):
            if self._holds(obj):
                self._names.add(obj.metadata.name)
                return (event.key,)
            self._names.discard(obj.metadata.name)
        elif isinstance(obj, Pod) and obj.spec.node_name in self._names:
            return (Key("Node", "", obj.spec.node_name),)
        return ()
