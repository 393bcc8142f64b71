"""Bugs that one pod brings out in its host's agent stay that pod's, in bent time."""

import asyncio
import itertools
from collections.abc import Callable, Iterator, MutableMapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from mesh.v1.core_pb2 import Container, ExecAction, Lifecycle, LifecycleHandler, Probe
from nodeagent.probes.state import Outcome
from nodeagent.probes.wanted import Check, ExecCheck
from nodeagent.runtime.port import ContainerSpec
from nodeagent.runtime.seen import SeenContainer, SeenPod
from tests.harness.agents import World, a_container, a_pod
from tests.harness.bent_time import bent
from tests.harness.fake_checks import FakeChecks
from tests.harness.fake_runtime import FakeHost, FakeRuntime


@pytest.fixture(autouse=True)
def lines() -> Iterator[list[MutableMapping[str, Any]]]:
    """What is logged."""
    with capture_logs() as found:
        yield found


@dataclass(slots=True)
class OddHost(FakeHost):
    """Looking at the pod `odd`, while it is one, and creating a container named so raises what no runtime should."""

    odd: str = ""
    tries: list[float] = field(default_factory=list)  # moments of the loop at which it did


class OddRuntime(FakeRuntime):
    """See OddHost."""

    async def pod(self, uid: str) -> SeenPod | None:
        self._perhaps(uid)
        return await super().pod(uid)

    async def create(self, spec: ContainerSpec) -> str:
        self._perhaps(spec.name)
        return await super().create(spec)

    def _perhaps(self, name: str) -> None:
        assert isinstance(self.host, OddHost)
        if name == self.host.odd:
            self.host.tries.append(round(asyncio.get_running_loop().time(), 3))
            raise KeyError("what the user wrote")


class OddChecks(FakeChecks):
    """One command brings out a bug."""

    async def perform(self, check: Check, container: SeenContainer, seconds: float | None) -> Outcome:
        outcome = await super().perform(check, container, seconds)
        if isinstance(check, ExecCheck) and check.command[0] == "odd":
            raise RuntimeError("a bug")
        return outcome


def odd_world(root: Path, odd: str) -> tuple[World, OddHost]:
    """A world with an odd thing."""
    host = OddHost(odd=odd)
    return World(root, host, OddRuntime), host


async def others_live(world: World) -> None:
    """Another pod begins and ends as ever."""
    await world.assign(a_pod("web"))
    await world.until(lambda: world.phase("web") == "Running")
    await world.delete("web")
    await world.until(lambda: world.gone("web"), 60)


def told(world: World, kind: str) -> Callable[[], bool]:
    """Whether the pod's failure was told."""
    words = f"the agent of this host fails on the pod ({kind}); its log tells where"
    return lambda: any(e.message == words and e.type == "Warning" for e in world.events.values())


@bent
async def test_a_pod_that_brings_out_a_bug_stops_no_other(
    tmp_path: Path, lines: list[MutableMapping[str, Any]]
) -> None:
    world, host = odd_world(tmp_path, "uid-odd")
    agent = await world.start()
    await world.assign(a_pod("odd"))
    await world.until(told(world, "KeyError"))
    assert world.event("odd", "AgentFailed").involved_object.name == "odd"
    await others_live(world)
    await world.until(lambda: len(host.tries) >= 8, 300)
    assert [round(b - a) for a, b in itertools.pairwise(host.tries)][:7] == [1, 2, 4, 8, 16, 32, 60]
    assert agent.stats.meter.operations.failed == len(host.tries)
    logged = [line for line in lines if line["event"] == "pod_failed"]
    assert (len(logged), logged[0]["pod"], logged[0]["exc_info"]) == (len(host.tries), "uid-odd", True)
    host.odd = ""
    await world.until(lambda: world.phase("odd") == "Running", 61)
    assert (world.restarts("odd"), len(host.containers)) == (0, 1)
    await world.kill()


@bent
async def test_a_change_of_the_pod_is_tried_at_once(tmp_path: Path) -> None:
    world, host = odd_world(tmp_path, "uid-odd")
    await world.start()
    await world.assign(a_pod("odd"))
    await world.until(lambda: len(host.tries) >= 8, 300)  # once a minute from now on
    await asyncio.sleep(20)
    before, now = len(host.tries), asyncio.get_running_loop().time()
    host.odd = ""
    await world.delete("odd")
    await world.until(lambda: world.gone("odd"), 10)
    assert (len(host.tries), asyncio.get_running_loop().time() - now < 10) == (before, True)
    await world.kill()


@bent
async def test_what_was_begun_beside_the_bug_does_not_go_on(tmp_path: Path) -> None:
    world, host = odd_world(tmp_path, "second")
    await world.start()
    await world.assign(a_pod("odd", containers=(a_container(), a_container("second"), a_container("third"))))
    await world.until(lambda: len(host.tries) >= 3)
    await others_live(world)
    host.odd = ""
    await world.until(lambda: world.phase("odd") == "Running", 61)
    assert sorted((c.name, c.attempt) for c in host.containers.values()) == [("main", 0), ("second", 0), ("third", 0)]
    await world.kill()


@bent
async def test_a_bug_in_a_probe_stops_no_other_pod(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.checks = OddChecks()
    await world.start()
    await world.assign(a_pod("odd", containers=(probed("odd"),)), a_pod("good", containers=(probed("fine"),)))
    await world.until(told(world, "RuntimeError"))
    await others_live(world)
    asked = len(world.checks.times("fine"))
    await asyncio.sleep(30)
    assert len(world.checks.times("fine")) >= asked + 25
    assert world.restarts("odd") == 0
    await world.kill()


@bent
async def test_a_bug_in_a_hook_keeps_no_pod_from_ending(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.checks = OddChecks()
    await world.start()
    hook = Lifecycle(pre_stop=LifecycleHandler(exec=ExecAction(command=["odd"])))
    await world.assign(a_pod("odd", containers=(a_container(lifecycle=hook),)))
    await world.until(lambda: world.phase("odd") == "Running")
    begun = asyncio.get_running_loop().time()
    await world.delete("odd")
    await world.until(lambda: world.gone("odd"))
    assert asyncio.get_running_loop().time() - begun < 10  # the grace of 30 s was not waited for
    assert "FailedPreStopHook" in world.reasons("odd")
    await others_live(world)
    await world.kill()


def probed(command: str) -> Container:
    """A container whose readiness is asked for every second."""
    return a_container(readiness_probe=Probe(exec=ExecAction(command=[command]), period_seconds=1))
