"""What one caller may see of the view: the same authoriser as for calls, asked for each namespace once.

Rule: pure. Values of Secrets are never given out, whoever asks.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from mesh.access.asks import on_key
from mesh.access.decide import decide
from mesh.access.who import Who
from mesh.model.keys import Key
from mesh.model.kinds import Object
from mesh.model.pods import is_terminal
from mesh.model.references import secrets_of
from mesh.sdk.words import summary
from mesh.v1.control_pb2 import AlertStatus
from mesh.v1.core_pb2 import Pod
from mesh.v1.node_pb2 import SecretReceipt
from mesh.v1.stats_pb2 import History
from mesh.view import View

_SLACK = 1000  # pods


class Known:
    """What was found out of each pod, for all requests: a pod of a view never changes, so it is looked at once."""

    def __init__(self) -> None:
        self._pods: dict[int, tuple[Pod, str, frozenset[str]]] = {}

    def __len__(self) -> int:
        return len(self._pods)

    def status(self, pod: Pod) -> str:
        """The pod in one word, as `mesh get pods` says it."""
        return self._of(pod)[1]

    def secrets(self, pod: Pod) -> frozenset[str]:
        """Names of the Secrets that it uses; none once it has ended."""
        return self._of(pod)[2]

    def forget(self, view: View) -> None:
        """Lets go of pods that are no more, once they are many."""
        if len(self._pods) > 2 * view.count("Pod") + _SLACK:
            self._pods = {id(p): self._pods[id(p)] for p in view.pods() if id(p) in self._pods}

    def _of(self, pod: Pod) -> tuple[Pod, str, frozenset[str]]:
        found = self._pods.get(id(pod))
        if found is None or found[0] is not pod:
            used = frozenset[str]() if is_terminal(pod) else frozenset(secrets_of(pod.spec))
            found = self._pods[id(pod)] = pod, summary(pod).status, used
        return found


@dataclass(slots=True)
class Reader:
    """Of one request. `alerts` and `receipts` are meshd's; `history` is of hosts, by name, as far as it is known."""

    view: View
    who: Who
    now: float  # seconds since the epoch
    alerts: Callable[[], Sequence[AlertStatus]] = tuple
    receipts: Callable[[str, str], Sequence[SecretReceipt]] = lambda _host, _uid: ()
    history: Mapping[str, History] = field(default_factory=dict)
    pods: Known = field(default_factory=Known)
    _known: dict[tuple[str, str], bool] = field(default_factory=dict)

    def may(self, verb: str, kind: str, namespace: str = "", part: str = "") -> bool:
        """Whether the caller may do this to all objects of a kind in a namespace."""
        key = (f"{verb} {kind} {part}", namespace)
        if key not in self._known:
            asked = on_key(verb, Key(kind, namespace, ""), part)
            self._known[key] = decide(self.who, asked, self.view).allowed
        return self._known[key]

    def all(self, kind: str, namespace: str = "") -> list[Object]:
        """Objects of a kind that the caller may list, sorted by key."""
        if self.may("list", kind, namespace):
            return self.view.of_kind(kind, namespace)
        found = self.view.of_kind(kind, namespace)
        return [o for o in found if o.metadata.namespace and self.may("list", kind, o.metadata.namespace)]

    def one(self, kind: str, namespace: str, name: str) -> Object | None:
        """An object that the caller may get."""
        if not self.may("get", kind, namespace):
            return None
        return self.view.get(Key(kind, namespace, name))

    def troubles(self) -> list[AlertStatus]:
        """Alerts about what the caller may see."""
        return [a for a in self.alerts() if self._concerned(a)]

    def _concerned(self, alert: AlertStatus) -> bool:
        if alert.kind == "Certificate":
            return self.may("list", "Node")
        try:
            return self.may("list", alert.kind, alert.namespace)
        except Exception:  # noqa: BLE001 - a kind that is no object's: shown to who may see hosts
            return self.may("list", "Node")
