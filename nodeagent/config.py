"""What a host's agent is told at start: the text of agent.toml, as values.

Rule: pure; the caller reads the file. An unknown key or a wrong type is refused by name.
"""

import tomllib
from dataclasses import dataclass, fields
from pathlib import Path

from mesh.errors import Invalid, Violation


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

    @property
    def state_dir(self) -> Path:
        """What must survive a reboot: checkpoint, volumes of pods."""
        return self.root / "agent"

    @property
    def run_dir(self) -> Path:
        """A tmpfs, 0700: sockets, namespaces, Podman's run root and runtime state; gone after a reboot, as they are."""
        return self.root / "run"

    @property
    def podman_dir(self) -> Path:
        """Images and writable layers on disk; libpod's database and bundles on tmpfs mounts below."""
        return self.root / "podman"

    @property
    def podman_socket(self) -> Path:
        """Where this host's own Podman service listens."""
        return self.run_dir / "podman.sock"

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
        expected = int if name == "max_pods" else str
        if name in known and not isinstance(value, expected):
            wrong.append(Violation(name, f"must be {'a whole number' if expected is int else 'a text'}"))
    if wrong:
        raise Invalid.of("agent.toml", wrong)
    return AgentConfig(**{**table, "root": Path(table["root"])})
