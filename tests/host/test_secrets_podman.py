"""Secrets in containers of a real Podman: in files and environment, and in nothing that is written or shown (V3 to V6,
E4, E5)."""

import asyncio
import base64
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from mesh.v1.core_pb2 import EnvVar, Pod, SecurityContext, Volume
from mesh.v1.node_pb2 import PodReport
from nodeagent.runtime.port import ContainerSpec, RuntimeFailure
from nodeagent.runtime.seen import Role
from tests.harness.agents import a_secret
from tests.harness.podman import IMAGE, PodmanHost, podman_host
from tests.harness.podman_node import DEADLINE, GENTLE, Node, a_container, a_pod, is_ready
from tests.harness.waiting import wait_for_text

pytestmark = pytest.mark.host

CANARY = 'the-canary "sings" & \\1/ $HOME\n\tünï'


@pytest.fixture(scope="module", params=["crun", "runc"])
def host(request: pytest.FixtureRequest) -> Iterator[PodmanHost]:
    with podman_host(oci_runtime=request.param) as made:
        yield made


def variable(name: str, key: str) -> EnvVar:
    made = EnvVar(name=name)
    made.value_from.secret_key_ref.name, made.value_from.secret_key_ref.key = "s", key
    return made


def with_everything(number: int) -> Pod:
    """A pod that has the Secret in files, in its environment and in its arguments."""
    container = a_container("main", env=[variable("TOKEN", "token"), EnvVar(name="URL", value="pg://$(TOKEN)@db")])
    container.env_from.add(prefix="ALL_").secret_ref.name = "s"
    del container.command[:]
    container.command.extend(["sh", "-c", GENTLE[2], "arg0", "$(TOKEN)"])
    container.volume_mounts.add(name="files", mount_path="/files")
    container.security_context.CopyFrom(SecurityContext(run_as_user=1000))
    files = Volume(name="files")
    files.secret.secret_name = "s"
    files.secret.default_mode = 0o400
    made = a_pod(number, container, volumes=[files])
    made.spec.security_context.fs_group = 4242
    return made


def below(directory: Path) -> Iterator[Path]:
    """Every regular file on the directory's own filesystem."""
    found = subprocess.run(
        ["find", str(directory), "-xdev", "-type", "f", "-print0"], capture_output=True, check=True, text=True
    )
    return (Path(p) for p in found.stdout.split("\0") if p)


def traces(host: PodmanHost, words: list[bytes]) -> list[Path]:
    """Files of the root's disk that hold any of the words."""
    return [path for path in below(host.config.root) if any(word in path.read_bytes() for word in words)]


async def test_a_secret_is_in_the_container_and_nowhere_else(node: Node) -> None:  # V3, V4, E2, E5
    node.secrets = {"s": a_secret("s", token=CANARY, other="the-other-canary")}
    pod = with_everything(1)
    await node.running(pod)
    shown = await node.said(pod, 'printf %s "$TOKEN|$URL|$ALL_other|"; cat /files/token')
    assert shown == f"{CANARY}|pg://{CANARY}@db|the-other-canary|{CANARY}"
    first = (await node.pids())[pod.metadata.uid, "main"]
    environment = Path(f"/proc/{first}/environ").read_bytes().split(b"\0")
    assert f"TOKEN={CANARY}".encode() in environment
    assert Path(f"/proc/{first}/cmdline").read_bytes().split(b"\0")[4] == CANARY.encode()
    modes = "stat -Lc '%a %g' /files/token; touch /files/x 2>/dev/null || echo no"
    assert await node.said(pod, modes) == "440 4242\nno\n"
    words = [CANARY.encode(), json.dumps(CANARY)[1:-1].encode(), b"the-other-canary", b"the-canary"]
    words += [base64.b64encode(word)[:-4] for word in words]
    seen = (await node.runtime.pods())[pod.metadata.uid].containers[0]
    inspected = node.host.podman("inspect", seen.id).encode()
    assert b"mesh-secret-" in inspected
    assert not [word for word in words if word in inspected]
    bundle = node.host.config.podman_dir / "root" / "overlay-containers" / seen.id / "userdata" / "config.json"
    assert not [word for word in words if word in bundle.read_bytes()]
    assert not list((node.host.config.run_dir / "veiled").iterdir())
    assert traces(node.host, words) == []
    assert traces(node.host, [b"mesh-test-busybox-is-here", b"BusyBox"])  # the search finds what is there


