"""What a pod's life looks like from outside of the agent: rows L, S, I, V of the behaviour list, in bent time."""

import asyncio
import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mesh.errors import Conflict
from mesh.model.times import from_timestamp
from mesh.v1.core_pb2 import Pod, SecurityContext
from mesh.v1.node_pb2 import ObserveRequest
from nodeagent.runtime.port import Image, RuntimeFailure
from nodeagent.runtime.seen import State
from tests.harness.agents import World, a_container, a_pod
from tests.harness.bent_time import bent
from tests.harness.fake_runtime import EPOCH, FakeHost, FakeRuntime, Program


class Recorder(FakeRuntime):
    """Notes when containers are started and signalled, in seconds of the loop."""

    async def start(self, container_id: str) -> None:
        seen = self.host.containers.get(container_id)
        await super().start(container_id)
        moments(self.host).append((round(asyncio.get_running_loop().time(), 3), "start", seen.name if seen else ""))

    async def kill(self, container_id: str, signal: str) -> None:
        seen = self.host.containers.get(container_id)
        moments(self.host).append((round(asyncio.get_running_loop().time(), 3), signal, seen.name if seen else ""))
        await super().kill(container_id, signal)


_MOMENTS: dict[int, list[tuple[float, str, str]]] = {}


def moments(host: FakeHost) -> list[tuple[float, str, str]]:
    """What was noted of a host."""
    return _MOMENTS.setdefault(id(host), [])


def world_of(root: Path, programs: dict[str, Any] | None = None, **fields: Any) -> World:
    """A world whose containers do as told."""
    host = FakeHost(programs=programs or {}, **fields)
    _MOMENTS.pop(id(host), None)
    return World(root, host, Recorder)


def starts(world: World, name: str = "main") -> list[float]:
    """When attempts of a container were started."""
    return [at for at, what, who in moments(world.host) if what == "start" and who == name]


def verbs(world: World) -> list[str]:
    """What was asked of the runtime, without the looks."""
    looks = ("pod", "pods", "images", "configure")
    return [call[0] if len(call) < 3 else f"{call[0]} {call[2]}" for call in world.host.calls if call[0] not in looks]


# ---- start


@bent
async def test_a_pod_runs(tmp_path: Path) -> None:
    world = world_of(tmp_path)
    await world.start()
    await world.assign(a_pod("web"))
    await world.until(lambda: world.phase("web") == "Running")
    status = world.status("web")
    assert (status.pod_ip, status.pod_ips[0].ip) == ("10.244.1.2", "10.244.1.2")
    assert (status.host_ip, status.host_ips[0].ip) == ("192.0.2.1", "192.0.2.1")
    assert status.qos_class == "BestEffort"
    assert status.observed_generation == 1
    assert from_timestamp(status.start_time) >= EPOCH * 10**9
    assert [c.type for c in status.conditions if c.status == "True"] == [
        "PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled",
    ]  # fmt: skip
    main = status.container_statuses[0]
    assert (main.ready, main.started, main.restart_count) == (True, True, 0)
    assert main.container_id.startswith("podman://")
    await asyncio.sleep(1)
    assert world.reasons("web") == ["Pulled", "Created", "Started"]
    await world.kill()


@bent
async def test_containers_start_in_the_order_of_the_spec_after_inits_one_by_one(tmp_path: Path) -> None:  # L6, L12
    world = world_of(tmp_path, {"one": Program(exit_after=5), "two": Program(exit_after=7)})
    await world.start()
    apps = (a_container("b"), a_container("a"))
    await world.assign(a_pod("web", containers=apps, init=(a_container("one"), a_container("two"))))
    await world.until(lambda: bool(starts(world, "one")))
    await world.until(lambda: world.phase("web") == "Pending" and bool(world.status("web").init_container_statuses))
    assert world.waiting("web", "a") == "PodInitializing"
    await world.until(lambda: world.phase("web") == "Running" and world.status("web").container_statuses[1].ready)
    order = [who for _, what, who in moments(world.host) if what == "start"]
    assert order == ["one", "two", "b", "a"]
    assert starts(world, "two")[0] - starts(world, "one")[0] >= 5
    assert starts(world, "b")[0] - starts(world, "two")[0] >= 7
    assert all(s.ready and s.state.terminated.exit_code == 0 for s in world.status("web").init_container_statuses)
    await world.kill()


