"""What needs somebody: found in the objects and certificates as they are, without any other server.

Rule: pure. An alert is what is wrong now; it is gone when it is no longer so, and nobody has to confirm that. Each says
in its message what to do next.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from mesh.sdk.words import FATAL_WAITING, why_waiting
from mesh.v1.apps_pb2 import Deployment
from mesh.v1.core_pb2 import Node, Pod
from mesh.view import View

CRITICAL, WARNING = "critical", "warning"
DAY = 86_400
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


def alerts(view: View, certificates: Mapping[str, int], now: int) -> list[Alert]:
    """All of them, the critical first; `certificates` end at these seconds since the epoch."""
    found = [*_hosts(view), *_certificates(certificates, now), *_rollouts(view), *_pods(view)]
    return sorted(found, key=lambda a: (a.severity != CRITICAL, a.name, a.namespace, a.object))


def _hosts(view: View) -> Iterator[Alert]:
    for node in view.nodes():
        name = node.metadata.name
        ready = _condition(node, "Ready")
        if ready == "Unknown":
            yield Alert("HostLost", CRITICAL, "Node", "", name,
                        f"host {name} has not answered for a while; `mesh doctor` on it tells more")  # fmt: skip
        elif ready == "False":
            yield Alert("HostNotReady", CRITICAL, "Node", "", name,
                        f"host {name} can't run pods; `mesh describe node {name}` tells why")  # fmt: skip
        for condition, alert in _PRESSURES.items():
            if _condition(node, condition) == "True":
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
        if isinstance(one, Deployment) and _condition(one, "Progressing") == "False":
            meta = one.metadata
            yield Alert("RolloutStuck", WARNING, "Deployment", meta.namespace, meta.name,
                        f"deployment {meta.namespace}/{meta.name} does not get on; `mesh rollout status "
                        f"deployment/{meta.name} -n {meta.namespace}` tells more")  # fmt: skip


def _pods(view: View) -> Iterator[Alert]:
    for pod in view.of_kind("Pod"):
        if not isinstance(pod, Pod):
            continue
        container, reason, _ = why_waiting(pod)
        if reason in FATAL_WAITING:
            name = "PodCrashLooping" if reason == "CrashLoopBackOff" else "PodStuck"
            meta = pod.metadata
            yield Alert(name, WARNING, "Pod", meta.namespace, meta.name,
                        f"pod {meta.namespace}/{meta.name}: container {container} is in {reason}; "
                        f"`mesh describe pod -n {meta.namespace} {meta.name}` tells why")  # fmt: skip


def _condition(obj: Node | Deployment, name: str) -> str:
    return next((c.status for c in obj.status.conditions if c.type == name), "")
