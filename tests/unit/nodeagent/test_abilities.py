"""What a host can't do for a pod, it says by a reason, and runs nothing of it (E11, E13, K7)."""

from pathlib import Path

import pytest

from mesh.errors import Invalid
from mesh.v1.core_pb2 import Container, ContainerPort, Pod, PodSecurityContext, ResourceRequirements, SecurityContext
from nodeagent.config import parse
from nodeagent.pods.abilities import Abilities, refusal
from nodeagent.pods.admit import ports
from tests.harness.agents import World, a_container, a_pod
from tests.harness.bent_time import bent


def with_sysctl(name: str) -> Pod:
    context = PodSecurityContext()
    context.sysctls.add(name=name, value="1")
    return a_pod("p", security_context=context)


@pytest.mark.parametrize(
    ("name", "allowed", "fine"),
    [
        ("kernel.shm_rmid_forced", (), True), ("net.ipv4.tcp_syncookies", (), True),
        ("net/ipv4/tcp_syncookies", (), True), ("net.ipv4.tcp_rmem", (), True),
        ("net.core.somaxconn", (), False), ("kernel.msgmax", (), False),
        ("net.core.somaxconn", ("net.core.somaxconn",), True), ("kernel.msgmax", ("kernel.msg*",), True),
        ("kernel.shmmax", ("kernel.msg*",), False),
    ],
)  # fmt: skip
def test_sysctls(name: str, allowed: tuple[str, ...], fine: bool) -> None:
    words = f'forbidden sysctl: "{name}" not allowlisted'
    assert refusal(with_sysctl(name), Abilities(unsafe_sysctls=allowed)) == (
        ("", "") if fine else ("SysctlForbidden", words)
    )


def test_profiles_that_the_host_cannot_enforce() -> None:
    of_pod, of_container = PodSecurityContext(), SecurityContext()
    of_pod.app_armor_profile.type = "RuntimeDefault"
    of_container.se_linux_options.level = "s0:c1"
    armored = a_pod("p", security_context=of_pod)
    labelled = a_pod("p", containers=(a_container(security_context=of_container),))
    assert refusal(armored, Abilities())[0] == "AppArmor"
    assert refusal(armored, Abilities(app_armor=True)) == ("", "")
    assert refusal(labelled, Abilities())[0] == "SELinux"
    assert refusal(labelled, Abilities(selinux=True)) == ("", "")
    of_pod.app_armor_profile.type = "Unconfined"
    assert refusal(a_pod("p", security_context=of_pod), Abilities()) == ("", "")


def test_limits_without_control_groups() -> None:
    resources = ResourceRequirements(requests={"cpu": "1"})
    requesting = a_pod("p", containers=(a_container(resources=resources),))
    resources.limits["memory"] = "64Mi"
    limited = a_pod("p", containers=(a_container(resources=resources),))
    assert refusal(requesting, Abilities(control_groups=False)) == ("", "")
    assert refusal(limited, Abilities(control_groups=False))[0] == "ControlGroups"
    assert refusal(limited, Abilities()) == ("", "")


def test_users_that_are_not_there() -> None:
    of_pod, of_container = PodSecurityContext(fs_group=7), SecurityContext(run_as_user=8)
    of_nobody = SecurityContext(run_as_user=0)
    assert refusal(a_pod("p", security_context=of_pod), Abilities(one_user=True))[1].startswith(
        "Cannot run as user or group 7"
    )
    other = a_pod("p", containers=(a_container(security_context=of_container),))
    assert refusal(other, Abilities(one_user=True))[0] == "OneUser"
    assert refusal(other, Abilities()) == ("", "")
    root = a_pod("p", containers=(a_container(security_context=of_nobody),))
    assert refusal(root, Abilities(one_user=True)) == ("", "")


def test_only_sysctls_of_a_pods_own_can_be_allowed() -> None:
    text = 'node_name = "n"\nnode_ip = "192.0.2.1"\nroot = "/r"\nallowed_unsafe_sysctls = ["{}"]'
    for good in ("net.*", "kernel.shm*", "kernel.sem", "fs.mqueue.msg_max", "net.core.somaxconn"):
        assert parse(text.format(good)).allowed_unsafe_sysctls == (good,)
    for bad in ("*", "kernel.*", "vm.swappiness", "kernel.panic"):
        with pytest.raises(Invalid, match="would be the whole host's"):
            parse(text.format(bad))
    assert parse(text.split("allowed", maxsplit=1)[0]).allowed_unsafe_sysctls == ()


def serving(name: str, number: int, address: str = "", protocol: str = "TCP") -> Pod:
    port = ContainerPort(container_port=80, host_port=number, host_ip=address, protocol=protocol)
    return a_pod(name, containers=(Container(name="main", image="example:1", ports=[port]),))


def test_a_port_of_the_host_is_one_pods() -> None:  # K7
    pod = serving("new", 8080)
    assert ports(pod, [], []).reason == ""
    assert ports(pod, [serving("a", 8081), serving("b", 8080, protocol="UDP")], []).reason == ""
    assert ports(serving("new", 8080, "10.0.0.1"), [serving("a", 8080, "10.0.0.2")], []).reason == ""
    taken = ports(pod, [serving("a", 8080, "10.0.0.2")], [])
    words = "Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports"
    assert (taken.reason, taken.message, taken.wait) == ("NodePorts", words, False)
    assert ports(pod, [], [serving("a", 8080)]).wait


@bent
async def test_a_pod_whose_port_is_taken_fails_here(tmp_path: Path) -> None:  # K7
    world = World(tmp_path)
    await world.start()
    await world.assign(serving("first", 8080))
    await world.until(lambda: world.phase("first") == "Running")
    await world.assign(serving("first", 8080), serving("second", 8080), serving("third", 8081))
    await world.until(lambda: world.phase("third") == "Running" and world.phase("second") == "Failed")
    assert world.status("second").reason == "NodePorts"
    assert not [c for c in world.host.calls if c[:2] == ("create", "uid-second")]
    await world.kill()


@bent
async def test_a_forbidden_sysctl_fails_the_pod(tmp_path: Path) -> None:
    world = World(tmp_path)
    await world.start()
    await world.assign(with_sysctl("net.core.somaxconn"))
    await world.until(lambda: world.phase("p") == "Failed")
    assert world.status("p").reason == "SysctlForbidden"
    await world.kill()