@bent
async def test_one_pod_costs_few_calls_and_one_status(tmp_path: Path) -> None:
    world = world_of(tmp_path)
    await world.start()
    await asyncio.sleep(5)
    before = len(world.host.calls)
    await world.assign(a_pod("web"))
    await world.until(lambda: world.phase("web") == "Running")
    mine = [c[0] for c in world.host.calls[before:] if "uid-web" in c or "example:1" in c]
    assert sorted(mine) == ["create", "image", "make_sandbox", "pod", "start"]
    assert len([s for s in world.statuses if s.uid == "uid-web"]) == 1
    await world.kill()


@bent
async def test_an_idle_agent_looks_at_everything_once_in_60_to_90_seconds(tmp_path: Path) -> None:  # L21
    world = world_of(tmp_path)
    await world.start()
    await world.assign(*(a_pod(f"p{n}") for n in range(20)))
    await asyncio.sleep(100)
    before = len(world.host.calls)
    await asyncio.sleep(3600)
    calls = [c[0] for c in world.host.calls[before:]]
    assert 3600 / 91 - 2 <= calls.count("pods") <= 3600 / 60 + 1
    assert "pod" not in calls
    await world.kill()


# ---- restart


@bent
async def test_back_off_of_a_crash_loop(tmp_path: Path) -> None:  # L2
    world = world_of(tmp_path, {"main": Program(exit_after=1, exit_code=1)})
    await world.start()
    await world.assign(a_pod("web"))
    await world.until(lambda: world.restarts("web") >= 8, 3000)
    at = starts(world)[:9]
    pauses = [round(b - a - 1) for a, b in itertools.pairwise(at)]
    assert pauses == [0, 10, 20, 40, 80, 160, 300, 300]
    await world.until(lambda: world.waiting("web") == "CrashLoopBackOff")
    status = world.status("web")
    main = status.container_statuses[0]
    assert main.state.waiting.message == (
        "back-off 300s restarting failed container=main pod=web_default(uid-web)"
    )  # fmt: skip
    assert (main.last_state.terminated.exit_code, main.last_state.terminated.reason) == (1, "Error")
    assert (status.phase, main.ready) == ("Running", False)
    await asyncio.sleep(1)
    assert world.event("web", "BackOff").count > 1
    assert world.event("web", "Started").count >= 8
    await world.kill()


@bent
async def test_exit_0_backs_off_too_under_always(tmp_path: Path) -> None:  # L2
    world = world_of(tmp_path, {"main": Program(exit_after=1, exit_code=0)})
    await world.start()
    await world.assign(a_pod("web"))
    await world.until(lambda: world.restarts("web") >= 3, 300)
    at = starts(world)
    assert [round(b - a - 1) for a, b in itertools.pairwise(at)] == [0, 10, 20]
    await world.kill()


@bent
async def test_back_off_is_forgotten_after_600_seconds_of_running(tmp_path: Path) -> None:  # L3
    lives = [Program(exit_after=1, exit_code=1)] * 3
    world = world_of(tmp_path, {"main": [*lives, Program(exit_after=599, exit_code=1),
                                         Program(exit_after=601, exit_code=1), Program()]})  # fmt: skip
    await world.start()
    await world.assign(a_pod("web"))
    await world.until(lambda: world.restarts("web") >= 5, 3000)
    at = starts(world)
    assert round(at[4] - at[3] - 599) == 40
    assert round(at[5] - at[4] - 601) == 0
    await world.kill()


