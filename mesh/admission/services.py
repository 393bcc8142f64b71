"""Admission of Services and of endpoints made by hand: defaults, what must hold, what may change (X1 to X19).

Rule: pure questions of one object, or of a new and an old one; who gets which address is `allocate`'s.
"""

import ipaddress
from collections.abc import Iterator

from mesh.errors import Violation
from mesh.model import formats, services
from mesh.model.digest import LAST_APPLIED
from mesh.model.fields import transfer
from mesh.model.keys import Key
from mesh.v1.meta_pb2 import IntOrString
from mesh.v1.net_pb2 import AddressReservation, Endpoints, EndpointSlice, Service, ServicePort, ServiceSpec
from mesh.view import View

_EXTERNAL = ("NodePort", "LoadBalancer")
_SCTP = "SCTP is not honoured: the proxy carries TCP and UDP"
_SLICE_ENDPOINTS, _SLICE_PORTS = 1000, 100


def fill(service: Service) -> None:
    """Completes a Service in place, as Kubernetes does; addresses and ports are given later."""
    spec = service.spec
    if not spec.type:
        spec.type = "ClusterIP"
    if not spec.session_affinity:
        spec.session_affinity = "None"
    if spec.session_affinity == "ClientIP" and not spec.session_affinity_config.client_ip.timeout_seconds:
        spec.session_affinity_config.client_ip.timeout_seconds = services.AFFINITY_SECONDS
    for port in spec.ports:
        if not port.protocol:
            port.protocol = "TCP"
        target = port.target_port
        if not (target.string_value or target.int_value) and spec.type != "ExternalName":
            port.target_port.CopyFrom(IntOrString(int_value=port.port))  # (X4)
    if spec.type != "ExternalName":
        _fill_addressed(spec)


def _fill_addressed(spec: ServiceSpec) -> None:
    if not spec.internal_traffic_policy:
        spec.internal_traffic_policy = "Cluster"
    if (spec.type in _EXTERNAL or spec.external_ips) and not spec.external_traffic_policy:
        spec.external_traffic_policy = "Cluster"
    if spec.type == "LoadBalancer" and not spec.HasField("allocate_load_balancer_node_ports"):
        spec.allocate_load_balancer_node_ports = True
    if not spec.ip_family_policy:
        spec.ip_family_policy = "SingleStack"
    if not spec.ip_families:
        spec.ip_families.append("IPv4")
    if spec.cluster_ip and not spec.cluster_ips:
        spec.cluster_ips.append(spec.cluster_ip)
    elif spec.cluster_ips and not spec.cluster_ip:
        spec.cluster_ip = spec.cluster_ips[0]


def carry(service: Service, old: Service) -> None:
    """What was allocated and is not said anew stays; what the new type has no use for goes, unless it is new itself."""
    spec, was = service.spec, old.spec
    if spec.type == "ExternalName":
        if spec.cluster_ip == was.cluster_ip and was.type != "ExternalName":
            names = ("cluster_ip", "cluster_ips", "ip_families", "ip_family_policy", "internal_traffic_policy")
            transfer(ServiceSpec(), spec, *names)
    elif was.type == "ExternalName":
        _drop(spec, was, "external_name")
    elif not spec.cluster_ip:
        transfer(was, spec, "cluster_ip", "cluster_ips")
    if spec.type != "LoadBalancer" and was.type == "LoadBalancer":
        _drop(spec, was, "allocate_load_balancer_node_ports", "load_balancer_ip", "load_balancer_class",
              "load_balancer_source_ranges")  # fmt: skip
    if spec.type not in _EXTERNAL and not spec.external_ips:
        _drop(spec, was, "external_traffic_policy")
    _carry_ports(service, old)


def _drop(spec: ServiceSpec, was: ServiceSpec, *names: str) -> None:
    transfer(ServiceSpec(), spec, *(name for name in names if getattr(spec, name) == getattr(was, name)))


