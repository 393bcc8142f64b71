"""How an object is named: kind, namespace, name."""

from typing import NamedTuple


class Key(NamedTuple):
    """An object's identity for users and store; `namespace` is empty for cluster-scoped kinds."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}" if self.namespace else f"{self.kind} {self.name}"
