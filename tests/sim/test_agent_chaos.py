"""Agents that die at any step, a runtime that comes and goes, containers that end by themselves: what must hold always.

The invariants are checked at every call of the runtime and at every report, not only at rest: convergence heals, and
so hides. Then the end must be that of the same story without misfortune.
"""

import asyncio
import random
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mesh.v1.core_pb2 import ExecAction, Lifecycle, Pod, Probe
from nodeagent.runtime.port import RuntimeFailure
from nodeagent.runtime.seen import State
from tests.harness import bent_time
from tests.harness.agents import World, a_container, a_pod
from tests.harness.fake_runtime import FakeHost, Program
from tests.harness.watched import Watch, WatchedWorld

SEEDS = 200
LONG = 900.0  # bent seconds: every back-off is over by then


@dataclass
class Story:
    """A random plot: pods, what their containers do, and what is ordered when."""

    pods: list[Pod]
    programs: dict[str, Program | list[Program]]
    orders: list[tuple[float, str, str, int]]  # when, "assign" "delete" "remove", pod, grace


def _extras(rng: random.Random) -> dict[str, Any]:
    """Probes that are content, and hooks that take a while: they must change nothing about the end."""
    extras: dict[str, Any] = {}
    for name in ("startup_probe", "readiness_probe", "liveness_probe"):
        if rng.random() < 0.3:
            extras[name] = Probe(exec=ExecAction(command=[name]), period_seconds=rng.randint(1, 20))
    if rng.random() < 0.3:
        lifecycle = extras["lifecycle"] = Lifecycle()
        for hook in (lifecycle.post_start, lifecycle.pre_stop):
            if rng.random() < 0.7:
                hook.exec.command.append("hook")
    return extras


def story(rng: random.Random) -> Story:
    """Every container ends up either ended for good or running for ever, so that the end does not depend on timing."""
    pods, programs, orders = [], {}, []
    for number in range(rng.randint(1, 5)):
        name, policy = f"p{number}", rng.choice(["Always", "OnFailure", "Never"])
        apps = [f"c{i}" for i in range(rng.randint(1, 3))]
        inits = [f"i{i}" for i in range(rng.randint(0, 2))]
        for container in apps:
            programs[f"{name}/{container}"] = _lives(rng, policy)
        beside = [a_container("side", restart_policy="Always")] if rng.random() < 0.3 else []
        programs[f"{name}/side"] = Program(start_seconds=0.02, on_term=rng.choice([0, 143, None]))
        for container in inits:
            fails = rng.randint(0, 2) if policy != "Never" else int(rng.random() < 0.2)
            lives = [Program(exit_after=rng.uniform(0, 3), exit_code=1) for _ in range(fails)]
            programs[f"{name}/{container}"] = [*lives, Program(exit_after=rng.uniform(0, 3))]
        pods.append(
            a_pod(
                name, containers=tuple(a_container(c, **_extras(rng)) for c in apps),
                init=(*beside, *(a_container(c) for c in inits)),
                restart_policy=policy, termination_grace_period_seconds=rng.choice([0, 1, 10, 30]),
            )
        )  # fmt: skip
        begin = rng.uniform(0, 5)
        orders.append((begin, "assign", name, 0))
        if rng.random() < 0.4:
            how = rng.choice(["delete", "remove"])
            orders.append((begin + rng.uniform(0.001, 200), how, name, rng.choice([0, 5, 30])))
    return Story(pods, programs, sorted(orders))


def _lives(rng: random.Random, policy: str) -> list[Program]:
    def body(**fields: Any) -> Program:
        return Program(
            create_seconds=rng.choice([0, 0.02]), start_seconds=rng.choice([0, 0.03]),
            on_term=rng.choice([0, 143, None]), **fields,
        )  # fmt: skip

    if policy == "Never":
        return [body(exit_after=rng.choice([None, 0.0, 2.0, 50.0]), exit_code=rng.choice([0, 0, 1]))]
    crashes = [body(exit_after=rng.choice([0.0, 1.0, 30.0]), exit_code=rng.choice([1, 2]), oom=rng.random() < 0.2)
               for _ in range(rng.randint(0, 4))]  # fmt: skip
    last = body() if policy == "Always" or rng.random() < 0.5 else body(exit_after=1.0, exit_code=0)
    return [*crashes, last]


