"""The table that every proxy serves, kept in step with the view: only Services that an event concerns are computed.

Rules: the same for all hosts. A Service's digest is over all that is said of it, the table's over those of all its
Services; what a host holds is told by the table's digest, so tables of a while ago are remembered, as digests alone.
"""

import hashlib
from collections import OrderedDict, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from mesh.model import services as model
from mesh.model.conditions import status_of
from mesh.model.keys import Key
from mesh.model.kinds import Object, key_of
from mesh.model.pods import is_deleting
from mesh.model.services import RESERVATION, SERVICE_LABEL
from mesh.network import ingress
from mesh.network.announcing import announcer
from mesh.network.endpoints import ZONE, endpoints_of, serves
from mesh.store.port import Event
from mesh.v1.core_pb2 import Node, Pod
from mesh.v1.net_pb2 import Endpoints, EndpointSlice, Ingress, IngressClass, Service
from mesh.v1.node_pb2 import Fence, ProxyPort, ProxyService, ServiceTable
from mesh.view import View

REMEMBERED = 32  # tables whose digests are known, for the difference to what a host holds
PIECE = 90_000  # bytes of Services in one piece (a message over Ray stays below 100 kB)


@dataclass(frozen=True, slots=True)
class Version:
    """One state of the table: digests by Service, "namespace/name"; `number` grows with every state."""

    number: int
    digest: str
    services: Mapping[str, str]


def proxy_service(service: Service, view: View) -> ProxyService:
    """What the data path and the name service are told of one Service."""
    spec, meta = service.spec, service.metadata
    made = ProxyService(
        namespace=meta.namespace,
        name=meta.name,
        cluster_ip=model.cluster_ip(service),
        load_balancer_ips=model.load_balancer_ips(service),
        external_ips=[] if model.is_external(service) else spec.external_ips,
        ports=[
            ProxyPort(
                name=p.name, protocol=p.protocol or "TCP", port=p.port, app_protocol=p.app_protocol,
                node_port=p.node_port,
            )
            for p in spec.ports
        ],
        endpoints=endpoints_of(service, view),
        internal_local=spec.internal_traffic_policy == "Local",
        external_local=spec.external_traffic_policy == "Local",
        health_check_node_port=spec.health_check_node_port,
        source_ranges=[text.strip() for text in spec.load_balancer_source_ranges],
        external_name=spec.external_name.removesuffix(".") if model.is_external(service) else "",
        publish_not_ready=spec.publish_not_ready_addresses,
        distribution=spec.traffic_distribution,
    )  # fmt: skip
    if spec.session_affinity == "ClientIP":
        made.affinity_seconds = spec.session_affinity_config.client_ip.timeout_seconds or model.AFFINITY_SECONDS
    tuning = model.tuning_of(service)
    if tuning.ListFields():
        made.tuning.CopyFrom(tuning)
    if made.load_balancer_ips:
        made.announcer = announcer(made, view)
    made.digest = hashlib.sha256(made.SerializeToString(deterministic=True)).hexdigest()
    return made


