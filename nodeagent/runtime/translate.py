"""Between our values and Podman's: the body of a create, what an inspect says, its errors in words for people.

Rule: pure; the shapes are those of libpod's REST API (SpecGenerator, InspectContainerData), measured on 4.3.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from nodeagent.runtime import names
from nodeagent.runtime.port import ContainerSpec, Image, Limits, Mount
from nodeagent.runtime.seen import Role, SeenContainer, State

SIGNALS = {
    "HUP": 1, "INT": 2, "QUIT": 3, "ILL": 4, "TRAP": 5, "ABRT": 6, "BUS": 7, "FPE": 8, "KILL": 9, "USR1": 10,
    "SEGV": 11, "USR2": 12, "PIPE": 13, "ALRM": 14, "TERM": 15, "STKFLT": 16, "CHLD": 17, "CONT": 18, "STOP": 19,
    "TSTP": 20, "TTIN": 21, "TTOU": 22, "URG": 23, "XCPU": 24, "XFSZ": 25, "VTALRM": 26, "PROF": 27, "WINCH": 28,
    "IO": 29, "PWR": 30, "SYS": 31,
}  # fmt: skip
RTMIN, RTMAX = 34, 64
# As Podman mounts it, but for the group that a user namespace of one user lacks.
TERMINALS = {
    "type": "devpts", "source": "devpts", "destination": "/dev/pts",
    "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"],
}  # fmt: skip
OOM_GROUP = {"memory.oom.group": "1"}  # out of memory, the container goes as a whole (R5); cgroup v1 can't

STATES = {
    "created": State.CREATED, "configured": State.CREATED, "initialized": State.CREATED,
    "running": State.RUNNING, "paused": State.RUNNING, "stopping": State.RUNNING,
    "stopped": State.EXITED, "exited": State.EXITED,
}  # fmt: skip
ORDER = (State.CREATED, State.RUNNING, State.LOST, State.EXITED)

DOMAIN = r"[a-zA-Z0-9](?:[a-zA-Z0-9.-]*[a-zA-Z0-9])?(?::[0-9]+)?"
PART = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
REFERENCE = re.compile(
    rf"(?:{DOMAIN}/)?{PART}(?:/{PART})*(?::[A-Za-z0-9_][A-Za-z0-9_.-]{{0,127}})?(?:@sha256:[0-9a-f]{{64}})?"
)
IMAGE_ID = re.compile(r"(?:sha256:)?[0-9a-f]{12,64}")


@dataclass(frozen=True, slots=True)
class Joined:
    """What a container joins: paths of its pod's namespaces and shared memory (empty: its own)."""

    net: str = ""
    ipc: str = ""
    uts: str = ""
    pid: str = ""
    shm: str = ""


def signal_number(name: str) -> int:
    """The number of "TERM", "SIGTERM", "15", "SIGRTMIN+3"; ValueError otherwise."""
    text = name.upper().removeprefix("SIG")
    if text.isdigit() and 0 < int(text) <= RTMAX:
        return int(text)
    real_time = re.fullmatch(r"RTM(IN|AX)(?:([+-])(\d+))?", text)
    if real_time:
        base, sign, offset = real_time.groups()
        number = (RTMIN if base == "IN" else RTMAX) + int(f"{sign}{offset}" if sign else 0)
        if RTMIN <= number <= RTMAX:
            return number
    if text not in SIGNALS:
        raise ValueError(f'"{name}" is not a signal')
    return SIGNALS[text]


@dataclass(frozen=True, slots=True)
class Grants:
    """What this host grants containers: the least oom_score_adj; whether it runs cgroup v2 alone; whether it has the
    group of terminals."""

    lowest_oom_score: int = -1000
    unified: bool = False
    tty_group: bool = True


def create_body(spec: ContainerSpec, joined: Joined, log: Path, cgroup: str, host: Grants) -> dict[str, Any]:
    """The body of POST containers/create."""
    body: dict[str, Any] = {
        "name": names.container_name(spec),
        "image": spec.image_id or spec.image,
        "labels": names.labels(spec, log),
        "env": dict(spec.env),
        "terminal": spec.tty,
        "stdin": spec.stdin,
        "resource_limits": _limits(spec.limits) | ({"unified": dict(OOM_GROUP)} if host.unified else {}),
        "oom_score_adj": max(spec.limits.oom_score_adj, host.lowest_oom_score),
        "cgroup_parent": cgroup,
        "mounts": [*_mounts(spec, joined), *([] if host.tty_group else [TERMINALS])],
        "image_volume_mode": "anonymous",
        "use_image_hosts": True,
        "use_image_resolve_conf": True,
        "restart_policy": "no",
        "log_configuration": {"driver": "k8s-file", "path": str(log)},
        **_namespaces(spec, joined),
        **_security(spec),
    }
    if spec.command:
        body["entrypoint"] = list(spec.command)
    if spec.args:
        body["command"] = list(spec.args)
    if spec.working_dir:
        body["work_dir"] = spec.working_dir
        body["create_working_dir"] = True  # as containerd does for Kubernetes
    if spec.stop_signal:
        body["stop_signal"] = signal_number(spec.stop_signal)
    return body