@bent
@pytest.mark.parametrize(
    ("policy", "code", "phase"),
    [("Never", 0, "Succeeded"), ("Never", 3, "Failed"), ("OnFailure", 0, "Succeeded"), ("Always", 0, "Running")],
)
async def test_phases_at_the_end(tmp_path: Path, policy: str, code: int, phase: str) -> None:  # L1, S1
    world = world_of(tmp_path, {"main": [Program(exit_after=2, exit_code=code), Program()]})
    await world.start()
    await world.assign(a_pod("job", restart_policy=policy))
    await asyncio.sleep(30)
    assert world.phase("job") == phase
    assert (len(starts(world)) == 2) == (policy == "Always")
    if phase != "Running":
        state = world.status("job").container_statuses[0].state
        assert (state.terminated.exit_code, state.terminated.reason) == (code, "Completed" if code == 0 else "Error")
    await world.kill()


@bent
async def test_a_pod_that_is_over_gives_back_everything_but_its_logs(tmp_path: Path) -> None:  # S1, I6
    host_logs = tmp_path / "log" / "pods"
    world = world_of(tmp_path, {"main": Program(exit_after=2, output=["said"])}, log_dir=host_logs)
    await world.start()
    await world.assign(a_pod("job", restart_policy="Never"))
    await world.until(lambda: world.phase("job") == "Succeeded")
    await asyncio.sleep(1)
    assert not world.host.containers
    assert not world.host.sandboxes
    assert (host_logs / "default_job_uid-job" / "main" / "0.log").read_text().endswith("said\n")
    conditions = {c.type: (c.status, c.reason) for c in world.status("job").conditions}
    assert conditions["Ready"] == ("False", "PodCompleted")
    assert conditions["Initialized"] == ("True", "PodCompleted")
    await world.restart()
    await asyncio.sleep(100)
    assert world.phase("job") == "Succeeded"
    assert len(starts(world)) == 1
    await world.delete("job")
    await world.until(lambda: world.gone("job"))
    assert not host_logs.exists() or not list(host_logs.iterdir())
    assert not list((tmp_path / "agent" / "pods").iterdir())
    await world.kill()


@bent
async def test_a_failing_init_container(tmp_path: Path) -> None:  # L12
    world = world_of(tmp_path, {"i": Program(exit_after=1, exit_code=4)})
    await world.start()
    await world.assign(
        a_pod("again", init=(a_container("i"),)), a_pod("never", init=(a_container("i"),), restart_policy="Never")
    )
    await world.until(lambda: world.phase("never") == "Failed")
    await world.until(lambda: world.waiting("again", "i") == "CrashLoopBackOff")
    assert world.phase("again") == "Pending"
    initialized = next(c for c in world.status("again").conditions if c.type == "Initialized")
    assert (initialized.reason, initialized.message) == (
        "ContainersNotInitialized", "containers with incomplete status: [i]",
    )  # fmt: skip
    assert starts(world, "main") == []
    await world.kill()


@bent
async def test_out_of_memory_is_named(tmp_path: Path) -> None:  # S5
    world = world_of(tmp_path, {"main": Program(exit_after=1, exit_code=137, oom=True)})
    await world.start()
    await world.assign(a_pod("web", restart_policy="Never"))
    await world.until(lambda: world.phase("web") == "Failed")
    terminated = world.status("web").container_statuses[0].state.terminated
    assert (terminated.reason, terminated.exit_code) == ("OOMKilled", 137)
    await world.kill()


@bent
async def test_a_lost_container_is_removed_and_replaced(tmp_path: Path) -> None:  # S5
    world = world_of(tmp_path)
    runtime = (await world.start()) and world.runtime
    await world.assign(a_pod("web"))
    await world.until(lambda: world.phase("web") == "Running")
    assert isinstance(runtime, FakeRuntime)
    lost = runtime.find("uid-web", "main")
    runtime.lose(lost.id)
    await world.until(lambda: world.restarts("web") == 1)
    assert lost.id not in world.host.containers
    last = world.status("web").container_statuses[0].last_state.terminated
    assert (last.reason, last.exit_code) == ("ContainerStatusUnknown", 137)
    await world.kill()


