"""Where everything of the runtime lies below the mesh's root on a host.

Rule: pure; what may hold a secret lies on tmpfs (below `run`, `libpod` and `bundles`), what must survive a reboot
(images, writable layers, logs) on disk.
"""

from dataclasses import dataclass
from pathlib import Path

from nodeagent.config import AgentConfig


@dataclass(frozen=True, slots=True)
class Places:
    """Directories and files; on tmpfs unless said otherwise."""

    root: Path  # disk
    state: Path  # disk; the agent's own
    log: Path  # disk
    manifests: Path  # disk
    run: Path  # the tmpfs itself
    podman: Path  # disk: configuration, images, writable layers
    socket: Path  # of Podman's service
    volumes: Path  # of pods, whose content could be secret: <uid>/<name>; a mount of its own, never swapped

    @classmethod
    def of(cls, config: AgentConfig) -> "Places":
        """The places of this configuration."""
        return cls(
            root=config.root, state=config.state_dir, log=config.log_dir, manifests=config.manifest_dir,
            run=config.run_dir, podman=config.podman_dir, socket=config.podman_socket, volumes=config.memory_dir,
        )  # fmt: skip

    @property
    def graph(self) -> Path:
        """Podman's storage root (disk)."""
        return self.podman / "root"

    @property
    def libpod(self) -> Path:
        """libpod's database; a tmpfs of its own."""
        return self.graph / "libpod"

    @property
    def bundles(self) -> Path:
        """Containers' configurations, environment included; a tmpfs of its own."""
        return self.graph / "overlay-containers"

    @property
    def images(self) -> Path:
        """Podman's list of images (disk)."""
        return self.graph / "overlay-images"

    @property
    def networks(self) -> Path:
        """Podman's network definitions, of which there are none (disk)."""
        return self.podman / "networks"

    @property
    def scratch(self) -> Path:
        """Layers on their way into the storage (disk: they are big)."""
        return self.podman / "tmp"

    @property
    def containers_conf(self) -> Path:
        """Podman's configuration (disk, made by prepare)."""
        return self.podman / "containers.conf"

    @property
    def storage_conf(self) -> Path:
        """Its storage's configuration (disk, made by prepare)."""
        return self.podman / "storage.conf"

    @property
    def registries_conf(self) -> Path:
        """Its registries (disk, made by prepare)."""
        return self.podman / "registries.conf"

    @property
    def certificates(self) -> Path:
        """Authorities of registries: <host>/ca.crt; where Podman looks for them below its HOME (disk)."""
        return self.podman / ".config" / "containers" / "certs.d"

    @property
    def runroot(self) -> Path:
        """Podman's run root."""
        return self.run / "podman" / "run"

    @property
    def tmpdir(self) -> Path:
        """libpod's temporary directory."""
        return self.run / "podman" / "tmp"

    @property
    def exits(self) -> Path:
        """One file per container that exited a moment ago: its name is the id, its content the exit code."""
        return self.tmpdir / "exits"

    @property
    def ray(self) -> Path:
        """Ray's session directories; a tmpfs of its own."""
        return self.run / "ray"

    @property
    def oci_state(self) -> Path:
        """The OCI runtime's state."""
        return self.run / "oci"

    @property
    def bin(self) -> Path:
        """Wrappers that Podman calls."""
        return self.run / "bin"

    @property
    def oom(self) -> Path:
        """One file per container in which the kernel killed for memory; its content is how often."""
        return self.run / "oom"

    @property
    def exec(self) -> Path:
        """What to run in containers, as the OCI runtime reads it; holds environments."""
        return self.run / "exec"

    @property
    def veiled(self) -> Path:
        """One script per container that is about to start: what the stand-ins in its configuration stand for."""
        return self.run / "veiled"

    @property
    def unveiled(self) -> Path:
        """Bundles as the OCI runtime gets them, of containers with secrets in their environment: <id>/userdata."""
        return self.run / "unveiled"

    @property
    def stdin(self) -> Path:
        """One file per container whose input stays open when a client that attached leaves."""
        return self.run / "stdin"

    @property
    def netns(self) -> Path:
        """Namespaces of sandboxes: <uid>.net, <uid>.ipc, <uid>.uts."""
        return self.run / "netns"

    @property
    def sandboxes(self) -> Path:
        """Records of sandboxes: <uid>.json."""
        return self.run / "sandboxes"

    @property
    def shm(self) -> Path:
        """Shared memory of sandboxes: <uid>/, each a tmpfs."""
        return self.run / "shm"

    @property
    def runtime(self) -> Path:
        """Which OCI runtime was chosen and why."""
        return self.run / "runtime.json"

    @property
    def host(self) -> Path:
        """What was changed on the machine outside of our root."""
        return self.run / "host.json"
