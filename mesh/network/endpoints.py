"""Which pods stand behind a Service, and in which state: a view of what is stored, never stored itself (X10, D5).

Rule: pure. Everyone who wants endpoints asks `endpoints_of`: the proxies' table, the name service's answers (which come
from the same table), `mesh get endpoints`. Endpoints made by hand, for Services without a selector, are the one
stored exception.
"""

from collections.abc import Iterator

from mesh.model.hosts import given_up
from mesh.model.keys import Key
from mesh.model.pods import is_deleting, is_ready, is_terminal, port_number
from mesh.model.services import SERVICE_LABEL, is_external
from mesh.v1.core_pb2 import Node, Pod
from mesh.v1.net_pb2 import Endpoints, EndpointSlice, Service, ServicePort
from mesh.v1.node_pb2 import ProxyEndpoint
from mesh.view import View

ZONE = "topology.kubernetes.io/zone"


def endpoints_of(service: Service, view: View) -> list[ProxyEndpoint]:
    """Every endpoint of a Service, ready or not, sorted by address and pod."""
    if is_external(service):
        return []
    if service.spec.selector:
        namespace = service.metadata.namespace
        pods = view.pods_with(namespace, service.spec.selector)
        found = [_of_pod(pod, service, view) for pod in pods if _belongs(pod)]
    else:
        found = [*_of_endpoints(service, view), *_of_slices(service, view)]
    return sorted(found, key=_order)


def serves(node: Node | None) -> bool:
    """Whether a host is taken to serve: pods of one that is given up count as not ready (N2). While it is meshd that
    hears nobody, silence alone says nothing (N4): Services go on."""
    return not given_up(node)


def _order(endpoint: ProxyEndpoint) -> tuple[list[int], str, list[int]]:
    return [int(part) for part in endpoint.ip.split(".")], endpoint.pod, list(endpoint.ports)


# ---- pods ---------------------------------------------------------------------------------------------------------


def _belongs(pod: Pod) -> bool:
    """Ended pods and pods without an address never do (X10)."""
    return bool(pod.status.pod_ip) and bool(pod.spec.node_name) and not is_terminal(pod)


def _of_pod(pod: Pod, service: Service, view: View) -> ProxyEndpoint:
    node = view.node(pod.spec.node_name)
    serving, terminating = is_ready(pod) and serves(node), is_deleting(pod)
    meta, spec = pod.metadata, pod.spec
    named = bool(spec.hostname) and spec.subdomain == service.metadata.name  # (D5)
    return ProxyEndpoint(
        ip=pod.status.pod_ip,
        node=spec.node_name,
        zone=_zone(node),
        hostname=spec.hostname if named else "",
        ready=service.spec.publish_not_ready_addresses or (serving and not terminating),
        serving=serving,
        terminating=terminating,
        ports=[_port(pod, port) for port in service.spec.ports],
        pod=f"{meta.namespace}/{meta.name}",
        pod_uid=meta.uid,
    )


def _port(pod: Pod, port: ServicePort) -> int:
    """The target port of this pod, which may differ from that of the next (X4); 0: it has none of that name."""
    target = port.target_port
    if target.WhichOneof("kind") is None:
        return port.port
    return port_number(pod.spec, target) or 0


def _zone(node: Node | None) -> str:
    return node.metadata.labels.get(ZONE, "") if node is not None else ""


# ---- made by hand -------------------------------------------------------------------------------------------------


def _of_endpoints(service: Service, view: View) -> Iterator[ProxyEndpoint]:
    meta = service.metadata
    held = view.get(Key("Endpoints", meta.namespace, meta.name))
    for subset in held.subsets if isinstance(held, Endpoints) else ():
        numbers = {(p.name, p.protocol or "TCP"): p.port for p in subset.ports}
        ports = _by_name(service, numbers)
        for ready, addresses in ((True, subset.addresses), (False, subset.not_ready_addresses)):
            for address in addresses:
                node = view.node(address.node_name) if address.node_name else None
                yield ProxyEndpoint(
                    ip=address.ip, node=address.node_name, zone=_zone(node), hostname=address.hostname,
                    ready=ready or service.spec.publish_not_ready_addresses, serving=ready, ports=ports,
                )  # fmt: skip


def _of_slices(service: Service, view: View) -> Iterator[ProxyEndpoint]:
    meta = service.metadata
    for held in view.slices(meta.namespace):
        if held.metadata.labels.get(SERVICE_LABEL) == meta.name:
            yield from _of_slice(service, held, view)


def _of_slice(service: Service, held: EndpointSlice, view: View) -> Iterator[ProxyEndpoint]:
    ports = _by_name(service, {(p.name, p.protocol or "TCP"): p.port for p in held.ports})
    for endpoint in held.endpoints:
        said = endpoint.conditions
        ready = said.ready or not said.HasField("ready")  # unknown counts as ready
        node = view.node(endpoint.node_name) if endpoint.node_name else None
        for address in endpoint.addresses[:1]:  # they all mean the same endpoint
            yield ProxyEndpoint(
                ip=address, node=endpoint.node_name, zone=endpoint.zone or _zone(node), hostname=endpoint.hostname,
                ready=ready or service.spec.publish_not_ready_addresses,
                serving=said.serving if said.HasField("serving") else ready,
                terminating=said.terminating, ports=ports,
            )  # fmt: skip


def _by_name(service: Service, numbers: dict[tuple[str, str], int]) -> list[int]:
    """A number for each of the Service's ports: that of the same name and protocol."""
    return [numbers.get((port.name, port.protocol or "TCP"), 0) for port in service.spec.ports]
