"""Whether a pod may run on a node (K1, K7, R8)."""

from typing import Any

import pytest

from mesh.model import fit
from mesh.v1.core_pb2 import Node, Pod, Taint, Toleration

NODE = Node(
    metadata={"name": "n1", "labels": {"disk": "ssd", "cores": "8"}},
    status={"allocatable": {"cpu": "2", "memory": "1Gi", "pods": "3"}},
)


def pod(cpu: str = "", memory: str = "", **spec: Any) -> Pod:
    requests = {k: v for k, v in (("cpu", cpu), ("memory", memory)) if v}
    return Pod(spec={"containers": [{"name": "a", "resources": {"requests": requests}}], **spec})


def test_resources_fit_to_the_last_millicore() -> None:
    used = fit.used_by([pod("1"), pod("500m", "512Mi")])
    assert used == {"pods": 2, "cpu": 1500, "memory": 512 * 2**20}
    assert fit.why_not(pod("500m", "512Mi"), NODE, used) == ()
    assert fit.why_not(pod("501m"), NODE, used) == ("Insufficient cpu",)
    assert fit.why_not(pod("501m", "513Mi"), NODE, used) == ("Insufficient cpu", "Insufficient memory")
    assert fit.why_not(pod(), NODE, {"pods": 2, "cpu": 5000}) == ()  # who asks for nothing fits always


def test_a_pod_that_asks_as_a_whole() -> None:  # R3
    asking = pod("100m", resources={"requests": {"cpu": "500m"}})
    assert fit.used_by([asking, asking]) == {"pods": 2, "cpu": 1000}
    assert fit.why_not(asking, NODE, {"cpu": 1500}) == ()
    assert fit.why_not(asking, NODE, {"cpu": 1501}) == ("Insufficient cpu",)


def test_pods_are_counted_and_the_ended_are_not() -> None:
    over = pod("2")
    over.status.phase = "Failed"
    assert fit.used_by([over, pod()]) == {"pods": 1}
    assert fit.why_not(pod(), NODE, {"pods": 2}) == ()
    assert fit.why_not(pod(), NODE, {"pods": 3}) == ("Too many pods",)
    assert fit.allocatable_of(Node())["pods"] == 110


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ({"node_name": "n1"}, ""),
        ({"node_name": "n2"}, "node(s) didn't match the requested node name"),
        ({"node_selector": {"disk": "ssd"}}, ""),
        ({"node_selector": {"disk": "hdd"}}, "node(s) didn't match Pod's node affinity/selector"),
        ({"node_selector": {"disk": "ssd", "x": "y"}}, "node(s) didn't match Pod's node affinity/selector"),
    ],
)
def test_names_and_selectors(spec: dict[str, Any], reason: str) -> None:
    assert fit.why_not(pod(**spec), NODE, {}) == ((reason,) if reason else ())


def required(*terms: dict[str, Any]) -> dict[str, Any]:
    selector = {"node_selector_terms": list(terms)}
    return {"node_affinity": {"required_during_scheduling_ignored_during_execution": selector}}


def expression(key: str, operator: str, *values: str) -> dict[str, Any]:
    return {"match_expressions": [{"key": key, "operator": operator, "values": values}]}


@pytest.mark.parametrize(
    ("terms", "fits"),
    [
        ([expression("disk", "In", "ssd", "nvme")], True),
        ([expression("disk", "NotIn", "ssd")], False),
        ([expression("cores", "Gt", "4")], True),
        ([expression("cores", "Lt", "8")], False),
        ([expression("none", "DoesNotExist")], True),
        ([expression("disk", "In", "hdd"), expression("cores", "Exists")], True),  # terms are alternatives
        ([{}], False),  # an empty term matches nothing
        ([], False),
        ([{"match_fields": [{"key": "metadata.name", "operator": "In", "values": ["n1"]}]}], True),
        ([{"match_fields": [{"key": "metadata.name", "operator": "In", "values": ["n2"]}]}], False),
    ],
)
def test_required_affinity(terms: list[dict[str, Any]], fits: bool) -> None:
    assert (fit.affinity(pod(affinity=required(*terms)), NODE) == "") is fits


def test_a_cordoned_node() -> None:
    cordoned = Node(spec={"unschedulable": True})
    assert fit.unschedulable(pod(), cordoned) == "node(s) were unschedulable"
    tolerant = pod(tolerations=[{"key": "node.kubernetes.io/unschedulable", "operator": "Exists"}])
    assert fit.unschedulable(tolerant, cordoned) == ""


@pytest.mark.parametrize(
    ("toleration", "fits"),
    [
        ({}, False),
        ({"operator": "Exists"}, True),
        ({"key": "a", "operator": "Exists"}, True),
        ({"key": "b", "operator": "Exists"}, False),
        ({"key": "a", "value": "1"}, True),
        ({"key": "a", "operator": "Equal", "value": "2"}, False),
        ({"key": "a", "value": "1", "effect": "NoSchedule"}, True),
        ({"key": "a", "value": "1", "effect": "NoExecute"}, False),
        ({"key": "a", "operator": "Lt", "value": "2"}, True),
        ({"key": "a", "operator": "Gt", "value": "2"}, False),
        ({"key": "a", "operator": "Gt", "value": "x"}, False),
    ],
)
def test_tolerations(toleration: dict[str, str], fits: bool) -> None:
    taint = Taint(key="a", value="1", effect="NoSchedule")
    assert fit.tolerates(Toleration(**toleration), taint) is fits  # type: ignore[arg-type] # fields of a Toleration


def test_taints() -> None:
    tainted = Node(spec={"taints": [{"key": "gpu", "value": "yes", "effect": "NoSchedule"}]})
    assert fit.taints(pod(), tainted) == "node(s) had untolerated taint {gpu: yes}"
    assert fit.taints(pod(tolerations=[{"operator": "Exists"}]), tainted) == ""
    assert fit.taints(pod(), Node(spec={"taints": [{"key": "a", "effect": "PreferNoSchedule"}]})) == ""
