"""What a host's agent is told at start: the text of agent.toml, as values.

Rule: pure; the caller reads the file. An unknown key or a wrong type is refused by name.
"""

import tomllib
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from mesh.errors import Invalid, Violation
from mesh.model import quantity, securitychecks
from nodeagent import registries, thresholds
from nodeagent.registries import Registry
from nodeagent.thresholds import Eviction

METRICS_PORT = 7446


@dataclass(frozen=True, slots=True)
class AgentConfig:
    """One host. Directories are made by `python -m nodeagent prepare` (0700) and belong to root."""

    node_name: str
    node_ip: str
    root: Path  # e.g. /var/lib/mesh; everything of the mesh on this host lies below it
    bridge: str = "mesh0"
    pod_cidr: str = ""  # this host's range until meshd's first assignment says otherwise; empty: wait for it
    oci_runtime: str = "auto"  # auto, crun or runc
    max_pods: int = 110
    reserved_cpu: str = "0"
    reserved_memory: str = "256Mi"
    max_parallel_pulls: int = 4  # I3
    crash_loop_max_seconds: int = 300  # L4: the longest back-off of any pod, 1 to 300
    image_gc_high_percent: int = 85  # I5: of the disk; images that nobody uses go from here …
    image_gc_low_percent: int = 80  # … down to here
    image_gc_min_age_seconds: int = 120
    container_log_max_size: str = "10Mi"  # G2
    container_log_max_files: int = 5
    metrics_listen: str = ""  # where figures are read, "ip:port"; empty: node_ip:7446; "none": nowhere
    proxy_workers: int = 0  # processes of netproxy that carry connections; 0: one for each four cores
    shutdown_grace_seconds: int = 0  # L19: of all pods, when the host shuts down; 0: it does not wait for them
    shutdown_grace_critical_seconds: int = 0  # of these, how many are kept for critical pods
    registries: tuple[Registry, ...] = ()
    eviction: Eviction = field(default_factory=Eviction)  # R9, R10
    allowed_unsafe_sysctls: tuple[str, ...] = ()  # E11: beside the safe ones; "net.*" is all that begin so
    control_groups: str = "own"  # none: containers stay in those of who started the mesh, and limits are refused
    env_in_swap: str = "refuse"  # where memory may be swapped to a disk: refuse, or give it anyway

    @property
    def metrics_address(self) -> tuple[str, int] | None:
        """Where figures are read; None: nowhere."""
        if self.metrics_listen == "none":
            return None
        host, _, port = self.metrics_listen.rpartition(":")
        return (host, int(port)) if self.metrics_listen else (self.node_ip, METRICS_PORT)

    @property
    def state_dir(self) -> Path:
        """What must survive a reboot: checkpoint, volumes of pods."""
        return self.root / "agent"

    @property
    def seccomp_dir(self) -> Path:
        """Profiles that `seccompProfile.localhostProfile` names (E11)."""
        return self.root / "seccomp"

    @property
    def lock_file(self) -> Path:
        """Who holds it has the host."""
        return self.state_dir / "lock"

    @property
    def run_dir(self) -> Path:
        """A tmpfs, 0700: sockets, namespaces, Podman's run root and runtime state; gone after a reboot, as they are."""
        return self.root / "run"

    @property
    def memory_dir(self) -> Path:
        """Memory that no disk ever holds, for volumes whose content could be secret; empty after a reboot."""
        return self.run_dir / "volumes"

    @property
    def podman_dir(self) -> Path:
        """Images and writable layers on disk; libpod's database and bundles on tmpfs mounts below."""
        return self.root / "podman"

    @property
    def podman_socket(self) -> Path:
        """Where this host's own Podman service listens."""
        return self.run_dir / "podman.sock"

    @property
    def standby_socket(self) -> Path:
        """Where who stands by for Ray's actor is asked to step aside."""
        return self.run_dir / "standby.sock"

    @property
    def pki_dir(self) -> Path:
        """The host's certificate and key (agent.crt, agent.key) and the authority's certificate (ca.crt)."""
        return self.root / "pki"

    @property
    def proxy_socket(self) -> Path:
        """Where this host's netproxy is programmed."""
        return self.run_dir / "netproxy.sock"

    @property
    def log_dir(self) -> Path:
        """Container logs: <namespace>_<pod>_<uid>/<container>/<attempt>.log below it (G1)."""
        return self.root / "log" / "pods"

    @property
    def manifest_dir(self) -> Path:
        """Static pods (G10)."""
        return self.root / "manifests"