async def play(plot: Story, root: Path, *, mischief: random.Random | None = None, kill_at: int = 0) -> WatchedWorld:
    """Runs a story to its end, with or without misfortune."""
    host, watch = FakeHost(programs=dict(plot.programs)), Watch(kill_at=kill_at)
    world = WatchedWorld(root, host, watch)
    world.checks.seconds["hook"] = 1.5
    died = asyncio.Event()
    watch.die = died.set
    await world.start()
    pods = {p.metadata.name: p for p in plot.pods}
    loop = asyncio.get_running_loop()
    pending = list(plot.orders)
    misfortunes = _misfortunes(mischief)
    while pending or misfortunes:
        due = min([t[0] for t in pending[:1]] + [t[0] for t in misfortunes[:1]])
        if kill_at and not died.is_set():
            await _until(died, due - loop.time())
        else:
            await asyncio.sleep(max(0.0, due - loop.time()))
        if died.is_set() and watch.calls >= kill_at > 0:
            watch.kill_at = 0
            died = asyncio.Event()
            await world.restart()
            continue
        if pending and pending[0][0] <= loop.time():
            await _order(world, pods, *pending.pop(0)[1:])
        elif misfortunes and misfortunes[0][0] <= loop.time():
            await _befall(world, misfortunes.pop(0)[1], mischief)
    if kill_at and watch.kill_at:
        await _until(died, 400)
        if died.is_set():
            watch.kill_at = 0
            await world.restart()
    await world.assign()
    await asyncio.sleep(LONG)
    world.check()
    return world


