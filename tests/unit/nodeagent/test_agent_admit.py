"""What a host does not take, though it was given it (S7)."""

from pathlib import Path
from typing import Any

import pytest

from mesh.sdk.words import summary
from mesh.v1.core_pb2 import Container, Pod, ResourceRequirements
from nodeagent.config import AgentConfig
from nodeagent.pods.admit import rejection
from tests.harness.agents import NODE, NODE_IP, World, a_container, a_pod
from tests.harness.bent_time import bent
from tests.harness.fake_runtime import Program

ROOM = {"cpu": 4000, "memory": 1000, "ephemeral-storage": 500, "pods": 3}


def asking(**requests: str) -> tuple[Container, ...]:
    return (a_container(resources=ResourceRequirements(requests=requests)),)


def asked(pod: Pod, labels: dict[str, str] | None = None, **used: int) -> tuple[str, str]:
    return rejection(pod, NODE, labels or {}, used, ROOM)


@pytest.mark.parametrize(
    ("requests", "used", "reason", "why"),
    [
        ({"cpu": "2"}, {"cpu": 2000}, "", ""),
        ({"cpu": "2001m"}, {"cpu": 2000}, "OutOfcpu", "cpu, requested: 2001, used: 2000, capacity: 4000"),
        ({"memory": "1001"}, {}, "OutOfmemory", "memory, requested: 1001, used: 0, capacity: 1000"),
        ({}, {"pods": 2}, "", ""),
        (
            {"ephemeral-storage": "501"},
            {},
            "OutOfephemeral-storage",
            "ephemeral-storage, requested: 501, used: 0, capacity: 500",
        ),
        ({"cpu": "9"}, {"pods": 3}, "OutOfpods", "pods, requested: 1, used: 3, capacity: 3"),
        ({}, {"cpu": 9000}, "", ""),  # what asks for nothing always fits
    ],
)
def test_resources(requests: dict[str, str], used: dict[str, int], reason: str, why: str) -> None:
    words = f"Node didn't have enough resource: {why}" if why else ""
    assert asked(a_pod("web", containers=asking(**requests)), **used) == (reason, words)


def test_a_pod_that_asks_as_a_whole() -> None:  # R3
    pod = a_pod("web", containers=asking(cpu="1"), resources=ResourceRequirements(requests={"cpu": "3"}))
    assert asked(pod, cpu=1000) == ("", "")
    words = "Node didn't have enough resource: cpu, requested: 3000, used: 1001, capacity: 4000"
    assert asked(pod, cpu=1001) == ("OutOfcpu", words)


def test_affinity_is_asked_when_labels_are_known() -> None:
    pod = a_pod("web", node_selector={"disk": "ssd"})
    assert asked(pod) == ("", "")
    assert asked(pod, {"disk": "ssd"}) == ("", "")
    reason, message = asked(pod, {"disk": "hdd"})
    assert reason == "NodeAffinity"
    assert message == "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector"


async def given(world: World, **pods: Any) -> None:
    await world.assign(*(a_pod(name, containers=asking(**requests)) for name, requests in pods.items()))


@bent
async def test_what_does_not_fit_fails_and_nothing_of_it_is_begun(tmp_path: Path) -> None:
    world = World(tmp_path)
    await world.start()
    await given(world, a={"cpu": "3"}, b={"cpu": "500m"})
    await world.until(lambda: world.phase("a") == world.phase("b") == "Running")
    await given(world, c={"cpu": "600m"})
    await world.until(lambda: world.phase("c") == "Failed")
    status = world.status("c")
    words = "Node didn't have enough resource: cpu, requested: 600, used: 3500, capacity: 4000"
    assert (status.reason, status.message) == ("OutOfcpu", f"Pod was rejected: {words}")
    assert world.event("c", "OutOfcpu").message == words
    assert summary(Pod(status=status)).status == "OutOfcpu"  # and no container of it seems to be on its way
    assert not [call for call in world.host.calls if "uid-c" in call and call[0] in ("make_sandbox", "create")]
    await world.delete("a")
    await world.until(lambda: world.gone("a"))
    await given(world, d={"cpu": "3500m"})  # c takes nothing
    await world.until(lambda: world.phase("d") == "Running")
    assert world.phase("c") == "Failed"
    await world.kill()