def _namespaces(spec: ContainerSpec, joined: Joined) -> dict[str, Any]:
    def one(path: str, host: bool) -> dict[str, str]:
        if host:
            return {"nsmode": "host"}
        return {"nsmode": "path", "value": path} if path else {"nsmode": "private"}

    return {
        "netns": one(joined.net, spec.host_network),
        "utsns": one(joined.uts, spec.host_network),
        "ipcns": one(joined.ipc, spec.host_ipc),
        "pidns": one(joined.pid, spec.host_pid),
    }


def _security(spec: ContainerSpec) -> dict[str, Any]:
    wanted = spec.security
    body: dict[str, Any] = {
        "privileged": wanted.privileged,
        "read_only_filesystem": wanted.read_only_root,
        "no_new_privileges": wanted.no_new_privileges,
        "cap_add": list(wanted.cap_add),
        "cap_drop": list(wanted.cap_drop),
    }
    if wanted.user:
        body["user"] = wanted.user
    if wanted.groups:
        body["groups"] = [str(group) for group in wanted.groups]
    if wanted.seccomp != "default":
        body["seccomp_profile_path"] = wanted.seccomp
    if wanted.app_armor:
        body["apparmor_profile"] = wanted.app_armor
    if wanted.selinux:
        body["selinux_opts"] = list(wanted.selinux)
    return body


def _limits(limits: Limits) -> dict[str, Any]:
    cpu: dict[str, int] = {}
    if limits.cpu_shares:
        cpu["shares"] = limits.cpu_shares
    if limits.cpu_quota:
        cpu |= {"quota": limits.cpu_quota, "period": 100_000}
    body: dict[str, Any] = {"cpu": cpu} if cpu else {}
    if limits.memory:
        body["memory"] = {"limit": limits.memory, "swap": limits.memory}
    if limits.pids:
        body["pids"] = {"limit": limits.pids}
    return body


def _mounts(spec: ContainerSpec, joined: Joined) -> list[dict[str, Any]]:
    mounts = list(spec.mounts)
    if joined.shm and all(m.destination != "/dev/shm" for m in mounts):  # noqa: S108 - the pod's, not a shared one
        mounts.append(Mount("/dev/shm", joined.shm, options=("nosuid", "nodev", "noexec")))  # noqa: S108
    return [_mount(m) for m in mounts]


def _mount(mount: Mount) -> dict[str, Any]:
    access = "ro" if mount.read_only else "rw"
    if not mount.source:
        size = [f"size={mount.size}"] if mount.size else []
        options = [access, "mode=1777", *size, *mount.options]
        return {"type": "tmpfs", "source": "tmpfs", "destination": mount.destination, "options": options}
    propagation = [] if {"rprivate", "rslave", "rshared"} & set(mount.options) else ["rprivate"]
    options = ["rbind", access, *propagation, *mount.options]
    return {"type": "bind", "source": mount.source, "destination": mount.destination, "options": options}


def seen(inspected: Mapping[str, Any]) -> SeenContainer | None:
    """What an inspect says of a container of ours; None when its labels say that it isn't one."""
    of: Mapping[str, str] = inspected["Config"].get("Labels") or {}
    if not names.is_ours(of):
        return None
    state = inspected["State"]
    return SeenContainer(
        id=inspected["Id"], pod_uid=of[names.POD_UID], name=of[names.CONTAINER_NAME],
        attempt=int(of[names.CONTAINER_ATTEMPT]), role=Role(of.get(names.CONTAINER_ROLE, Role.APP)),
        state=STATES.get(state["Status"], State.LOST), spec_hash=of.get(names.SPEC_HASH, ""),
        image=of.get(names.IMAGE, ""), image_id=image_id(inspected["Image"]),
        created_at=nanoseconds(inspected["Created"]), started_at=nanoseconds(state["StartedAt"]),
        finished_at=nanoseconds(state["FinishedAt"]), exit_code=int(state["ExitCode"]), pid=int(state["Pid"]),
        log_path=of.get(names.LOG_PATH, ""), secrets=json.loads(of.get(names.SECRETS, "{}")),
        groups_alone=names.GROUPS_ALONE in of,
    )  # fmt: skip


