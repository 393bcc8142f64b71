"""Agents that die while ConfigMaps change: files are always those of one version, the newest in the end; nothing that
runs is restarted for it (V5, V6).
"""

import asyncio
import random
import tempfile
from pathlib import Path

import pytest

from mesh.v1.core_pb2 import ConfigMap, Pod, Volume
from tests.harness import bent_time
from tests.harness.agents import World, a_container, a_pod
from tests.harness.fake_runtime import FakeHost
from tests.harness.objects import config_map
from tests.harness.watched import Watch, WatchedWorld

SEEDS = 200
KEYS = ("one", "two", "deep")


def settings(name: str, version: int) -> ConfigMap:
    """Every value of a version is the same; some keys are of that version alone."""
    text = str(version)
    return config_map(name, **dict.fromkeys(KEYS, text), **{f"only-{version}": text})


def pod(number: int, config: str) -> Pod:
    volume = Volume(name="v")
    volume.config_map.name = config
    container = a_container()
    if number % 2:
        container.env_from.add().config_map_ref.name = config
    return a_pod(f"p{number}", containers=(container,), volumes=[volume])


def shown(world: World, name: str) -> dict[str, str]:
    """The files of a pod's volume."""
    root = world.volume(name, "v")
    return {p.name: p.read_text() for p in root.iterdir() if not p.name.startswith("..")} if root.is_dir() else {}


def whole(files: dict[str, str]) -> bool:
    """Whether what readers of the volume's keys find is of one version."""
    return len({files[key] for key in KEYS if key in files}) <= 1


@pytest.mark.parametrize("batch", range(4))
def test_files_are_of_one_version_and_the_newest_in_the_end(batch: int) -> None:
    for seed in range(batch, SEEDS, 4):
        with tempfile.TemporaryDirectory() as root:
            bent_time.run(_change(random.Random(seed), Path(root), f"seed {seed}"), seed)


async def _change(rng: random.Random, root: Path, told: str) -> None:
    world = WatchedWorld(root, FakeHost(), Watch())
    died = asyncio.Event()
    world.watch.die = died.set
    await world.start()
    uses = {f"p{n}": rng.choice(["c", "d"]) for n in range(rng.randint(1, 4))}
    await world.assign(*(pod(int(name[1:]), config) for name, config in uses.items()))  # before there is any ConfigMap
    for version in range(1, rng.randint(3, 12)):
        world.watch.kill_at = world.watch.calls + rng.randint(1, 6)
        await world.configure(settings("c", version), settings("d", version + 100))
        for _ in range(rng.randint(0, 40)):  # steps of the loop: the agent dies anywhere between them
            await asyncio.sleep(0)
        if rng.random() < 0.5 or died.is_set():
            died.clear()
            await world.restart(assign=rng.random() < 0.5)
        assert all(whole(shown(world, name)) for name in uses), told
    if not world.watch.assigned:
        await world.assign()
    await asyncio.sleep(60)
    for name, config in uses.items():
        assert shown(world, name) == dict(world.configs[config].data), told
        assert (world.phase(name), world.restarts(name)) == ("Running", 0), told
        assert len([p for p in world.volume(name, "v").iterdir() if p.name.startswith("..")]) == 2, told
    await world.remove(*uses)
    await asyncio.sleep(60)
    assert not list((world.config.state_dir / "pods").iterdir()), told
    world.check()
    await world.kill()
