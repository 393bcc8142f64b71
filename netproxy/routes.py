"""From one Service and the host's own side to what each address and port leads to: `Listen` to `Route`.

Rule: pure. Each host computes this for itself from the same table: traffic policies and topology differ by host. An
address with nowhere to lead to is left out, so that the kernel refuses at once (X6); where the policy says that
silence is the answer, the route says "drop".
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network
from types import MappingProxyType
from typing import NamedTuple

from mesh.v1.node_pb2 import HostPort, HostSide, ProxyEndpoint, ProxyPort, ProxyService

ANY = "0.0.0.0"  # noqa: S104 - node ports answer on every address of the host (X15)
DNS = "!dns"  # who claims the name service's addresses; sorts before every Service
CONNECT_TIMEOUT = 3.0  # seconds for one backend


class Listen(NamedTuple):
    """An address that is served."""

    protocol: str  # TCP or UDP
    ip: str
    port: int

    def __str__(self) -> str:
        return f"{self.ip}:{self.port}/{self.protocol}"


class Backend(NamedTuple):
    """Where a connection may go."""

    ip: str
    port: int
    pod: str = ""  # "namespace/name"
    uid: str = ""
    via: str = ""  # "node/address" of the host through whose tunnel it is reached; empty: it is reached directly


@dataclass(frozen=True, slots=True)
class Tuning:
    """What a Service asks for beyond Kubernetes; seconds; 0: none."""

    balance: str = "random"
    max_connections: int = 0
    connect_timeout: float = CONNECT_TIMEOUT
    slow_start: float = 0.0
    proxy_protocol: bool = False
    idle_timeout: float = 0.0


@dataclass(frozen=True, slots=True)
class Route:
    """What an address leads to. Routes of one `service`, `port` and `external` share what balancing remembers."""

    service: str  # "namespace/name"
    port: str  # "80/TCP"
    backends: tuple[Backend, ...] = ()
    external: bool = False  # reached by node port, load balancer or external address
    drop: bool = False  # nobody here, and silence is the answer
    http: bool = False
    affinity: int = 0  # seconds; 0: none
    sources: tuple[IPv4Network, ...] = ()  # who may; empty: all
    tuning: Tuning = Tuning()


class Place(NamedTuple):
    """What routes need to know of the host."""

    node: str = ""
    zone: str = ""
    addresses: frozenset[str] = frozenset()  # of the host itself
    neighbours: Mapping[str, str] = MappingProxyType({})  # addresses of the other hosts, by name


def place_of(host: HostSide) -> Place:
    """The place that a host's side tells."""
    neighbours = {n.node: n.address for n in host.neighbours}
    return Place(host.node, host.zone, frozenset(host.node_addresses), neighbours)


def backend_of(service: ProxyService, endpoint: ProxyEndpoint, port: int, place: Place) -> Backend | None:
    """Where connections to a port of this endpoint go; None: it must be encrypted, and nobody knows its host."""
    via = ""
    if service.tuning.encrypted and endpoint.node != place.node:
        address = place.neighbours.get(endpoint.node, "")
        if not address:
            return None
        via = f"{endpoint.node}/{address}"
    return Backend(endpoint.ip, port, endpoint.pod, endpoint.pod_uid, via)


def serving(service: ProxyService | None, place: Place) -> set[Backend]:
    """All that serve new connections."""
    if service is None:
        return set()
    ready = [e for e in service.endpoints if e.ready and not e.terminating]
    found = [backend_of(service, e, port, place) for e in ready for port in e.ports if port]
    return {backend for backend in found if backend is not None}


def routes_of(service: ProxyService, place: Place) -> dict[Listen, Route]:
    """All that one Service listens on, on this host."""
    found: dict[Listen, Route] = {}
    if service.external_name:
        return found
    for index, port in enumerate(service.ports):
        if port.protocol not in {"TCP", "UDP"}:
            continue
        inside = _route(service, index, place, external=False)
        if inside is not None and service.cluster_ip:
            found[Listen(port.protocol, service.cluster_ip, port.port)] = inside
        outside = _route(service, index, place, external=True)
        if outside is not None:
            found.update(dict.fromkeys(_outside(service, port, place), outside))
            if service.source_ranges:
                narrow = _narrowed(outside, service.source_ranges)
                found.update({Listen(port.protocol, ip, port.port): narrow for ip in outer_addresses(service, place)})
    return found


def announced(service: ProxyService, place: Place) -> list[str]:
    """The load balancer's addresses, where this host is the one that answers for them; nobody else may."""
    return list(service.load_balancer_ips) if service.announcer == place.node else []


