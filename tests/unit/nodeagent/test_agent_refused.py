"""What does not start, and images that do not come: rows S, V, I, in bent time."""

import asyncio
import itertools
from dataclasses import replace
from pathlib import Path

from mesh.v1.core_pb2 import SecurityContext
from nodeagent.runtime.port import Image, Progress, RuntimeFailure
from nodeagent.runtime.seen import State
from tests.harness.agents import a_container, a_pod
from tests.harness.bent_time import bent
from tests.harness.fake_runtime import Program
from tests.harness.recorder import world_of

# ---- what does not start


@bent
async def test_a_command_that_cant_start(tmp_path: Path) -> None:  # S4
    failure = RuntimeFailure("RunContainerError", 'exec: "nope": not found in $PATH')
    world = world_of(tmp_path, {"main": Program(start_failure=failure)})
    await world.start()
    await world.assign(a_pod("web"), a_pod("once", restart_policy="Never"))
    await world.until(lambda: world.waiting("web") == "CrashLoopBackOff")
    main = world.status("web").container_statuses[0]
    assert '"nope"' in main.state.waiting.message
    assert (main.last_state.terminated.reason, main.last_state.terminated.exit_code) == ("StartError", 128)
    assert '"nope"' in main.last_state.terminated.message
    assert main.restart_count == 1
    await world.until(lambda: world.phase("once") == "Failed")
    await asyncio.sleep(1)
    assert '"nope"' in world.event("web", "Failed").message
    assert [c for c in world.host.containers.values() if c.state is State.CREATED] == []
    await world.kill()


@bent
async def test_a_container_that_cant_be_created_is_tried_again_every_10_seconds(tmp_path: Path) -> None:  # S4, L21
    failure = RuntimeFailure("CreateContainerError", "no such user: nobodyhome")
    world = world_of(tmp_path, {"main": Program(create_failure=failure)})
    await world.start()
    await world.assign(a_pod("web"))
    await world.until(lambda: world.waiting("web") == "CreateContainerError")
    assert "nobodyhome" in world.status("web").container_statuses[0].state.waiting.message
    assert world.phase("web") == "Pending"
    await asyncio.sleep(35)
    assert len([c for c in world.host.calls if c[0] == "create"]) == 4
    world.host.programs["main"] = Program()
    await world.until(lambda: world.phase("web") == "Running")
    assert world.restarts("web") == 0
    await world.kill()


@bent
async def test_what_a_manifest_asks_in_vain_is_a_config_error(tmp_path: Path) -> None:  # S4, E11
    world = world_of(tmp_path)
    await world.start()
    await world.assign(a_pod("web", containers=(a_container(security_context=SecurityContext(run_as_non_root=True)),)))
    await world.until(lambda: world.waiting("web") == "CreateContainerConfigError")
    await world.kill()


@bent
async def test_a_missing_host_path_waits_and_says_so(tmp_path: Path) -> None:  # V13, V16, S8
    missing = tmp_path / "missing"
    pod = a_pod("web")
    pod.spec.volumes.add(name="data").host_path.path = str(missing)
    pod.spec.containers[0].volume_mounts.add(name="data", mount_path="/data")
    world = world_of(tmp_path)
    await world.start()
    await world.assign(pod)
    await world.until(lambda: world.waiting("web") == "ContainerCreating")
    await asyncio.sleep(1)
    assert str(missing) in world.event("web", "FailedMount").message
    missing.mkdir()
    await world.until(lambda: world.phase("web") == "Running", 11)
    mounts = world.host.specs[next(iter(world.host.containers))].mounts
    assert [m.source for m in mounts if m.destination == "/data"] == [str(missing)]
    await world.kill()


@bent
async def test_a_sandbox_that_cant_be_made(tmp_path: Path) -> None:  # S8
    world = world_of(tmp_path)
    world.host.sandbox_failure = RuntimeFailure("FailedCreatePodSandBox", "the range is full")
    await world.start()
    await world.assign(a_pod("web"))
    await world.until(lambda: world.waiting("web") == "ContainerCreating")
    await asyncio.sleep(1)
    assert "the range is full" in world.event("web", "FailedCreatePodSandBox").message
    world.host.sandbox_failure = None
    await world.until(lambda: world.phase("web") == "Running", 11)
    await world.kill()


# ---- images


@bent
async def test_back_off_of_pulls(tmp_path: Path) -> None:  # I2, S4
    world = world_of(tmp_path, any_image=False)
    world.host.registry["example:1"] = RuntimeFailure("ErrImagePull", "connection refused")
    await world.start()
    await world.assign(a_pod("web"))
    await world.until(lambda: world.waiting("web") == "ErrImagePull")
    assert world.status("web").container_statuses[0].state.waiting.message == "connection refused"
    await world.until(lambda: world.waiting("web") == "ImagePullBackOff")
    words = world.status("web").container_statuses[0].state.waiting.message
    assert words == 'Back-off pulling image "example:1": connection refused'
    at, calls = [], 0
    while len(at) < 7:
        await asyncio.sleep(1)
        pulls = len([c for c in world.host.calls if c[0] == "pull"])
        at += [round(asyncio.get_running_loop().time())] * (pulls - calls)
        calls = pulls
    assert [b - a for a, b in itertools.pairwise(at[1:])] == [20, 40, 80, 160, 300]
    world.host.registry["example:1"] = Image("sha256:1", ("example:1",), 10)
    await world.until(lambda: world.phase("web") == "Running", 301)
    assert {"Pulling", "Failed", "BackOff", "Pulled"} <= set(world.reasons("web"))
    await world.kill()


