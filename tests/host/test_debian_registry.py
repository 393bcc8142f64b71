"""Pulls from Debian's own docker-registry: open, with a password, over TLS, by a mirror, and while it is down (I4)."""

import asyncio
import base64
import json
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from mesh import pki
from mesh.v1.core_pb2 import Pod, Secret
from mesh.v1.meta_pb2 import LocalObjectReference
from nodeagent.registries import Registry
from nodeagent.runtime.podman import PodmanRuntime
from nodeagent.runtime.port import Credentials, RuntimeFailure
from tests.harness.debian_registry import PASSWORD, USER, DebianRegistry, debian_registry
from tests.harness.podman import IMAGE, PodmanHost, podman_host
from tests.harness.podman_node import DEADLINE, Node, a_container, a_pod

pytestmark = pytest.mark.host


@dataclass(frozen=True, slots=True)
class Place:
    """A host, and two registries that have `hello:1`: `free` for everyone, `shut` for one user over TLS."""

    host: PodmanHost
    free: DebianRegistry
    shut: DebianRegistry


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    now = int(time.time())
    ca = pki.make_ca("somebody's own", now)
    file = tmp_path_factory.mktemp("ca") / "ca.pem"
    file.write_bytes(ca.certificate)
    pair = pki.issue(ca, pki.server("registry", ("127.0.0.1",)), now)
    with ExitStack() as stack:
        free = stack.enter_context(debian_registry(tmp_path_factory.mktemp("free")))
        shut = stack.enter_context(debian_registry(tmp_path_factory.mktemp("shut"), password=True, tls=pair))
        known = (
            Registry(free.address, plain_http=True),
            Registry(shut.address, ca=str(file)),
            Registry("registry.test", mirrors=(free.address,)),
        )
        host = stack.enter_context(podman_host(registries=known))
        host.podman("push", IMAGE, f"{free.address}/hello:1")
        host.podman("push", "--creds", f"{USER}:{PASSWORD}", IMAGE, f"{shut.address}/hello:1")
        yield Place(host, free, shut)


async def why(runtime: PodmanRuntime, reference: str, credentials: Credentials | None = None) -> RuntimeFailure:
    with pytest.raises(RuntimeFailure) as raised:
        await runtime.pull(reference, credentials)
    return raised.value


def digest_of(url: str) -> str:
    """What the registry itself calls the image."""
    kinds = "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json"
    request = urllib.request.Request(url, method="HEAD", headers={"Accept": kinds})  # noqa: S310 - http, loopback
    with urllib.request.urlopen(request) as answer:  # noqa: S310 - the same
        return str(answer.headers["Docker-Content-Digest"])


async def test_by_tag_and_digest_and_through_a_mirror(place: Place) -> None:
    runtime = PodmanRuntime(place.host.config)
    image = await runtime.pull(f"{place.free.address}/hello:1")
    digest = await asyncio.to_thread(digest_of, f"http://{place.free.address}/v2/hello/manifests/1")
    assert (await runtime.pull(f"{place.free.address}/hello@{digest}")).id == image.id
    assert "registry.test/hello:1" in (await runtime.pull("registry.test/hello:1")).names
    missing = await why(runtime, f"{place.free.address}/hello:2")
    assert (missing.reason, "manifest unknown" in missing.message) == ("ErrImagePull", True)
    await runtime.close()


async def test_with_a_password_over_tls(place: Place) -> None:
    runtime, reference = PodmanRuntime(place.host.config), f"{place.shut.address}/hello:1"
    for credentials in (None, Credentials(USER, "wrong")):
        refused = await why(runtime, reference, credentials)
        assert refused.reason == "ErrImagePull"
        assert "unauthorized" in refused.message or "authentication required" in refused.message
        assert PASSWORD not in refused.message
    assert reference in (await runtime.pull(reference, Credentials(USER, PASSWORD))).names
    await runtime.close()


async def test_a_registry_that_is_down_and_comes_back(place: Place) -> None:
    runtime, reference = PodmanRuntime(place.host.config), f"{place.free.address}/hello:1"
    place.free.stop()
    try:
        down = await why(runtime, reference)
        assert (down.reason, "connection refused" in down.message) == ("RegistryUnavailable", True)
        mirrored = await why(runtime, "registry.test/hello:1")
        assert mirrored.reason in ("RegistryUnavailable", "ErrImagePull")
    finally:
        place.free.start()
    assert reference in (await runtime.pull(reference)).names
    await runtime.close()


def pulling(number: int, reference: str, *secrets: str) -> Pod:
    wanted = [LocalObjectReference(name=name) for name in secrets]
    container = a_container("main", image=reference, image_pull_policy="Always")
    return a_pod(number, container, image_pull_secrets=wanted)


async def test_pods_pull_with_their_secrets(place: Place) -> None:
    host, reference = place.host, f"{place.shut.address}/hello:1"
    node = Node(host)
    auth = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    secret = Secret(type="kubernetes.io/dockerconfigjson")
    secret.metadata.name, secret.metadata.namespace, secret.metadata.uid = "door", "default", "uid-door"
    secret.metadata.resource_version = "7"
    secret.data[".dockerconfigjson"] = json.dumps({"auths": {place.shut.address: {"auth": auth}}}).encode()
    node.secrets["door"] = secret
    await node.start()
    with_key, without = pulling(1, reference, "door"), pulling(2, reference)
    await node.assign(with_key, without)

    def waiting(pod: Pod) -> str:
        report = node.heard.get(pod.metadata.uid)
        statuses = report.status.container_statuses if report else []
        return statuses[0].state.waiting.reason if statuses else ""

    def phase(pod: Pod) -> str:
        report = node.heard.get(pod.metadata.uid)
        return report.status.phase if report else ""

    refused = ("ErrImagePull", "ImagePullBackOff")
    await node.until(lambda _: phase(with_key) == "Running" and waiting(without) in refused)
    said = " ".join(e.message for e in node.events)
    assert f'Successfully pulled image "{reference}"' in said
    assert PASSWORD not in said
    assert auth not in said
    await node.assign()
    async with asyncio.timeout(DEADLINE):
        await node.agent.emptied()
    await node.kill()


def test_the_password_is_on_no_disk(place: Place) -> None:
    root = Path(place.host.config.root)
    held = [path for path in root.rglob("*.json") if path.is_file() and PASSWORD.encode() in path.read_bytes()]
    assert held == []
