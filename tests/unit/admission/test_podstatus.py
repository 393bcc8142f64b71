"""Which conditions of a pod its users may write, and what follows from them."""

from typing import Any

import pytest

from mesh.admission import podstatus
from mesh.errors import Invalid
from mesh.model.conditions import find
from mesh.model.times import SECOND
from mesh.v1.core_pb2 import Pod
from tests.harness import objects

NOW = 1_790_000_000 * SECOND
GATES = ("example.com/first", "example.com/second")


def waiting() -> Pod:
    pod = objects.pod("web", node_name="a")
    for gate in GATES:
        pod.spec.readiness_gates.add(condition_type=gate)
    pod.status.conditions.add(type="ContainersReady", status="True")
    pod.status.conditions.add(type="Ready", status="False", reason="ReadinessGatesNotReady")
    return pod


def patched(pod: Pod, status: str, *gates: str, now: int = NOW) -> Pod:
    body = {"status": {"conditions": [{"type": gate, "status": status} for gate in gates]}}
    made = podstatus.patch(body, pod, "status", now)
    assert isinstance(made, Pod)
    return made


def told(pod: Pod, type_: str = "Ready") -> tuple[str, int]:
    found = find(pod.status.conditions, type_)
    assert found is not None
    return found.status, found.last_transition_time.seconds - NOW // SECOND


def test_the_last_gate_makes_the_pod_ready_and_either_unmakes_it() -> None:
    one = patched(waiting(), "True", GATES[0])
    assert told(one)[0] == "False"
    ready = find(one.status.conditions, "Ready")
    assert ready is not None
    assert GATES[1] in ready.message
    assert GATES[0] not in ready.message
    both = patched(one, "True", GATES[1], now=NOW + 5 * SECOND)
    assert told(both) == ("True", 5)
    assert told(patched(both, "Unknown", GATES[0], now=NOW + 9 * SECOND)) == ("False", 9)


def test_the_time_of_a_condition_moves_only_with_its_status() -> None:  # S2
    one = patched(waiting(), "True", GATES[0])
    body = {"status": {"conditions": [{"type": GATES[0], "status": "True", "reason": "Checked"}]}}
    again = podstatus.patch(body, one, "status", NOW + 60 * SECOND)
    assert isinstance(again, Pod)
    assert told(again, GATES[0]) == ("True", 0)
    assert podstatus.patch(body, again, "status", NOW + 90 * SECOND) is again


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ({"status": {"phase": "Failed"}}, "status"),
        ({"status": {"conditions": [{"type": GATES[0], "status": "True"}]}, "metadata": {"name": "a"}}, "status"),
        ({"status": {"conditions": []}}, "status.conditions"),
        ({"status": {"conditions": [{"type": "Ready", "status": "True"}]}}, "status.conditions[0].type"),
        ({"status": {"conditions": [{"type": "example.com/other", "status": "True"}]}}, "status.conditions[0].type"),
        ({"status": {"conditions": [{"type": GATES[0], "status": True}]}}, "status.conditions[0].status"),
        ({"status": {"conditions": [{"type": GATES[0], "status": "True", "lastTransitionTime": "2026-01-01"}]}},
         "status.conditions[0].lastTransitionTime"),
        ({"status": {"conditions": [7]}}, "status.conditions[0]"),
    ],
)  # fmt: skip
def test_anything_else_is_refused_by_name(body: dict[str, Any], where: str) -> None:
    with pytest.raises(Invalid) as refused:
        podstatus.patch(body, waiting(), "status", NOW)
    assert [v.field for v in refused.value.violations] == [where]


def test_what_the_mesh_says_itself_is_nobody_elses_even_as_a_gate() -> None:
    pod = waiting()
    pod.spec.readiness_gates.add(condition_type="ContainersReady")
    with pytest.raises(Invalid, match="must be one of"):
        patched(pod, "True", "ContainersReady")


def test_only_a_pod_has_a_status_to_write() -> None:
    body = {"status": {"conditions": [{"type": GATES[0], "status": "True"}]}}
    with pytest.raises(Invalid):
        podstatus.patch(body, objects.config_map("c"), "status", NOW)
    with pytest.raises(Invalid):
        podstatus.patch(body, waiting(), "scale", NOW)