def _carry_ports(service: Service, old: Service) -> None:
    spec, was = service.spec, old.spec
    held = {(p.protocol or "TCP", p.port): p.node_port for p in was.ports if p.node_port}
    if services.wants_node_ports(service):
        taken = {(p.protocol or "TCP", p.node_port) for p in spec.ports if p.node_port}
        for port in spec.ports:
            before = held.get((port.protocol or "TCP", port.port), 0)
            if not port.node_port and before and (port.protocol or "TCP", before) not in taken:
                port.node_port = before
    else:
        for port in spec.ports:
            if port.node_port and port.node_port in held.values():
                port.ClearField("node_port")
    if services.wants_health_port(service):
        if not spec.health_check_node_port and was.health_check_node_port:
            spec.health_check_node_port = was.health_check_node_port
    elif spec.health_check_node_port == was.health_check_node_port:
        spec.ClearField("health_check_node_port")


# ---- checks -------------------------------------------------------------------------------------------------------


def check(service: Service) -> Iterator[Violation]:
    """What is wrong with a completed Service."""
    spec = service.spec
    yield from _check_ports(service)
    yield from _check_address(spec)
    yield from _check_families(spec)
    yield from _check_external(service)
    if spec.HasField("session_affinity_config") and spec.session_affinity != "ClientIP":
        yield Violation("spec.sessionAffinityConfig", "needs sessionAffinity ClientIP")
    yield from services.check_annotations(service, (LAST_APPLIED, services.RESERVATION))
    if services.tuning_of(service).encrypted and (reason := _why_not_encrypted(service)):
        yield Violation(f'metadata.annotations["{services.ENCRYPTED}"]', reason)


def _why_not_encrypted(service: Service) -> str:
    """Why nobody could encrypt what goes to this Service; a promise of it that is not kept would be worse than none."""
    if not services.cluster_ip(service) and (services.is_headless(service) or services.is_external(service)):
        return (
            "needs an address of the Service: clients of a headless one or of a name reach its backends by themselves"
        )
    if any(port.protocol == "UDP" for port in service.spec.ports):
        return "is for TCP alone, and this Service has a UDP port"
    if not service.spec.selector:
        return "needs a selector: endpoints made by hand are on no host of the mesh"
    return ""


def _check_ports(service: Service) -> Iterator[Violation]:
    ports, seen_names, seen = service.spec.ports, set[str](), set[tuple[str, int]]()
    if not ports and not services.is_headless(service) and not services.is_external(service):
        yield Violation("spec.ports", "is required")
    for index, port in enumerate(ports):
        where = f"spec.ports[{index}]"
        if len(ports) > 1 and not port.name:
            yield Violation(f"{where}.name", "is required: there are several ports")
        if port.name and port.name in seen_names:
            yield Violation(f"{where}.name", f'"{port.name}" is the name of another port')
        if (port.protocol, port.port) in seen:
            yield Violation(where, f"{port.port}/{port.protocol} is there twice")
        seen_names.add(port.name)
        seen.add((port.protocol, port.port))
        if port.protocol == "SCTP":
            yield Violation(f"{where}.protocol", _SCTP)
        yield from _check_target(port, f"{where}.targetPort")
        if port.node_port and not services.wants_node_ports(service) and service.spec.type != "LoadBalancer":
            yield Violation(f"{where}.nodePort", f"needs type NodePort or LoadBalancer, is {service.spec.type}")


def _check_target(port: ServicePort, where: str) -> Iterator[Violation]:
    target = port.target_port
    if target.WhichOneof("kind") == "string_value":
        if reason := formats.port_name(target.string_value):
            yield Violation(where, reason)
    elif target.WhichOneof("kind") and not 1 <= target.int_value <= 65535:
        yield Violation(where, f"must be between 1 and 65535, is {target.int_value}")


