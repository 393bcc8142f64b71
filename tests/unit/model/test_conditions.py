"""Conditions: the transition time moves with the status only (S2)."""

from mesh.model.conditions import find, is_true, set_condition
from mesh.model.times import SECOND
from mesh.v1.core_pb2 import NodeStatus, PodStatus


def test_set_find_and_times() -> None:
    status = PodStatus()
    assert set_condition(status.conditions, "Ready", "False", now=5 * SECOND, reason="ContainersNotReady", message="m")
    assert not is_true(status.conditions, "Ready")
    assert not set_condition(
        status.conditions, "Ready", "False", now=6 * SECOND, reason="ContainersNotReady", message="m"
    )
    assert set_condition(status.conditions, "Ready", "False", now=7 * SECOND, reason="Other")
    found = find(status.conditions, "Ready")
    assert found is not None
    assert (found.reason, found.HasField("message"), found.last_transition_time.seconds) == ("Other", False, 5)
    assert set_condition(status.conditions, "Ready", "True", now=9 * SECOND)
    assert is_true(status.conditions, "Ready")
    assert (found.last_transition_time.seconds, found.HasField("reason")) == (9, False)
    assert len(status.conditions) == 1
    assert find(status.conditions, "Initialized") is None


def test_of_nodes_too() -> None:
    status = NodeStatus()
    set_condition(status.conditions, "Ready", "True", now=SECOND)
    assert is_true(status.conditions, "Ready")
