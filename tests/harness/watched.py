"""A host with its agent that is watched at every call of the runtime and at every report: the first wrong thing raises.

Rule: what must hold always is checked always, not only at rest: convergence heals, and so hides.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mesh.v1.core_pb2 import PodStatus
from nodeagent.runtime.port import ContainerSpec
from nodeagent.runtime.seen import State
from tests.harness.agents import World
from tests.harness.fake_runtime import FakeHost, FakeRuntime

TERMINAL = ("Succeeded", "Failed")


@dataclass
class Watch:
    """What the runtime was asked for so far, over all agents of a host; raises at the first wrong thing."""

    created: set[tuple[str, str, int]] = field(default_factory=set)
    assigned: bool = False  # this agent has had an Assignment
    calls: int = 0
    kill_at: int = 0  # the agent dies right after this call
    die: Callable[[], None] = lambda: None


class WatchedRuntime(FakeRuntime):
    """A fake that checks."""

    watch: Watch

    def _call(self, *call: str) -> None:
        self.watch.calls += 1
        if self.watch.calls == self.watch.kill_at:
            asyncio.get_running_loop().call_soon(self.watch.die)
        super()._call(*call)

    def _add(self, spec: ContainerSpec) -> str:
        key = (spec.pod_uid, spec.name, spec.attempt)
        assert key not in self.watch.created, f"attempt created twice: {key}"
        self.watch.created.add(key)
        return super()._add(spec)

    async def start(self, container_id: str) -> None:
        await super().start(container_id)
        seen = self.host.containers[container_id]
        running = [
            c for c in self.host.containers.values()
            if (c.pod_uid, c.name) == (seen.pod_uid, seen.name) and c.state is State.RUNNING
        ]  # fmt: skip
        assert len(running) <= 1, f"two attempts of {seen.pod_uid}/{seen.name} run"

    async def kill(self, container_id: str, signal: str) -> None:
        assert self.watch.assigned, "a kill before the first Assignment"
        await super().kill(container_id, signal)

    async def remove(self, container_id: str) -> None:
        seen = self.host.containers.get(container_id)
        if seen is not None and seen.state is State.RUNNING:
            raise AssertionError(f"a running container was removed: {seen.pod_uid}/{seen.name}")
        await super().remove(container_id)

    async def remove_sandbox(self, uid: str) -> None:
        assert self.watch.assigned, "a sandbox was removed before the first Assignment"
        left = [c.name for c in self.host.containers.values() if c.pod_uid == uid]
        assert not left, f"a sandbox was removed under its containers {left}"
        await super().remove_sandbox(uid)


class WatchedWorld(World):
    """A world that checks what is told."""

    def __init__(self, root: Path, host: FakeHost, watch: Watch) -> None:
        runtime: Any = type("Runtime", (WatchedRuntime,), {"watch": watch})
        super().__init__(root, host, runtime)
        self.watch = watch

    async def start(self) -> Any:
        self.watch.assigned = False
        return await super().start()

    async def _assign(self) -> None:
        self.watch.assigned = True
        await super()._assign()

    def check(self) -> None:
        """Statuses are monotone: terminal phases stay, restart counts never go back."""
        before: dict[str, PodStatus] = {}
        for report in self.statuses:
            if not report.HasField("status"):
                continue
            old, new = before.get(report.uid), report.status
            before[report.uid] = new
            if old is None:
                continue
            assert old.phase not in TERMINAL or new.phase == old.phase, f"{report.name}: {old.phase} -> {new.phase}"
            for one, other in zip(old.container_statuses, new.container_statuses, strict=True):
                assert one.restart_count <= other.restart_count, f"{report.name}/{one.name}: restartCount went back"
