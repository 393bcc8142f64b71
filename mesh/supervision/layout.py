"""Where everything of the mesh lies on a host: all paths, below one root.

Rule: pure; nothing else in mesh/ spells such a path. What is secret lies in a directory of mode 0700.
"""

from dataclasses import dataclass
from pathlib import Path

DEFAULT_ROOT = Path("/var/lib/mesh")

# Ray's unix sockets: <ray tmp>/session_<date>_<time>_<microseconds>_<pid>/sockets/plasma_store.<n>, 107 bytes in all.
_SOCKET_LIMIT = 107
_SESSION = len("/run/ray/session_2000-01-01_00-00-00_000000_4194304/sockets/plasma_store.99")
LONGEST_ROOT = _SOCKET_LIMIT - _SESSION


@dataclass(frozen=True, slots=True)
class Layout:
    """The paths of one host whose state is below `root`."""

    root: Path = DEFAULT_ROOT

    @property
    def run(self) -> Path:
        """A tmpfs, 0700, gone after a reboot: sockets, namespaces, Podman's run root."""
        return self.root / "run"

    @property
    def shutdown(self) -> Path:
        """The order to end all pods, while it holds; the agent's shutdown.py."""
        return self.run / "shutdown"

    @property
    def log(self) -> Path:
        """Logs of the programs, a directory each; logs of containers below pods/."""
        return self.root / "log"

    @property
    def services(self) -> Path:
        """runit's service directories, where no systemd runs."""
        return self.root / "sv"

    @property
    def install(self) -> Path:
        """What `mesh up` was told and did: it is what `mesh down` undoes."""
        return self.root / "install.json"

    @property
    def prepare_lock(self) -> Path:
        """Held while the host is prepared, so that programs started together prepare it once."""
        return self.root / ".prepare.lock"

    # ---- control service

    @property
    def meshd(self) -> Path:
        return self.root / "meshd"

    @property
    def meshd_config(self) -> Path:
        return self.meshd / "meshd.toml"

    @property
    def store(self) -> Path:
        return self.meshd / "store.db"

    @property
    def store_key(self) -> Path:
        """The key that encrypts the keys of Secrets at rest; back it up apart from the store."""
        return self.root / "keys" / "store.key"

    @property
    def pki(self) -> Path:
        return self.root / "pki"

    @property
    def ca_certificate(self) -> Path:
        return self.pki / "ca.crt"

    @property
    def ca_key(self) -> Path:
        return self.pki / "ca.key"

    @property
    def meshd_certificate(self) -> Path:
        return self.pki / "meshd.crt"

    @property
    def meshd_key(self) -> Path:
        return self.pki / "meshd.key"

    @property
    def agent_certificate(self) -> Path:
        """Of this host: it vouches for the key to which Secrets for it are sealed."""
        return self.pki / "agent.crt"

    @property
    def agent_key(self) -> Path:
        return self.pki / "agent.key"

    @property
    def admin_certificate(self) -> Path:
        """Of the user that the context file of `mesh up` names."""
        return self.pki / "admin.crt"

    @property
    def admin_key(self) -> Path:
        return self.pki / "admin.key"

    # ---- Ray

    @property
    def ray(self) -> Path:
        return self.root / "ray"

    @property
    def ray_token(self) -> Path:
        """The secret that every Ray process of the mesh shares (0600)."""
        return self.ray / "token"

    @property
    def ray_tls(self) -> Path:
        """This host's certificate for Ray, its key, and the authority that Ray alone has."""
        return self.ray / "tls"

    @property
    def ray_home(self) -> Path:
        """HOME of Ray's processes: a stray ~/.ray/auth_token of somebody else must not matter."""
        return self.ray / "home"

    @property
    def ray_storage(self) -> Path:
        """GCS' tables, on the head."""
        return self.ray / "gcs"

    @property
    def ray_tmp(self) -> Path:
        """Ray's session directories: a tmpfs, for Ray ends when a line of its log finds no room. Each worker's start
        opens them to all (0777) by Ray's own doing; the agent closes them again (0700), and they lie below a directory
        that is closed at all times."""
        return self.run / "ray"

    # ---- host

    @property
    def agent(self) -> Path:
        return self.root / "agent"

    @property
    def agent_config(self) -> Path:
        return self.agent / "agent.toml"

    @property
    def host_lock(self) -> Path:
        """Who holds it has the host."""
        return self.agent / "lock"

    @property
    def agent_log(self) -> Path:
        return self.log / "agent" / "agent.log"

    @property
    def netproxy(self) -> Path:
        return self.root / "netproxy"

    @property
    def netproxy_table(self) -> Path:
        """The last table, served after a restart until a newer one comes."""
        return self.netproxy / "last-table"

    @property
    def netproxy_holder(self) -> Path:
        """Where netproxy's sockets are kept while it is away."""
        return self.run / "netproxy-hold.sock"

    @property
    def netproxy_tunnel(self) -> Path:
        """Where connections of encrypted Services leave for other hosts."""
        return self.run / "netproxy-tunnel.sock"

    @property
    def ingress(self) -> Path:
        """What HAProxy reads, certificates among it: in memory."""
        return self.run / "ingress"

    @property
    def netproxy_socket(self) -> Path:
        return self.run / "netproxy.sock"

    @property
    def standby_socket(self) -> Path:
        """Where who stands by for Ray's actor is asked to step aside."""
        return self.run / "standby.sock"

    @property
    def podman_socket(self) -> Path:
        return self.run / "podman.sock"

    @property
    def podman(self) -> Path:
        return self.root / "podman"

    @property
    def manifests(self) -> Path:
        """Static pods (G10)."""
        return self.root / "manifests"

    def private_directories(self) -> tuple[Path, ...]:
        """What `mesh up` makes, parents first, each 0700."""
        return (
            self.root, self.meshd, self.store_key.parent, self.pki, self.ray, self.ray_tls, self.ray_home,
            self.ray_storage, self.agent, self.netproxy, self.podman, self.manifests, self.log,
            self.agent_log.parent,
        )  # fmt: skip
