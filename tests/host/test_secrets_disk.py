"""The raw disk below a whole host: after env, file, argument, exec, pull, rotation and deletion no shape of a secret is
on it, nor among what was freed; with the protection off it is (V3, E4, I4)."""

import asyncio
import base64
import json
import subprocess
from pathlib import Path

import pytest

from mesh.supervision.traces import Trace, search, search_text
from mesh.v1.core_pb2 import Pod
from nodeagent.registries import Registry
from nodeagent.runtime.port import ContainerSpec
from nodeagent.runtime.seen import Role
from nodeagent.volumes import memory
from tests.harness import registry as served
from tests.harness.agents import a_secret
from tests.harness.podman import IMAGE, PodmanHost, podman_host, root_file_system
from tests.harness.podman_node import DEADLINE, Node, a_pod
from tests.harness.waiting import wait_for_text
from tests.host.test_secrets_podman import with_everything

pytestmark = pytest.mark.host

SIZE = 512 << 20
MARK = "a-marker-that-is-on-the-disk"


def traces(raw: Path, *words: str) -> list[Trace]:
    """What is on the disk once everything is written."""
    subprocess.run(["sync"], check=True)
    return search([raw], words).traces


def place_mark(host: PodmanHost) -> None:
    (host.config.root / "mark").write_text(MARK)


async def test_nothing_of_a_secret_reaches_the_disk(tmp_path: Path) -> None:
    raw, canaries = tmp_path / "disk", ("canary/one+=äöü-0123456789", "canary/two+=äöü-0123456789")
    with served.registry(root_file_system()) as private:
        plain = (Registry(private.address, plain_http=True),)
        with podman_host(disk=SIZE, raw=raw, registries=plain) as host:
            place_mark(host)
            node = Node(host)
            await node.start()
            pulled = json.dumps({"auths": {private.address: {"username": private.user, "password": private.password}}})
            node.secrets["pull"] = a_secret("pull", **{".dockerconfigjson": pulled})
            node.secrets["pull"].type = "kubernetes.io/dockerconfigjson"
            node.secrets["s"] = a_secret("s", token=canaries[0], other=canaries[0])
            pod, from_registry = with_everything(1), pulls(2, f"{private.address}/private:1")
            await node.running(pod, from_registry)
            assert await node.said(pod, 'printf %s "$TOKEN"; cat /files/token') == canaries[0] * 2
            node.secrets["s"] = a_secret("s", 2, token=canaries[1], other=canaries[1])
            await node.assign(pod, from_registry)
            shown = host.config.memory_dir / pod.metadata.uid / "files" / "token"
            await asyncio.to_thread(wait_for_text, shown, canaries[1], 60)
            inspected = host.podman("inspect", *await ids(node)).encode()
            assert search_text("inspect", inspected, canaries).traces == []
            await node.running(with_everything(3))
            assert traces(raw, *canaries) == []
            await node.assign()
            async with asyncio.timeout(DEADLINE):
                await node.agent.emptied()
            await node.kill()
            found = traces(raw, *canaries, MARK, f"{private.user}:{private.password}")
            assert {(t.shape) for t in found} == {"as it is"}  # the marker alone
            assert len(found) == 1
            assert traces(raw, base64.b64encode(pulled.encode()).decode()) == []


async def ids(node: Node) -> list[str]:
    return [c.id for seen in (await node.runtime.pods()).values() for c in seen.containers]


def pulls(number: int, image: str) -> Pod:
    made = a_pod(number)
    made.spec.containers[0].image = image
    made.spec.image_pull_secrets.add(name="pull")
    return made


async def test_with_the_protection_off_the_search_finds_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw, canary = tmp_path / "disk", "canary/bare+=äöü-0123456789"
    monkeypatch.setattr(memory, "mount", lambda *_, **__: False)  # nothing lies in memory
    with podman_host(disk=SIZE, raw=raw) as host:
        node = Node(host)
        await node.start()
        pod = a_pod(1)
        await node.running(pod)
        seen = (await node.runtime.pods())[pod.metadata.uid].containers[0]
        bare = ContainerSpec(
            pod_uid=pod.metadata.uid, namespace="default", pod_name="p1", name="bare", attempt=0, role=Role.APP,
            spec_hash="x", image=IMAGE, image_id=seen.image_id, env={"TOKEN": canary},
        )  # fmt: skip
        container_id = await node.runtime.create(bare)
        await node.runtime.start(container_id)
        assert any(t.shape == "as it is" for t in traces(raw, canary))
        inspected = host.podman("inspect", container_id).encode()
        assert search_text("inspect", inspected, [canary]).traces
        await node.runtime.remove(container_id)
        await node.assign()
        async with asyncio.timeout(DEADLINE):
            await node.agent.emptied()
        await node.kill()
