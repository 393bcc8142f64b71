"""What a container is made of: limits, security, mounts (R4 to R6, E1, E11)."""

from typing import Any

import pytest

from mesh.v1.core_pb2 import Capabilities, PodSecurityContext, ResourceRequirements, SecurityContext, VolumeMount
from nodeagent.pods.confinement import security
from nodeagent.pods.spec import Ground, Host, container_spec, limits, mounts, oom_score_adj, sandbox_spec
from nodeagent.runtime.port import Image, Limits, RuntimeFailure
from nodeagent.runtime.seen import Role
from tests.harness.agents import a_container, a_pod

IMAGE = Image("sha256:1", ("example:1",), 1)
GIB = 1 << 30


def of(requests: dict[str, str] | None = None, bounds: dict[str, str] | None = None) -> Any:
    container = a_container(resources=ResourceRequirements(requests=requests or {}, limits=bounds or {}))
    return limits(a_pod("p", containers=(container,)), container, 8 * GIB)


@pytest.mark.parametrize(
    ("requests", "bounds", "shares", "quota"),
    [
        ({}, {}, 2, 0), ({"cpu": "1"}, {}, 1024, 0), ({"cpu": "500m"}, {}, 512, 0), ({"cpu": "1m"}, {}, 2, 0),
        ({}, {"cpu": "2"}, 2048, 200_000), ({"cpu": "100m"}, {"cpu": "1500m"}, 102, 150_000),
        ({}, {"cpu": "1m"}, 2, 1000), ({}, {"cpu": "10m"}, 10, 1000),
    ],
)  # fmt: skip
def test_cpu(requests: dict[str, str], bounds: dict[str, str], shares: int, quota: int) -> None:  # R4
    found = of(requests, bounds)
    assert (found.cpu_shares, found.cpu_quota) == (shares, quota)


def test_memory() -> None:  # R5
    assert of({}, {"memory": "64Mi"}).memory == 64 << 20
    assert of({"memory": "64Mi"}, {}).memory == 0


@pytest.mark.parametrize(
    ("qos", "request_", "expected"),
    [
        ("Guaranteed", GIB, -997), ("BestEffort", 0, 1000), ("Burstable", 0, 999), ("Burstable", GIB, 875),
        ("Burstable", 8 * GIB, 3), ("Burstable", 4 * GIB, 500),
    ],
)  # fmt: skip
def test_who_is_killed_first(qos: str, request_: int, expected: int) -> None:  # R6
    assert oom_score_adj(qos, request_, 8 * GIB) == expected


def test_a_critical_pod_of_the_node_is_spared() -> None:  # R6
    pod = a_pod("p", priority_class_name="system-node-critical")
    assert limits(pod, pod.spec.containers[0], 8 * GIB).oom_score_adj == -997


def test_a_sidecar_goes_no_earlier_than_whom_it_serves() -> None:  # R6
    def of_memory(name: str, memory: str, **fields: Any) -> Any:
        return a_container(name, resources=ResourceRequirements(requests={"memory": memory}), **fields)

    sidecar = of_memory("s", "1Mi", restart_policy="Always")
    first = of_memory("i", "1Mi")
    pod = a_pod("p", containers=(of_memory("a", "4Gi"), of_memory("b", "1Gi")), init=(first, sidecar))
    scores = [limits(pod, c, 8 * GIB).oom_score_adj for c in (*pod.spec.containers, first, sidecar)]
    assert scores == [500, 875, 999, 875]


def test_resources_of_a_whole_pod() -> None:  # R3, R6, R7
    given = a_container("a", resources=ResourceRequirements(requests={"memory": "1Gi"}, limits={"cpu": "100m"}))
    own = ResourceRequirements(requests={"memory": "3Gi", "cpu": "500m"}, limits={"memory": "4Gi", "cpu": "1500m"})
    pod = a_pod("p", containers=(given, a_container("b")), resources=own)
    whole = sandbox_spec(pod, "node1")
    assert whole.limits == Limits(cpu_shares=512, cpu_quota=150_000, memory=4 * GIB)
    assert whole.cgroup == "/mesh/burstable/poduid-p"
    first, second = (limits(pod, c, 8 * GIB) for c in pod.spec.containers)
    assert (first.cpu_quota, first.memory, second.cpu_quota, second.memory) == (10_000, 0, 0, 0)
    assert (first.oom_score_adj, second.oom_score_adj) == (1000 - 250, 1000 - 125)  # 2 GiB nobody has: a half each
    assert sandbox_spec(a_pod("p", containers=(given,)), "node1").limits is None
    only = ResourceRequirements(requests={"cpu": "1"})
    assert sandbox_spec(a_pod("p", resources=only), "node1").limits is None


def test_security_of_the_container_wins() -> None:  # E11
    container = a_container(
        security_context=SecurityContext(
            run_as_user=5, allow_privilege_escalation=False, read_only_root_filesystem=True,
            capabilities=Capabilities(add=["NET_ADMIN"], drop=["ALL"]),
        )
    )  # fmt: skip
    of_pod = PodSecurityContext(run_as_user=1, run_as_group=2, supplemental_groups=[3, 4], fs_group=9)
    pod = a_pod("p", containers=(container,), security_context=of_pod)
    found = security(pod, container, IMAGE)
    assert (found.user, found.groups) == ("5:2", (3, 4, 9))
    assert (found.read_only_root, found.no_new_privileges, found.privileged) == (True, True, False)
    assert (found.cap_add, found.cap_drop, found.seccomp) == (("NET_ADMIN",), ("ALL",), "unconfined")