@bent
async def test_a_registry_that_is_away_and_comes_back(tmp_path: Path) -> None:  # I2, S4
    world = world_of(tmp_path, any_image=False)
    world.host.registry["example:1"] = RuntimeFailure("RegistryUnavailable", "connection refused")
    await world.start()
    await world.assign(a_pod("web"))
    await world.until(lambda: world.waiting("web") == "RegistryUnavailable")
    await world.until(lambda: world.waiting("web") == "ImagePullBackOff")
    world.host.registry["example:1"] = Image("sha256:1", ("example:1",), 10)
    begun = asyncio.get_running_loop().time()
    await world.until(lambda: world.phase("web") == "Running", 31)
    assert asyncio.get_running_loop().time() - begun < 11
    await world.kill()


@bent
async def test_so_many_pulls_at_once_and_the_event_says_how_long(tmp_path: Path) -> None:  # I3, S8
    world = world_of(tmp_path, any_image=False, pull_seconds=2)
    world.config = replace(world.config, max_parallel_pulls=2)
    for n in range(3):
        world.host.registry[f"example:{n}"] = Image(f"sha256:{n}", (f"example:{n}",), 10)
    await world.start()
    await world.assign(*(a_pod(f"p{n}", containers=(a_container(image=f"example:{n}"),)) for n in range(3)))
    await world.until(lambda: world.phase("p0") == world.phase("p1") == "Running", 5)
    assert world.phase("p2") == "Pending"
    await world.until(lambda: world.phase("p2") == "Running", 5)
    words = next(e.message for e in world.events.values() if "example:2" in e.message and e.reason == "Pulled")
    assert words == 'Successfully pulled image "example:2" in 2s (4s including waiting). Image size: 10 bytes.'
    await world.kill()


@bent
async def test_a_long_pull_tells_how_far_it_is_in_one_event(tmp_path: Path) -> None:  # I3, S8
    steps = [Progress(n * 100_000, 2_400_000, 2, n // 20) for n in range(1, 25)]  # one every half second
    world = world_of(tmp_path, any_image=False, pull_seconds=12, pull_progress=steps)
    world.host.registry["example:1"] = Image("sha256:1", ("example:1",), 10)
    await world.start()
    await world.assign(a_pod("web"), a_pod("late"))
    heard: dict[str, list[str]] = {"web": [], "late": []}

    def running() -> bool:
        for name, words in heard.items():
            mine = [
                e.message for e in world.events.values() if e.reason == "Pulling" and e.involved_object.name == name
            ]
            assert len(mine) <= 1
            words += [m for m in mine if m not in words]
        return world.phase("web") == world.phase("late") == "Running"

    await world.until(running, 20)
    for words in heard.values():
        assert words == [
            'Pulling image "example:1"',
            'Pulling image "example:1": 1.0 of 2.4 MB have come (2 layers begun, 0 complete)',
            'Pulling image "example:1": 2.0 of 2.4 MB have come (2 layers begun, 1 complete)',
        ]
    assert world.event("web", "Pulling").count == 3
    assert len([c for c in world.host.calls if c[0] == "pull"]) == 1
    await world.kill()


@bent
async def test_policy_never_does_not_pull(tmp_path: Path) -> None:  # I1, S4
    world = world_of(tmp_path, any_image=False)
    await world.start()
    await world.assign(a_pod("web", containers=(a_container(image_pull_policy="Never"),)))
    await world.until(lambda: world.waiting("web") == "ErrImageNeverPull")
    assert not [c for c in world.host.calls if c[0] == "pull"]
    world.host.add_image("example:1")
    await world.until(lambda: world.phase("web") == "Running", 11)
    await world.kill()


@bent
async def test_policy_always_pulls_what_is_there(tmp_path: Path) -> None:  # I1
    world = world_of(tmp_path)
    world.host.add_image("example:1")
    world.host.registry["example:1"] = Image("sha256:new", ("example:1",), 10)
    await world.start()
    await world.assign(a_pod("web", containers=(a_container(image_pull_policy="Always"),)))
    await world.until(lambda: world.phase("web") == "Running")
    assert world.status("web").container_statuses[0].image_id == "sha256:new"
    await world.kill()


@bent
async def test_one_pull_serves_all_and_a_deletion_does_not_wait_for_it(tmp_path: Path) -> None:  # I3
    world = world_of(tmp_path, any_image=False, pull_seconds=100)
    world.host.registry["example:1"] = Image("sha256:1", ("example:1",), 10)
    await world.start()
    await world.assign(*(a_pod(f"p{n}") for n in range(5)))
    await world.until(lambda: world.waiting("p0") == "ContainerCreating")
    await world.delete("p4")
    await world.until(lambda: world.gone("p4"), 5)
    await world.until(lambda: all(world.phase(f"p{n}") == "Running" for n in range(4)), 200)
    assert len([c for c in world.host.calls if c[0] == "pull"]) == 1
    await world.kill()