@bent
async def test_only_the_last_dead_container_is_kept(tmp_path: Path) -> None:  # I6
    lives = [Program(exit_after=1, exit_code=1)] * 4
    world = world_of(tmp_path, {"main": [*lives, Program()]}, log_dir=tmp_path / "log" / "pods")
    await world.start()
    await world.assign(a_pod("web"))
    await world.until(lambda: world.restarts("web") == 4, 200)
    await asyncio.sleep(1)
    assert sorted(c.attempt for c in world.host.containers.values()) == [3, 4]
    logs = tmp_path / "log" / "pods" / "default_web_uid-web" / "main"
    assert sorted(p.name for p in logs.iterdir()) == ["3.log", "4.log"]
    await world.kill()


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


# ---- stop


@bent
async def test_a_deletion_terms_all_at_once_and_kills_at_expiry(tmp_path: Path) -> None:  # L9, L10, L11
    world = world_of(tmp_path, {"deaf": Program(on_term=None), "good": Program(on_term=0)})
    await world.start()
    await world.assign(a_pod("web", containers=(a_container("deaf"), a_container("good"))))
    await world.until(lambda: world.phase("web") == "Running")
    await asyncio.sleep(100)
    began = asyncio.get_running_loop().time()
    await world.delete("web", grace=7)
    await world.until(lambda: world.gone("web"))
    stops = [(round(at - began), what, who) for at, what, who in moments(world.host) if what != "start"]
    assert stops == [(0, "TERM", "deaf"), (0, "TERM", "good"), (7, "KILL", "deaf")]
    codes = [s.state.terminated.exit_code for s in world.status("web").container_statuses]
    assert (codes, world.phase("web")) == ([137, 0], "Failed")
    assert not world.host.containers
    assert not world.host.sandboxes
    assert not list((tmp_path / "agent" / "pods").iterdir())
    assert [r for r in world.reasons("web") if r == "Killing"] == ["Killing", "Killing"]
    await world.kill()


@bent
@pytest.mark.parametrize(("grace", "waits"), [(0, 2), (1, 2), (2, 2), (3, 3)])
async def test_term_always_has_two_seconds(tmp_path: Path, grace: int, waits: int) -> None:  # L9
    world = world_of(tmp_path, {"main": Program(on_term=None)})
    await world.start()
    await world.assign(a_pod("web"))
    await world.until(lambda: world.phase("web") == "Running")
    await world.delete("web", grace=grace)
    await world.until(lambda: world.gone("web"))
    (term, _, _), (killed, _, _) = [m for m in moments(world.host) if m[1] != "start"]
    assert round(killed - term) == waits
    await world.kill()


@bent
async def test_grace_only_shrinks(tmp_path: Path) -> None:  # L9
    world = world_of(tmp_path, {"main": Program(on_term=None)})
    await world.start()
    await world.assign(a_pod("web"))
    await world.until(lambda: world.phase("web") == "Running")
    await world.delete("web", grace=60)
    began = asyncio.get_running_loop().time()
    await asyncio.sleep(10)
    await world.delete("web", grace=5)
    await asyncio.sleep(1)
    await world.delete("web", grace=50)
    await world.until(lambda: world.gone("web"))
    stops = [(round(at - began), what) for at, what, _ in moments(world.host) if what != "start"]
    assert stops == [(0, "TERM"), (15, "KILL")]
    await world.kill()


@bent
async def test_a_pod_no_longer_assigned_is_stopped_with_its_grace_and_removed(tmp_path: Path) -> None:
    world = world_of(tmp_path, {"main": Program(on_term=None)})
    await world.start()
    await world.assign(a_pod("web", termination_grace_period_seconds=4))
    await world.until(lambda: world.phase("web") == "Running")
    await world.remove("web")
    await world.until(lambda: world.gone("web"))
    (term, _, _), (killed, _, _) = [m for m in moments(world.host) if m[1] != "start"]
    assert round(killed - term) == 4
    assert not world.host.containers
    await world.kill()


