"""What every container runtime promises of images: one suite for the fake and for a real Podman."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from nodeagent.runtime import syscalls
from nodeagent.runtime.port import Runtime, RuntimeFailure
from tests.harness.podman import IMAGE, PodmanHost
from tests.harness.runtimes import DEADLINE, World


async def test_images_here_and_not_here(agent: Runtime, world: World) -> None:
    found = await agent.image(world.image)
    assert found
    assert world.image in found.names
    assert await agent.image(found.id) == found
    assert found.id in {i.id for i in await agent.images()}
    assert await agent.image("localhost/not-here:1") is None
    with pytest.raises(RuntimeFailure, match="UPPER") as failure:
        await agent.image("localhost/UPPER case")
    assert failure.value.reason == "InvalidImageName"
    if world.fake:
        words = "cannot pull image localhost:9/not-there:1: connection refused"
        world.fake.registry["localhost:9/not-there:1"] = RuntimeFailure("RegistryUnavailable", words)
    with pytest.raises(RuntimeFailure, match=r"image localhost:9/not-there:1: .*connection refused") as failure:
        await agent.pull("localhost:9/not-there:1")
    assert failure.value.reason == "RegistryUnavailable"


async def test_an_image_as_a_directory(agent: Runtime, world: World, tmp_path: Path) -> None:  # I7
    image, target = await agent.image(world.image), tmp_path / "volumes" / "data"
    assert image
    await agent.mount_image(image, target)
    try:
        other = await world.agent()
        await other.mount_image(image, target)  # there already: nothing is mounted on top
        assert image.id in await other.mounted_images()
        if not world.fake:
            assert len([m for m in syscalls.mounts() if m.place == str(target)]) == 1
            assert (target / "bin" / "busybox").stat().st_size
            with pytest.raises(OSError, match="Read-only"):
                (target / "new").touch()
        with pytest.raises(RuntimeFailure) as failure:
            await other.remove_image(image)
        assert failure.value.reason == "ImageInUse"
        await world.close(other)
    finally:
        syscalls.unmount_all(target)
    target.rmdir()
    assert image.id not in await agent.mounted_images()
    with pytest.raises(RuntimeFailure) as failure:
        await agent.mount_image(replace(image, id="sha256:" + "f" * 64), target)
    assert failure.value.reason == "FailedMount"


async def test_images_that_someone_else_brings_are_told(agent: Runtime, world: World, host: PodmanHost | None) -> None:
    told = asyncio.Event()
    agent.on_images(told.set)
    assert await agent.image("localhost/fresh:1") is None
    if host:
        await asyncio.to_thread(host.podman, "tag", IMAGE, "localhost/fresh:1")
    elif world.fake:
        world.fake.add_image("localhost/fresh:1")
    await asyncio.wait_for(told.wait(), DEADLINE)
    assert await agent.image("localhost/fresh:1") is not None
    told.clear()
    if host:
        await asyncio.to_thread(host.podman, "untag", IMAGE, "localhost/fresh:1")
        await asyncio.wait_for(told.wait(), DEADLINE)
        assert await agent.image("localhost/fresh:1") is None