def pod_of(inspected: Mapping[str, Any]) -> tuple[str, str]:
    """(namespace, name) of the pod that a container belongs to."""
    of = inspected["Config"]["Labels"]
    return of.get(names.POD_NAMESPACE, ""), of.get(names.POD_NAME, "")


def later(one: SeenContainer, other: SeenContainer) -> SeenContainer:
    """Of two sights of one container the later: a container never goes back. Times one of them lacks are kept."""
    first, last = sorted((one, other), key=lambda c: ORDER.index(c.state))
    return replace(
        last,
        created_at=last.created_at or first.created_at,
        started_at=last.started_at or first.started_at,
        finished_at=last.finished_at or first.finished_at,
        oom_killed=last.oom_killed or first.oom_killed,
    )


def nanoseconds(text: str) -> int:
    """A Go time ("2026-11-22T09:49:26.301845911Z") since the epoch; 0 for Go's zero time."""
    found = re.fullmatch(r"([^.]{19})(?:\.(\d+))?(Z|[+-]\d\d:\d\d)", text)
    if not found or text.startswith("0001-"):
        return 0
    whole, fraction, zone = found.groups()
    seconds = int(datetime.fromisoformat(whole + zone.replace("Z", "+00:00")).timestamp())
    return seconds * 10**9 + int((fraction or "0").ljust(9, "0")[:9])


def image_id(text: str) -> str:
    """An image's id with its digest's kind, as Kubernetes writes it."""
    return "sha256:" + text.removeprefix("sha256:")


def image(inspected: Mapping[str, Any]) -> Image:
    """An image, from its inspect."""
    config = inspected.get("Config") or {}
    return Image(
        id=image_id(inspected["Id"]),
        names=(*(inspected.get("RepoTags") or ()), *(inspected.get("RepoDigests") or ())),
        size=int(inspected.get("Size") or 0),
        user=inspected.get("User") or config.get("User") or "",
        stop_signal=config.get("StopSignal") or "",
    )  # fmt: skip


def listed_image(row: Mapping[str, Any]) -> Image:
    """An image, from a row of the list: without user and stop signal."""
    return Image(
        id=image_id(row["Id"]),
        names=(*(row.get("Names") or ()), *(row.get("RepoDigests") or ())),
        size=int(row.get("Size") or 0),
    )


def is_reference(text: str) -> bool:
    """Whether `text` can name an image or be an image's id."""
    return bool(REFERENCE.fullmatch(text) or IMAGE_ID.fullmatch(text))


def full_reference(text: str) -> str:
    """What to ask a registry for: a name without a registry is Docker Hub's, as everywhere in Kubernetes."""
    first, slash, _ = text.partition("/")
    if not slash:
        return f"docker.io/library/{text}"
    if "." in first or ":" in first or first == "localhost":
        return text
    return f"docker.io/{text}"


def words(message: str) -> str:
    """Podman's error for people: the OCI runtime's own sentence, without the wrapping around it."""
    text = " ".join(message.split())
    text = re.sub(r"^(crun|runc): ", "", text)
    text = re.sub(r"^runc create failed: unable to start container process: ", "", text)
    text = re.sub(r"^.*error during container init: ", "", text)
    text = re.sub(r": OCI [a-z ]+(attempted to invoke a command that was not found|error|denied)$", "", text)
    missing = re.fullmatch(r"executable file `(.*)` not found(?: in \$PATH)?: No such file or directory", text)
    if missing:
        where = "no such file or directory" if "/" in missing[1] else "executable file not found in $PATH"
        return f'exec: "{missing[1]}": {where}'
    text = re.sub(r"^open executable: Operation not permitted$", "exec: it is a directory, not a program", text)
    text = re.sub(r"^open executable: Permission denied$", "exec: the file is not executable", text)
    text = re.sub(r'^(exec: "(.*)"): stat \2:', r"\1:", text)
    text = re.sub(r" on container [0-9a-f]{64}", "", text)
    text = re.sub(r"`?/[^ `:]*/merged(/[^ `:]*)`?", r'"\1"', text)
    return re.sub(r"(statfs /\S+): no such file or directory", r"\1: no such file or directory on this host", text)
