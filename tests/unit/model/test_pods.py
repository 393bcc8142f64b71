"""What everyone asks of a pod (L12, R2, R3, X4)."""

from typing import Any

import pytest

from mesh.model import pods
from mesh.v1.core_pb2 import Pod, PodSpec, ResourceRequirements
from mesh.v1.meta_pb2 import IntOrString


def resources(cpu: str = "", memory: str = "", *, limits: dict[str, str] | None = None) -> dict[str, Any]:
    requests = {k: v for k, v in (("cpu", cpu), ("memory", memory)) if v}
    return {"requests": requests, "limits": limits or {}}


def pod(*containers: Any, init: Any = (), **more: Any) -> Pod:
    """A pod of containers given by their resources."""
    return Pod(
        spec={
            "containers": [{"name": f"c{n}", "resources": r} for n, r in enumerate(containers)],
            "init_containers": [{"name": f"i{n}", **c} for n, c in enumerate(init)],
            **more,
        }
    )


@pytest.mark.parametrize(
    ("made", "cpu", "memory"),
    [
        (pod(), 0, 0),
        (pod(resources("100m", "64Mi"), resources("0.2", "64Mi")), 300, 128 * 2**20),
        (pod(resources("0.0001")), 1, 0),
        (pod(resources(limits={"cpu": "1", "memory": "1Gi"})), 1000, 2**30),  # (R2)
        (pod(resources("100m", limits={"cpu": "1"})), 100, 0),
        # the largest init container, or all containers together (L12)
        (pod(resources("100m"), init=[{"resources": resources("1")}, {"resources": resources("2")}]), 2000, 0),
        (pod(resources("3"), init=[{"resources": resources("2")}]), 3000, 0),
        # sidecars run beside what follows them (L13)
        (pod(resources("1"), init=[{"resources": resources("500m"), "restart_policy": "Always"},
                                   {"resources": resources("2")}]), 2500, 0),
        (pod(resources("3"), init=[{"resources": resources("500m"), "restart_policy": "Always"}]), 3500, 0),
        (pod(resources("1"), init=[{"resources": resources("2")},
                                   {"resources": resources("500m"), "restart_policy": "Always"}]), 2000, 0),
        (pod(resources("1"), overhead={"cpu": "250m"}), 1250, 0),
        (pod(resources("1", "1Gi"), resources={"requests": {"cpu": "4"}}), 4000, 2**30),
        (pod(resources("nonsense")), 0, 0),
    ],
)  # fmt: skip
def test_effective_requests(made: Pod, cpu: int, memory: int) -> None:
    found = pods.effective_requests(made)
    assert (found.get("cpu", 0), found.get("memory", 0)) == (cpu, memory)


FULL = {"cpu": "1", "memory": "1Gi"}


def test_what_a_resize_holds() -> None:  # L20
    made = pod(resources("3"), resources("1"))
    assert pods.held_requests(made) == {"cpu": 4000}
    made.status.container_statuses.add(name="c0", allocated_resources={"cpu": "1"})
    assert pods.held_requests(made) == {"cpu": 4000}  # it grows: its host may grant it any time
    made.status.container_statuses[0].allocated_resources["cpu"] = "5"
    assert pods.held_requests(made) == {"cpu": 6000}  # it shrinks, and its host has not followed
    made.status.container_statuses[0].allocated_resources["cpu"] = "1"
    made.status.conditions.add(type="PodResizePending", status="True", reason="Infeasible")
    assert pods.held_requests(made) == {"cpu": 2000}  # its host never will


