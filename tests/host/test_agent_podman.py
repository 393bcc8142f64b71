"""An Agent on a real Podman: volumes, identity, and what survives the deaths of agent and service."""

import asyncio
from pathlib import Path

import pytest

from mesh.v1.core_pb2 import SecurityContext, Volume, VolumeMount
from nodeagent.runtime import imagemounts
from tests.harness.podman import IMAGE
from tests.harness.podman_node import Node, a_container, a_pod, is_ready

pytestmark = pytest.mark.host


async def test_containers_of_a_pod_share_what_is_theirs(node: Node, tmp_path: Path) -> None:  # V2, V13, E8, E9
    mounts = [VolumeMount(name="disk", mount_path="/disk"), VolumeMount(name="memory", mount_path="/memory"),
              VolumeMount(name="host", mount_path="/host", read_only=True)]  # fmt: skip
    volumes = [Volume(name="disk"), Volume(name="memory"), Volume(name="host")]
    volumes[0].empty_dir.SetInParent()
    volumes[1].empty_dir.medium, volumes[1].empty_dir.size_limit = "Memory", "1Mi"
    volumes[2].host_path.path, volumes[2].host_path.type = str(tmp_path), "Directory"
    (tmp_path / "file").write_text("of the host")
    writer = a_container("writer", command=["sh", "-c", "echo hello >/disk/x; echo hi >/memory/y; exec sleep 100000"],
                         volume_mounts=mounts)  # fmt: skip
    pod = a_pod(1, a_container("main", volume_mounts=mounts), writer, volumes=volumes, hostname="box")
    await node.running(pod)
    script = "until [ -s /disk/x ] && [ -s /memory/y ]; do :; done; cat /disk/x /memory/y /host/file; echo; hostname"
    assert await node.said(pod, script) == "hello\nhi\nof the host\nbox\n"
    assert "tmpfs" in await node.said(pod, "mount | grep ' /memory '")
    assert "full" in await node.said(pod, "head -c 2000000 /dev/zero >/memory/big || echo full")
    assert await node.said(pod, "touch /host/no 2>/dev/null || echo read-only") == "read-only\n"
    ip = node.heard[pod.metadata.uid].status.pod_ip
    assert f"{ip}\tbox" in await node.said(pod, "cat /etc/hosts")
    await node.assign()
    await node.until(lambda heard: heard[pod.metadata.uid].gone)
    assert not (node.host.config.state_dir / "pods" / pod.metadata.uid).exists()
    assert (tmp_path / "file").read_text() == "of the host"


async def test_a_container_is_who_its_manifest_says(node: Node) -> None:  # E11, E5
    context = SecurityContext(run_as_user=1234, run_as_group=5678, read_only_root_filesystem=True)
    main = a_container("main", security_context=context)
    main.env.add(name="IP").value_from.field_ref.field_path = "status.podIP"
    main.env.add(name="TWICE", value="$(IP) $(IP)")
    pod = a_pod(2, main)
    await node.running(pod)
    ip = node.heard[pod.metadata.uid].status.pod_ip
    assert await node.said(pod, "id -u; id -g; echo $TWICE; touch /x 2>/dev/null || echo no") == (
        f"1234\n5678\n{ip} {ip}\nno\n"
    )  # fmt: skip


async def test_an_image_is_a_volume(node: Node) -> None:  # I7, V14
    volume = Volume(name="data")
    volume.image.reference = IMAGE
    mounts = [
        VolumeMount(name="data", mount_path="/data"),
        VolumeMount(name="data", mount_path="/part", sub_path="etc"),
    ]
    pod = a_pod(3, a_container("main", volume_mounts=mounts), volumes=[volume])
    await node.running(pod)
    assert await node.said(pod, "cat /data/etc/group | head -1; head -1 /part/group") == "root:x:0:\nroot:x:0:\n"
    assert await node.said(pod, "touch /data/no /part/no 2>/dev/null || echo read-only") == "read-only\n"
    assert await node.said(pod, "/data/bin/busybox true 2>/dev/null || echo no") == "no\n"  # nothing of it is executed
    before = set(imagemounts.mounted())
    await node.kill()
    node.heard.clear()
    await node.start()
    await node.running(pod)
    assert set(imagemounts.mounted()) == before
    await node.assign()
    await node.until(lambda heard: heard[pod.metadata.uid].gone)
    assert not [place for place in imagemounts.mounted() if pod.metadata.uid in place]


async def test_a_restarted_agent_restarts_nothing(node: Node) -> None:  # L18, P21
    pods = [a_pod(n, a_container("a"), a_container("b")) for n in range(10, 14)]
    await node.running(*pods)
    before, told = await node.pids(), {u: r.status for u, r in node.heard.items() if u in node.pods}
    for _ in range(3):
        await node.kill()
        node.heard.clear()
        await node.start()
        await node.running(*pods)
    assert await node.pids() == before
    assert {u: r.status for u, r in node.heard.items() if u in node.pods} == told


async def test_podman_dies_while_pods_start_stop_and_run(node: Node) -> None:
    steady = [a_pod(n) for n in range(20, 24)]
    await node.running(*steady)
    before = await node.pids()
    for turn in range(3):
        more = [a_pod(100 + turn * 10 + n) for n in range(5)]
        await node.assign(*steady, *more)
        await asyncio.sleep(0.05 * turn)
        await asyncio.to_thread(node.host.restart)
        await node.until(lambda heard, more=more: all(is_ready(heard.get(p.metadata.uid)) for p in more))  # type: ignore[misc]
        assert all(s.restart_count == 0 for p in more for s in node.heard[p.metadata.uid].status.container_statuses)
        await node.assign(*steady)
        await asyncio.sleep(0.05 * turn)
        await asyncio.to_thread(node.host.restart)
        await node.until(lambda heard, more=more: all(heard[p.metadata.uid].gone for p in more))  # type: ignore[misc]
    after = await node.pids()
    assert after == before
    assert all(is_ready(node.heard[p.metadata.uid]) for p in steady)


async def test_an_agent_dies_while_pods_start(node: Node) -> None:
    pods = [a_pod(n, a_container("a"), a_container("b")) for n in range(200, 210)]
    await node.assign(*pods)
    for turn in range(8):
        await asyncio.sleep(0.03 * turn)
        await node.kill()
        await node.start()
        await node.assign(*pods)
    await node.until(lambda heard: all(is_ready(heard.get(p.metadata.uid)) for p in pods))
    running = await node.pids()
    assert len(running) == 20
    assert all(s.restart_count == 0 for p in pods for s in node.heard[p.metadata.uid].status.container_statuses)
