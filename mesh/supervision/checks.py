"""What `mesh doctor` looks at: each check says what it found and, when that is not good, how to mend it.

Rules: it looks and changes nothing; a check never raises, and none needs the mesh to be up. A warning is what works
but may hurt; a failure is what keeps pods from running or secrets from being safe.
"""

import ctypes
import json
import os
import resource
import shutil
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from mesh import pki
from mesh.errors import MeshError
from mesh.fleet import ray_names
from mesh.supervision import machine, setup
from mesh.supervision.layout import Layout
from mesh.supervision.port import Supervisor, systemd_runs
from mesh.supervision.programs import Host, programs

OK, WARNING, FAILURE = "ok", "warning", "failure"
_GIB = 1024**3


@dataclass(frozen=True, slots=True)
class Finding:
    """One check's outcome; `mend` is empty when all is well."""

    name: str
    state: str
    found: str
    mend: str = ""


def machine_checks(layout: Layout) -> Iterator[Finding]:
    """Of the machine, whether a mesh is on it or not."""
    for need in machine.needs():
        if need.found:
            yield Finding(Path(need.found).name, OK, need.found + _version(Path(need.found).name))
        else:
            word = " or ".join(need.commands)
            yield Finding(need.commands[0], FAILURE, f"no {word}: it {need.why}", f"apt-get install {need.package}")
    yield Finding("supervisor", OK, "systemd" if systemd_runs() else "runit: this machine does not run systemd")
    yield _cgroups()
    yield _disk(layout)
    yield _swap()
    yield _clock()
    yield _limits()


def mesh_checks(host: Host, supervisor: Supervisor) -> Iterator[Finding]:
    """Of the mesh that was brought up on this machine."""
    yield from _private(host.layout)
    yield from _programs(host, supervisor)
    yield from _ports(host, supervisor)
    yield _runtime(host.layout)
    yield _tmpfs(host.layout)
    yield _forwarding()
    yield _ray(host)
    yield from certificates(host, time.time())


def safely(findings: Iterable[Finding], name: str) -> list[Finding]:
    """All of them; what breaks the checks themselves is a failure of `name`."""
    found: list[Finding] = []
    try:
        found.extend(findings)
    except (OSError, MeshError, ValueError, subprocess.SubprocessError) as error:
        found.append(Finding(name, FAILURE, f"cannot look: {error}", "run `mesh doctor` as root"))
    return found


# ---- the machine


def _version(command: str) -> str:
    if command not in ("podman", "crun", "runc", "conmon"):
        return ""
    try:
        with tempfile.TemporaryDirectory() as scratch:  # crun makes a directory for its containers even to say this
            done = subprocess.run(
                [command, "--version"], capture_output=True, text=True, timeout=10, check=False,
                env={**os.environ, "XDG_RUNTIME_DIR": scratch},
            )  # fmt: skip
    except OSError:
        return ""
    return f" ({done.stdout.splitlines()[0]})" if done.stdout else ""


def _cgroups() -> Finding:
    found = machine.cgroups()
    if not found:
        mend = "mount them: on a machine without systemd, `apt-get install cgroupfs-mount` does"
        return Finding("cgroups", FAILURE, "none are mounted: limits of pods can't be kept", mend)
    root = Path("/sys/fs/cgroup")
    if found == "v2":
        held = set((root / "cgroup.controllers").read_text().split())
    else:
        held = {path.name for path in root.iterdir() if path.is_dir()}
    lacking = {"cpu", "memory", "pids"} - held
    if lacking:
        mend = "add cgroup_enable=memory to the kernel's command line" if "memory" in lacking else "mount it"
        return Finding("cgroups", WARNING, f"{found}, without {', '.join(sorted(lacking))}", mend)
    return Finding("cgroups", OK, found)


def _disk(layout: Layout) -> Finding:
    place = next(path for path in (layout.root, *layout.root.parents) if path.exists())
    usage = shutil.disk_usage(place)
    found = f"{usage.free / _GIB:.1f} GiB of {usage.total / _GIB:.1f} GiB free at {place}"
    if usage.free < _GIB:
        return Finding("disk", FAILURE, found, "make room: images, logs and the store need at least 1 GiB")
    if usage.free / usage.total < 0.1:
        return Finding("disk", WARNING, found, "make room before it is full")
    return Finding("disk", OK, found)


def _swap() -> Finding:
    if len(Path("/proc/swaps").read_text().splitlines()) > 1:
        return Finding("swap", WARNING, "on: secrets in memory may reach the disk", "swapoff -a, or encrypt the swap")
    return Finding("swap", OK, "off")


def _clock() -> Finding:
    """adjtimex(2) with nothing to set returns 5 (TIME_ERROR) when nobody keeps the clock right."""
    state = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.create_string_buffer(256))
    if state == 5:
        return Finding("clock", WARNING, "nobody keeps it right", "apt-get install chrony")
    return Finding("clock", OK, "kept right")


def _limits() -> Finding:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if 0 <= hard < 16384:
        return Finding("open files", WARNING, f"at most {hard}", "raise the hard limit of nofile to 65536 or more")
    return Finding("open files", OK, "no limit" if hard < 0 else f"at most {hard}")


# ---- the mesh


