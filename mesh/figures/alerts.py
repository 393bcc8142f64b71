"""What needs somebody: found in the objects and certificates as they are, without any other server.

Rule: pure. An alert is what is wrong now; it is gone when it is no longer so, and nobody has to confirm that. Each says
in its message what to do next.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from mesh.model.conditions import status_of
from mesh.model.keys import Key
from mesh.model.pods import is_deleting, is_terminal
from mesh.model.references import secrets_of
from mesh.rpc.secrets import places
from mesh.sdk.words import FATAL_WAITING, why_waiting
from mesh.v1.apps_pb2 import Deployment
from mesh.v1.core_pb2 import Pod
from mesh.v1.node_pb2 import SecretReceipt
from mesh.view import View

Receipts = Callable[[str, str], Sequence[SecretReceipt]]

CRITICAL, WARNING = "critical", "warning"
DAY = 86_400
PATIENCE = 60  # seconds that a Secret may take to a pod
EVERY = 10  # seconds between two looks at Secrets
NEAR_END = DAY  # of a certificate, in seconds; they are renewed long before
AUTHORITY_NEAR_END = 30 * DAY
AUTHORITY = "ca"
_PRESSURES = {"DiskPressure": "DiskNearlyFull", "MemoryPressure": "MemoryLow", "PIDPressure": "ProcessesNearLimit"}


@dataclass(frozen=True, slots=True)
class Alert:
    """`kind`, `namespace` and `object` say what it is about."""

    name: str
    severity: str
    kind: str
    namespace: str
    object: str
    message: str


@dataclass(slots=True)
class Seen:
    """What was found of each pod: one that has not changed is not looked at again, for objects of a view never change.
    Secrets are looked at every `EVERY` seconds."""

    pods: dict[int, tuple[Pod, Alert | None, Mapping[str, set[str]]]] = field(default_factory=dict)
    secrets_at: int = 0
    secrets: tuple[Alert, ...] = ()


def alerts(
    view: View, certificates: Mapping[str, int], now: int, receipts: Receipts | None = None, seen: Seen | None = None
) -> list[Alert]:  # fmt: skip
    """All of them, the critical first; `certificates` end at these seconds since the epoch, `receipts` say what of
    Secrets is in a pod, by its host's name and its uid (None: not known yet). `seen` is of the look before."""
    seen = seen if seen is not None else Seen()
    found = [*_hosts(view), *_certificates(certificates, now), *_rollouts(view), *_pods(view, seen)]
    if receipts is not None and seen.secrets_at + EVERY <= now:
        seen.secrets_at, seen.secrets = now, tuple(_secrets(view, receipts, now, seen))
    return sorted([*found, *seen.secrets], key=lambda a: (a.severity != CRITICAL, a.name, a.namespace, a.object))


def _hosts(view: View) -> Iterator[Alert]:
    for node in view.nodes():
        name = node.metadata.name
        ready = status_of(node.status.conditions, "Ready")
        if ready == "Unknown":
            yield Alert("HostLost", CRITICAL, "Node", "", name,
                        f"host {name} has not answered for a while; `mesh doctor` on it tells more")  # fmt: skip
        elif ready == "False":
            yield Alert("HostNotReady", CRITICAL, "Node", "", name,
                        f"host {name} can't run pods; `mesh describe node {name}` tells why")  # fmt: skip
        for condition, alert in _PRESSURES.items():
            if status_of(node.status.conditions, condition) == "True":
                yield Alert(alert, WARNING, "Node", "", name,
                            f"host {name} says {condition}; `mesh describe node {name}` tells more")  # fmt: skip


def _certificates(certificates: Mapping[str, int], now: int) -> Iterator[Alert]:
    for name, end in certificates.items():
        if end - now < (AUTHORITY_NEAR_END if name == AUTHORITY else NEAR_END):
            when = f"ends in {(end - now) // 3600} hours" if end > now else "has ended"
            yield Alert("CertificateNearEnd", CRITICAL, "Certificate", "", name,
                        f"certificate {name} {when}; `mesh certs` tells more")  # fmt: skip


def _rollouts(view: View) -> Iterator[Alert]:
    for one in view.of_kind("Deployment"):
        if isinstance(one, Deployment) and status_of(one.status.conditions, "Progressing") == "False":
            meta = one.metadata
            yield Alert("RolloutStuck", WARNING, "Deployment", meta.namespace, meta.name,
                        f"deployment {meta.namespace}/{meta.name} does not get on; `mesh rollout status "
                        f"deployment/{meta.name} -n {meta.namespace}` tells more")  # fmt: skip


def _pods(view: View, seen: Seen) -> Iterator[Alert]:
    before, seen.pods = seen.pods, {}
    for pod in view.pods():
        found = before.get(id(pod))
        if found is None or found[0] is not pod:
            found = pod, _pod(pod), _volumes(pod)
        seen.pods[id(pod)] = found
        if found[1] is not None:
            yield found[1]


def _pod(pod: Pod) -> Alert | None:
    container, reason, _ = why_waiting(pod)
    if reason not in FATAL_WAITING:
        return None
    name = "PodCrashLooping" if reason == "CrashLoopBackOff" else "PodStuck"
    meta = pod.metadata
    return Alert(name, WARNING, "Pod", meta.namespace, meta.name,
                 f"pod {meta.namespace}/{meta.name}: container {container} is in {reason}; "
                 f"`mesh describe pod -n {meta.namespace} {meta.name}` tells why")  # fmt: skip


def _volumes(pod: Pod) -> Mapping[str, set[str]]:
    """The volumes that show each Secret, as receipts name them."""
    if not pod.spec.volumes or is_terminal(pod) or is_deleting(pod):
        return {}
    found = {name: {w for w in places(pod, name) if w.startswith("volume ")} for name in secrets_of(pod.spec)}
    return {name: where for name, where in found.items() if where}


def _secrets(view: View, receipts: Receipts, now: int, seen: Seen) -> Iterator[Alert]:
    """Secrets that are there, and not in the volumes of a pod whose host has had a minute for it."""
    late: dict[tuple[str, str], str] = {}
    for pod, _, volumes in seen.pods.values():
        if not volumes or not pod.spec.node_name or _placed_at(pod) + PATIENCE > now:
            continue
        node = view.node(pod.spec.node_name)
        if node is None or status_of(node.status.conditions, "Ready") != "True":
            continue
        meta = pod.metadata
        for name, wanted in volumes.items():
            if view.get(Key("Secret", meta.namespace, name)) is not None:
                there = {r.where for r in receipts(pod.spec.node_name, meta.uid) if r.name == name}
                if wanted - there:
                    late.setdefault((meta.namespace, name), meta.name)
    for (namespace, name), pod_name in late.items():
        yield Alert("SecretUndelivered", WARNING, "Secret", namespace, name,
                    f"secret {namespace}/{name} has not reached pod {pod_name}; `mesh secrets status {name} "
                    f"-n {namespace}` tells more")  # fmt: skip


def _placed_at(pod: Pod) -> int:
    at = next((c.last_transition_time.seconds for c in pod.status.conditions if c.type == "PodScheduled"), 0)
    return at or pod.metadata.creation_timestamp.seconds
