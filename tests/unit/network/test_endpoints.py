"""Which pods stand behind a Service (X4, X10, D5, N2)."""

from mesh.network.endpoints import endpoints_of
from mesh.store.port import Snapshot
from mesh.v1.core_pb2 import ContainerPort
from mesh.v1.meta_pb2 import IntOrString, ObjectMeta
from mesh.v1.net_pb2 import (
    Endpoint,
    EndpointAddress,
    EndpointConditions,
    EndpointPort,
    Endpoints,
    EndpointSlice,
    EndpointSlicePort,
    EndpointSubset,
    Service,
    ServicePort,
)
from mesh.view import View
from tests.harness.services import given_up, node, pod, service


def states(svc: Service, *objects: object) -> dict[str, tuple[bool, bool, bool]]:
    found = endpoints_of(svc, View(Snapshot(1, [svc, *objects])))  # type: ignore[list-item]
    return {e.pod.rpartition("/")[2] or e.ip: (e.ready, e.serving, e.terminating) for e in found}


def test_ready_serving_terminating() -> None:
    leaving, sick = pod("leaving", "10.0.0.2"), pod("sick", "10.0.0.3", ready=False)
    leaving.metadata.deletion_timestamp.seconds = 5
    others = [pod("done", "10.0.0.4", phase="Succeeded"), pod("new", ""), pod("else", "10.0.0.6", app="db")]
    found = states(service(), pod("well", "10.0.0.1"), leaving, sick, *others)
    assert found == {"well": (True, True, False), "leaving": (False, True, True), "sick": (False, False, False)}
    published = states(service(publish_not_ready_addresses=True), leaving, sick)
    assert published == {"leaving": (True, True, True), "sick": (True, False, False)}


def test_pods_of_other_namespaces_and_external_names_are_none() -> None:
    foreign = pod("foreign", "10.0.0.9")
    foreign.metadata.namespace = "other"
    assert states(service(), foreign) == {}
    assert states(service(type="ExternalName", external_name="a.b"), pod("well", "10.0.0.1")) == {}


def test_a_host_that_is_not_heard_of_has_no_ready_pods() -> None:
    found = states(service(), given_up("a"), pod("p", "10.0.0.1"))
    assert found == {"p": (False, False, False)}
    # silent, and nobody is driven away from there: it is meshd that hears nobody
    assert states(service(), node("a", "Unknown"), pod("p", "10.0.0.1")) == {"p": (True, True, False)}
    assert states(service(), node("a", "False"), pod("p", "10.0.0.1")) == {"p": (True, True, False)}


def test_a_named_port_is_each_pods_own() -> None:
    port = ServicePort(port=80, target_port=IntOrString(string_value="http"))
    one, two, none = pod("one", "10.0.0.1"), pod("two", "10.0.0.2"), pod("none", "10.0.0.3")
    one.spec.containers[0].ports.append(ContainerPort(name="http", container_port=8080))
    two.spec.containers[0].ports.append(ContainerPort(name="http", container_port=9090))
    svc = service(port=port)
    found = endpoints_of(svc, View(Snapshot(1, [svc, one, two, none])))
    assert [list(e.ports) for e in found] == [[8080], [9090], [0]]


def test_hostname_needs_the_subdomain_and_zone_is_the_hosts() -> None:
    named, loose = pod("named", "10.0.0.1"), pod("loose", "10.0.0.2")
    named.spec.hostname, named.spec.subdomain = "n1", "web"
    loose.spec.hostname, loose.spec.subdomain = "n2", "elsewhere"
    svc = service()
    found = endpoints_of(svc, View(Snapshot(1, [svc, named, loose, node("a", zone="east")])))
    assert [(e.hostname, e.zone) for e in found] == [("n1", "east"), ("", "east")]


def test_made_by_hand() -> None:
    svc = service(port=ServicePort(name="sql", port=80), selector=False)
    hand = Endpoints(metadata=ObjectMeta(name="web", namespace="default"))
    hand.subsets.append(
        EndpointSubset(
            addresses=[EndpointAddress(ip="10.9.0.2")], not_ready_addresses=[EndpointAddress(ip="10.9.0.1")],
            ports=[EndpointPort(name="sql", port=5432), EndpointPort(name="other", port=1)],
        )
    )  # fmt: skip
    slice_ = EndpointSlice(
        metadata=ObjectMeta(name="s", namespace="default", labels={"kubernetes.io/service-name": "web"})
    )
    slice_.ports.append(EndpointSlicePort(name="sql", port=5433))
    slice_.endpoints.append(Endpoint(addresses=["10.9.0.10"], conditions=EndpointConditions(ready=False, serving=True)))
    slice_.endpoints.append(Endpoint(addresses=["10.9.0.11"]))
    found = endpoints_of(svc, View(Snapshot(1, [svc, hand, slice_])))
    assert [(e.ip, e.ready, e.serving, list(e.ports)) for e in found] == [
        ("10.9.0.1", False, False, [5432]),
        ("10.9.0.2", True, True, [5432]),
        ("10.9.0.10", False, True, [5433]),
        ("10.9.0.11", True, True, [5433]),
    ]