async def _until(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(max(0.0, seconds)):
            await event.wait()
    except TimeoutError:
        pass


def _misfortunes(rng: random.Random | None) -> list[tuple[float, str]]:
    if rng is None:
        return []
    kinds = ["restart", "restart", "restart unassigned", "away", "back"]
    return sorted((rng.uniform(0, 210), rng.choice(kinds)) for _ in range(rng.randint(1, 12)))


async def _order(world: WatchedWorld, pods: dict[str, Pod], what: str, name: str, grace: int) -> None:
    if what == "assign":
        await world.assign(pods[name])
    elif what == "delete":
        await world.delete(name, grace)
    else:
        await world.remove(name)


async def _befall(world: WatchedWorld, what: str, rng: random.Random | None) -> None:
    assert world.runtime is not None
    assert rng is not None
    if what == "restart":
        await world.restart()
    elif what == "restart unassigned":
        await world.restart(assign=False)
        await asyncio.sleep(rng.uniform(0, 30))
        await world.assign()
    else:
        world.runtime.set_away(what == "away")
        if what == "away":
            await asyncio.sleep(rng.uniform(0, 60))
            world.runtime.set_away(False)


def ending(world: World) -> dict[str, Any]:
    """What is left at the end: on the host, and said of it."""
    result: dict[str, Any] = {
        "running": sorted(
            (c.pod_uid, c.name, c.attempt) for c in world.host.containers.values() if c.state is State.RUNNING
        ),
        "sandboxes": sorted(world.host.sandboxes),
    }
    for uid in world.pods:
        report = world.heard[uid]
        if report.gone:
            result[uid] = "gone"
            continue
        result[uid] = report.status.phase, [
            (s.name, s.restart_count, s.ready, s.state.HasField("running"),
             s.state.terminated.exit_code, s.state.terminated.reason)
            for s in (*report.status.init_container_statuses, *report.status.container_statuses)
        ]  # fmt: skip
    return result


def _root() -> Any:
    return tempfile.TemporaryDirectory()


@pytest.mark.parametrize("batch", range(10))
def test_any_misfortune_ends_as_if_there_was_none(batch: int) -> None:
    for seed in range(batch, SEEDS, 10):
        plot = story(random.Random(seed))
        with _root() as calm, _root() as wild:
            quiet = bent_time.run(_run(plot, Path(calm)), seed)
            stormy = bent_time.run(_run(plot, Path(wild), mischief=random.Random(seed + 1_000_000)), seed)
        assert stormy == quiet, f"seed {seed}"


async def _run(plot: Story, root: Path, **how: Any) -> dict[str, Any]:
    world = await play(plot, root, **how)
    result = ending(world)
    wanted = set(world.pods)
    orphans = {c.pod_uid for c in world.host.containers.values()} - wanted
    assert not orphans, f"orphans: {orphans}"
    assert not set(world.host.sandboxes) - wanted
    await world.kill()
    return result


# ---- a host on which everything happens


@pytest.mark.parametrize("batch", range(4))
def test_on_a_hostile_host_what_should_run_runs_in_the_end(batch: int) -> None:
    for seed in range(batch, 60, 4):
        with _root() as root:
            bent_time.run(_suffer(random.Random(seed), Path(root), f"seed {seed}"), seed)


async def _suffer(rng: random.Random, root: Path, told: str) -> None:
    host, watch = FakeHost(), Watch()
    host.default = Program(start_seconds=0.02, on_term=rng.choice([0, None]))
    world = WatchedWorld(root, host, watch)
    world.checks.seconds["hook"] = 1.5
    await world.start()
    policies = [rng.choice(["Always", "Always", "OnFailure", "Never"]) for _ in range(5)]
    pods = {
        f"p{n}": a_pod(
            f"p{n}", containers=(a_container("a"), a_container("b")), restart_policy=policy,
            init=(a_container("i"),) * (n % 2), termination_grace_period_seconds=3,
        )
        for n, policy in enumerate(policies)
    }  # fmt: skip
    host.programs.update({"i": Program(exit_after=0.5)})
    await world.assign(*pods.values())
    for _ in range(rng.randint(5, 40)):
        await asyncio.sleep(rng.expovariate(1 / 5))
        await _strike(rng, world, pods)
    await _heal(world)
    await asyncio.sleep(LONG)
    world.check()
    for name, pod in pods.items():
        status = world.status(name)
        if pod.spec.restart_policy == "Always":
            assert [s.ready for s in status.container_statuses] == [True, True], f"{told}: {name} {status}"
        else:
            assert status.phase in ("Running", "Succeeded", "Failed"), f"{told}: {name} {status.phase}"
        running = [c for c in host.containers.values() if c.pod_uid == pod.metadata.uid and c.state is State.RUNNING]
        assert len(running) == sum(s.state.HasField("running") for s in status.container_statuses), told
        assert bool(running) == (pod.metadata.uid in host.sandboxes), told
    assert max((c.attempt for c in host.containers.values()), default=0) < 200, told
    await world.remove(*(n for n in list(pods)))
    await asyncio.sleep(120)
    assert not host.containers, told
    assert not host.sandboxes, told
    await world.kill()


async def _strike(rng: random.Random, world: WatchedWorld, pods: dict[str, Pod]) -> None:
    host, runtime = world.host, world.runtime
    assert runtime is not None
    running = [c for c in host.containers.values() if c.state is State.RUNNING]
    kinds = ["exit", "exit", "lose", "sandbox", "reboot", "restart", "away", "no create", "no start", "no sandbox",
             "no volume", "image", "heal"]  # fmt: skip
    what = rng.choice(kinds)
    if what == "exit" and running:
        runtime.exit(rng.choice(running).id, rng.choice([0, 1]))
    elif what == "lose" and running:
        runtime.lose(rng.choice(running).id)
    elif what == "sandbox" and host.sandboxes:
        uid = rng.choice(sorted(host.sandboxes))
        del host.sandboxes[uid]
        runtime._tell(uid)
    elif what == "reboot":
        await world.kill()
        host.containers.clear()
        host.sandboxes.clear()
        await world.start()
        await world.assign()
    elif what == "restart":
        await world.restart(assign=rng.random() < 0.5)
        if not world.watch.assigned:
            await asyncio.sleep(rng.uniform(0, 20))
            await world.assign()
    elif what == "away":
        runtime.set_away(True)
        await asyncio.sleep(rng.uniform(0, 100))
        runtime.set_away(False)
    elif what == "no create":
        failure = RuntimeFailure("CreateContainerError", "no", transient=rng.random() < 0.5)
        host.default = Program(create_failure=failure, create_seconds=0.01)
    elif what == "no start":
        host.default = Program(start_failure=RuntimeFailure("RunContainerError", "no"))
    elif what == "no sandbox":
        host.sandbox_failure = RuntimeFailure("FailedCreatePodSandBox", "no")
    elif what == "image":
        name = rng.choice(sorted(pods))
        changed = Pod()
        changed.CopyFrom(pods[name])
        changed.spec.containers[0].image = f"example:{rng.randint(2, 99)}"
        pods[name] = changed
        await world.assign(changed)
    else:
        await _heal(world)


async def _heal(world: WatchedWorld) -> None:
    world.host.default = Program(start_seconds=0.02)
    world.host.sandbox_failure = None


def test_an_agent_may_die_after_any_call() -> None:
    """One story with everything in it; the agent dies right after the n-th call of the runtime, for every n."""
    pods = [
        a_pod("web", containers=(a_container("a"), a_container("b")), init=(a_container("i"),)),
        a_pod("job", restart_policy="OnFailure", init=(a_container("side", restart_policy="Always"),)),
        a_pod("once", restart_policy="Never", containers=(a_container("a"), a_container("b"))),
        a_pod("left", termination_grace_period_seconds=5),
    ]
    programs: dict[str, Any] = {
        "job/side": [Program(exit_after=0.5), Program(on_term=0)],
        "web/i": [Program(exit_after=1, exit_code=1), Program(exit_after=1)],
        "web/a": [Program(exit_after=3, exit_code=2), Program(create_seconds=0.01, start_seconds=0.01)],
        "job/main": [Program(exit_after=1, exit_code=1), Program(exit_after=1, exit_code=0)],
        "once/a": Program(exit_after=2, exit_code=0), "once/b": Program(exit_after=4, exit_code=7),
        "left/main": Program(on_term=None),
    }  # fmt: skip
    orders = [(0.0, "assign", p.metadata.name, 0) for p in pods]
    orders += [(20.0, "delete", "web", 5), (20.0, "remove", "left", 0)]
    plot = Story(pods, programs, orders)
    with _root() as root:
        quiet = bent_time.run(_run(plot, Path(root)))
    assert quiet["uid-job"][0] == "Succeeded"
    assert quiet["uid-once"][0] == "Failed"
    assert quiet["uid-web"] == "gone"
    assert quiet["sandboxes"] == []
    for call in range(1, 75):
        with _root() as root:
            assert bent_time.run(_run(plot, Path(root), kill_at=call)) == quiet, f"killed after call {call}"
