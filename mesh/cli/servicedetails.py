"""What `mesh describe` tells of a Service: kubectl's words, then its backends and what every host's proxy carries.

Rule: pure; what hosts say is given, and a host that could not be asked says why.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from mesh.cli.sheets import NONE, Sheet
from mesh.v1.control_pb2 import HostFlows
from mesh.v1.net_pb2 import EndpointSlice, Service, ServicePort
from mesh.v1.node_pb2 import BackendFlows


@dataclass(frozen=True, slots=True)
class ServiceFacts:
    """Its EndpointSlices, and what the proxies carry of it."""

    slices: Sequence[EndpointSlice] = ()
    hosts: Sequence[HostFlows] = ()
    services: Sequence[Service] = ()  # of an Ingress: all of its namespace


def describe_service(sheet: Sheet, service: Service, facts: ServiceFacts) -> None:
    """Everything but its names, labels and events."""
    spec = service.spec
    sheet.add("Selector", ",".join(f"{k}={v}" for k, v in sorted(spec.selector.items())))
    sheet.add("Type", spec.type)
    if spec.type == "ExternalName":
        sheet.add("External Name", spec.external_name)
    else:
        sheet.add("IP", spec.cluster_ip or NONE)
    sheet.maybe("External IPs", ", ".join(spec.external_ips))
    sheet.maybe("LoadBalancer Ingress", ", ".join(i.ip for i in service.status.load_balancer.ingress))
    for port in spec.ports:
        _port(sheet, port, service)
    sheet.add("Session Affinity", _affinity(service))
    sheet.maybe("External Traffic Policy", spec.external_traffic_policy)
    sheet.maybe("Internal Traffic Policy", spec.internal_traffic_policy)
    sheet.maybe("HealthCheck NodePort", spec.health_check_node_port)
    sheet.maybe("LoadBalancer Source Ranges", ", ".join(spec.load_balancer_source_ranges))
    sheet.maybe("Traffic Distribution", spec.traffic_distribution)
    sheet.columns("Endpoints", ("Address", "Ports", "Pod", "Node", "State"), _endpoints(facts.slices))
    _flows(sheet, facts.hosts)


def _port(sheet: Sheet, port: ServicePort, service: Service) -> None:
    sheet.add("Port", f"{port.name or '<unset>'} {port.port}/{port.protocol}")
    if service.spec.type != "ExternalName":
        target = port.target_port.string_value or port.target_port.int_value or port.port
        sheet.add("TargetPort", f"{target}/{port.protocol}")
    if port.node_port:
        sheet.add("NodePort", f"{port.node_port}/{port.protocol}")


def _affinity(service: Service) -> str:
    spec = service.spec
    if spec.session_affinity != "ClientIP":
        return "None"
    return f"ClientIP, {spec.session_affinity_config.client_ip.timeout_seconds} s"


def _endpoints(slices: Sequence[EndpointSlice]) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for slice_ in slices:
        ports = ",".join(f"{p.name + ' ' if p.name else ''}{p.port}/{p.protocol or 'TCP'}" for p in slice_.ports)
        for endpoint in slice_.endpoints:
            said = endpoint.conditions
            state = "ready" if said.ready else "serving" if said.serving else "not ready"
            state += ", terminating" if said.terminating else ""
            where = endpoint.target_ref.name or NONE
            rows.append((endpoint.addresses[0], ports or NONE, where, endpoint.node_name or NONE, state))
    return rows


def _flows(sheet: Sheet, hosts: Sequence[HostFlows]) -> None:
    titles = ("Host", "Backend", "Pod", "Open", "Total", "To Backend", "From Backend", "Failed", "Ejections")
    sheet.columns("Proxies", titles, [row for host in hosts for row in flow_rows(host)])
    rejected = sum(s.rejected for host in hosts for s in host.flows.services)
    sheet.maybe("Rejected", rejected)
    for host in hosts:
        for problem in (p for service in host.flows.services for p in service.problems):
            sheet.add(f"Proxy of {host.host}", problem)
        if host.error:
            sheet.add(f"Proxy of {host.host}", host.error)


def flow_rows(host: HostFlows) -> list[tuple[str, ...]]:
    """A row for each backend that the host's proxy knows."""
    return [(host.host, *_backend(b)) for service in host.flows.services for b in service.backends]


def _backend(backend: BackendFlows) -> tuple[str, ...]:
    ejections = f"{backend.ejections}{' (ejected now)' if backend.ejected else ''}"
    numbers = (str(backend.open), str(backend.total), size(backend.bytes_in), size(backend.bytes_out))
    return f"{backend.ip}:{backend.port}", backend.pod or NONE, *numbers, str(backend.failed), ejections


def size(count: int) -> str:
    """Bytes for people: 512B, 3.4kB, 120MB."""
    amount = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{amount:.0f}{unit}" if amount >= 100 or unit == "B" else f"{amount:.1f}{unit}"
        amount /= 1000
    return f"{amount:.1f}TB"
