"""What a pod is told of Services when its containers are made: environment variables (E7), how names are asked (E10).

Rule: pure. Only Services that are there when a container is created are told, and never changed in one that runs.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from mesh.v1.core_pb2 import Pod
from mesh.v1.node_pb2 import ServiceLink


@dataclass(frozen=True, slots=True)
class Names:
    """The name service's address, empty when there is none, the domain it answers for, and Services with an address."""

    dns_address: str = ""
    domain: str = ""
    links: tuple[ServiceLink, ...] = ()


NO_NAMES = Names()


def asks_cluster(pod: Pod, names: Names) -> bool:
    """Whether the pod's resolver asks the mesh first: ClusterFirst, which on the host's network is Default (E10)."""
    if not names.dns_address:
        return False
    policy = pod.spec.dns_policy or "ClusterFirst"
    return policy == "ClusterFirstWithHostNet" or (policy == "ClusterFirst" and not pod.spec.host_network)


def qualified(pod: Pod, names: Names, hostname: str) -> str:
    """The pod's full name: hostname.subdomain.namespace.svc.domain; without a subdomain its hostname alone (E8)."""
    if not pod.spec.subdomain or not names.domain:
        return hostname
    return f"{hostname}.{pod.spec.subdomain}.{pod.metadata.namespace}.svc.{names.domain}"


def variables(links: Iterable[ServiceLink]) -> dict[str, str]:
    """Kubernetes' variables of each Service (E7): {SVC}_SERVICE_HOST, _SERVICE_PORT, _SERVICE_PORT_{NAME}, _PORT,
    _PORT_{n}_{PROTO}, and that with _PROTO, _PORT, _ADDR."""
    found: dict[str, str] = {}
    for link in links:
        name = _name(link.name)
        found[f"{name}_SERVICE_HOST"] = link.cluster_ip
        for number, port in enumerate(link.ports):
            if number == 0:
                found[f"{name}_SERVICE_PORT"] = str(port.port)
            if port.name:
                found[f"{name}_SERVICE_PORT_{_name(port.name)}"] = str(port.port)
        for number, port in enumerate(link.ports):
            protocol = port.protocol or "TCP"
            url = f"{protocol.lower()}://{link.cluster_ip}:{port.port}"
            if number == 0:
                found[f"{name}_PORT"] = url
            prefix = f"{name}_PORT_{port.port}_{protocol}"
            found[prefix] = url
            found[f"{prefix}_PROTO"] = protocol.lower()
            found[f"{prefix}_PORT"] = str(port.port)
            found[f"{prefix}_ADDR"] = link.cluster_ip
    return found


def _name(text: str) -> str:
    return text.replace("-", "_").upper()
