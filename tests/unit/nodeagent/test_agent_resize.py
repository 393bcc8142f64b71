"""Resizing in place (L20): who is granted what, when cgroups follow, when a restart is needed, what is told of it."""

from pathlib import Path

from mesh.v1.core_pb2 import ContainerStatus, Pod, PodCondition, ResourceRequirements
from nodeagent.runtime.port import Limits
from tests.harness.agents import World, a_container, a_pod
from tests.harness.bent_time import bent
from tests.harness.fake_runtime import FakeHost


def sized(name: str, cpu: str, memory: str = "64Mi", *, policy: dict[str, str] | None = None) -> Pod:
    """A Guaranteed pod; `policy` is restartPolicy by resource."""
    container = a_container(resources=ResourceRequirements(requests={"cpu": cpu, "memory": memory},
                                                           limits={"cpu": cpu, "memory": memory}))  # fmt: skip
    for resource, what in (policy or {}).items():
        container.resize_policy.add(resource_name=resource, restart_policy=what)
    return a_pod(name, containers=(container,))


def condition(world: World, name: str, kind: str) -> PodCondition | None:
    return next((c for c in world.status(name).conditions if c.type == kind), None)


def container(world: World, name: str) -> ContainerStatus:
    return world.status(name).container_statuses[0]


def in_force(world: World, name: str) -> tuple[str, str]:
    resources = container(world, name).resources
    return resources.limits["cpu"], resources.limits["memory"]


def limits(world: World, name: str) -> Limits:
    """Of the container that runs."""
    assert world.runtime
    return world.host.specs[world.runtime.find(f"uid-{name}", "main").id].limits


def resized(world: World) -> int:
    return len([c for c in world.host.calls if c[0] == "resize"])


async def running(world: World, *pods: Pod) -> None:
    await world.start()
    await world.assign(*pods)
    await world.until(lambda: all(world.phase(p.metadata.name) == "Running" for p in pods))


@bent
async def test_a_pod_grows_and_shrinks_without_a_restart(tmp_path: Path) -> None:
    world = World(tmp_path)
    await running(world, sized("web", "500m"))
    assert in_force(world, "web") == ("500m", "64Mi")
    for cpu, memory, quota, size in (("2", "128Mi", 200_000, 128), ("250m", "32Mi", 25_000, 32)):
        await world.assign(sized("web", cpu, memory))
        await world.until(lambda cpu=cpu, memory=memory: in_force(world, "web") == (cpu, memory))  # type: ignore[misc]
        assert (limits(world, "web").cpu_quota, limits(world, "web").memory) == (quota, size << 20)
        assert dict(container(world, "web").allocated_resources) == {"cpu": cpu, "memory": memory}
        assert condition(world, "web", "PodResizeInProgress") is None
    assert world.restarts("web") == 0
    assert world.event("web", "ResizeCompleted").message.endswith("cpu 250m of 250m, memory 32Mi of 32Mi")
    await world.kill()


@bent
async def test_only_what_its_policy_says_restarts_a_container(tmp_path: Path) -> None:
    world = World(tmp_path)
    await running(world, sized("web", "1", policy={"memory": "RestartContainer"}))
    picky = {"cpu": "NotRequired", "memory": "RestartContainer"}
    await world.assign(sized("web", "2", policy=picky))
    await world.until(lambda: in_force(world, "web")[0] == "2")
    assert world.restarts("web") == 0
    await world.assign(sized("web", "2", "96Mi", policy=picky))
    await world.until(lambda: world.restarts("web") == 1 and container(world, "web").ready)
    assert limits(world, "web").memory == 96 << 20
    assert in_force(world, "web") == ("2", "96Mi")
    assert "resize requires restart" in world.event("web", "Killing").message
    await world.kill()