def _check_address(spec: ServiceSpec) -> Iterator[Violation]:
    if spec.type == "ExternalName":
        if spec.cluster_ip not in ("", services.HEADLESS):
            yield Violation("spec.clusterIP", "must be absent with type ExternalName")
        if not spec.external_name:
            yield Violation("spec.externalName", "is required with type ExternalName")
        elif reason := formats.dns_subdomain(spec.external_name.removesuffix(".")):
            yield Violation("spec.externalName", reason)
        return
    if spec.external_name:
        yield Violation("spec.externalName", "needs type ExternalName")
    if spec.cluster_ip == services.HEADLESS and spec.type in _EXTERNAL:
        yield Violation("spec.clusterIP", f"must not be None with type {spec.type}")
    if spec.cluster_ip not in ("", services.HEADLESS) and (reason := formats.ip(spec.cluster_ip)):
        yield Violation("spec.clusterIP", reason)
    if len(spec.cluster_ips) > 1:
        yield Violation("spec.clusterIPs", "must have one address at most: IPv6 is not honoured")
    elif spec.cluster_ips and spec.cluster_ips[0] != spec.cluster_ip:
        yield Violation("spec.clusterIPs", "must begin with clusterIP")


def _check_families(spec: ServiceSpec) -> Iterator[Violation]:
    if spec.ip_family_policy == "RequireDualStack":
        yield Violation("spec.ipFamilyPolicy", "IPv6 is not honoured: the pods' network has IPv4 alone")
    if "IPv6" in spec.ip_families:
        yield Violation("spec.ipFamilies", "IPv6 is not honoured: the pods' network has IPv4 alone")


def _check_external(service: Service) -> Iterator[Violation]:
    spec = service.spec
    balanced = spec.type == "LoadBalancer"
    for name, said in (
        ("loadBalancerIP", spec.load_balancer_ip),
        ("loadBalancerSourceRanges", spec.load_balancer_source_ranges),
        ("loadBalancerClass", spec.load_balancer_class),
        ("allocateLoadBalancerNodePorts", spec.HasField("allocate_load_balancer_node_ports")),
    ):
        if said and not balanced:
            yield Violation(f"spec.{name}", f"needs type LoadBalancer, is {spec.type}")
    if spec.load_balancer_class and balanced:
        yield Violation(
            "spec.loadBalancerClass", "there are no classes of load balancers: the mesh's own is the only one"
        )
    if spec.load_balancer_ip and (reason := formats.ip(spec.load_balancer_ip)):
        yield Violation("spec.loadBalancerIP", reason)
    for index, text in enumerate(spec.load_balancer_source_ranges):
        try:
            ipaddress.IPv4Network(text.strip())
        except ValueError:
            yield Violation(
                f"spec.loadBalancerSourceRanges[{index}]", f'must be an IPv4 range such as 10.0.0.0/8, is "{text}"'
            )
    for index, text in enumerate(spec.external_ips):
        if not formats.ip(text) and _unusable(text):
            yield Violation(f"spec.externalIPs[{index}]", f"{text} is no address that a client could reach")
    if spec.external_traffic_policy and spec.type not in _EXTERNAL and not spec.external_ips:
        yield Violation("spec.externalTrafficPolicy", "needs type NodePort or LoadBalancer, or externalIPs")
    if spec.health_check_node_port and not services.wants_health_port(service):
        yield Violation("spec.healthCheckNodePort", "needs type LoadBalancer and externalTrafficPolicy Local")


def _unusable(text: str) -> bool:
    address = ipaddress.ip_address(text)
    return (
        address.version != 4
        or address.is_loopback
        or address.is_unspecified
        or address.is_multicast
        or address.is_link_local
    )


