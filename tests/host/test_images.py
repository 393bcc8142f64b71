"""Registries with a real Podman: passwords, plain HTTP, mirrors, digests, and a registry that is away (I1 to I5)."""

import asyncio
import hashlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mesh import pki
from nodeagent.registries import Registry
from nodeagent.runtime.podman import PodmanRuntime
from nodeagent.runtime.port import ContainerSpec, Credentials, Image, Progress, RuntimeFailure, SandboxSpec
from nodeagent.runtime.seen import Role
from tests.harness import registry as served
from tests.harness.podman import IMAGE, PodmanHost, podman_host, root_file_system

pytestmark = pytest.mark.host


@pytest.fixture(scope="module")
def upstream() -> Iterator[served.Registry]:
    with served.registry(root_file_system()) as registry:
        yield registry


@pytest.fixture(scope="module")
def host(upstream: served.Registry) -> Iterator[PodmanHost]:
    """One registry over plain HTTP by name, and two names of which it is the mirror."""
    registries = (
        Registry(upstream.address, plain_http=True),
        Registry("registry.test", mirrors=(upstream.address,)),
    )
    with podman_host(registries=registries) as host:
        yield host


@pytest.fixture
async def runtime(host: PodmanHost) -> PodmanRuntime:
    return PodmanRuntime(host.config)


async def failure(runtime: PodmanRuntime, reference: str, credentials: Credentials | None = None) -> RuntimeFailure:
    with pytest.raises(RuntimeFailure) as raised:
        await runtime.pull(reference, credentials)
    return raised.value


async def test_with_and_without_a_password(runtime: PodmanRuntime, upstream: served.Registry) -> None:
    assert f"{upstream.address}/hello:1" in (await runtime.pull(f"{upstream.address}/hello:1")).names
    private = f"{upstream.address}/private:1"
    assert (await failure(runtime, private)).reason == "ErrImagePull"
    assert (await failure(runtime, private, Credentials("ada", "wrong"))).reason == "ErrImagePull"
    assert private in (await runtime.pull(private, Credentials(upstream.user, upstream.password))).names
    await runtime.close()


async def test_by_digest(runtime: PodmanRuntime, upstream: served.Registry) -> None:
    image = await runtime.pull(f"{upstream.address}/hello:1")
    by_digest = next(name for name in image.names if "@" in name)
    assert (await runtime.pull(by_digest)).id == image.id
    assert await runtime.image(by_digest) is not None
    wrong = by_digest.partition("@")[0] + "@sha256:" + hashlib.sha256(b"other").hexdigest()
    assert (await failure(runtime, wrong)).reason == "ErrImagePull"
    await runtime.close()


async def test_a_mirror_is_asked_first(runtime: PodmanRuntime) -> None:
    """The registry itself does not exist: only its mirror can have answered."""
    image = await runtime.pull("registry.test/hello:1")
    assert "registry.test/hello:1" in image.names
    await runtime.close()


async def test_plain_http_only_with_whom_the_configuration_names(runtime: PodmanRuntime) -> None:
    with served.registry(root_file_system()) as other:
        why = await failure(runtime, f"{other.address}/hello:1")
        assert f"https://{other.address}" in why.message
    await runtime.close()


async def test_an_authority_of_ones_own(tmp_path: Path) -> None:
    now = int(time.time())
    ca = pki.make_ca("somebody's own", now)
    file = tmp_path / "ca.pem"
    file.write_bytes(ca.certificate)
    pair = pki.issue(ca, pki.server("registry", ("127.0.0.1",)), now)
    with served.registry(root_file_system(), tls=pair) as registry:
        for known in (False, True):
            entry = Registry(registry.address, ca=str(file) if known else "")
            with podman_host(image=False, registries=(entry,)) as host:
                runtime = PodmanRuntime(host.config)
                if known:
                    assert (await runtime.pull(f"{registry.address}/hello:1")).names
                else:
                    assert "certificate" in (await failure(runtime, f"{registry.address}/hello:1")).message
                await runtime.close()


