"""A claim's directory in containers of a real Podman: kept from pod to pod, subPath and fsGroup included (V17)."""

import asyncio

import pytest

from mesh.v1.core_pb2 import Pod, SecurityContext, Volume, VolumeMount
from mesh.v1.node_pb2 import LocalVolume
from tests.harness.podman import podman_host
from tests.harness.podman_node import DEADLINE, Node, a_container, a_pod

pytestmark = pytest.mark.host


def with_claim(number: int) -> Pod:
    volume = Volume(name="v")
    volume.persistent_volume_claim.claim_name = "data"
    mounts = [VolumeMount(name="v", mount_path="/data"), VolumeMount(name="v", mount_path="/sub", sub_path="deep/er")]
    main = a_container("main", volume_mounts=mounts, security_context=SecurityContext(run_as_user=1000))
    pod = a_pod(number, main, volumes=[volume])
    pod.spec.security_context.fs_group = 4242
    return pod


async def test_data_outlives_its_pod() -> None:
    with podman_host() as host:
        node = Node(host)
        node.volumes = [LocalVolume(name="pvc-1", namespace="default", claim="data")]
        await node.start()
        await node.running(with_claim(1))
        assert await node.said(with_claim(1), "echo one >/data/x && echo two >/sub/y && echo done") == "done\n"
        await node.running(with_claim(2))  # the first one goes
        assert await node.said(with_claim(2), "cat /data/x /data/deep/er/y; stat -c %g /data/x") == "one\ntwo\n4242\n"
        await node.assign()
        async with asyncio.timeout(DEADLINE):
            await node.agent.emptied()
        assert (host.config.state_dir / "volumes" / "pvc-1" / "x").exists()
        await node.kill()
