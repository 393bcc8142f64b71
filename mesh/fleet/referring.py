"""Which hosts have pods that refer to a ConfigMap or a Secret: kept by events, so that nobody looks through all pods.

Rule: pure; a value of the pods alone, whatever the order of the events that led to them.
"""

from collections import Counter, defaultdict
from collections.abc import Collection
from dataclasses import dataclass, field

from mesh.model.keys import Key
from mesh.model.kinds import Object
from mesh.model.references import config_maps_of, secrets_of
from mesh.v1.core_pb2 import Pod


@dataclass(slots=True)
class Referring:
    """Starts without any pod."""

    _told: dict[Key, tuple[str, frozenset[Key]]] = field(default_factory=dict)  # by pod: its host, what it refers to
    _hosts: dict[Key, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))

    def hosts(self, key: Key) -> Collection[str]:
        """The hosts with pods that refer to this ConfigMap or Secret, be it there or not."""
        return self._hosts.get(key, {}).keys()

    def note(self, key: Key, now: Object | None, before: Object | None) -> None:
        """A pod came, changed or went."""
        if isinstance(now, Pod) and isinstance(before, Pod) and now.spec == before.spec and key in self._told:
            return
        host, keys = self._told.pop(key, ("", frozenset()))
        for of in keys:
            self._hosts[of][host] -= 1
            if not self._hosts[of][host]:
                del self._hosts[of][host]
            if not self._hosts[of]:
                del self._hosts[of]
        if isinstance(now, Pod) and now.spec.node_name:
            self._told[key] = host, keys = now.spec.node_name, _keys(now)
            for of in keys:
                self._hosts[of][host] += 1


def _keys(pod: Pod) -> frozenset[Key]:
    namespace = pod.metadata.namespace
    configs = (Key("ConfigMap", namespace, name) for name in config_maps_of(pod.spec))
    return frozenset((*configs, *(Key("Secret", namespace, name) for name in secrets_of(pod.spec))))