@bent
async def test_the_processor_is_divided_by_what_pods_ask_for(tmp_path: Path) -> None:  # R7
    world = World(tmp_path)
    await world.start()
    await given(world, a={"cpu": "2"}, b={"cpu": "500m"}, c={}, d={"cpu": "9"})
    await world.until(lambda: world.phase("d") == "Failed")
    await world.until(lambda: "/mesh/besteffort/poduid-c" in world.host.shares)
    assert world.host.shares == {
        "/mesh": 4096, "/mesh/guaranteed": 2, "/mesh/burstable": 2560, "/mesh/besteffort": 2,
        "/mesh/burstable/poduid-a": 2048, "/mesh/burstable/poduid-b": 512, "/mesh/besteffort/poduid-c": 2,
    }  # fmt: skip
    await world.delete("a")
    await world.until(lambda: world.host.shares["/mesh/burstable"] == 512)
    await world.kill()


@bent
async def test_room_that_a_stopping_pod_still_holds_is_waited_for(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.host.programs["a/main"] = Program(on_term=None)  # it takes its whole grace
    await world.start()
    await given(world, a={"cpu": "3"}, b={"cpu": "500m"})
    await world.until(lambda: world.phase("a") == world.phase("b") == "Running")
    await world.delete("a", 10)
    await given(world, c={"cpu": "2"}, d={"cpu": "2"}, e={"cpu": "4"})
    await world.until(lambda: "WaitingForRoom" in world.reasons("c") and world.phase("e") == "Failed")
    assert "cpu, requested: 2000, used: 3500, capacity: 4000" in world.event("c", "WaitingForRoom").message
    assert world.status("e").reason == "OutOfcpu"  # for which b alone leaves no room
    assert {world.phase("c"), world.phase("d")} == {""}
    await world.until(lambda: sorted((world.phase("c"), world.phase("d"))) == ["Failed", "Running"], 30)
    assert world.gone("a")
    await world.kill()


@bent
async def test_who_waits_for_room_can_be_deleted_and_is_taken_after_a_forced_deletion(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.host.programs["a/main"] = Program(on_term=None)
    await world.start()
    await given(world, a={"cpu": "4"})
    await world.until(lambda: world.phase("a") == "Running")
    del world.pods["uid-a"]  # as a forced deletion, and in the same order others that were bound to its room
    await given(world, b={"cpu": "4"})
    await given(world, c={"cpu": "4"})
    await world.until(lambda: {"WaitingForRoom"} == {*world.reasons("b"), *world.reasons("c")})
    await world.delete("b")
    await world.until(lambda: world.gone("b"))
    await world.until(lambda: world.phase("c") == "Running")
    await world.kill()


@bent
async def test_a_pod_that_is_over_gives_its_room_to_who_waits(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.host.programs["a/main"] = Program(on_term=None)
    await world.start()
    lasting = asking(cpu="4")
    await world.assign(a_pod("a", containers=lasting, active_deadline_seconds=5, termination_grace_period_seconds=20))
    await world.until(lambda: world.phase("a") == "Running")
    await world.until(lambda: world.host.calls[-1][0] == "kill" or "Killing" in world.reasons("a"))
    await given(world, b={"cpu": "4"})
    await world.until(lambda: world.phase("b") == "Running")
    assert world.phase("a") == "Failed"
    await world.kill()


@bent
async def test_two_that_come_at_once_are_taken_as_far_as_they_fit(tmp_path: Path) -> None:
    world = World(tmp_path)
    await world.start()
    await given(world, a={"memory": "5Gi"}, b={"memory": "5Gi"})
    await world.until(lambda: sorted((world.phase("a"), world.phase("b"))) == ["Failed", "Running"])
    await world.kill()


@bent
async def test_a_new_agent_rejects_nothing_that_was_taken(tmp_path: Path) -> None:
    world = World(tmp_path)
    await world.start()
    await given(world, a={"cpu": "3"}, b={"cpu": "1"})
    await world.until(lambda: world.phase("a") == world.phase("b") == "Running")
    world.config = AgentConfig(NODE, NODE_IP, tmp_path, max_pods=1)
    await world.restart()
    await given(world, c={})
    await world.until(lambda: world.phase("c") == "Failed")
    assert world.status("c").reason == "OutOfpods"
    assert world.phase("a") == world.phase("b") == "Running"
    await world.kill()