@pytest.mark.parametrize(
    ("made", "qos"),
    [
        (pod({}), "BestEffort"),
        (pod(resources("0")), "BestEffort"),
        (pod({"limits": FULL, "requests": FULL}), "Guaranteed"),
        (pod({"limits": FULL}), "Guaranteed"),  # requests are the limits (R2)
        (pod({"limits": FULL, "requests": {"cpu": "1000m"}}), "Guaranteed"),
        (pod({"limits": FULL, "requests": {"cpu": "500m"}}), "Burstable"),
        (pod({"limits": {"cpu": "1"}}), "Burstable"),
        (pod({"limits": FULL}, {}), "Burstable"),
        (pod({"limits": FULL}, init=[{"resources": {}}]), "Burstable"),  # init containers count (R3)
        (pod({"limits": FULL}, init=[{"resources": {"limits": FULL}}]), "Guaranteed"),
        (pod({}, resources={"limits": FULL}), "Guaranteed"),  # the pod's own resources decide alone
        (pod({"limits": FULL}, resources={"requests": {"cpu": "1"}}), "Burstable"),
        (pod({"limits": FULL}, resources={}), "Guaranteed"),  # that says nothing
        (pod({}, {}, resources={"limits": {"cpu": "1"}}), "Burstable"),
    ],
)
def test_qos_class(made: Pod, qos: str) -> None:
    assert pods.qos_class(made.spec) == qos


@pytest.mark.parametrize(
    ("own", "requests", "limits"),
    [
        ({}, {"cpu": 600, "memory": 1024}, {"cpu": 1000}),
        ({"requests": {"cpu": "2"}}, {"cpu": 2000, "memory": 1024}, {"cpu": 1000}),
        ({"limits": {"memory": "4Ki"}}, {"cpu": 600, "memory": 1024}, {"cpu": 1000, "memory": 4096}),
        ({"limits": {"cpu": "3"}, "requests": {"cpu": "1"}}, {"cpu": 1000, "memory": 1024}, {"cpu": 3000}),
        ({"requests": {"memory": "1Mi"}}, {"cpu": 600, "memory": 1 << 20}, {"cpu": 1000}),
    ],
)
def test_what_a_pod_asks_for_as_a_whole_goes_over_the_sum(
    own: dict[str, Any], requests: dict[str, int], limits: dict[str, int]
) -> None:  # R3
    first = {"requests": {"cpu": "100m", "memory": "1Ki"}, "limits": {"cpu": "500m"}}
    made = pod(first, {"limits": {"cpu": "500m"}}, resources=own)
    assert pods.effective_requests(made) == requests
    assert pods.effective_limits(made) == limits


def test_a_limit_of_the_whole_pod_is_its_request_where_nobody_asks() -> None:
    whole = pods.requests_of(ResourceRequirements(limits=FULL))
    assert pods.effective_requests(pod({}, resources={"limits": FULL})) == whole


def test_grace() -> None:
    made = Pod()
    assert pods.grace_seconds(made) == 30  # (L9)
    made.spec.termination_grace_period_seconds = 0
    assert pods.grace_seconds(made) == 0
    made.metadata.deletion_grace_period_seconds = 7
    assert pods.grace_seconds(made) == 7


def test_named_ports() -> None:
    spec = PodSpec(containers=[{"name": "a"}, {"name": "b", "ports": [{"name": "http", "container_port": 8080}]}])
    assert pods.port_number(spec, IntOrString(int_value=80)) == 80
    assert pods.port_number(spec, IntOrString(string_value="http")) == 8080
    assert pods.port_number(spec, IntOrString(string_value="none")) is None


def test_states() -> None:
    made = Pod(status={"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]})
    assert pods.is_ready(made) and not pods.is_terminal(made) and not pods.is_deleting(made)
    for phase in ("Succeeded", "Failed"):
        made.status.phase = phase
        assert pods.is_terminal(made)
    made.metadata.deletion_timestamp.seconds = 1
    assert pods.is_deleting(made)


def test_containers() -> None:
    spec = PodSpec(init_containers=[{"name": "i"}], containers=[{"name": "a"}, {"name": "b"}])
    assert [c.name for c in pods.containers(spec)] == ["i", "a", "b"]
    found = pods.container_named(spec, "i")
    assert found is not None and found.name == "i"
    assert pods.container_named(spec, "z") is None
    made = Pod(spec=spec)
    assert pods.default_container(made) == "a"
    made.metadata.annotations["kubectl.kubernetes.io/default-container"] = "b"
    assert pods.default_container(made) == "b"
    made.metadata.annotations["kubectl.kubernetes.io/default-container"] = "z"
    assert pods.default_container(made) == "a"
    assert pods.default_container(Pod()) == ""