def parse(text: str) -> AgentConfig:
    """The configuration in TOML `text`; raises Invalid naming each key that is unknown, missing or of a wrong type."""
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise Invalid(f"cannot read the agent's configuration: {error}") from error
    known = {f.name: f for f in fields(AgentConfig)}
    wrong = [Violation(name, "is not a key of agent.toml") for name in table if name not in known]
    wrong += [Violation(name, "is required") for name in ("node_name", "node_ip", "root") if name not in table]
    for name, value in table.items():
        expected = int if name in known and isinstance(known[name].default, int) else str
        if name not in known or name in ("registries", "eviction", "allowed_unsafe_sysctls"):
            continue
        if not isinstance(value, expected) or isinstance(value, bool):
            wrong.append(Violation(name, f"must be {'a whole number' if expected is int else 'a text'}"))
    named, wrong_registries = registries.parse(table.get("registries", []))
    eviction, wrong_eviction = thresholds.parse(table.get("eviction", {}))
    wrong += _wrong_sysctls(table.get("allowed_unsafe_sysctls", []))
    wrong += [*wrong_registries, *wrong_eviction] or _wrong_numbers(table)
    if wrong:
        raise Invalid.of("agent.toml", wrong)
    read = {"root": Path(table["root"]), "registries": named, "eviction": eviction}
    return AgentConfig(**{**table, **read, "allowed_unsafe_sysctls": tuple(table.get("allowed_unsafe_sysctls", ()))})


def _wrong_numbers(table: dict[str, Any]) -> list[Violation]:
    wrong = []
    if isinstance(pulls := table.get("max_parallel_pulls"), int) and pulls < 1:
        wrong.append(Violation("max_parallel_pulls", "must be at least 1"))
    if isinstance(longest := table.get("crash_loop_max_seconds"), int) and not 1 <= longest <= 300:
        wrong.append(Violation("crash_loop_max_seconds", "must be of 1 to 300"))
    if isinstance(files := table.get("container_log_max_files"), int) and files < 2:
        wrong.append(Violation("container_log_max_files", "must be at least 2"))
    if isinstance(size := table.get("container_log_max_size"), str) and not _is_size(size):
        wrong.append(Violation("container_log_max_size", "must be a size such as 10Mi"))
    if table.get("env_in_swap", "refuse") not in ("refuse", "anyway"):
        wrong.append(Violation("env_in_swap", "must be refuse or anyway"))
    if table.get("control_groups", "own") not in ("own", "none"):
        wrong.append(Violation("control_groups", "must be own or none"))
    listen = table.get("metrics_listen", "")
    if isinstance(listen, str) and listen not in ("", "none") and not _is_address(listen):
        wrong.append(Violation("metrics_listen", 'must be "ip:port", or "none"'))
    grace, critical = (table.get(f"shutdown_grace_{which}", 0) for which in ("seconds", "critical_seconds"))
    if isinstance(grace, int) and isinstance(critical, int) and not 0 <= critical <= grace:
        wrong.append(Violation("shutdown_grace_critical_seconds", "must be of 0 to shutdown_grace_seconds"))
    low, high = (table.get(f"image_gc_{end}_percent", default) for end, default in (("low", 80), ("high", 85)))
    if isinstance(low, int) and isinstance(high, int) and not 0 <= low < high <= 100:
        wrong.append(Violation("image_gc_low_percent", "must be less than image_gc_high_percent, both of 0 to 100"))
    return wrong


def _wrong_sysctls(names: object) -> list[Violation]:
    """The kernel has these for each namespace; any other would be the whole host's."""
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        return [Violation("allowed_unsafe_sysctls", "must be a list of texts")]
    own = (*securitychecks.OF_IPC, *securitychecks.OF_NETWORK)
    shared = [name for name in names if not securitychecks.matches(name.removesuffix("*") or "*", own)]
    return [Violation("allowed_unsafe_sysctls", f'"{name}" would be the whole host\'s') for name in shared]


def _is_address(text: str) -> bool:
    host, _, port = text.rpartition(":")
    return bool(host) and port.isdecimal() and int(port) <= 65535


def _is_size(text: str) -> bool:
    try:
        return quantity.amount("memory", text) > 0
    except ValueError:
        return False
