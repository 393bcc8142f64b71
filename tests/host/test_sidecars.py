"""Sidecars on a real Podman: who starts after whom, who ends after whom, a pod that completes without them (L13)."""

from pathlib import Path

import pytest

from mesh.v1.core_pb2 import Container, ExecAction, Probe, Volume, VolumeMount
from tests.harness.podman_node import Node, a_container, a_pod

pytestmark = pytest.mark.host

SIDE = "echo {0} starts >>/log/x; trap 'echo {0} ends >>/log/x; exit 1' TERM; touch /up; sleep 100000 & wait $!"
MOUNT = VolumeMount(name="log", mount_path="/log")


def side(name: str) -> Container:
    up = Probe(exec=ExecAction(command=["test", "-e", "/up"]), period_milliseconds=100, failure_threshold=99)
    return a_container(name, command=["sh", "-c", SIDE.format(name)], volume_mounts=[MOUNT], startup_probe=up,
                       restart_policy="Always")  # fmt: skip


async def test_a_job_with_sidecars(node: Node, tmp_path: Path) -> None:
    volume = Volume(name="log")
    volume.host_path.path = str(tmp_path)
    work = "echo main starts >>/log/x; sleep 1; echo main ends >>/log/x"
    main = a_container("main", command=["sh", "-c", work], volume_mounts=[MOUNT])
    pod = a_pod(1, main, init_containers=[side("one"), side("two")], volumes=[volume], restart_policy="Never")
    await node.assign(pod)
    uid = pod.metadata.uid
    await node.until(lambda heard: uid in heard and heard[uid].status.phase in ("Succeeded", "Failed"))
    status = node.heard[uid].status
    assert status.phase == "Succeeded"
    assert [s.state.terminated.exit_code for s in status.init_container_statuses] == [1, 1]
    starts = ["one starts", "two starts", "main starts"]
    assert (tmp_path / "x").read_text().splitlines() == [*starts, "main ends", "two ends", "one ends"]
