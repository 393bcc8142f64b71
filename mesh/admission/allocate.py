"""Who gets which address and which port: of Services, and of reservations that outlive them (X2, X3).

Rule: pure. What is chosen follows from the view and from a seed; the view may be behind the store, so whoever commits
what was given out commits `guard`'s write with it: two commits that rest on the same state can't both go through.
"""

import hashlib
import ipaddress
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from mesh.errors import Violation
from mesh.model import services
from mesh.model.keys import Key
from mesh.model.kinds import Object, key_of, revision_of
from mesh.model.services import address_claim, port_claim
from mesh.store.port import Write
from mesh.v1.net_pb2 import AddressReservation, LoadBalancerIngress, RangeAllocation, Service
from mesh.view import View

GUARD = Key("RangeAllocation", "", "services")
FIRST_DNS = 10  # which address of the range is the name service's, unless said otherwise


@dataclass(frozen=True, slots=True)
class Ranges:
    """What there is to give. `pool`: first and last address of each part, as numbers."""

    service_cidr: str = "10.96.0.0/16"
    node_ports: range = field(default_factory=lambda: range(30000, 32768))
    pool: tuple[tuple[int, int], ...] = ()
    dns: str = ""

    @property
    def network(self) -> ipaddress.IPv4Network:
        """The Services' range."""
        return ipaddress.IPv4Network(self.service_cidr)

    @property
    def dns_address(self) -> str:
        """The name service's own address."""
        return self.dns or str(self.network.network_address + FIRST_DNS)

    def in_pool(self, address: str) -> bool:
        """Whether the hosts announce it when a Service has it."""
        number = int(ipaddress.IPv4Address(address))
        return any(first <= number <= last for first, last in self.pool)


DEFAULT_RANGES = Ranges()


