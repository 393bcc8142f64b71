"""Graceful shutdown of a host (L19): who ends when, what is told, what is not begun, and the way back."""

from pathlib import Path

from nodeagent.runtime.seen import State
from nodeagent.shutdown import CRITICAL, Order, done, path_of, write_order
from tests.harness.agents import World, a_pod
from tests.harness.bent_time import bent
from tests.harness.fake_runtime import FakeHost, Program


async def ordered(world: World, seconds: int = 30, critical: int = 10) -> None:
    """The host has its order, and an agent that carries it out."""
    await world.kill()
    world.config.run_dir.mkdir(exist_ok=True)
    write_order(world.config.run_dir, Order(seconds, critical))
    await world.start()
    await world.assign()


def ended_at(world: World, name: str) -> float:
    """When the pod's container was seen to end, in seconds of the test."""
    ended = world.status(name).container_statuses[0].state.terminated
    return ended.finished_at.ToNanoseconds() / 1e9


@bent
async def test_pods_end_by_priority_and_say_why(tmp_path: Path) -> None:
    stubborn = Program(on_term=None)
    world = World(tmp_path, FakeHost(programs={"web/main": stubborn, "dns/main": Program(), "job/main": Program()}))
    await world.start()
    await world.assign(a_pod("web", termination_grace_period_seconds=60), a_pod("dns", priority=CRITICAL), a_pod("job"))
    await world.until(lambda: all(world.phase(n) == "Running" for n in ("web", "dns", "job")))
    await ordered(world, 30, 10)
    await world.until(lambda: all(world.phase(n) == "Failed" for n in ("web", "dns", "job")))
    for name in ("web", "dns", "job"):
        status = world.status(name)
        assert (status.reason, status.message) == (
            "Terminated", "Pod was terminated in response to imminent node shutdown.",
        )  # fmt: skip
        target = next(c for c in status.conditions if c.type == "DisruptionTarget")
        assert (target.status, target.reason) == ("True", "TerminationByKubelet")
    began = ended_at(world, "job")
    assert 19 <= ended_at(world, "web") - began <= 21  # killed when the time of ordinary pods was over, not after 60 s
    assert ended_at(world, "dns") >= ended_at(world, "web")
    await world.until(lambda: done(world.config.run_dir).exists() or world.report.version > 0)
    ready = next(c for c in world.report.report.status.conditions if c.type == "Ready")
    assert (ready.status, ready.message) == ("False", "node is shutting down")
    await world.kill()


@bent
async def test_no_pod_is_taken_until_the_order_is_taken_back(tmp_path: Path) -> None:
    world = World(tmp_path)
    await world.start()
    await ordered(world)
    await world.assign(a_pod("late"))
    await world.until(lambda: world.phase("late") == "Failed")
    assert world.status("late").reason == "NodeShutdown"
    assert world.status("late").message == "Pod was rejected: the node is shutting down"
    await world.kill()
    path_of(world.config.run_dir).unlink()  # as `mesh up` does
    await world.start()
    await world.assign(a_pod("next"))
    await world.until(lambda: world.phase("next") == "Running")
    assert world.phase("late") == "Failed"
    await world.kill()


STATIC = """
apiVersion: v1
kind: Pod
metadata: {name: fixed}
spec: {containers: [{name: main, image: "example:1", imagePullPolicy: IfNotPresent}]}
"""


@bent
async def test_static_pods_end_and_come_back_with_the_host(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.config.manifest_dir.mkdir()
    (world.config.manifest_dir / "fixed.yaml").write_text(STATIC)

    def running() -> int:
        return len([c for c in world.host.containers.values() if c.state is State.RUNNING])

    await world.start()
    await world.assign()
    await world.until(lambda: running() == 1 and bool(world.heard))
    await ordered(world)
    await world.until(lambda: running() == 0 and any(c[0] == "kill" for c in world.host.calls))
    await world.restart()  # an agent that comes back meanwhile starts nothing
    await world.until(lambda: bool(world.report.version))
    assert running() == 0
    await world.kill()
    path_of(world.config.run_dir).unlink()
    await world.start()
    await world.assign()
    await world.until(lambda: running() == 1)
    await world.kill()
