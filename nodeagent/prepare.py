"""Makes a host ready for pods, and undoes it: directories, tmpfs mounts, Podman's configuration, packet forwarding.

Rules: doing it again is no work and disturbs nothing that runs; after a reboot it is done again, before Podman starts.
What was changed on the machine beyond our own root is written to run/host.json, so that `unprepare` can put it back.
Everything here belongs to root, 0700; what may hold a secret (bundles, runtime state, libpod's database) is on tmpfs.
"""

import contextlib
import json
import os
import resource
import select
import shutil
import signal
import subprocess
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

import structlog

from nodeagent.config import AgentConfig
from nodeagent.kept import made
from nodeagent.registries import authorities, registries_conf
from nodeagent.runtime import cgroups, layers, network, oci, overland, syscalls
from nodeagent.runtime.places import Places
from nodeagent.volumes import memory

FORWARD = Path("/proc/sys/net/ipv4/ip_forward")
PID_MAX = Path("/proc/sys/kernel/pid_max")

log = structlog.get_logger()

CONTAINERS_CONF = """# Written by `python -m nodeagent prepare`; the node agent's own Podman reads it, nobody else's.
[containers]
default_ulimits = [{ulimits}]
log_driver = "k8s-file"
base_hosts_file = "none"
default_sysctls = []
[network]
network_config_dir = "{networks}"
[engine]
runtime = "{runtime}"
cgroup_manager = "cgroupfs"
events_logger = "file"
exit_command_delay = 10
{monitor}[engine.runtimes]
{runtime} = ["{wrapper}"]
"""

STORAGE_CONF = """# Written by `python -m nodeagent prepare`.
[storage]
driver = "overlay"
graphroot = "{root}"
runroot = "{run}"
"""


@dataclass(slots=True)
class Changed:
    """What was changed on the machine outside of our root; kept in run/host.json."""

    ip_forward: str = ""  # its value before, when it was not on
    hierarchies: list[str] = field(default_factory=list)  # cgroup v1 hierarchies that we mounted

    @classmethod
    def load(cls, path: Path) -> "Changed":
        """What `save` wrote, or nothing."""
        return made(cls, json.loads(path.read_text())) if path.exists() else cls()

    def save(self, path: Path) -> None:
        """Writes it as JSON."""
        path.write_text(json.dumps(asdict(self)) + "\n")


def prepare(config: AgentConfig) -> oci.Chosen:
    """Does all of it and says which OCI runtime was chosen; raises RuntimeError or OSError with words for people."""
    places = Places.of(config)
    _directories(places)
    memory.mount(places.run, "64m")
    fresh = [memory.mount(d, "256m") for d in (places.libpod, places.bundles)]
    _run_directories(places)
    memory.mount(places.ray, "256m")
    memory.mount(places.volumes, never_swapped=True)
    host = Changed.load(places.host)
    if config.oci_runtime != "runc" and config.control_groups == "own":
        host.hierarchies += oci.free_cgroup_v2()
    _forward(host)
    host.save(places.host)
    chosen = _runtime(config, places)
    _registries(config, places)
    if any(fresh):
        orphans = layers.remove_orphans(places.graph)
        log.info("storage_swept", orphan_layers=orphans)
    _warn_of_swap(places)
    log.info("host_prepared", root=str(config.root), runtime=chosen.name, why=chosen.why, cgroup=chosen.cgroup_version)
    return chosen


def podman_argv(config: AgentConfig) -> list[str]:
    """The command line of the Podman service, to be run in `podman_environment`."""
    places = Places.of(config)
    return [
        "podman", "--root", str(places.graph), "--runroot", str(places.runroot), "--tmpdir", str(places.tmpdir),
        "--network-config-dir", str(places.networks), "system", "service", "--time", "0",
        f"unix://{config.podman_socket}",
    ]  # fmt: skip


def podman_environment(config: AgentConfig) -> dict[str, str]:
    """The environment of the Podman service; conmon and its cleanup inherit it."""
    places = Places.of(config)
    kept = {k: v for k, v in os.environ.items() if k.lower() in ("http_proxy", "https_proxy", "no_proxy", "lang")}
    return {
        **kept,
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": str(places.podman),
        "CONTAINERS_CONF": str(places.containers_conf),
        "CONTAINERS_STORAGE_CONF": str(places.storage_conf),
        "CONTAINERS_REGISTRIES_CONF": str(places.registries_conf),
        "TMPDIR": str(places.scratch),
    }


def exec_podman(config: AgentConfig) -> None:
    """Becomes the Podman service, in the foreground; the host is prepared."""
    config.podman_socket.unlink(missing_ok=True)
    os.chdir(Places.of(config).tmpdir)  # conmon leaves a file here when it sees a kill for memory
    os.execvpe("podman", podman_argv(config), podman_environment(config))  # noqa: S606 - as its supervisor's child


def unprepare(config: AgentConfig) -> None:
    """Ends our containers, and undoes mounts, bridge, packet filter rules, namespaces and cgroups; disks stay as they
    are. Podman's service must be stopped before."""
    places = Places.of(config)
    _end_containers(config, places)
    _end_processes(places)
    if places.runtime.exists():
        chosen = oci.Chosen.load(places.runtime)
        for half_made in places.oci_state.glob("*"):
            oci.delete(chosen, half_made.name)
    host = Changed.load(places.host)
    pods = [json.loads(path.read_text()) for path in places.sandboxes.glob("*.json")]
    for uid_file in sorted(places.netns.glob("*")):
        syscalls.unmount(uid_file)
    for shm in sorted(places.shm.glob("*")):
        syscalls.unmount(shm)
    network.remove(config.bridge)
    overland.remove()
    below = [Path(p) for d in (places.graph, places.state, places.run) for p in _mounts_below(d)]
    for directory in (*below, places.run):
        while syscalls.unmount(directory):
            pass
    if host.ip_forward:
        FORWARD.write_text(host.ip_forward)
    for record in pods:
        cgroups.remove(record["cgroup"])
    for level in ("/mesh/guaranteed", "/mesh/burstable", "/mesh/besteffort", "/mesh"):
        cgroups.remove_empty(level)
    for hierarchy in host.hierarchies:
        syscalls.unmount(hierarchy)
        Path(hierarchy).rmdir()
    log.info("host_unprepared", root=str(config.root))


