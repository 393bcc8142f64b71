"""Security contexts and namespaces of pods: what is refused before anything is applied (E11, E12)."""

import pytest

from mesh.model import manifest, podchecks
from mesh.model.poddefaults import fill
from mesh.model.securitychecks import sysctl_name
from mesh.v1.core_pb2 import Pod


def wrong(text: str) -> dict[str, str]:
    read = f"apiVersion: v1\nkind: Pod\nmetadata: {{name: a}}\nspec: {{containers: [{{name: a, image: b}}], {text}}}"
    pod = manifest.load(read, "f").objects[0]
    assert isinstance(pod, Pod)
    fill(pod.spec)
    return {v.field.removeprefix("spec."): v.reason for v in podchecks.check(pod.spec, "spec")}


@pytest.mark.parametrize(
    ("text", "field", "words"),
    [
        ("hostPID: true, shareProcessNamespace: true", "shareProcessNamespace", "must be absent with hostPID"),
        ("securityContext: {seccompProfile: {type: Localhost}}", "seccompProfile.localhostProfile", "is required"),
        (
            "securityContext: {seccompProfile: {type: RuntimeDefault, localhostProfile: a}}",
            "seccompProfile.localhostProfile",
            "must be absent",
        ),
        (
            "securityContext: {seccompProfile: {type: Localhost, localhostProfile: ../a}}",
            "seccompProfile.localhostProfile",
            "must be a path below",
        ),
        ("securityContext: {appArmorProfile: {type: Localhost}}", "appArmorProfile.localhostProfile", "is required"),
        ("securityContext: {sysctls: [{name: Net.x, value: a}]}", "sysctls[0].name", "no name of a sysctl"),
        (
            "securityContext: {sysctls: [{name: net.a.b, value: a}, {name: net/a/b, value: b}]}",
            "sysctls[1].name",
            "the name of sysctls[0] too",
        ),
        ("hostNetwork: true, securityContext: {sysctls: [{name: net.a, value: b}]}", "sysctls[0].name", "hostNetwork"),
        ("hostIPC: true, securityContext: {sysctls: [{name: kernel.sem, value: b}]}", "sysctls[0].name", "hostIPC"),
    ],
)
def test_what_is_refused(text: str, field: str, words: str) -> None:
    found = wrong(text)
    assert [name.removeprefix("securityContext.") for name in found] == [field]
    assert words in next(iter(found.values()))


def test_profiles_of_containers_are_looked_at_too() -> None:
    context = "{name: c, image: d, securityContext: {seccompProfile: {type: Localhost, localhostProfile: /etc/a}}}"
    assert list(wrong(f"initContainers: [{context}]")) == [
        "initContainers[0].securityContext.seccompProfile.localhostProfile"
    ]


def test_what_is_fine() -> None:
    assert (
        wrong("hostPID: true, hostIPC: true, securityContext: {sysctls: [{name: net.ipv4.tcp_rmem, value: a}]}") == {}
    )
    assert wrong("hostNetwork: true, securityContext: {sysctls: [{name: kernel.shm_rmid_forced, value: '1'}]}") == {}
    assert wrong("securityContext: {seccompProfile: {type: Localhost, localhostProfile: a/b.json}}") == {}
    assert wrong("shareProcessNamespace: true, securityContext: {appArmorProfile: {type: RuntimeDefault}}") == {}


def test_names_of_sysctls_are_of_two_kinds() -> None:
    assert sysctl_name("net/ipv4/conf/eth0.1/forwarding") == "net.ipv4.conf.eth0/1.forwarding"
    assert sysctl_name("net.ipv4.conf.eth0/1.forwarding") == "net.ipv4.conf.eth0/1.forwarding"