def band(size: int, low: int, high: int, share: int) -> int:
    """How many, from the first on, are kept for those who name what they want: `size`/`share` within bounds."""
    return min(max(low, size // share), high) if size > low else 0


def place(service: Service, view: View, ranges: Ranges, seed: str) -> list[Violation]:
    """Gives a completed Service what it needs and has not, in place; says what can't be given."""
    wrong: list[Violation] = []
    own = key_of(service)
    if services.is_external(service):
        _release_balanced(service)
        return wrong
    reserved = _reserved(service, view, wrong)
    if not services.is_headless(service):
        wanted = reserved.spec.address if reserved and reserved.spec.type != "LoadBalancer" else ""
        wrong += _place_cluster_ip(service, own, wanted, view, ranges, seed)
    wanted = reserved.spec.address if reserved and reserved.spec.type == "LoadBalancer" else ""
    wrong += _place_balanced(service, own, wanted, view, ranges)
    wrong += _place_node_ports(service, own, view, ranges, seed)
    return wrong


def reserve(reservation: AddressReservation, view: View, ranges: Ranges, seed: str) -> list[Violation]:
    """Gives a reservation its address, in place."""
    spec, own = reservation.spec, key_of(reservation)
    if not spec.type:
        spec.type = "ClusterIP"
    if spec.address:
        why = _why_not_cluster_ip(spec.address, own, view, ranges, own)
        if spec.type == "LoadBalancer":
            why = _why_not_balanced(spec.address, own, view, ranges, own)
        return [Violation("spec.address", why)] if why else []
    pick = _free_in_pool(view, ranges) if spec.type == "LoadBalancer" else _free_cluster_ip(view, ranges, seed)
    if not pick:
        return [Violation("spec.address", _exhausted(spec.type, ranges))]
    spec.address = pick
    return []


def guard(view: View, written: Iterable[tuple[Object, Object | None]]) -> Write | None:
    """The write that makes a commit fail when others have given out anything since `view`; None when this commit (new
    and old objects) gives out nothing."""
    if not any(set(services.claims_of(new)) - set(services.claims_of(old) if old else ()) for new, old in written):
        return None
    held = view.get(GUARD)
    allocation = RangeAllocation(api_version="mesh/v1", kind="RangeAllocation", range="services")
    allocation.metadata.name = GUARD.name
    return Write(GUARD, allocation, revision_of(held) if held is not None else 0)


# ---- addresses of the cluster -------------------------------------------------------------------------------------


def _reserved(service: Service, view: View, wrong: list[Violation]) -> AddressReservation | None:
    name = service.metadata.annotations.get(services.RESERVATION, "")
    if not name:
        return None
    found = view.get(Key("AddressReservation", service.metadata.namespace, name))
    if isinstance(found, AddressReservation):
        if found.spec.type != "LoadBalancer" and services.is_headless(service):
            wrong.append(_annotation("a headless Service takes no address"))
        elif found.spec.type == "LoadBalancer" and service.spec.type != "LoadBalancer":
            wrong.append(_annotation(f'"{name}" is an address of load balancers'))
        return found
    wrong.append(_annotation(f'there is no AddressReservation "{name}" in the namespace'))
    return None


def _annotation(why: str) -> Violation:
    return Violation(f'metadata.annotations["{services.RESERVATION}"]', why)


def _place_cluster_ip(
    service: Service, own: Key, wanted: str, view: View, ranges: Ranges, seed: str
) -> Iterator[Violation]:
    spec = service.spec
    if wanted and spec.cluster_ip not in ("", wanted):
        yield Violation("spec.clusterIP", f"is not {wanted}, which is reserved")
        return
    address = spec.cluster_ip or wanted
    if address:
        why = _why_not_cluster_ip(address, own, view, ranges, _named(service))
        if why:
            yield Violation("spec.clusterIP", why)
            return
    else:
        address = _free_cluster_ip(view, ranges, seed)
        if not address:
            yield Violation("spec.clusterIP", _exhausted("ClusterIP", ranges))
            return
    spec.cluster_ip = address
    del spec.cluster_ips[:]
    spec.cluster_ips.append(address)


def _why_not_cluster_ip(address: str, own: Key, view: View, ranges: Ranges, reservation: Key) -> str:
    network, number = ranges.network, ipaddress.ip_address(address)
    if number not in network or number in (network.network_address, network.broadcast_address):
        return f"{address} is not one of {ranges.service_cidr}"
    if address == ranges.dns_address:
        return f"{address} is the name service's own"
    return held_by(address_claim(address), own, view, reservation)


def _free_cluster_ip(view: View, ranges: Ranges, seed: str) -> str:
    """An address of the upper band, from where the seed says, round; then of the lower one (X2)."""
    first, size = int(ranges.network.network_address) + 1, ranges.network.num_addresses - 2
    static = band(size + 2, 16, 256, 16)  # of the whole range, as Kubernetes counts
    for offset in _around(static, size, seed):
        address = str(ipaddress.IPv4Address(first + offset))
        if address != ranges.dns_address and not view.holders(address_claim(address)):
            return address
    return ""


def _around(static: int, size: int, seed: str) -> Iterator[int]:
    upper = size - static
    start = int.from_bytes(hashlib.blake2b(seed.encode(), digest_size=8).digest()) % max(upper, 1)
    for step in range(upper):
        yield static + (start + step) % upper
    yield from range(static)


def held_by(claim: str, own: Key, view: View, reservation: Key | None) -> str:
    """Who else holds it, in words; a reservation is no obstacle to the Service that names it, nor to itself."""
    what = claim.split("/", 1)[1]
    for holder in view.holders(claim):
        if holder == own:
            continue
        if holder.kind == "AddressReservation" and holder == reservation:
            continue
        if holder.kind == "AddressReservation":
            hint = f"the annotation {services.RESERVATION} takes it"
            return f"{what} is reserved by the {holder.kind} {holder.namespace}/{holder.name}: {hint}"
        return f"{what} is held by the {holder.kind} {holder.namespace}/{holder.name}"
    return ""


def _named(service: Service) -> Key:
    name = service.metadata.annotations.get(services.RESERVATION, "")
    return Key("AddressReservation", service.metadata.namespace, name)


def _exhausted(type_: str, ranges: Ranges) -> str:
    if type_ == "LoadBalancer":
        return "no address is left in network.load_balancer_pool of meshd.toml" if ranges.pool else (
            "meshd.toml has no network.load_balancer_pool to give one of"
        )  # fmt: skip
    return f"no address is left in {ranges.service_cidr}"


# ---- addresses on the hosts' network ------------------------------------------------------------------------------


def _place_balanced(service: Service, own: Key, wanted: str, view: View, ranges: Ranges) -> Iterator[Violation]:
    if service.spec.type != "LoadBalancer":
        _release_balanced(service)
        return
    held = services.load_balancer_ips(service)
    asked = service.spec.load_balancer_ip or wanted
    if service.spec.load_balancer_ip and wanted and service.spec.load_balancer_ip != wanted:
        yield Violation("spec.loadBalancerIP", f"is not {wanted}, which is reserved")
        return
    if asked:
        if asked in held:
            return
        if why := _why_not_balanced(asked, own, view, ranges, _named(service)):
            yield Violation("spec.loadBalancerIP", why)
            return
        _give_balanced(service, asked)
    elif not held or not ranges.in_pool(held[0]):
        _give_balanced(service, _free_in_pool(view, ranges))  # without a pool it stays pending, as in Kubernetes
        if ranges.pool and not services.load_balancer_ips(service):
            yield Violation("spec.type", _exhausted("LoadBalancer", ranges))


def _why_not_balanced(address: str, own: Key, view: View, ranges: Ranges, reservation: Key) -> str:
    if not ranges.pool:
        return "meshd.toml has no network.load_balancer_pool"
    if not ranges.in_pool(address):
        return f"{address} is not in network.load_balancer_pool of meshd.toml"
    return held_by(address_claim(address), own, view, reservation)


def _free_in_pool(view: View, ranges: Ranges) -> str:
    for first, last in ranges.pool:
        for number in range(first, last + 1):
            address = str(ipaddress.IPv4Address(number))
            if not view.holders(address_claim(address)):
                return address
    return ""


def _give_balanced(service: Service, address: str) -> None:
    service.status.ClearField("load_balancer")
    if address:
        service.status.load_balancer.ingress.append(LoadBalancerIngress(ip=address, ip_mode="VIP"))


def _release_balanced(service: Service) -> None:
    if service.status.HasField("load_balancer"):
        service.status.ClearField("load_balancer")


# ---- ports of the hosts -------------------------------------------------------------------------------------------


def _place_node_ports(service: Service, own: Key, view: View, ranges: Ranges, seed: str) -> Iterator[Violation]:
    taken: set[str] = set()
    given = [(f"ports[{i}].nodePort", p.protocol, p.node_port) for i, p in enumerate(service.spec.ports) if p.node_port]
    health = service.spec.health_check_node_port
    if health:
        given.append(("healthCheckNodePort", "TCP", health))
    for where, protocol, number in given:
        claim = port_claim(protocol, number)
        if why := _why_not_port(claim, number, own, view, ranges) or ("is there twice" if claim in taken else ""):
            yield Violation(f"spec.{where}", why)
        taken.add(claim)
    same = {p.port: p.node_port for p in service.spec.ports if p.node_port}  # by the port that clients of both know
    for index, port in enumerate(service.spec.ports):
        if services.wants_node_ports(service) and not port.node_port:
            port.node_port = _free_port(port.protocol, view, ranges, taken, f"{seed}/{index}", same.get(port.port, 0))
            same.setdefault(port.port, port.node_port)
            if not port.node_port:
                yield Violation(f"spec.ports[{index}].nodePort", f"no port is left of {_words(ranges.node_ports)}")
    if services.wants_health_port(service) and not health:
        service.spec.health_check_node_port = _free_port("TCP", view, ranges, taken, f"{seed}/health")
        if not service.spec.health_check_node_port:
            yield Violation("spec.healthCheckNodePort", f"no port is left of {_words(ranges.node_ports)}")


def _why_not_port(claim: str, number: int, own: Key, view: View, ranges: Ranges) -> str:
    if number not in ranges.node_ports:
        return f"must be one of {_words(ranges.node_ports)}, is {number}"
    return held_by(claim, own, view, None)


def _free_port(protocol: str, view: View, ranges: Ranges, taken: set[str], seed: str, liked: int = 0) -> int:
    """The port that is liked, else one of the upper band first (X3); 0 when none is left."""
    ports = ranges.node_ports
    static = band(len(ports), 16, 128, 32)
    for number in ([liked] if liked else []) + [ports[offset] for offset in _around(static, len(ports), seed)]:
        claim = port_claim(protocol, number)
        if claim not in taken and not view.holders(claim):
            taken.add(claim)
            return number
    return 0


def _words(ports: range) -> str:
    return f"{ports[0]}-{ports[-1]}"