@bent
async def test_the_images_stop_signal_is_used(tmp_path: Path) -> None:  # L10
    world = world_of(tmp_path)
    world.host.add_image("example:1", stop_signal="SIGINT")
    await world.start()
    await world.assign(a_pod("web"))
    await world.until(lambda: world.phase("web") == "Running")
    await world.delete("web", grace=2)
    await world.until(lambda: world.gone("web"))
    assert [what for _, what, _ in moments(world.host) if what != "start"] == ["INT", "KILL"]
    await world.kill()


@bent
async def test_a_new_image_restarts_only_its_container(tmp_path: Path) -> None:  # L5
    world = world_of(tmp_path)
    await world.start()
    pod = a_pod("web", containers=(a_container("a"), a_container("b")), restart_policy="Never")
    await world.assign(pod)
    await world.until(lambda: sum(s.ready for s in world.status("web").container_statuses) == 2)
    changed = Pod()
    changed.CopyFrom(pod)
    changed.spec.containers[0].image = "example:2"
    changed.metadata.generation = 2
    await world.assign(changed)
    await world.until(lambda: world.restarts("web", "a") == 1 and world.status("web").container_statuses[0].ready)
    assert world.status("web").container_statuses[0].image == "example:2"
    assert world.restarts("web", "b") == 0
    assert len(starts(world, "b")) == 1
    await asyncio.sleep(1)
    assert "definition changed" in world.event("web", "Killing").message
    await world.kill()


@bent
async def test_active_deadline(tmp_path: Path) -> None:  # L15
    world = world_of(tmp_path)
    await world.start()
    await world.assign(a_pod("job", active_deadline_seconds=20, termination_grace_period_seconds=3))
    await world.until(lambda: world.phase("job") == "Failed")
    assert round(asyncio.get_running_loop().time()) == 20
    assert (world.status("job").reason, world.status("job").container_statuses[0].state.terminated.exit_code) == (
        "DeadlineExceeded", 143,
    )  # fmt: skip
    await world.restart()
    await asyncio.sleep(10)
    assert (world.phase("job"), world.status("job").reason) == ("Failed", "DeadlineExceeded")
    assert len(starts(world)) == 1
    await world.kill()


# ---- the host and the agent


@bent
async def test_a_restarted_agent_adopts_and_says_the_same(tmp_path: Path) -> None:  # L17, L18, P21
    world = world_of(tmp_path, {"main": [Program(exit_after=3, exit_code=1), Program()]})
    await world.start()
    await world.assign(a_pod("web"))
    await world.until(lambda: world.restarts("web") == 1 and world.status("web").container_statuses[0].ready)
    await asyncio.sleep(50)
    before = world.status("web").SerializeToString(deterministic=True)
    calls = len(verbs(world))
    await world.restart()
    await asyncio.sleep(100)
    assert world.status("web").SerializeToString(deterministic=True) == before
    assert verbs(world)[calls:] == []
    assert {s.status.SerializeToString(deterministic=True) for s in world.statuses[-1:]} == {before}
    await world.kill()


@bent
async def test_a_restarted_agent_goes_on_without_meshd(tmp_path: Path) -> None:
    world = world_of(tmp_path, {"main": [Program(exit_after=30, exit_code=1), Program()]})
    await world.start()
    await world.assign(a_pod("web"))
    await world.until(lambda: world.phase("web") == "Running")
    await world.restart(assign=False)
    await world.until(lambda: world.restarts("web") == 1)
    assert world.agent is not None
    assert (await world.agent.observe(ObserveRequest())).run_digest == ""
    await world.kill()


