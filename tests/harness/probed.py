"""Pods with probes on a made-up host: how they are made and what is said of them, in bent time."""

import asyncio
from pathlib import Path
from typing import Any

from mesh.v1.core_pb2 import Container, ExecAction, Probe
from tests.harness.agents import World, a_container, a_pod


def probe(command: str, **fields: Any) -> Probe:
    return Probe(exec=ExecAction(command=[command]), **fields)


def probed(name: str = "main", **probes: Any) -> Container:
    return a_container(name, **probes)


async def up(root: Path, container: Container, world: World | None = None, **spec: Any) -> World:
    world = world or World(root)
    await world.start()
    await world.assign(a_pod("web", containers=(container,), **spec))
    await world.until(lambda: world.phase("web") == "Running")
    return world


def now() -> float:
    return asyncio.get_running_loop().time()


def ready(world: World, container: str = "main") -> bool:
    return next(s.ready for s in world.status("web").container_statuses if s.name == container)


def started(world: World, container: str = "main") -> bool:
    return next(s.started for s in world.status("web").container_statuses if s.name == container)


def killing(world: World) -> str:
    return world.event("web", "Killing").message
