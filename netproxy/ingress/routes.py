"""What this host's ingress serves, as a value: sites, the pools that they lead to, and the slots of each pool.

Rule: pure. A slot is a place for one backend; who has one keeps it, and one that still carries something is given to
nobody, so that the engine need not start anew when pods come and go. A pool grows and shrinks by powers of two.
"""

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from mesh.model.ingress import Options, options_of
from mesh.model.ingressroutes import Routing, Target, routing
from mesh.v1.node_pb2 import ProxyIngress, ProxyService
from netproxy.routes import Backend, usable

FEWEST = 8  # slots of a pool
_FINEST = 256  # the largest weight
_CLEAR_HTTP2 = {"grpc", "kubernetes.io/h2c", "h2c"}
_TLS = {"https", "tls", "grpcs"}


@dataclass(frozen=True, slots=True)
class Slot:
    """A backend and its weight; 0: nothing new."""

    backend: Backend
    weight: int = 100


@dataclass(frozen=True, slots=True)
class Pool:
    """The backends of one target. `why`: it serves nobody, in words."""

    name: str
    owner: str
    options: Options
    key: str  # what sticky cookies are made with: the same on every host
    http2: bool = False
    why: str = ""
    slots: tuple[Slot | None, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """All of it. Paths lead to names of pools; prefixes are without their last "/". `certificates`: by host, "" for the
    default; `addresses`: what is listened on."""

    hosts: Mapping[str, str] = field(default_factory=dict)  # host -> its site's short name
    exact: Mapping[tuple[str, str], str] = field(default_factory=dict)  # site and path -> pool
    prefixes: Mapping[tuple[str, str], str] = field(default_factory=dict)
    rest: Mapping[str, str] = field(default_factory=dict)  # site -> pool
    default: str = ""
    pools: Mapping[str, Pool] = field(default_factory=dict)
    certificates: Mapping[str, str] = field(default_factory=dict)
    addresses: tuple[str, ...] = ()


def plan_of(
    ingresses: Mapping[str, ProxyIngress], services: Mapping[str, ProxyService], before: Mapping[str, Pool],
    busy: Mapping[str, Collection[int]], addresses: Sequence[str] = (),
) -> Plan:  # fmt: skip
    """The plan. `before`: the pools until now; `busy`: by pool, free slots that still carry something."""
    merged = routing(ingresses)
    made = _Pools(ingresses, services, before, busy)
    hosts, exact, prefixes, rest = {}, {}, {}, {}
    for number, (host, site) in enumerate(sorted(merged.sites.items())):
        short = hosts[host] = f"s{number}"
        exact.update({(short, path): made.name(target) for path, target in site.exact.items()})
        prefixes.update({(short, path): made.name(target) for path, target in site.prefixes.items()})
        if site.rest is not None:
            rest[short] = made.name(site.rest)
    default = made.name(merged.default) if merged.default is not None else ""
    return Plan(hosts, exact, prefixes, rest, default, made.pools, _certificates(merged), tuple(sorted(addresses)))


def _certificates(merged: Routing) -> dict[str, str]:
    return dict(sorted(merged.certificates.items()))


class _Pools:
    """Makes each pool once."""

    def __init__(
        self, ingresses: Mapping[str, ProxyIngress], services: Mapping[str, ProxyService], before: Mapping[str, Pool],
        busy: Mapping[str, Collection[int]],
    ) -> None:  # fmt: skip
        self.pools: dict[str, Pool] = {}
        self._ingresses, self._services, self._before, self._busy = ingresses, services, before, busy

    def name(self, target: Target) -> str:
        """The name of the target's pool."""
        name = f"{target.owner.replace('/', ':')}:{target.service}:{target.port_name or target.port}"
        if name not in self.pools:
            self.pools[name] = self._made(name, target)
        return name

    def _made(self, name: str, target: Target) -> Pool:
        ingress = self._ingresses[target.owner]
        options = options_of(ingress.options)
        key = hashlib.sha256(f"cookie/{ingress.uid}".encode()).hexdigest()[:32]
        stable, protocol, why = self._backends(target)
        pool = Pool(name, target.owner, options, key, protocol in _CLEAR_HTTP2, why)
        canary: list[Backend] = []
        if options.canary:
            canary = [b for b in self._backends(replace(target, service=options.canary))[0] if b not in stable]
        before = self._before.get(name)
        wanted = weighed(stable, canary, options.weight)
        return replace(pool, slots=slots_for(wanted, before.slots if before else (), self._busy.get(name, ())))

    def _backends(self, target: Target) -> tuple[list[Backend], str, str]:
        """Where requests may go, which protocol is spoken there, and why nowhere."""
        service = self._services.get(f"{target.namespace}/{target.service}")
        if service is None:
            return [], "", f"there is no Service {target.service}"
        for index, port in enumerate(service.ports):
            if port.protocol == "TCP" and (port.name == target.port_name if target.port_name else
                                           port.port == target.port):  # fmt: skip
                protocol = port.app_protocol.lower()
                if protocol in _TLS:
                    return [], "", f"appProtocol {port.app_protocol} is not honoured: backends are plain"
                able = usable(service.endpoints, index)
                if service.tuning.encrypted and able:  # the Service's own way to other hosts is the encrypted one
                    whole = [Backend(service.cluster_ip, port.port)] if service.cluster_ip else []
                    return whole, protocol, "" if whole else "an encrypted Service without an address"
                found = dict.fromkeys(Backend(e.ip, e.ports[index], e.pod, e.pod_uid) for e in able)
                return list(found), protocol, ""
        return [], "", f"the Service {target.service} has no port {target.port_name or target.port}"


def weighed(stable: Sequence[Backend], canary: Sequence[Backend], percent: int) -> list[Slot]:
    """The backends with weights, so that the canary's get so many of a hundred requests together."""
    if not canary or not stable:
        return [Slot(backend) for backend in (*stable, *canary)]
    shares = ((100 - percent) / len(stable), percent / len(canary))
    scale = _FINEST / max(shares)
    weights = [max(1, round(share * scale)) if share else 0 for share in shares]
    return [*(Slot(b, weights[0]) for b in stable), *(Slot(b, weights[1]) for b in canary)]


def slots_for(wanted: Sequence[Slot], before: Sequence[Slot | None], busy: Collection[int]) -> tuple[Slot | None, ...]:
    """Everyone's slot: the one that it has, or a free one. There are more slots when these are too few, fewer when they
    are far too many."""
    size = len(before) or FEWEST
    if len(wanted) + len(busy) > size or (size > FEWEST and len(wanted) * 8 < size):
        size = FEWEST
        while size < (len(wanted) + len(busy)) * 2:
            size *= 2
    made: list[Slot | None] = [None] * size
    by_backend = {slot.backend: slot for slot in wanted}
    for index, slot in enumerate(before[:size]):
        if slot is not None and slot.backend in by_backend:
            made[index] = by_backend.pop(slot.backend)
    free = (i for i in range(size) if made[i] is None and i not in busy)
    for slot in by_backend.values():
        made[next(free)] = slot
    return tuple(made)


def pairs(pools: Mapping[str, Pool]) -> Iterator[tuple[str, int, Slot]]:
    """Every slot that is taken: pool, number, slot."""
    for name, pool in pools.items():
        for index, slot in enumerate(pool.slots):
            if slot is not None:
                yield name, index, slot