def check_change(new: Service, old: Service) -> Iterator[Violation]:
    """What may not change: the address while there is one (X2), the health-check port once it is given."""
    external = services.is_external(new) or services.is_external(old)
    if not external and old.spec.cluster_ip and new.spec.cluster_ip != old.spec.cluster_ip:
        yield Violation(
            "spec.clusterIP", f"may not change from {old.spec.cluster_ip}; delete the Service and create it anew"
        )
    if services.wants_health_port(new) and services.wants_health_port(old):
        before = old.spec.health_check_node_port
        if before and new.spec.health_check_node_port != before:
            yield Violation("spec.healthCheckNodePort", f"may not change from {before}")


def check_reservation_change(new: AddressReservation, old: AddressReservation) -> Iterator[Violation]:
    """A reservation never changes."""
    if new.spec != old.spec:
        yield Violation("spec", "may not change; delete the AddressReservation and create it anew")


# ---- endpoints made by hand ---------------------------------------------------------------------------------------


def check_endpoints(endpoints: Endpoints, view: View) -> Iterator[Violation]:
    """Of a Service with a selector they are derived from its pods, and nobody's to write."""
    yield from _check_free("metadata.name", endpoints.metadata.namespace, endpoints.metadata.name, view)
    for number, subset in enumerate(endpoints.subsets):
        where = f"subsets[{number}]"
        if not subset.addresses and not subset.not_ready_addresses:
            yield Violation(f"{where}.addresses", "is required")
        if len(subset.ports) > 1 and not all(p.name for p in subset.ports):
            yield Violation(f"{where}.ports", "must all have names: there are several")
        for index, port in enumerate(subset.ports):
            if port.protocol == "SCTP":
                yield Violation(f"{where}.ports[{index}].protocol", _SCTP)
        for kind, addresses in (("addresses", subset.addresses), ("notReadyAddresses", subset.not_ready_addresses)):
            for index, address in enumerate(addresses):
                if not formats.ip(address.ip) and _unusable(address.ip):
                    yield Violation(f"{where}.{kind}[{index}].ip", f"{address.ip} is no address of an endpoint")


def check_slice(slice_: EndpointSlice, view: View) -> Iterator[Violation]:
    """As `check_endpoints`, of an EndpointSlice (X11)."""
    service = slice_.metadata.labels.get(services.SERVICE_LABEL, "")
    if service:
        where = f'metadata.labels["{services.SERVICE_LABEL}"]'
        yield from _check_free(where, slice_.metadata.namespace, service, view)
    if slice_.address_type not in ("", "IPv4"):
        yield Violation("addressType", f"{slice_.address_type} is not honoured: the pods' network has IPv4 alone")
    if len(slice_.endpoints) > _SLICE_ENDPOINTS:
        yield Violation("endpoints", f"must be no more than {_SLICE_ENDPOINTS}, are {len(slice_.endpoints)}")
    if len(slice_.ports) > _SLICE_PORTS:
        yield Violation("ports", f"must be no more than {_SLICE_PORTS}, are {len(slice_.ports)}")
    for number, endpoint in enumerate(slice_.endpoints):
        for index, address in enumerate(endpoint.addresses):
            if formats.ip(address) or _unusable(address):
                yield Violation(f"endpoints[{number}].addresses[{index}]", f'must be an IPv4 address, is "{address}"')
    for index, port in enumerate(slice_.ports):
        if port.protocol == "SCTP":
            yield Violation(f"ports[{index}].protocol", _SCTP)


def _check_free(where: str, namespace: str, name: str, view: View) -> Iterator[Violation]:
    service = view.get(Key("Service", namespace, name))
    if isinstance(service, Service) and service.spec.selector and not services.is_external(service):
        yield Violation(where, f'the Service "{name}" has a selector: its endpoints are derived from its pods')


def fill_ports(obj: Endpoints | EndpointSlice) -> None:
    """TCP where no protocol is said."""
    ports = [p for s in obj.subsets for p in s.ports] if isinstance(obj, Endpoints) else list(obj.ports)
    for port in ports:
        if not port.protocol:
            port.protocol = "TCP"