@bent
async def test_nothing_is_removed_before_the_first_assignment(tmp_path: Path) -> None:
    world = world_of(tmp_path)
    await world.start()
    await world.assign(a_pod("kept"), a_pod("left"))
    await world.until(lambda: world.phase("left") == "Running" and world.phase("kept") == "Running")
    (tmp_path / "agent" / "checkpoint").unlink()
    await world.kill()
    del world.pods["uid-left"]
    await world.start()
    await asyncio.sleep(300)
    assert len(world.host.containers) == 2
    assert [m for m in moments(world.host) if m[1] != "start"] == []
    await world.assign()
    await asyncio.sleep(60)
    assert [c.pod_uid for c in world.host.containers.values()] == ["uid-kept"]
    assert list(world.host.sandboxes) == ["uid-kept"]
    assert [p.name for p in (tmp_path / "agent" / "pods").iterdir()] == ["uid-kept"]
    assert len(starts(world)) == 2
    await world.kill()


@bent
async def test_an_older_order_is_refused_also_after_a_restart(tmp_path: Path) -> None:
    world = world_of(tmp_path)
    await world.start()
    await world.assign(a_pod("web"))
    await world.until(lambda: world.phase("web") == "Running")
    world.revision = 50
    await world.assign()
    await asyncio.sleep(1)
    await world.restart(assign=False)
    world.revision = 10
    with pytest.raises(Conflict, match="older"):
        await world.assign()
    await world.kill()


@bent
async def test_a_runtime_that_is_away_flips_nothing(tmp_path: Path) -> None:
    world = world_of(tmp_path, {"short": Program(exit_after=100, exit_code=1)})
    await world.start()
    await world.assign(a_pod("web"), a_pod("flaky", containers=(a_container("short"),)))
    await world.until(lambda: world.phase("web") == "Running" and world.phase("flaky") == "Running")
    told = len(world.statuses)
    assert world.runtime is not None
    world.runtime.set_away(True)
    await world.assign(a_pod("new"))
    await asyncio.sleep(25)
    assert ready(world) == "True"
    await asyncio.sleep(25)
    assert ready(world) == "False"
    assert {s.name for s in world.statuses[told:]} <= {"new"}
    await asyncio.sleep(100)
    world.runtime.set_away(False)
    await world.until(lambda: world.phase("new") == "Running", 2)
    await world.until(lambda: world.restarts("flaky", "short") == 1)
    await asyncio.sleep(1)
    assert ready(world) == "True"
    assert len(starts(world)) == 2
    assert world.restarts("web") == 0
    await world.kill()


def ready(world: World) -> str:
    """The node's condition."""
    return next(c.status for c in world.report.report.status.conditions if c.type == "Ready")


@bent
async def test_a_reboot_makes_the_pods_anew(tmp_path: Path) -> None:  # L12, L17, S8
    world = world_of(tmp_path, {"i": Program(exit_after=1), "done": Program(exit_after=1)})
    await world.start()
    await world.assign(
        a_pod("web", init=(a_container("i"),)),
        a_pod("never", restart_policy="Never"),
        a_pod("job", restart_policy="OnFailure", containers=(a_container("done"), a_container("other"))),
    )
    await world.until(lambda: all(world.phase(n) == "Running" for n in ("web", "never", "job")))
    await asyncio.sleep(60)
    await world.kill()
    world.host.containers.clear()
    world.host.sandboxes.clear()
    await world.start()
    await world.assign()
    await world.until(lambda: world.restarts("web") == 1 and world.status("web").container_statuses[0].ready)
    assert len(starts(world, "i")) == 2
    await world.until(lambda: world.phase("never") == "Failed")
    await world.until(lambda: world.restarts("job", "other") == 1)
    assert len(starts(world, "done")) == 1
    await asyncio.sleep(1)
    assert "SandboxChanged" in world.reasons("web")
    await world.kill()


@bent
async def test_a_lost_sandbox_is_made_anew_with_its_pod(tmp_path: Path) -> None:
    world = world_of(tmp_path)
    await world.start()
    await world.assign(a_pod("web"))
    await world.until(lambda: world.phase("web") == "Running")
    del world.host.sandboxes["uid-web"]
    assert world.runtime is not None
    world.runtime._tell("uid-web")
    await world.until(lambda: world.restarts("web") == 1 and world.status("web").container_statuses[0].ready)
    assert len(world.host.containers) == 1
    await world.kill()