def test_groups_of_the_image_are_left_out_when_asked() -> None:
    container = a_container()
    for policy, alone in (("", False), ("Merge", False), ("Strict", True)):
        of_pod = PodSecurityContext(supplemental_groups=[3], supplemental_groups_policy=policy)
        found = security(a_pod("p", security_context=of_pod), container, IMAGE)
        assert (found.groups, found.groups_alone) == ((3,), alone)


def test_a_group_alone_keeps_the_images_user() -> None:
    container = a_container(security_context=SecurityContext(run_as_group=7))
    pod = a_pod("p", containers=(container,))
    assert security(pod, container, Image("i", (), 1, user="app:x")).user == "app:7"
    assert security(pod, container, IMAGE).user == "0:7"


@pytest.mark.parametrize(
    ("wanted", "image_user", "words"),
    [(None, "", "image will run as root"), (None, "root", "as root"), (None, "app", "non-numeric user"),
     (0, "app", "runAsUser breaks"), (None, "1000", ""), (5, "root", "")],
)  # fmt: skip
def test_run_as_non_root(wanted: int | None, image_user: str, words: str) -> None:  # E11
    context = SecurityContext(run_as_non_root=True)
    if wanted is not None:
        context.run_as_user = wanted
    container = a_container(security_context=context)
    pod = a_pod("p", containers=(container,))
    image = Image("i", (), 1, user=image_user)
    if not words:
        security(pod, container, image)
        return
    with pytest.raises(RuntimeFailure, match=words) as raised:
        security(pod, container, image)
    assert raised.value.reason == "CreateContainerConfigError"


def test_the_users_mount_wins_over_our_etc_files() -> None:  # E9
    container = a_container(
        volume_mounts=[VolumeMount(name="v", mount_path="/etc/hosts", read_only=True),
                       VolumeMount(name="v", mount_path="/data", mount_propagation="HostToContainer")]
    )  # fmt: skip
    ground = Ground("", {"v": "/host/v"}, {"/etc/hosts": "/ours/hosts", "/etc/hostname": "/ours/hostname"}, {1: "/sub"})
    found = {m.destination: m for m in mounts(container, ground)}
    assert (found["/etc/hosts"].source, found["/etc/hosts"].read_only) == ("/host/v", True)
    assert found["/etc/hostname"].source == "/ours/hostname"
    assert (found["/data"].source, found["/data"].options) == ("/sub", ("rslave",))


def test_the_whole() -> None:
    container = a_container(command=["run", "$(WHO)"], args=["$$(WHO)"])
    container.env.add(name="WHO", value="me")
    pod = a_pod("p", containers=(container,), hostname="h")
    ground = Ground("10.1.1.2", {}, {}, {})
    spec = container_spec(
        pod, container, attempt=3, role=Role.APP, image=IMAGE, ground=ground, host=Host("n", "192.0.2.1", GIB),
        spec_hash="abc",
    )  # fmt: skip
    assert (list(spec.command), list(spec.args)) == (["run", "me"], ["$(WHO)"])
    assert dict(spec.env) == {"HOSTNAME": "h", "WHO": "me"}
    assert (spec.attempt, spec.spec_hash, spec.image, spec.image_id) == (3, "abc", "example:1", "sha256:1")
    assert spec.cgroup_parent == "/mesh/besteffort/poduid-p"
    assert sandbox_spec(pod, "n").hostname == "h"


def test_profiles_of_pod_and_container() -> None:  # E11
    of_pod = PodSecurityContext()
    of_pod.seccomp_profile.type, of_pod.seccomp_profile.localhost_profile = "Localhost", "a/b.json"
    of_pod.app_armor_profile.type, of_pod.app_armor_profile.localhost_profile = "Localhost", "web"
    of_pod.se_linux_options.type = "container_t"
    own = SecurityContext()
    own.seccomp_profile.type = own.app_armor_profile.type = "Unconfined"
    own.se_linux_options.level = "s0:c1"
    plain, other, privileged = a_container("a"), a_container("b", security_context=own), a_container("c")
    privileged.security_context.privileged = True
    pod = a_pod("p", containers=(plain, other, privileged), security_context=of_pod)
    found = [security(pod, c, IMAGE, "/root/seccomp") for c in pod.spec.containers]
    assert [s.seccomp for s in found] == ["/root/seccomp/a/b.json", "unconfined", "unconfined"]
    assert [s.app_armor for s in found] == ["web", "unconfined", "web"]
    assert [s.selinux for s in found] == [("type:container_t",), ("level:s0:c1",), ("type:container_t",)]
    of_pod.seccomp_profile.type = "RuntimeDefault"
    assert security(a_pod("p", security_context=of_pod), plain, IMAGE).seccomp == "default"
