"""Images taken to hosts and removed, over the wire, through meshd and real agents with a runtime of the mind."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mesh.v1 import node_pb2
from nodeagent.runtime.port import ContainerSpec
from nodeagent.runtime.seen import Role
from tests.harness.agents import World, a_container, a_pod
from tests.harness.cli import Cli
from tests.harness.control import RunningMeshd, control
from tests.harness.scripted_host import ScriptedHost


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    world = World(tmp_path / "host")
    world.host.any_image = False
    await world.start()
    yield world
    await world.kill()


@pytest.fixture
async def served(world: World) -> AsyncIterator[RunningMeshd]:
    assert world.agent is not None
    async with control(agents={"node1": world.agent}) as running:
        await known(running)
        yield running


@pytest.fixture
def cli(served: RunningMeshd, tmp_path: Path) -> Cli:
    return Cli(served, tmp_path)


async def known(running: RunningMeshd) -> None:
    view = running.meshd.feed.view
    async with asyncio.timeout(30):
        while not view.nodes():
            await running.meshd.feed.reached(view.revision + 1)


async def test_an_archive_reaches_every_host_and_each_tells(cli: Cli, world: World, tmp_path: Path) -> None:
    archive = tmp_path / "images.tar"
    archive.write_text("localhost/app:1\nlocalhost/other:1\n" + "\n" * 700_000)  # several pieces
    loaded = await cli("image", "load", str(archive))
    assert (loaded.code, loaded.err) == (0, "")
    assert loaded.out.splitlines() == ["node1: localhost/app:1 loaded", "node1: localhost/other:1 loaded"]
    assert {"localhost/app:1", "localhost/other:1"} <= set(world.host.local_images)
    assert list((world.config.podman_dir / "tmp").iterdir()) == []  # nothing of the archive is left


async def test_standard_input_and_chosen_hosts(cli: Cli) -> None:
    loaded = await cli("image", "load", "-", "--host", "node1", stdin="localhost/app:2\n")
    assert loaded.out == "node1: localhost/app:2 loaded\n"
    nowhere = await cli("image", "load", "-", "--host", "node9", stdin="localhost/app:2\n")
    assert nowhere.code == 1
    assert 'there is no host "node9"; there are: node1' in nowhere.err


async def test_what_is_no_archive_is_told_by_each_host(cli: Cli) -> None:
    refused = await cli("image", "load", "-", stdin="\n")
    assert (refused.code, refused.out) == (1, "")
    assert "error: node1: cannot load images" in refused.err


async def test_a_loaded_image_is_listed_and_removed(cli: Cli, world: World) -> None:
    await cli("image", "load", "-", stdin="localhost/app:1\n")
    async with asyncio.timeout(30):
        while "localhost/app:1" not in (await cli("image", "list")).out:  # as soon as the host has reported it
            pass
    listed = (await cli("image", "list", "--host", "node1")).out.splitlines()
    assert [line.split() for line in listed] == [["HOST", "IMAGE", "SIZE"], ["node1", "localhost/app:1", "0.0MB"]]
    removed = await cli("image", "rm", "localhost/app:1")
    assert removed.out == "node1: localhost/app:1 removed\n"
    assert "localhost/app:1" not in world.host.local_images
    again = await cli("image", "rm", "localhost/app:1")
    assert again.code == 1
    assert "no host has the image localhost/app:1" in again.err


async def test_an_image_in_use_stays(cli: Cli, world: World) -> None:
    await cli("image", "load", "-", stdin="localhost/app:1\n")
    world.host.any_image = True
    image = world.host.local_images["localhost/app:1"]
    runtime = world.runtime
    assert runtime is not None
    await runtime.create(
        ContainerSpec("u", "default", "web", "main", 0, Role.APP, "h", "localhost/app:1", image.id, host_network=True)
    )
    refused = await cli("image", "rm", "localhost/app:1")
    assert refused.code == 1
    assert "cannot remove image localhost/app:1: container main uses it" in refused.err


async def test_a_host_that_is_away_is_left_behind(world: World, tmp_path: Path) -> None:
    assert world.agent is not None
    gone = ScriptedHost("gone")
    async with control(agents={"node1": world.agent, "gone": gone}) as running:
        view = running.meshd.feed.view
        async with asyncio.timeout(30):
            while len(view.nodes()) < 2:
                await running.meshd.feed.reached(view.revision + 1)
        running.hosts.part("gone")
        await running.hosts.noticed()
        loaded = await Cli(running, tmp_path)("image", "load", "-", stdin="localhost/app:1\n")
    assert loaded.code == 1
    assert loaded.out == "node1: localhost/app:1 loaded\n"
    assert "error: gone: the host cannot be reached" in loaded.err


async def test_no_policy_pulls_a_hosts_own_image(world: World) -> None:
    """The one rule of docs/images.md."""
    assert world.agent is not None
    container = a_container(image="localhost/app:latest", image_pull_policy="Always")
    await world.assign(a_pod("web", containers=(container,)))
    await world.until(lambda: world.waiting("web") == "ErrImageNeverPull")
    words = world.status("web").container_statuses[0].state.waiting.message
    assert words == 'Container image "localhost/app:latest" is not on this host and has no registry: mesh image load'
    opened = await world.agent.open_stream(node_pb2.StreamOpen(image_load=node_pb2.ImageLoadOptions()))
    await world.agent.write_stream(node_pb2.StreamWrite(id=opened.id, data=b"localhost/app:latest", close=True))
    await world.until(lambda: world.phase("web") == "Running", 15)
    assert not [call for call in world.host.calls if call[0] == "pull"]
