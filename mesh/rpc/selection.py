"""Which objects a List or a Watch is about.

Rule: a kind that is not served is refused by name; a selector that can't be read is refused before anything is read.
"""

from dataclasses import dataclass

from mesh.errors import Invalid
from mesh.model import selectors
from mesh.model.keys import Key
from mesh.model.kinds import Kind, Object, key_of, kind_named, served_kinds
from mesh.model.selectors import FieldSelector
from mesh.network import derived
from mesh.v1.control_pb2 import ListRequest, WatchRequest
from mesh.v1.meta_pb2 import LabelSelector
from mesh.view import View


@dataclass(frozen=True, slots=True)
class Selection:
    """`kind` None: every kind; `namespace` empty: every namespace."""

    kind: Kind | None
    namespace: str
    labels: LabelSelector
    fields: FieldSelector

    def of(self, view: View) -> list[Object]:
        """The selected objects, sorted by key."""
        if self.kind is not None and self.kind.name in derived.KINDS:
            found = everything(self.kind.name, view, self.namespace)
        elif self.kind is not None:
            found = view.of_kind(self.kind.name, self.namespace)
        else:
            found = [o for k in served_kinds() for o in view.of_kind(k.name, self.namespace)]
        return [obj for obj in found if self.wants(key_of(obj), obj)]

    def wants(self, key: Key, obj: Object | None) -> bool:
        """Whether this object is selected; None is not."""
        if obj is None or (self.kind is not None and key.kind != self.kind.name):
            return False
        if not kind_named(key.kind).served:
            return False
        if self.namespace and key.namespace != self.namespace:
            return False
        return selectors.matches(self.labels, obj.metadata.labels) and self.fields.matches(obj)


def everything(kind: str, view: View, namespace: str = "") -> list[Object]:
    """Objects of a kind that is shown though it is not stored: what is derived, and beside it what was made by hand."""
    found = {key_of(obj): obj for obj in (*view.of_kind(kind, namespace), *derived.derived(kind, view, namespace))}
    return [found[key] for key in sorted(found)]


def selection_of(request: ListRequest | WatchRequest) -> Selection:
    """What a request selects; raises NotFound for a kind that is none, Invalid for what can't be read."""
    kind = served(request.kind) if request.kind else None
    namespace = request.namespace if kind is None or kind.namespaced else ""
    labels = selectors.parse_labels(request.label_selector)
    return Selection(kind, namespace, labels, selectors.parse_fields(request.field_selector, kind))


def served(name: str) -> Kind:
    """The kind of this name; raises NotFound when there is none and Invalid when it is not served yet."""
    kind = kind_named(name)
    if not kind.served:
        raise Invalid(f"{kind.name} objects are not served yet: {kind.why_not}")
    return kind
