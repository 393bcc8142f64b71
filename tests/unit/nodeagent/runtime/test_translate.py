"""Our values as Podman's, and Podman's words as people's."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nodeagent.runtime import names, translate
from nodeagent.runtime.port import ContainerSpec, Limits, Mount, Security
from nodeagent.runtime.seen import Role, SeenContainer, State
from nodeagent.runtime.translate import Joined

SPEC = ContainerSpec(
    pod_uid="u-1", namespace="ns", pod_name="web", name="main", attempt=2, role=Role.APP, spec_hash="abc",
    image="img:1", image_id="sha256:0123",
)  # fmt: skip
JOINED = Joined(net="/n/u-1.net", ipc="/n/u-1.ipc", uts="/n/u-1.uts", shm="/shm/u-1")
LOG = Path("/log/ns_web_u-1/main/2.log")


def body(spec: ContainerSpec = SPEC, joined: Joined = JOINED, lowest: int = -1000) -> dict[str, Any]:
    return translate.create_body(spec, joined, LOG, "/mesh/podu-1", translate.Grants(lowest))


def granted(**what: bool) -> dict[str, Any]:
    return translate.create_body(SPEC, JOINED, LOG, "/c", translate.Grants(0, **what))


def test_identity_is_in_name_and_labels() -> None:
    made = body()
    assert made["name"] == "main-2-u-1"
    assert made["image"] == "sha256:0123"
    assert made["labels"] == {
        "io.mesh.managed": "1", "io.mesh.pod.uid": "u-1", "io.mesh.pod.namespace": "ns", "io.mesh.pod.name": "web",
        "io.mesh.container.name": "main", "io.mesh.container.attempt": "2", "io.mesh.container.role": "app",
        "io.mesh.container.spec.hash": "abc", "io.mesh.container.image": "img:1", "io.mesh.container.log": str(LOG),
    }  # fmt: skip
    assert made["log_configuration"] == {"driver": "k8s-file", "path": str(LOG)}
    assert (made["restart_policy"], made["image_volume_mode"], made["cgroup_parent"]) == (
        "no", "anonymous", "/mesh/podu-1",
    )  # fmt: skip


def test_out_of_memory_a_container_goes_as_a_whole_where_the_kernel_can() -> None:  # R5
    assert granted(unified=True)["resource_limits"]["unified"] == {"memory.oom.group": "1"}
    assert "unified" not in granted(unified=False)["resource_limits"]


def test_terminals_belong_to_no_group_that_is_not_there() -> None:
    (own,) = [m for m in granted(tty_group=False)["mounts"] if m["destination"] == "/dev/pts"]
    assert own["type"] == "devpts"
    assert not any(option.startswith("gid=") for option in own["options"])
    assert not [m for m in granted(tty_group=True)["mounts"] if m["destination"] == "/dev/pts"]


def test_namespaces_are_the_pods_or_the_hosts() -> None:
    made = body()
    assert made["netns"] == {"nsmode": "path", "value": "/n/u-1.net"}
    assert made["pidns"] == {"nsmode": "private"}
    shared = body(joined=replace(JOINED, pid="/proc/7/ns/pid"))
    assert shared["pidns"] == {"nsmode": "path", "value": "/proc/7/ns/pid"}
    host = body(replace(SPEC, host_network=True, host_pid=True, host_ipc=True), Joined(shm="/dev/shm"))
    assert {k: host[k]["nsmode"] for k in ("netns", "utsns", "ipcns", "pidns")} == dict.fromkeys(
        ("netns", "utsns", "ipcns", "pidns"), "host"
    )


def test_command_and_args_are_left_to_the_image_when_not_given() -> None:
    assert not {"entrypoint", "command", "work_dir", "stop_signal", "user", "groups"} & set(body())
    made = body(replace(SPEC, command=["a"], args=["b"], working_dir="/w", stop_signal="SIGRTMIN+3"))
    assert (made["entrypoint"], made["command"], made["work_dir"], made["stop_signal"]) == (["a"], ["b"], "/w", 37)
    assert made["create_working_dir"]


def test_limits_are_given_only_when_set() -> None:
    assert body()["resource_limits"] == {}
    limits = Limits(cpu_shares=102, cpu_quota=10_000, memory=1000, pids=9, oom_score_adj=-997)
    made = body(replace(SPEC, limits=limits))
    assert made["resource_limits"] == {
        "cpu": {"shares": 102, "quota": 10_000, "period": 100_000},
        "memory": {"limit": 1000, "swap": 1000},
        "pids": {"limit": 9},
    }
    assert made["oom_score_adj"] == -997
    assert body(replace(SPEC, limits=limits), lowest=0)["oom_score_adj"] == 0


def test_mounts() -> None:
    mounts = [
        Mount("/data", "/host/data", read_only=True),
        Mount("/cache", size=1024, options=("noexec",)),
        Mount("/slave", "/host/slave", options=("rslave",)),
    ]
    assert body(replace(SPEC, mounts=mounts))["mounts"] == [
        {"type": "bind", "source": "/host/data", "destination": "/data", "options": ["rbind", "ro", "rprivate"]},
        {
            "type": "tmpfs", "source": "tmpfs", "destination": "/cache",
            "options": ["rw", "mode=1777", "size=1024", "noexec"],
        },
        {"type": "bind", "source": "/host/slave", "destination": "/slave", "options": ["rbind", "rw", "rslave"]},
        {
            "type": "bind", "source": "/shm/u-1", "destination": "/dev/shm",
            "options": ["rbind", "rw", "rprivate", "nosuid", "nodev", "noexec"],
        },
    ]  # fmt: skip
    own = body(replace(SPEC, mounts=[Mount("/dev/shm", "/host/shm")]))["mounts"]
    assert [m["source"] for m in own] == ["/host/shm"]


def test_security() -> None:
    made = body()
    assert made["seccomp_profile_path"] == "unconfined"
    security = Security(user="1:2", groups=(3,), cap_add=("A",), cap_drop=("ALL",), seccomp="default")
    made = body(replace(SPEC, security=security))
    assert (made["user"], made["groups"], made["cap_add"], made["cap_drop"]) == ("1:2", ["3"], ["A"], ["ALL"])
    assert "seccomp_profile_path" not in made
    assert not {"apparmor_profile", "selinux_opts"} & set(made)
    made = body(replace(SPEC, security=Security(seccomp="/p.json", app_armor="web", selinux=("level:s0:c1",))))
    assert (made["seccomp_profile_path"], made["apparmor_profile"]) == ("/p.json", "web")
    assert made["selinux_opts"] == ["level:s0:c1"]


@pytest.mark.parametrize(
    ("name", "number"), [("TERM", 15), ("SIGKILL", 9), ("sigusr1", 10), ("37", 37), ("SIGRTMIN+3", 37), ("RTMAX-1", 63)]
)
def test_signals_have_numbers(name: str, number: int) -> None:
    assert translate.signal_number(name) == number


@pytest.mark.parametrize("name", ["", "SIGNOPE", "0", "99", "RTMIN-1", "RTMAX+1"])
def test_what_is_no_signal_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="is not a signal"):
        translate.signal_number(name)


INSPECTED: dict[str, Any] = {
    "Id": "c1", "Image": "0123", "Created": "2026-11-22T09:49:26.253271646Z",
    "State": {
        "Status": "exited", "ExitCode": 3, "Pid": 0, "OOMKilled": False,
        "StartedAt": "2026-11-22T09:49:26.301845911Z", "FinishedAt": "2026-11-22T09:49:27.3+00:00",
    },
    "Config": {"Labels": names.labels(SPEC, LOG)},
}  # fmt: skip


def test_an_inspect_is_seen() -> None:
    seen = translate.seen(INSPECTED)
    assert seen == SeenContainer(
        id="c1", pod_uid="u-1", name="main", attempt=2, role=Role.APP, state=State.EXITED, spec_hash="abc",
        image="img:1", image_id="sha256:0123", created_at=1795340966253271646, started_at=1795340966301845911,
        finished_at=1795340967300000000, exit_code=3, log_path=str(LOG),
    )  # fmt: skip
    assert translate.pod_of(INSPECTED) == ("ns", "web")


def test_what_is_not_ours_is_not_seen() -> None:
    assert translate.seen({**INSPECTED, "Config": {"Labels": {"io.mesh.managed": "1"}}}) is None
    assert translate.seen({**INSPECTED, "Config": {"Labels": None}}) is None


def test_gos_zero_time_is_no_time() -> None:
    assert translate.nanoseconds("0001-01-01T00:00:00Z") == 0
    assert translate.nanoseconds("1970-01-01T01:00:01+01:00") == 10**9


def test_a_container_never_goes_back() -> None:
    seen = translate.seen(INSPECTED)
    assert seen
    running = replace(seen, state=State.RUNNING, exit_code=0, finished_at=0, pid=9)
    assert translate.later(seen, running) == translate.later(running, seen) == seen
    bare = replace(seen, started_at=0, oom_killed=True)
    assert translate.later(running, bare) == replace(bare, started_at=running.started_at)


@pytest.mark.parametrize(
    ("podman", "people"),
    [
        (
            "crun: executable file `nope` not found in $PATH: No such file or directory: OCI runtime attempted to"
            " invoke a command that was not found",
            'exec: "nope": executable file not found in $PATH',
        ),
        (
            "crun: executable file `/bin/nope` not found in $PATH: No such file or directory: OCI runtime attempted to"
            " invoke a command that was not found",
            'exec: "/bin/nope": no such file or directory',
        ),
        (
            'runc: runc create failed: unable to start container process: exec: "nope": executable file not found in'
            " $PATH: OCI runtime attempted to invoke a command that was not found",
            'exec: "nope": executable file not found in $PATH',
        ),
        (
            'runc: runc create failed: unable to start container process: exec: "/bin/nope": stat /bin/nope: no such'
            " file or directory: OCI runtime attempted to invoke a command that was not found",
            'exec: "/bin/nope": no such file or directory',
        ),
        ("crun: open executable: Permission denied: OCI permission denied", "exec: the file is not executable"),
        ("statfs /x: no such file or directory", "statfs /x: no such file or directory on this host"),
        (
            "crun: open `/r/overlay/0a/merged/etc/passwd/x`: Not a directory: OCI runtime error",
            'open "/etc/passwd/x": Not a directory',
        ),
        ("unable to find user bob: no matching entries in passwd file",) * 2,
    ],
)
def test_errors_become_words(podman: str, people: str) -> None:
    assert translate.words(podman) == people


@pytest.mark.parametrize(
    "reference",
    ["nginx", "nginx:1.25", "a/b_c/d--e:T.1", "localhost/x:1", "127.0.0.1:5000/a", "r.example/x@sha256:" + "a" * 64,
     "sha256:" + "0" * 64],
)  # fmt: skip
def test_names_of_images_are_read(reference: str) -> None:
    assert translate.is_reference(reference)


@pytest.mark.parametrize("text", ["", "UPPER", "a b", "a:", "a:b:c", "-a", "a//b", "a@sha256:12", "x" * 5 + "/"])
def test_what_names_no_image_is_refused(text: str) -> None:
    assert not translate.is_reference(text)


def test_short_names_are_docker_hubs() -> None:
    assert translate.full_reference("nginx:1") == "docker.io/library/nginx:1"
    assert translate.full_reference("grafana/loki") == "docker.io/grafana/loki"
    assert translate.full_reference("localhost/x:1") == "localhost/x:1"
    assert translate.full_reference("quay.io/a/b") == "quay.io/a/b"
