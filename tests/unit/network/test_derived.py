"""Endpoints and EndpointSlices as `mesh get` shows them (X11)."""

from mesh.model.keys import Key
from mesh.network import derived
from mesh.store.port import Snapshot
from mesh.v1.core_pb2 import ContainerPort
from mesh.v1.meta_pb2 import IntOrString
from mesh.v1.net_pb2 import Endpoints, EndpointSlice, ServicePort
from mesh.view import View
from tests.harness.services import pod, service


def test_endpoints_by_readiness_without_those_that_leave() -> None:
    leaving = pod("c", "10.0.0.3")
    leaving.metadata.deletion_timestamp.seconds = 1
    view = View(Snapshot(1, [service(), pod("a", "10.0.0.1"), pod("b", "10.0.0.2", ready=False), leaving]))
    (found,) = derived.derived("Endpoints", view)
    assert isinstance(found, Endpoints)
    (subset,) = found.subsets
    assert [a.ip for a in subset.addresses] == ["10.0.0.1"]
    assert [a.target_ref.name for a in subset.not_ready_addresses] == ["b"]
    assert [(p.port, p.protocol) for p in subset.ports] == [(80, "")]
    (slice_,) = derived.derived("EndpointSlice", view)
    assert isinstance(slice_, EndpointSlice)
    said = [
        (e.addresses[0], e.conditions.ready, e.conditions.serving, e.conditions.terminating) for e in slice_.endpoints
    ]
    assert said == [
        ("10.0.0.1", True, True, False),
        ("10.0.0.2", False, False, False),
        ("10.0.0.3", False, True, True),
    ]
    assert derived.get(Key("EndpointSlice", "default", "web-0"), view) == slice_
    assert derived.get(Key("Endpoints", "default", "other"), view) is None


def test_slices_hold_a_hundred_and_one_set_of_ports_each() -> None:
    port = ServicePort(port=80, target_port=IntOrString(string_value="http"))
    pods = [pod(f"p{n:03}", f"10.0.{n // 200}.{n % 200 + 1}") for n in range(150)]
    for number, one in enumerate(pods):
        one.spec.containers[0].ports.append(ContainerPort(name="http", container_port=8080 if number < 120 else 9090))
    found = derived.derived("EndpointSlice", View(Snapshot(1, [service(port=port), *pods])))
    shape = [(s.metadata.name, s.ports[0].port, len(s.endpoints)) for s in found if isinstance(s, EndpointSlice)]
    assert shape == [("web-0", 8080, 100), ("web-1", 8080, 20), ("web-2", 9090, 30)]


def test_what_is_made_by_hand_is_not_derived() -> None:
    view = View(Snapshot(1, [service(selector=False), pod("a", "10.0.0.1")]))
    assert derived.derived("Endpoints", view) == []
