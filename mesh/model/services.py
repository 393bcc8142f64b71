"""What everyone asks of a Service: has it an address, which addresses and ports does it hold, how is it tuned.

Rule: pure questions of one object. `claims_of` names whatever only one Service may hold; the View finds holders by it.
"""

from collections.abc import Callable, Iterator, Mapping

from mesh.errors import Violation
from mesh.model.annotations import flag, one_of, whole
from mesh.model.keys import Key
from mesh.model.kinds import Object
from mesh.v1.net_pb2 import AddressReservation, Ingress, Service
from mesh.v1.node_pb2 import ProxyTuning

HEADLESS = "None"
KUBERNETES = Key("Service", "default", "kubernetes")  # by which pods reach the mesh's API
SERVICE_LABEL = "kubernetes.io/service-name"  # of an EndpointSlice: whose endpoints it holds
RESERVATION = "mesh/address-reservation"  # annotation: the AddressReservation whose address a Service takes
ENCRYPTED = "mesh/encrypted"
AFFINITY_SECONDS = 10800  # X7


def is_headless(service: Service) -> bool:
    """Its name stands for its pods, and it has no address."""
    return service.spec.cluster_ip == HEADLESS


def is_external(service: Service) -> bool:
    """Its name stands for another name (X19)."""
    return service.spec.type == "ExternalName"


def cluster_ip(service: Service) -> str:
    """Its address, "" for none."""
    return "" if is_headless(service) or is_external(service) else service.spec.cluster_ip


def wants_node_ports(service: Service) -> bool:
    """Whether each of its ports has a port on the hosts (X1)."""
    spec = service.spec
    if spec.type == "LoadBalancer":
        return spec.allocate_load_balancer_node_ports or not spec.HasField("allocate_load_balancer_node_ports")
    return spec.type == "NodePort"


def wants_health_port(service: Service) -> bool:
    """Whether hosts tell whether they have endpoints of it (X9)."""
    return service.spec.type == "LoadBalancer" and service.spec.external_traffic_policy == "Local"


def load_balancer_ips(service: Service) -> list[str]:
    """The addresses that it has on the hosts' network."""
    if service.spec.type != "LoadBalancer":
        return []
    return [ingress.ip for ingress in service.status.load_balancer.ingress if ingress.ip]


def address_claim(address: str) -> str:
    """The claim of an address."""
    return f"address/{address}"


def port_claim(protocol: str, port: int) -> str:
    """The claim of a port of every host; the same number may be held once for each protocol (X4)."""
    return f"port/{protocol}/{port}"


def claims_of(obj: Object) -> Iterator[str]:
    """What this object holds, and no other Service may."""
    if isinstance(obj, AddressReservation) and obj.spec.address:
        yield address_claim(obj.spec.address)
    if isinstance(obj, Ingress) and RESERVATION in obj.metadata.annotations:
        for entry in obj.status.load_balancer.ingress:
            yield address_claim(entry.ip)
    if not isinstance(obj, Service):
        return
    if address := cluster_ip(obj):
        yield address_claim(address)
    for address in load_balancer_ips(obj):
        yield address_claim(address)
    for port in obj.spec.ports:
        if port.node_port:
            yield port_claim(port.protocol or "TCP", port.node_port)
    if obj.spec.health_check_node_port:
        yield port_claim("TCP", obj.spec.health_check_node_port)


# ---- tuning: annotations beyond Kubernetes ------------------------------------------------------------------------

PREFIX = "mesh/"
BALANCES = ("random", "round-robin", "least-connections")


# Annotation -> field of ProxyTuning, and how its text is read.
TUNING: Mapping[str, tuple[str, Callable[[str], str | int | bool]]] = {
    "mesh/balance": ("balance", one_of(*BALANCES)),
    "mesh/max-connections": ("max_connections", whole(1, 1_000_000)),
    "mesh/connect-timeout-milliseconds": ("connect_timeout_milliseconds", whole(1, 600_000)),
    "mesh/idle-timeout-seconds": ("idle_timeout_seconds", whole(1, 86_400)),
    "mesh/slow-start-seconds": ("slow_start_seconds", whole(1, 3600)),
    "mesh/proxy-protocol": ("proxy_protocol", flag),
    ENCRYPTED: ("encrypted", flag),
}


def tuning_of(service: Service) -> ProxyTuning:
    """What the annotations ask for; one that can't be read asks for nothing (admission has refused it)."""
    tuning = ProxyTuning()
    for name, (field, read) in TUNING.items():
        text = service.metadata.annotations.get(name)
        if text is None:
            continue
        try:
            setattr(tuning, field, read(text))
        except ValueError:
            continue
    return tuning


def check_annotations(service: Service, others: tuple[str, ...]) -> Iterator[Violation]:
    """What is wrong with the annotations that are the mesh's; `others` are known and no matter of tuning."""
    for name, text in sorted(service.metadata.annotations.items()):
        where = f'metadata.annotations["{name}"]'
        if not name.startswith(PREFIX) or name in others:
            continue
        if name not in TUNING:
            yield Violation(where, f"is not known: {', '.join(sorted(TUNING))} are")
            continue
        try:
            TUNING[name][1](text)
        except ValueError as error:
            yield Violation(where, str(error))
