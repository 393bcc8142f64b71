"""Confinement and namespaces of containers on a real Podman: seccomp, sysctls, the host's processes (E11, E12)."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from mesh.v1.core_pb2 import (
    Container,
    EmptyDirVolumeSource,
    EnvVar,
    ExecAction,
    PodSecurityContext,
    Probe,
    SeccompProfile,
    SecurityContext,
    Volume,
    VolumeMount,
)
from nodeagent.runtime import podinit
from tests.harness.podman import PodmanHost, podman_host
from tests.harness.podman_node import Node, a_container, a_pod, is_ready

pytestmark = pytest.mark.host

FOREVER = ["sleep", "100000"]
NO_MKDIR = {
    "defaultAction": "SCMP_ACT_ALLOW",
    "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}],
}


@pytest.fixture(scope="module")
def host() -> Iterator[PodmanHost]:
    with podman_host(allowed_unsafe_sysctls=("net.core.somaxconn",)) as made:
        profiles = made.config.seccomp_dir / "profiles"
        profiles.mkdir()
        (profiles / "no-mkdir.json").write_text(json.dumps(NO_MKDIR))
        yield made


def confined(name: str, kind: str, profile: str = "", **fields: bool) -> Container:
    wanted = SeccompProfile(type=kind, localhost_profile=profile) if profile else SeccompProfile(type=kind)
    return a_container(name, security_context=SecurityContext(seccomp_profile=wanted, **fields))


async def test_seccomp_profiles(node: Node) -> None:  # E11
    localhost = SeccompProfile(type="Localhost", localhost_profile="profiles/no-mkdir.json")
    pod = a_pod(
        1, a_container("pods"), confined("free", "Unconfined"), confined("default", "RuntimeDefault"),
        confined("privileged", "RuntimeDefault", privileged=True),
        security_context=PodSecurityContext(seccomp_profile=localhost),
    )  # fmt: skip
    await node.running(pod)
    modes = {c: await node.said(pod, "grep -w Seccomp: /proc/1/status", c) for c in ("pods", "free", "default")}
    assert {c: text.split()[1] for c, text in modes.items()} == {"pods": "2", "free": "0", "default": "2"}
    assert "Operation not permitted" in await node.said(pod, "mkdir /made 2>&1; :", "pods")
    assert await node.said(pod, "mkdir /made && echo made", "default") == "made\n"
    assert "\t0\n" in await node.said(pod, "grep -w Seccomp: /proc/1/status", "privileged")


async def test_a_profile_that_is_not_there_is_said_so(node: Node) -> None:
    pod = a_pod(2, confined("main", "Localhost", "profiles/gone.json"))
    await node.assign(pod)
    uid = pod.metadata.uid

    def waits() -> str:
        found = node.heard[uid].status.container_statuses if uid in node.heard else []
        return found[0].state.waiting.message if found else ""

    await node.until(lambda _: "gone.json" in waits())
    assert "no such file" in waits()
    assert node.heard[uid].status.container_statuses[0].state.waiting.reason == "CreateContainerError"


async def test_groups_of_the_image_come_unless_the_pod_is_strict(node: Node) -> None:  # E11
    pods = {
        policy: a_pod(number, security_context=PodSecurityContext(
            run_as_user=1000, supplemental_groups=[4000], supplemental_groups_policy=policy))
        for number, policy in ((8, "Merge"), (9, "Strict"))
    }  # fmt: skip
    await node.running(*pods.values())
    for policy, groups in (("Merge", {"2000", "3000", "4000"}), ("Strict", {"2000", "4000"})):
        for process in ("1", "self"):  # its own, and what is executed in it
            said = await node.said(pods[policy], f"grep -E '^(Gid|Groups):' /proc/{process}/status")
            assert {word for word in said.split() if word.isdigit()} == groups, (policy, process)


async def test_an_init_container_leaves_variables_in_a_file(node: Node) -> None:  # E5
    env = EnvVar(name="GIVEN")
    env.value_from.file_key_ref.volume_name, env.value_from.file_key_ref.path = "scratch", "env"
    env.value_from.file_key_ref.key = "MADE"
    script = "echo \"MADE='at $(hostname)'\" >/scratch/env"
    first = a_container("first", command=["sh", "-c", script])
    first.volume_mounts.append(VolumeMount(name="scratch", mount_path="/scratch"))
    scratch = Volume(name="scratch", empty_dir=EmptyDirVolumeSource())
    pod = a_pod(10, a_container("main", env=[env]), init_containers=[first], volumes=[scratch])
    await node.running(pod)
    assert await node.said(pod, "tr '\\0' '\\n' </proc/1/environ | grep GIVEN") == f"GIVEN=at {pod.metadata.name}\n"


async def test_sysctls_are_of_the_pod_alone(node: Node) -> None:  # E11
    context = PodSecurityContext()
    for name, value in (("kernel.shm_rmid_forced", "1"), ("net/ipv4/tcp_fin_timeout", "33"),
                        ("net.core.somaxconn", "77")):  # fmt: skip
        context.sysctls.add(name=name, value=value)
    pod, other = a_pod(3, security_context=context), a_pod(4)
    await node.running(pod, other)
    read = "cd /proc/sys; cat kernel/shm_rmid_forced net/ipv4/tcp_fin_timeout net/core/somaxconn"
    assert (await node.said(pod, read)).split() == ["1", "33", "77"]
    assert "33" not in (await node.said(other, read)).split()
    assert Path("/proc/sys/net/ipv4/tcp_fin_timeout").read_text() != "33\n"


async def test_a_sysctl_that_the_kernel_refuses_is_said_so(node: Node) -> None:
    context = PodSecurityContext()
    context.sysctls.add(name="net.ipv4.tcp_fin_timeout", value="soon")
    await node.assign(a_pod(5, security_context=context))
    found: list[str] = []

    def said(_: object) -> bool:
        found[:] = [e.message for e in node.events if e.reason == "FailedCreatePodSandBox"]
        return bool(found)

    await node.until(said)
    assert "tcp_fin_timeout" in found[0]
    assert "Invalid argument" in found[0]


async def test_the_hosts_processes_and_ipc(node: Node) -> None:  # E12
    pod = a_pod(6, a_container("main", command=["sh", "-c", "sleep 76543 & exec sleep 100000"]), host_pid=True,
                host_ipc=True)  # fmt: skip
    other = a_pod(7)
    await node.running(pod, other)
    for kind in ("pid", "ipc"):
        ours = str(Path(f"/proc/self/ns/{kind}").readlink())
        assert (await node.said(pod, f"readlink /proc/self/ns/{kind}")).strip() == ours
        assert (await node.said(other, f"readlink /proc/self/ns/{kind}")).strip() != ours
    assert f"/proc/{os.getpid()}\n" in await node.said(pod, f"echo /proc/{os.getpid()}; test -d /proc/{os.getpid()}")
    left = (await node.said(pod, "pidof sleep")).split()
    assert [pid for pid in left if "76543" in cmdline(pid)]
    await node.assign(other)
    await node.until(lambda heard: heard[pod.metadata.uid].gone)
    assert [pid for pid in left if "76543" in cmdline(pid)] == []  # nothing that it began is left on the host


async def test_containers_that_share_their_processes(node: Node) -> None:  # E12
    probe = Probe(exec=ExecAction(command=["pidof", "sleep"]), period_seconds=1)
    script = "sleep 65432 & test -e /v/again && exec sleep 100000; touch /v/again; sleep 2"
    leaves = a_container("leaves", command=["sh", "-c", script], readiness_probe=probe,
                         volume_mounts=[VolumeMount(name="v", mount_path="/v")])  # fmt: skip
    other = a_container("other", command=FOREVER)
    pod = a_pod(8, leaves, other, share_process_namespace=True, volumes=[Volume(name="v", empty_dir={})])
    pod.metadata.annotations["mesh/crash-loop-initial-seconds"] = "1"
    uid = pod.metadata.uid
    await node.running(pod)
    one, two = [await node.said(pod, "readlink /proc/self/ns/pid", c) for c in ("leaves", "other")]
    assert one == two != str(Path("/proc/self/ns/pid").readlink()) + "\n"
    assert " sleep 65432\n" in await node.said(pod, "ps", "other")
    await node.until(lambda heard: heard[uid].status.container_statuses[0].restart_count > 0 and is_ready(heard[uid]))
    assert (await node.said(pod, "ps | grep -c '[s]leep 65432$'", "other")).strip() == "1"  # not that of its last life
    first = int((node.host.config.run_dir / "netns" / f"{uid}.init").read_text())
    group = Path(f"/proc/{first}/cgroup").read_text()
    assert f"/mesh/besteffort/pod{uid}/init" in group
    address = node.heard[uid].status.pod_ip
    os.kill(first, signal.SIGKILL)
    await node.until(lambda heard: is_ready(heard[uid]) and heard[uid].status.pod_ip not in ("", address))
    assert [s.restart_count > 0 for s in node.heard[uid].status.container_statuses] == [True, True]
    second = int((node.host.config.run_dir / "netns" / f"{uid}.init").read_text())
    await node.kill()
    assert podinit.lives(second, uid)  # an agent that ends takes nothing with it
    await node.start()
    await node.assign()
    await node.until(lambda heard: heard[uid].gone)
    assert not podinit.lives(second, uid)


def cmdline(pid: str) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""