@bent
async def test_what_the_host_can_never_give_is_infeasible(tmp_path: Path) -> None:
    world = World(tmp_path)
    await running(world, sized("web", "1"))
    await world.assign(sized("web", "9"))
    await world.until(lambda: condition(world, "web", "PodResizePending") is not None)
    found = condition(world, "web", "PodResizePending")
    assert found is not None
    assert (found.status, found.reason) == ("True", "Infeasible")
    assert found.message == "Node didn't have enough capacity: cpu, requested: 9000, capacity: 4000"
    assert in_force(world, "web")[0] == "1"
    assert resized(world) == 0
    await world.assign(sized("web", "1"))  # thought better of it
    await world.until(lambda: condition(world, "web", "PodResizePending") is None)
    await world.kill()


@bent
async def test_what_the_host_has_no_room_for_now_comes_when_there_is_room(tmp_path: Path) -> None:
    world = World(tmp_path)
    await running(world, sized("web", "1"), sized("big", "2500m"))
    await world.assign(sized("web", "2"))
    await world.until(lambda: condition(world, "web", "PodResizePending") is not None)
    found = condition(world, "web", "PodResizePending")
    assert found is not None
    assert found.reason == "Deferred"
    assert found.message == "Node didn't have enough resource: cpu, requested: 2000, used: 2500, capacity: 4000"
    assert "ResizeDeferred" in world.reasons("web")
    await world.assign(sized("more", "600m"))  # what is granted counts, not what is wanted: 1 + 2.5 + 0.6 > 4
    await world.until(lambda: world.phase("more") == "Failed")
    await world.assign(sized("less", "500m"))
    await world.until(lambda: world.phase("less") == "Running")
    await world.remove("big")
    await world.until(lambda: in_force(world, "web")[0] == "2")
    assert condition(world, "web", "PodResizePending") is None
    assert world.restarts("web") == 0
    await world.kill()


@bent
async def test_memory_in_use_is_not_taken_away(tmp_path: Path) -> None:
    world = World(tmp_path, FakeHost(memory_in_use=50 << 20))
    await running(world, sized("web", "1", "64Mi"))
    await world.assign(sized("web", "1", "32Mi"))
    await world.until(lambda: "ResizeError" in world.reasons("web"))
    found = condition(world, "web", "PodResizeInProgress")
    assert found is not None
    assert (found.status, found.reason) == ("True", "Error")
    assert "below what is in use" in found.message
    assert in_force(world, "web") == ("1", "64Mi")
    assert dict(container(world, "web").allocated_resources)["memory"] == "32Mi"
    world.host.memory_in_use = 0
    await world.until(lambda: in_force(world, "web") == ("1", "32Mi"))
    assert world.restarts("web") == 0
    await world.kill()


@bent
async def test_a_resize_goes_on_after_its_agent_died(tmp_path: Path) -> None:
    world = World(tmp_path, FakeHost(memory_in_use=50 << 20))
    await running(world, sized("web", "1", "64Mi"))
    await world.assign(sized("web", "1", "32Mi"))
    await world.until(lambda: "ResizeError" in world.reasons("web"))
    await world.kill()
    world.host.memory_in_use = 0
    await world.start()
    await world.assign()
    await world.until(lambda: in_force(world, "web") == ("1", "32Mi"))
    assert limits(world, "web").memory == 32 << 20
    count = resized(world)
    await world.kill()
    await world.start()
    await world.assign(sized("web", "2", "32Mi"))  # changed while no agent was there
    await world.until(lambda: in_force(world, "web") == ("2", "32Mi"))
    assert resized(world) == count + 1
    assert world.restarts("web") == 0
    await world.kill()


@bent
async def test_what_is_created_after_a_resize_is_made_for_it(tmp_path: Path) -> None:
    world = World(tmp_path)
    await running(world, sized("web", "1"))
    await world.assign(sized("web", "2"))
    await world.until(lambda: in_force(world, "web")[0] == "2")
    assert world.runtime
    world.runtime.exit(world.runtime.find("uid-web", "main").id, 1)
    await world.until(lambda: world.restarts("web") == 1 and container(world, "web").ready)
    assert limits(world, "web").cpu_quota == 200_000
    await world.kill()