class Table:
    """See the module. `note` takes what happened, `version` is the table as of the view."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._services: dict[str, ProxyService] = {}
        self._selecting: dict[tuple[str, str, str], set[Key]] = defaultdict(set)  # by one pair of their selector
        self._pairs: dict[Key, tuple[str, str, str]] = {}
        self._balanced: set[Key] = set()
        self._dirty: set[Key] = set()
        self._version = Version(0, _digest({}), {})
        self._known: OrderedDict[str, Version] = OrderedDict({self._version.digest: self._version})
        self._left: dict[str, int] = {}  # uid of a pod being deleted: number of the first table where it is not ready
        for service in view.of_kind("Service"):
            if isinstance(service, Service):
                self._index(key_of(service), service)
        self._dirty.update(self._ingresses())

    # ---- what happens

    def note(self, events: Iterable[Event]) -> bool:
        """Takes the events that the view has just taken; whether the table may have changed."""
        for event in events:
            self._dirty.update(self._concerned(event))
            if event.object is None and isinstance(event.previous, Pod):
                self._left.pop(event.previous.metadata.uid, None)
        return bool(self._dirty)

    def _concerned(self, event: Event) -> Iterator[Key]:
        obj, was = event.object, event.previous
        some = obj if obj is not None else was
        if isinstance(some, Service):
            self._index(event.key, obj if isinstance(obj, Service) else None)
        elif isinstance(some, Pod):
            if not (isinstance(obj, Pod) and isinstance(was, Pod) and _same_to_services(obj, was)):
                yield from {key for pod in (obj, was) if isinstance(pod, Pod) for key in self._selectors_of(pod)}
        elif isinstance(some, Ingress):
            yield event.key
        elif isinstance(some, IngressClass):
            yield from self._ingresses()
        elif isinstance(some, Endpoints):
            yield Key("Service", event.key.namespace, event.key.name)
        elif isinstance(some, EndpointSlice):
            names = {s.metadata.labels.get(SERVICE_LABEL, "") for s in (obj, was) if isinstance(s, EndpointSlice)}
            yield from (Key("Service", event.key.namespace, name) for name in names if name)
        elif isinstance(some, Node) and _traits(obj) != _traits(was):
            yield from self._balanced
            yield from self._ingresses(reserving=True)
            for pod in self._view.pods_on(event.key.name):
                yield from self._selectors_of(pod)

    def _ingresses(self, *, reserving: bool = False) -> Iterator[Key]:
        """All Ingresses, or those alone that have an address of their own."""
        for obj in self._view.of_kind("Ingress"):
            if not reserving or RESERVATION in obj.metadata.annotations:
                yield key_of(obj)

    def _index(self, key: Key, service: Service | None) -> None:
        self._dirty.add(key)
        self._balanced.discard(key)
        pair = self._pairs.pop(key, None)
        if pair is not None:
            self._selecting[pair].discard(key)
            if not self._selecting[pair]:
                del self._selecting[pair]
        if service is None:
            return
        if service.spec.type == "LoadBalancer":
            self._balanced.add(key)
        if service.spec.selector:
            name, value = min(service.spec.selector.items())
            self._pairs[key] = key.namespace, name, value
            self._selecting[self._pairs[key]].add(key)

    def _selectors_of(self, pod: Pod) -> Iterator[Key]:
        """Services whose selector may match the pod."""
        namespace = pod.metadata.namespace
        for name, value in pod.metadata.labels.items():
            yield from self._selecting.get((namespace, name, value), ())

    # ---- what is to be served

    @property
    def version(self) -> Version:
        """The table as of the view."""
        self._compute()
        return self._version

    def _compute(self) -> None:
        if not self._dirty:
            return
        dirty, self._dirty = self._dirty, set()
        digests = dict(self._version.services)
        number = self._version.number + 1
        for key in sorted(dirty):
            name = f"{key.namespace}/{ingress.NAMED if key.kind == 'Ingress' else ''}{key.name}"
            made = self._made(self._view.get(key))
            if made is not None:
                self._services[name] = made
                digests[name] = self._services[name].digest
                self._note_leaving(self._services[name], number)
            else:
                self._services.pop(name, None)
                digests.pop(name, None)
        if digests != self._version.services:
            self._version = Version(number, _digest(digests), digests)
            self._known.pop(self._version.digest, None)
            self._known[self._version.digest] = self._version
            while len(self._known) > REMEMBERED:
                self._known.popitem(last=False)

    def _made(self, obj: Object | None) -> ProxyService | None:
        if isinstance(obj, Service):
            return proxy_service(obj, self._view)
        if isinstance(obj, Ingress) and ingress.is_ours(obj, self._view):
            return ingress.entry(obj, self._view)
        return None

    def _note_leaving(self, service: ProxyService, number: int) -> None:
        for endpoint in service.endpoints:
            if endpoint.terminating and endpoint.pod_uid:
                self._left.setdefault(endpoint.pod_uid, number)

    def number_of(self, digest: str) -> int:
        """Which state of the table a host holds that says this digest; 0 for one that is not known any more."""
        known = self._known.get(digest)
        return known.number if known is not None else 0

    def left_at(self, uid: str) -> int | None:
        """From which state of the table on a pod that is being deleted gets nothing new; None: it is in no Service."""
        self._compute()
        return self._left.get(uid)

    def service(self, name: str) -> ProxyService | None:
        """What is served for "namespace/name"."""
        self._compute()
        return self._services.get(name)

    def pieces(self, held: str, fence: Fence) -> list[ServiceTable]:
        """The way from the table of this digest to the newest, in pieces; all of it when the digest is unknown."""
        wanted, base = self.version, self._known.get(held)
        before: Mapping[str, str] = base.services if base is not None else {}
        changed = [self._services[n] for n, d in sorted(wanted.services.items()) if before.get(n) != d]
        gone = sorted(name for name in before if name not in wanted.services)
        pieces = [_piece(wanted, base, fence, number, part) for number, part in enumerate(_parts(changed))]
        pieces[-1].last = True
        pieces[-1].gone.extend(gone)
        return pieces


def _piece(wanted: Version, base: Version | None, fence: Fence, number: int, part: list[ProxyService]) -> ServiceTable:
    held = base.digest if base is not None else ""
    return ServiceTable(fence=fence, digest=wanted.digest, base=held, piece=number, services=part)


def _parts(services: list[ProxyService]) -> Iterator[list[ProxyService]]:
    part: list[ProxyService] = []
    size = 0
    for service in services:
        length = service.ByteSize()
        if part and size + length > PIECE:
            yield part
            part, size = [], 0
        part.append(service)
        size += length
    yield part


def _digest(services: Mapping[str, str]) -> str:
    text = "\n".join(f"{name} {digest}" for name, digest in sorted(services.items()))
    return hashlib.sha256(text.encode()).hexdigest()


def _same_to_services(one: Pod, other: Pod) -> bool:
    """Whether two states of a pod look the same to every Service."""
    return _seen(one) == _seen(other) and one.metadata.labels == other.metadata.labels


def _seen(pod: Pod) -> tuple[object, ...]:
    ready = status_of(pod.status.conditions, "Ready")
    return pod.status.pod_ip, pod.status.phase, ready, is_deleting(pod), pod.spec.node_name, pod.metadata.uid


def _traits(node: object) -> tuple[object, ...]:
    """What of a node matters to the table."""
    if not isinstance(node, Node):
        return ()
    ready = status_of(node.status.conditions, "Ready")
    return ready, serves(node), node.metadata.labels.get(ZONE, ""), ingress.serves(node)