def outer_addresses(service: ProxyService, place: Place) -> list[str]:
    """What it listens on beyond its own address: external ones only where the host has them itself, for whoever makes
    another's address his own takes that other's traffic."""
    return [*announced(service, place), *(ip for ip in service.external_ips if ip in place.addresses)]


def _outside(service: ProxyService, port: ProxyPort, place: Place) -> Iterator[Listen]:
    for ip in outer_addresses(service, place):
        yield Listen(port.protocol, ip, port.port)
    if port.node_port:
        yield Listen(port.protocol, ANY, port.node_port)


def _narrowed(route: Route, ranges: Iterable[str]) -> Route:
    networks = tuple(IPv4Network(text, strict=False) for text in ranges if ":" not in text)
    return Route(
        route.service, route.port, route.backends, route.external, route.drop, route.http, route.affinity, networks,
        route.tuning,
    )  # fmt: skip


def _route(service: ProxyService, index: int, place: Place, *, external: bool) -> Route | None:
    """None: refused at once, for there is no endpoint anywhere (X6)."""
    port = service.ports[index]
    reached = [e for e in service.endpoints if backend_of(service, e, 0, place) is not None]
    everywhere = usable(reached, index)
    if not everywhere:
        return None
    local = service.external_local if external else service.internal_local
    chosen = usable([e for e in reached if e.node == place.node], index) if local else everywhere
    if not local:
        chosen = _near(chosen, service.distribution, place)
    return Route(
        service=f"{service.namespace}/{service.name}",
        port=f"{port.port}/{port.protocol}",
        backends=tuple(dict.fromkeys(b for e in chosen if (b := backend_of(service, e, e.ports[index], place)))),
        external=external,
        drop=not chosen,
        http=port.app_protocol.lower() in {"http", "kubernetes.io/ws"} and port.protocol == "TCP",
        affinity=service.affinity_seconds,
        tuning=_tuning(service),
    )


def usable(endpoints: Iterable[ProxyEndpoint], index: int) -> list[ProxyEndpoint]:
    """The ready ones; when there is none, those that still serve while they end (X10)."""
    able = [e for e in endpoints if index < len(e.ports) and e.ports[index]]
    return [e for e in able if e.ready] or [e for e in able if e.serving and e.terminating]


def _near(endpoints: list[ProxyEndpoint], distribution: str, place: Place) -> list[ProxyEndpoint]:
    """Those in reach that the Service prefers (X12); all when none is near."""
    if not distribution:
        return endpoints
    node = [e for e in endpoints if e.node == place.node] if distribution == "PreferSameNode" else []
    zone = [e for e in endpoints if e.zone == place.zone] if place.zone else []
    return node or zone or endpoints


def _tuning(service: ProxyService) -> Tuning:
    asked = service.tuning
    return Tuning(
        balance=asked.balance or "random",
        max_connections=asked.max_connections,
        connect_timeout=asked.connect_timeout_milliseconds / 1000 or CONNECT_TIMEOUT,
        slow_start=float(asked.slow_start_seconds),
        proxy_protocol=asked.proxy_protocol,
        idle_timeout=float(asked.idle_timeout_seconds),
    )


def host_port_routes(ports: Sequence[HostPort]) -> dict[Listen, Route]:
    """What pods ask of the host's own addresses (hostPort)."""
    return {
        Listen(p.protocol or "TCP", p.host_ip or ANY, p.port): Route(
            service=f"hostPort:{p.pod}",
            port=f"{p.port}/{p.protocol or 'TCP'}",
            backends=(Backend(p.ip, p.container_port, p.pod, p.pod_uid),),
            external=True,
        )
        for p in ports
        if p.ip
    }


def dns_routes(address: str) -> dict[Listen, Route]:
    """Where the name service listens; nowhere without an address."""
    return {Listen(p, address, 53): Route(DNS, f"53/{p}") for p in ("UDP", "TCP")} if address else {}


class Health(NamedTuple):
    """What the health-check port of a Service answers (X9)."""

    service: str
    local: int  # ready endpoints on this host


def health_of(service: ProxyService, place: Place) -> dict[int, Health]:
    """By port; empty when the Service asks for none."""
    if not service.health_check_node_port:
        return {}
    local = len({e.ip for e in service.endpoints if e.node == place.node and e.ready and not e.terminating})
    return {service.health_check_node_port: Health(f"{service.namespace}/{service.name}", local)}
