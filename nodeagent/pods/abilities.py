"""What this host can't do for a pod, and why: profiles and limits that it can't enforce, sysctls that it does not allow
(E11).

Rule: pure. Asked once, when a pod comes; a pod that asks for what the host can't do is not run without it.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from mesh.model.pods import containers, effective_limits
from mesh.model.securitychecks import matches, sysctl_name
from mesh.v1.core_pb2 import Pod

SAFE_SYSCTLS = (
    "kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.ip_unprivileged_port_start", "net.ipv4.ping_group_range", "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl", "net.ipv4.tcp_keepalive_probes", "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_rmem", "net.ipv4.tcp_syncookies", "net.ipv4.tcp_wmem",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Abilities:
    """Of a host; `unsafe_sysctls` are those that agent.toml allows beside the safe ones."""

    app_armor: bool = False
    selinux: bool = False
    unsafe_sysctls: tuple[str, ...] = ()
    control_groups: bool = True
    one_user: bool = False  # it is in a user namespace that has root alone


def refusal(pod: Pod, host: Abilities) -> tuple[str, str]:
    """Reason and message, in the kubelet's words where it has some; empty texts when the host can do all of it."""
    allowed = (*SAFE_SYSCTLS, *host.unsafe_sysctls)
    for sysctl in pod.spec.security_context.sysctls:
        if not matches(sysctl_name(sysctl.name), allowed):
            return "SysctlForbidden", f'forbidden sysctl: "{sysctl.name}" not allowlisted'
    if not host.app_armor and any(kind in ("RuntimeDefault", "Localhost") for kind in _app_armor(pod)):
        return "AppArmor", "Cannot enforce AppArmor: AppArmor is not enabled on the host"
    if not host.selinux and _wants_selinux(pod):
        return "SELinux", "Cannot enforce SELinux: SELinux is not enabled on the host"
    if not host.control_groups and any(effective_limits(pod).get(name) for name in ("cpu", "memory")):
        return "ControlGroups", "Cannot enforce limits of cpu and memory: this host makes no control groups"
    if host.one_user and (others := _other_users(pod)):
        return "OneUser", f"Cannot run as user or group {others[0]}: this host has root's alone"
    return "", ""


def _other_users(pod: Pod) -> list[int]:
    of_pod = pod.spec.security_context
    ids = [of_pod.run_as_user, of_pod.run_as_group, of_pod.fs_group, *of_pod.supplemental_groups]
    for container in containers(pod.spec):
        ids += [container.security_context.run_as_user, container.security_context.run_as_group]
    return [number for number in ids if number]


def _app_armor(pod: Pod) -> Iterator[str]:
    yield pod.spec.security_context.app_armor_profile.type
    for container in containers(pod.spec):
        yield container.security_context.app_armor_profile.type


def _wants_selinux(pod: Pod) -> bool:
    labels = [pod.spec.security_context.se_linux_options]
    labels += [c.security_context.se_linux_options for c in containers(pod.spec)]
    return any(label.ListFields() for label in labels)