def _private(layout: Layout) -> Iterator[Finding]:
    secret = [
        layout.ray_token,
        *layout.ray_tls.glob("*.key"),
        layout.agent_key,
        layout.store_key,
        layout.ca_key,
        layout.meshd_key,
        layout.admin_key,
    ]
    open_ones = [p for p in (layout.root, *secret) if p.exists() and stat.S_IMODE(p.stat().st_mode) & 0o077]
    foreign = [p for p in (layout.root, *secret) if p.exists() and p.stat().st_uid != 0]
    if open_ones:
        names = " ".join(map(str, open_ones))
        yield Finding("permissions", FAILURE, f"others can read {names}", f"chmod go-rwx {names}")
    elif foreign:
        names = " ".join(map(str, foreign))
        yield Finding("permissions", FAILURE, f"{names} is not root's", f"chown root:root {names}")
    else:
        yield Finding("permissions", OK, f"{layout.root} and its keys are root's alone")


def _programs(host: Host, supervisor: Supervisor) -> Iterator[Finding]:
    states = {status.name: status for status in supervisor.status()}
    for program in programs(host):
        status = states.get(program.name)
        logs = f"see `{supervisor.logs(program.name)}`"
        if status is None or not status.running:
            words = status.words if status else "not installed"
            yield Finding(program.name, FAILURE, f"does not run: {words}", f"mesh up; {logs}")
        elif not machine.answers(setup.reachable(program.ready.address)):
            yield Finding(program.name, FAILURE, f"runs (pid {status.pid}) and does not answer", logs)
        else:
            yield Finding(program.name, OK, f"answers (pid {status.pid}, since {status.since:.0f} s)")


def _ports(host: Host, supervisor: Supervisor) -> Iterator[Finding]:
    """Of what runs, the program's own check tells; of what does not, its ports must be free."""
    running = {status.name for status in supervisor.status() if status.running}
    wanted = {} if "mesh-ray" in running else machine.ray_ports(host.node_ip, head=not host.join)
    if host.has_meshd and "meshd" not in running:
        wanted |= {"meshd": host.listen[0]}
    taken = {what: address for what, address in wanted.items() if machine.taken(address)}
    for what, address in taken.items():
        port = address.rpartition(":")[2]
        mend = f"`ss -ltnp | grep {port}` says by whom"
        yield Finding("ports", FAILURE, f"{address}, for {what}, is taken", mend)
    if not taken:
        yield Finding("ports", OK, "free, or ours")


def _runtime(layout: Layout) -> Finding:
    chosen = layout.run / "runtime.json"
    if not chosen.exists():
        return Finding("OCI runtime", FAILURE, "not chosen: the host is not prepared", "mesh up")
    values = json.loads(chosen.read_text())
    return Finding("OCI runtime", OK, f"{values.get('name')}: {values.get('why')}")


def _tmpfs(layout: Layout) -> Finding:
    graph = layout.podman / "root"
    kinds = {line.split()[1]: line.split()[2] for line in Path("/proc/self/mounts").read_text().splitlines()}
    lacking = [p for p in (layout.run, graph / "libpod", graph / "overlay-containers") if kinds.get(str(p)) != "tmpfs"]
    if lacking:
        return Finding("tmpfs", FAILURE, f"{lacking[0]} is on disk: secrets would be written to it", "mesh up")
    return Finding("tmpfs", OK, "what may hold secrets is in memory")


def _forwarding() -> Finding:
    if Path("/proc/sys/net/ipv4/ip_forward").read_text().strip() != "1":
        return Finding("ip_forward", FAILURE, "off: pods reach nothing", "mesh up, or sysctl net.ipv4.ip_forward=1")
    return Finding("ip_forward", OK, "on")


def _ray(host: Host) -> Finding:
    address = host.ray_head
    found = f"version {version('ray')}, head at {address}"
    if not machine.answers(address, 3.0):
        mend = "mesh up there, and open the port to this host" if host.join else "mesh up"
        return Finding("Ray's head", FAILURE, f"{address} does not answer", mend)
    return Finding("Ray's head", OK, found)


def certificates(host: Host, now: float) -> Iterator[Finding]:
    """How long each certificate of this host lasts; one that should have been renewed a day ago is told. `now`: seconds
    since the epoch."""
    layout, anew = host.layout, "mesh up issues a new one" if host.has_meshd else "mesh node join, with a new token"
    first = (
        ("the authority", layout.ca_certificate),
        ("meshd", layout.meshd_certificate),
        ("the administrator", layout.admin_certificate),
    )
    own = (("this host", layout.agent_certificate), ("this host's Ray", layout.ray_tls / ray_names.CERTIFICATE))
    for name, path in (*(first if host.has_meshd else ()), *own):
        title = f"certificate of {name}"
        if not path.exists():
            yield Finding(title, FAILURE, f"{path} is missing", anew)
            continue
        content = pki.split(path.read_bytes())[0]
        days = (pki.expires(content) - now) / pki.DAY
        if days < 0:
            yield Finding(title, FAILURE, f"ended {-days:.0f} days ago", anew)
        elif pki.due(content, int(now) - pki.DAY) == 0:
            yield Finding(title, WARNING, f"ends in {days:.0f} days and was not renewed in time", anew)
        else:
            yield Finding(title, OK, f"valid for {days:.0f} days")


def as_root() -> Finding | None:
    """A warning for anyone else: much can't be seen."""
    if os.geteuid() == 0:
        return None
    return Finding("user", WARNING, "not root: some checks see nothing", "sudo mesh doctor")