def _end_containers(config: AgentConfig, places: Places) -> None:
    """Podman's command line needs no service."""
    if not (places.storage_conf.exists() and syscalls.is_mount(places.libpod)):
        return
    command = [*podman_argv(config)[: podman_argv(config).index("system")], "rm", "--all", "--force", "--volumes"]
    done = subprocess.run(
        [*command, "--time", "0"], env=podman_environment(config), capture_output=True, text=True, timeout=300,
        check=False,
    )  # fmt: skip
    if done.returncode:
        log.warning("containers_left", message=done.stderr.strip())


def _end_processes(places: Places) -> None:
    """Of containers that are gone: conmon, which has nothing to clean up any more, and what conmon has started to do so
    and works on the storage still, for ten seconds at most."""
    for pid in _processes_of("conmon", places.graph):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 10
    for pid in _processes_of("podman", places.graph):
        with contextlib.suppress(ProcessLookupError), open(os.pidfd_open(pid)) as process:  # noqa: PTH123 - a descriptor
            if not select.select([process], [], [], max(0.0, deadline - time.monotonic()))[0]:
                os.kill(pid, signal.SIGKILL)
                select.select([process], [], [], 1.0)


def _processes_of(program: str, graph: Path) -> list[int]:
    """Those that were started for this storage."""
    found = []
    for directory in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (directory / "cmdline").read_bytes().decode(errors="replace").split("\0")
            if Path(words[0]).name == program and str(graph) in words:
                found.append(int(directory.name))
    return found


def _mounts_below(directory: Path) -> list[str]:
    """Mount points below a directory, deepest first."""
    lines = Path("/proc/self/mounts").read_text().splitlines()
    below = [line.split()[1] for line in lines if line.split()[1].startswith(f"{directory}/")]
    return sorted(below, key=len, reverse=True)


def _directories(places: Places) -> None:
    for directory in (places.root, places.run, places.podman, places.graph, places.libpod, places.bundles,
                      places.networks, places.scratch, places.log, places.manifests, places.state,
                      places.root / "seccomp"):  # fmt: skip
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    places.root.chmod(0o700)


def _run_directories(places: Places) -> None:
    for directory in (places.runroot, places.exits, places.oci_state, places.bin, places.oom, places.exec,
                      places.netns, places.sandboxes, places.shm, places.volumes, places.ray,
                      places.veiled, places.unveiled, places.stdin):  # fmt: skip
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)


def _runtime(config: AgentConfig, places: Places) -> oci.Chosen:
    """The runtime chosen since boot, or a new choice; containers that run belong to the old one."""
    if places.runtime.exists():
        chosen = oci.Chosen.load(places.runtime)
        if config.oci_runtime in ("auto", chosen.name) and Path(chosen.binary).exists():
            _podman_configuration(places, chosen)
            return chosen
    chosen = oci.choose(config.oci_runtime, places.oci_state, places.scratch, config.control_groups == "own")
    _podman_configuration(places, chosen)
    chosen.save(places.runtime)
    return chosen


def _podman_configuration(places: Places, chosen: oci.Chosen) -> None:
    wrapper = oci.write_wrapper(chosen, places)
    monitor = oci.write_monitor(places)
    text = CONTAINERS_CONF.format(
        networks=places.networks, runtime=chosen.name, wrapper=wrapper, ulimits=", ".join(_ulimits()),
        monitor=f'conmon_path = ["{monitor}"]\n' if monitor else "",
    )  # fmt: skip
    places.containers_conf.write_text(text)
    places.storage_conf.write_text(STORAGE_CONF.format(root=places.graph, run=places.runroot))


def _registries(config: AgentConfig, places: Places) -> None:
    """Podman reads the first file when its service starts, the authorities at every pull."""
    places.registries_conf.write_text(registries_conf(config.registries))
    shutil.rmtree(places.certificates, ignore_errors=True)
    for host, ca in authorities(config.registries).items():
        (places.certificates / host).mkdir(parents=True, mode=0o700)
        shutil.copyfile(ca, places.certificates / host / "ca.crt")


def _ulimits() -> list[str]:
    """Limits of containers that this host can grant: without CAP_SYS_RESOURCE no more than our own hard ones, and of
    processes no more than pid_max, to which Podman lowers its own limit."""
    limits = {"nofile": (resource.RLIMIT_NOFILE, 1048576), "nproc": (resource.RLIMIT_NPROC, int(PID_MAX.read_text()))}
    granted = []
    for name, (kind, most) in limits.items():
        hard = resource.getrlimit(kind)[1]
        value = most if hard == resource.RLIM_INFINITY else min(hard, most)
        granted.append(f'"{name}={value}:{value}"')
    return granted


def _forward(host: Changed) -> None:
    before = FORWARD.read_text().strip()
    if before != "1":
        host.ip_forward = host.ip_forward or before
        FORWARD.write_text("1")


def _warn_of_swap(places: Places) -> None:
    for directory in (places.run, places.libpod, places.bundles, places.volumes):
        if why := memory.exposure(directory):
            log.warning("memory_may_leak", message=f"what containers are told may reach the disk: {why}")