async def test_a_changed_secret_is_in_the_files_at_once_and_restarts_nothing(node: Node) -> None:  # V5, V6, E6
    node.secrets = {"s": a_secret("s", token="old", other="x")}
    pod = with_everything(2)
    await node.running(pod)
    before = await node.pids()
    node.secrets = {"s": a_secret("s", 2, token="new", other="x")}
    await node.assign(pod)
    file = node.host.config.memory_dir / pod.metadata.uid / "files" / "token"
    await asyncio.to_thread(wait_for_text, file, "new", 1.0)
    assert await node.said(pod, "cat /files/token; echo $TOKEN") == "newold\n"
    assert await node.pids() == before
    await node.assign()
    async with asyncio.timeout(DEADLINE):
        await node.agent.emptied()
    assert not file.parent.parent.exists()
    assert not list((node.host.config.run_dir / "unveiled").iterdir())


async def test_probes_and_restarts_see_the_environment(node: Node) -> None:
    node.secrets = {"s": a_secret("s", token=CANARY, other="x")}
    probed = with_everything(3)
    probe = probed.spec.containers[0].readiness_probe
    probe.exec.command.extend(["sh", "-c", '[ "$ALL_other" = x ] && [ -n "$TOKEN" ]'])
    probe.period_milliseconds = 100
    await node.running(probed)
    seen = (await node.runtime.pods())[probed.metadata.uid].containers[0]
    await node.runtime.kill(seen.id, "KILL")
    await node.until(lambda heard: restarted(heard, probed.metadata.uid))
    assert await node.said(probed, 'printf %s "$TOKEN"') == CANARY


def restarted(heard: dict[str, PodReport], uid: str) -> bool:
    report = heard.get(uid)
    return report is not None and is_ready(report) and report.status.container_statuses[0].restart_count == 1


async def test_a_new_agent_finds_what_runs_and_executes_in_it_as_before(node: Node) -> None:
    node.secrets = {"s": a_secret("s", token=CANARY, other="x")}
    pod = with_everything(4)
    await node.running(pod)
    before = await node.pids()
    await node.kill()
    await node.start()
    await node.running(pod)
    assert await node.said(pod, 'printf %s "$TOKEN"') == CANARY
    assert await node.pids() == before
    assert (await node.runtime.pods())[pod.metadata.uid].containers[0].secrets == {"s": "1"}


async def test_a_container_that_has_lost_its_values_before_its_start_is_made_anew(node: Node) -> None:
    node.secrets = {"s": a_secret("s", token=CANARY, other="x")}
    pod = with_everything(5)
    await node.running(pod)
    seen = (await node.runtime.pods())[pod.metadata.uid].containers[0]
    fresh = ContainerSpec(
        pod_uid=pod.metadata.uid, namespace="default", pod_name="p5", name="half", attempt=0, role=Role.APP,
        spec_hash="x", image=IMAGE, image_id=seen.image_id, secrets={"mesh-secret-x-0-": "v"},
        secret_revisions={"s": "1"},
    )  # fmt: skip
    container_id = await node.runtime.create(fresh)
    (node.host.config.run_dir / "veiled" / container_id).unlink()
    with pytest.raises(RuntimeFailure, match="made anew") as raised:
        await node.runtime.start(container_id)
    assert raised.value.transient
    assert await node.runtime.pod(pod.metadata.uid)
    assert not [c for c in (await node.runtime.pods())[pod.metadata.uid].containers if c.id == container_id]