async def test_how_far_a_pull_is() -> None:  # I3
    go_on, told = threading.Event(), asyncio.Event()
    seen: list[Progress] = []

    def tell(progress: Progress) -> None:
        seen.append(progress)
        told.set()

    with served.registry(root_file_system(), go_on=go_on) as registry:
        entry = Registry(registry.address, plain_http=True)
        with podman_host(image=False, registries=(entry,)) as host:
            runtime = PodmanRuntime(host.config)
            pull = asyncio.create_task(runtime.pull(f"{registry.address}/hello:1", None, tell))
            try:
                await asyncio.wait_for(told.wait(), 30)
            finally:
                go_on.set()
            image = await pull
            await runtime.close()
    assert image.names
    assert 0 < seen[0].received < seen[0].expected < 100 << 20
    assert (seen[0].layers, seen[0].done) == (1, 0)


async def test_a_registry_that_is_away_and_comes_back(upstream: served.Registry) -> None:
    with served.registry(root_file_system()) as registry:
        address = registry.address
    with podman_host(image=False, registries=(Registry(address, plain_http=True),)) as host:
        runtime = PodmanRuntime(host.config)
        why = await failure(runtime, f"{address}/hello:1")
        assert why.reason == "RegistryUnavailable"
        assert why.message.startswith(f"cannot pull image {address}/hello:1: the registry is unavailable: ")
        assert "connection refused" in why.message
        with served.registry(root_file_system(), port=int(address.rpartition(":")[2])):
            assert f"{address}/hello:1" in (await runtime.pull(f"{address}/hello:1")).names
        await runtime.close()


async def test_removing(runtime: PodmanRuntime, host: PodmanHost) -> None:
    host.podman("tag", IMAGE, "localhost/second:1")
    image = await runtime.image(IMAGE)
    assert image is not None
    await runtime.configure(host.pod_cidr, host.cluster_cidr)
    await runtime.make_sandbox(SandboxSpec("u1", "default", "web", "web"))
    using = await runtime.create(ContainerSpec("u1", "default", "web", "main", 0, Role.APP, "h", IMAGE, image.id))
    with pytest.raises(RuntimeFailure) as refused:
        await runtime.remove_image(image)
    assert refused.value.reason == "ImageInUse"
    seen = await runtime.pod("u1")
    assert seen is not None
    assert [c.id for c in seen.containers] == [using]
    await runtime.remove(using)
    await runtime.remove_sandbox("u1")
    assert await runtime.image(IMAGE) == await runtime.image("localhost/second:1") == image  # under all its names
    await runtime.remove_image(image)
    assert await runtime.image(IMAGE) is None
    assert image.id not in {i.id for i in await runtime.images()}
    await runtime.remove_image(image)  # none there is no error
    await runtime.close()


async def test_loading_an_archive(runtime: PodmanRuntime, host: PodmanHost, upstream: served.Registry) -> None:
    archive = Path(host.config.root / "archive.tar")
    await runtime.pull(f"{upstream.address}/hello:1")
    host.podman("tag", f"{upstream.address}/hello:1", "localhost/mine:1")
    host.podman("save", "--output", str(archive), "localhost/mine:1")
    held = await runtime.image("localhost/mine:1")
    assert held is not None
    await runtime.remove_image(held)
    (loaded,) = await runtime.load_image(archive)
    assert (loaded.id, loaded.names[0]) == (held.id, "localhost/mine:1")
    archive.write_bytes(b"no archive at all")
    with pytest.raises(RuntimeFailure) as refused:
        await runtime.load_image(archive)
    assert refused.value.reason == "ImageLoadError"
    await runtime.close()


async def test_pulls_go_on_side_by_side(runtime: PodmanRuntime, upstream: served.Registry) -> None:
    pulled: list[Image] = await asyncio.gather(*(runtime.pull(f"{upstream.address}/hello:1") for _ in range(4)))
    assert len({image.id for image in pulled}) == 1
    await runtime.close()
