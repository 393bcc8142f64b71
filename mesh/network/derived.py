"""Endpoints and EndpointSlices as Kubernetes has them, derived from the view whenever someone asks (X11).

Rule: pure. Those made by hand are stored and shown as they are; those of a Service with a selector are made here, and
change when `revision` does: the newest of what they are made of.
"""

from collections.abc import Iterable, Iterator

from mesh.model.keys import Key
from mesh.model.kinds import Object, revision_of
from mesh.model.services import SERVICE_LABEL, is_external, is_headless
from mesh.network.endpoints import endpoints_of
from mesh.v1.meta_pb2 import ObjectMeta, ObjectReference
from mesh.v1.net_pb2 import (
    EndpointAddress,
    EndpointPort,
    Endpoints,
    EndpointSlice,
    EndpointSlicePort,
    EndpointSubset,
    Service,
)
from mesh.v1.node_pb2 import ProxyEndpoint
from mesh.view import View

KINDS = ("Endpoints", "EndpointSlice")
PER_SLICE, MOST_ADDRESSES = 100, 1000
MANAGED_BY = "endpointslice.kubernetes.io/managed-by"
OVER_CAPACITY = "endpoints.kubernetes.io/over-capacity"
_BY = "mesh"


def is_derived(service: Service) -> bool:
    """Whether the endpoints are its pods."""
    return bool(service.spec.selector) and not is_external(service)


def derived(kind: str, view: View, namespace: str = "") -> list[Object]:
    """Every derived object of a kind, of one namespace or all, sorted by key."""
    found: list[Object] = []
    for service in view.of_kind("Service", namespace):
        if isinstance(service, Service):
            found += of_service(kind, service, view)
    return found


def get(key: Key, view: View) -> Object | None:
    """The derived object of this key."""
    if key.kind not in KINDS:
        return None
    name = key.name if key.kind == "Endpoints" else key.name.rpartition("-")[0]
    service = view.get(Key("Service", key.namespace, name))
    if not isinstance(service, Service):
        return None
    return next((o for o in of_service(key.kind, service, view) if o.metadata.name == key.name), None)


def of_service(kind: str, service: Service, view: View) -> list[Object]:
    """What is derived of one Service: one Endpoints, or as many EndpointSlices as it takes."""
    if not is_derived(service):
        return []
    found = endpoints_of(service, view)
    return [_endpoints(service, found, view)] if kind == "Endpoints" else list(_slices(service, found, view))


def _meta(service: Service, found: Iterable[ProxyEndpoint], view: View, name: str) -> ObjectMeta:
    pods = (view.get(Key("Pod", *e.pod.split("/", 1))) for e in found if e.pod)
    newest = max([revision_of(service), *(revision_of(pod) for pod in pods if pod is not None)])
    made = ObjectMeta(
        name=name, namespace=service.metadata.namespace, uid=f"{service.metadata.uid}/{name}",
        resource_version=str(newest), creation_timestamp=service.metadata.creation_timestamp,
        labels=service.metadata.labels,
    )  # fmt: skip
    made.owner_references.add(api_version="v1", kind="Service", name=service.metadata.name, uid=service.metadata.uid)
    if is_headless(service):
        made.labels["service.kubernetes.io/headless"] = ""
    return made


def _reference(endpoint: ProxyEndpoint) -> ObjectReference | None:
    namespace, _, name = endpoint.pod.partition("/")
    return ObjectReference(kind="Pod", namespace=namespace, name=name, uid=endpoint.pod_uid) if name else None


def _endpoints(service: Service, found: list[ProxyEndpoint], view: View) -> Endpoints:
    made = Endpoints(api_version="v1", kind="Endpoints", metadata=_meta(service, found, view, service.metadata.name))
    shown = [e for e in found if not e.terminating]
    if len(shown) > MOST_ADDRESSES:
        made.metadata.annotations[OVER_CAPACITY] = "truncated"
    by_ports: dict[tuple[int, ...], EndpointSubset] = {}
    for endpoint in shown[:MOST_ADDRESSES]:
        numbers = tuple(endpoint.ports)
        if numbers not in by_ports:
            by_ports[numbers] = EndpointSubset(ports=list(_endpoint_ports(service, numbers)))
        address = EndpointAddress(ip=endpoint.ip, node_name=endpoint.node, target_ref=_reference(endpoint))
        if endpoint.hostname:
            address.hostname = endpoint.hostname
        subset = by_ports[numbers]
        (subset.addresses if endpoint.ready else subset.not_ready_addresses).append(address)
    made.subsets.extend(by_ports.values())
    return made


def _endpoint_ports(service: Service, numbers: tuple[int, ...]) -> Iterator[EndpointPort]:
    for port, number in zip(service.spec.ports, numbers, strict=True):
        if number:
            yield EndpointPort(name=port.name or None, port=number, protocol=port.protocol)


def _slices(service: Service, found: list[ProxyEndpoint], view: View) -> Iterator[EndpointSlice]:
    by_ports: dict[tuple[int, ...], list[ProxyEndpoint]] = {}
    for endpoint in found:
        by_ports.setdefault(tuple(endpoint.ports), []).append(endpoint)
    groups = [
        (numbers, group[start : start + PER_SLICE])
        for numbers, group in by_ports.items()
        for start in range(0, len(group), PER_SLICE)
    ]
    for index, (numbers, group) in enumerate(groups or [((), [])]):
        yield _slice(service, f"{service.metadata.name}-{index}", numbers, group, view)


def _slice(
    service: Service, name: str, numbers: tuple[int, ...], group: list[ProxyEndpoint], view: View
) -> EndpointSlice:
    made = EndpointSlice(api_version="discovery.k8s.io/v1", kind="EndpointSlice", address_type="IPv4")
    made.metadata.CopyFrom(_meta(service, group, view, name))
    made.metadata.labels[SERVICE_LABEL] = service.metadata.name
    made.metadata.labels[MANAGED_BY] = _BY
    for port, number in zip(service.spec.ports, numbers, strict=False):
        if number:
            made.ports.append(EndpointSlicePort(name=port.name, protocol=port.protocol, port=number))
    for endpoint in group:
        said = made.endpoints.add(addresses=[endpoint.ip], node_name=endpoint.node, target_ref=_reference(endpoint))
        said.conditions.ready, said.conditions.serving = endpoint.ready, endpoint.serving
        said.conditions.terminating = endpoint.terminating
        if endpoint.zone:
            said.zone = endpoint.zone
        if endpoint.hostname:
            said.hostname = endpoint.hostname
    return made
