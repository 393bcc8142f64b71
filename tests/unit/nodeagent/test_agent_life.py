"""How pods of an agent start, end and start again: rows L, S, I, in bent time."""

import asyncio
import itertools
from dataclasses import replace
from pathlib import Path

import pytest

from mesh.model.times import from_timestamp
from tests.harness.agents import a_container, a_pod
from tests.harness.bent_time import bent
from tests.harness.fake_runtime import EPOCH, FakeRuntime, Program
from tests.harness.recorder import moments, starts, world_of

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
async def test_a_pod_can_ask_for_a_shorter_back_off(tmp_path: Path) -> None:  # L4
    world = world_of(tmp_path, {"main": Program(exit_after=1, exit_code=1)})
    await world.start()
    pod = a_pod("web")
    pod.metadata.annotations.update(
        {"mesh/crash-loop-initial-seconds": "2", "mesh/crash-loop-max-seconds": "5"}
    )  # fmt: skip
    await world.assign(pod)
    await world.until(lambda: world.restarts("web") >= 5, 300)
    assert [round(b - a - 1) for a, b in itertools.pairwise(starts(world)[:6])] == [0, 2, 4, 5, 5]
    await world.kill()


@bent
async def test_a_host_can_keep_back_off_short(tmp_path: Path) -> None:  # L4
    world = world_of(tmp_path, {"main": Program(exit_after=1, exit_code=1)})
    world.config = replace(world.config, crash_loop_max_seconds=15)
    await world.start()
    await world.assign(a_pod("web"))
    await world.until(lambda: world.restarts("web") >= 4, 300)
    assert [round(b - a - 1) for a, b in itertools.pairwise(starts(world)[:5])] == [0, 10, 15, 15]
    await world.kill()


@bent
async def test_each_container_has_its_own_restart_policy(tmp_path: Path) -> None:  # L1, S1
    once, again, code = a_container("once"), a_container("again"), a_container("code")
    once.restart_policy = code.restart_policy = "Never"
    again.restart_policy = "Always"
    rule = code.restart_policy_rules.add(action="Restart")
    rule.exit_codes.operator = "In"
    rule.exit_codes.values.append(7)
    programs = {"once": Program(exit_after=1, exit_code=1), "again": Program(exit_after=1),
                "code": [Program(exit_after=1, exit_code=7), Program(exit_after=1, exit_code=0)]}  # fmt: skip
    world = world_of(tmp_path, programs)
    await world.start()
    mixed = a_pod("mixed", containers=(once, again, code), restart_policy="OnFailure")
    await world.assign(mixed, a_pod("over", containers=(once, code), restart_policy="Always"))
    await asyncio.sleep(60)
    counts = {s.name: s.restart_count for s in world.status("mixed").container_statuses}
    assert (counts["once"], counts["code"]) == (0, 1)
    assert counts["again"] > 1
    assert world.phase("mixed") == "Running"
    assert world.phase("over") == "Failed"
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
