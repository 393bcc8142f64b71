"""A fake runtime that notes when containers are started and signalled, and worlds over it.

    world = world_of(tmp_path, {"main": Program(exit_after=1)})
    assert starts(world) == [0.0, 11.0]

Rule: it changes nothing of what the fake does.
"""

import asyncio
from pathlib import Path
from typing import Any

from tests.harness.agents import World
from tests.harness.fake_runtime import FakeHost, FakeRuntime


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
