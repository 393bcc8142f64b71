"""What must hold of the security contexts and namespaces of a pod (E11, E12).

Rule: pure questions of one spec; every violation is reported by its path. Which sysctls a host allows, and which
profiles it can enforce, is the host's to say (nodeagent/pods/abilities.py).
"""

import re
from collections.abc import Iterator

from mesh.errors import Violation
from mesh.v1.core_pb2 import AppArmorProfile, Container, PodSpec, SeccompProfile

_SYSCTL = re.compile(r"[a-z0-9](?:[-_a-z0-9]*[a-z0-9])?(?:[./][a-z0-9](?:[-_a-z0-9.]*[a-z0-9])?)*")
_LONGEST_SYSCTL = 253
OF_IPC = ("kernel.sem", "kernel.shm*", "kernel.msg*", "fs.mqueue.*")  # the sysctls that an IPC namespace has
OF_NETWORK = ("net.*",)


def check_pod(spec: PodSpec, path: str) -> Iterator[Violation]:
    """What concerns the whole pod."""
    if spec.share_process_namespace and spec.host_pid:
        yield Violation(f"{path}.shareProcessNamespace", "must be absent with hostPID: those processes are the host's")
    context, where = spec.security_context, f"{path}.securityContext"
    yield from _check_profile(context.seccomp_profile, f"{where}.seccompProfile")
    yield from _check_profile(context.app_armor_profile, f"{where}.appArmorProfile")
    seen: dict[str, int] = {}
    for index, sysctl in enumerate(context.sysctls):
        name, place = sysctl_name(sysctl.name), f"{where}.sysctls[{index}].name"
        if not _SYSCTL.fullmatch(sysctl.name) or len(sysctl.name) > _LONGEST_SYSCTL:
            yield Violation(place, f'"{sysctl.name}" is no name of a sysctl')
        elif seen.setdefault(name, index) != index:
            yield Violation(place, f'"{sysctl.name}" is the name of sysctls[{seen[name]}] too')
        elif spec.host_network and matches(name, OF_NETWORK):
            yield Violation(place, f"must not be {sysctl.name} with hostNetwork: it would be the host's")
        elif spec.host_ipc and matches(name, OF_IPC):
            yield Violation(place, f"must not be {sysctl.name} with hostIPC: it would be the host's")


def check_container(container: Container, path: str) -> Iterator[Violation]:
    """What concerns one container."""
    context, where = container.security_context, f"{path}.securityContext"
    yield from _check_profile(context.seccomp_profile, f"{where}.seccompProfile")
    yield from _check_profile(context.app_armor_profile, f"{where}.appArmorProfile")
    if not context.HasField("allow_privilege_escalation") or context.allow_privilege_escalation:
        return
    if context.privileged:
        yield Violation(f"{where}.allowPrivilegeEscalation", "must not be false when privileged is true")
    if any(c.upper().removeprefix("CAP_") == "SYS_ADMIN" for c in context.capabilities.add):
        said = "must not be false when the capability SYS_ADMIN is added"
        yield Violation(f"{where}.allowPrivilegeEscalation", said)


def sysctl_name(name: str) -> str:
    """With dots between its words: "net/ipv4/conf/eth0.1/arp" is net.ipv4.conf.eth0/1.arp, as sysctl(8) has it."""
    first = next((c for c in name if c in "./"), ".")
    return name.translate(str.maketrans("./", "/.")) if first == "/" else name


def matches(name: str, patterns: tuple[str, ...]) -> bool:
    """Whether a name is one of these, or begins like one that ends in a star."""
    return any(name.startswith(p[:-1]) if p.endswith("*") else name == p for p in patterns)


def _check_profile(profile: SeccompProfile | AppArmorProfile, path: str) -> Iterator[Violation]:
    name = profile.localhost_profile
    if profile.type == "Localhost" and not name.strip():
        yield Violation(f"{path}.localhostProfile", "is required with the type Localhost")
    elif profile.type != "Localhost" and profile.HasField("localhost_profile"):
        yield Violation(f"{path}.localhostProfile", "must be absent unless the type is Localhost")
    elif isinstance(profile, SeccompProfile) and (name.startswith("/") or ".." in name.split("/")):
        yield Violation(f"{path}.localhostProfile", f'must be a path below the host\'s profiles, is "{name}"')
