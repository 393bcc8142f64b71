"""What each call asks for; a method that nobody thought of is nobody's."""

import pytest

from mesh.access.asks import DEFERRED, OPEN, STRANGERS, asks_of
from mesh.access.rules import Ask
from mesh.errors import NotFound
from mesh.v1 import access_pb2, control_pb2, secrets_pb2
from mesh.v1 import control_pb2 as pb

METHODS = [
    (f"/{service.full_name}/{method.name}", method)
    for file in (control_pb2, access_pb2, secrets_pb2)
    for service in file.DESCRIPTOR.services_by_name.values()
    for method in service.methods
]


@pytest.mark.parametrize("path", [path for path, _ in METHODS])
def test_every_method_has_its_question(path: str) -> None:
    request = dict(METHODS)[path].input_type._concrete_class(**({"key": {"kind": "Pod"}} if _keyed(path) else {}))
    asks = asks_of(path, request)
    assert asks is not None
    assert bool(asks) is (path not in OPEN | DEFERRED | STRANGERS)


def _keyed(path: str) -> bool:
    return path.endswith(("/Get", "/Patch", "/Delete"))


def test_a_method_that_is_in_no_table_is_for_nobody() -> None:
    assert asks_of("/mesh.v1.Resources/Steal", pb.GetRequest()) is None


@pytest.mark.parametrize(
    ("path", "request_", "ask"),
    [
        ("Resources/Get", pb.GetRequest(key={"kind": "Secret", "namespace": "a", "name": "s"}),
         Ask("get", "", "secrets", "", "a", "s")),
        ("Resources/Get", pb.GetRequest(key={"kind": "Node", "namespace": "a", "name": "n"}),
         Ask("get", "", "nodes", "", "", "n")),
        ("Resources/Patch", pb.PatchRequest(key={"kind": "Deployment", "namespace": "a", "name": "d"}),
         Ask("patch", "apps", "deployments", "", "a", "d")),
        ("Resources/List", pb.ListRequest(kind="Pod"), Ask("list", "", "pods")),
        ("Resources/List", pb.ListRequest(kind="Pod", namespace="a", field_selector="metadata.name=web"),
         Ask("list", "", "pods", "", "a", "web")),
        ("Resources/List", pb.ListRequest(kind="Pod", field_selector="metadata.name!=web"), Ask("list", "", "pods")),
        ("Resources/Watch", pb.WatchRequest(kind="Pod", field_selector="spec.nodeName=h"),
         Ask("watch", "", "pods", node="h")),
        ("Resources/Watch", pb.WatchRequest(namespace="a"), Ask("watch", "*", "*", "", "a")),
        ("Pods/Logs", pb.LogsRequest(pod="web"), Ask("get", "", "pods", "log", "default", "web")),
        ("Pods/Exec", pb.ExecInput(start={"namespace": "a", "pod": "web"}),
         Ask("create", "", "pods", "exec", "a", "web")),
        ("Pods/Attach", pb.ExecInput(attach={"namespace": "a", "pod": "web"}),
         Ask("create", "", "pods", "attach", "a", "web")),
        ("Pods/PortForward", pb.PortForwardInput(start={"pod": "web"}),
         Ask("create", "", "pods", "portforward", "default", "web")),
        ("Measurements/Top", pb.TopRequest(), Ask("list", "metrics.k8s.io", "nodes")),
        ("Measurements/Top", pb.TopRequest(pods=True), Ask("list", "metrics.k8s.io", "pods")),
        ("Measurements/Top", pb.TopRequest(pods=True, namespace="a", names=["web"]),
         Ask("get", "metrics.k8s.io", "pods", "", "a", "web")),
        ("Measurements/Raw", pb.RawRequest(path="/metrics"), Ask("get", "mesh", "metrics")),
        ("Measurements/Raw", pb.RawRequest(host="h"), Ask("get", "", "nodes", "metrics", name="h")),
        ("Images/Remove", pb.ImageRemoveRequest(), Ask("delete", "mesh", "images")),
    ],
)  # fmt: skip
def test_a_call_asks_for_what_it_does(path: str, request_: object, ask: Ask) -> None:
    assert asks_of(f"/mesh.v1.{path}", request_) == (ask,)


def test_a_kind_that_is_none_is_told() -> None:
    with pytest.raises(NotFound):
        asks_of("/mesh.v1.Resources/Get", pb.GetRequest(key={"kind": "Pot"}))
