"""The programs of a host as values: what each is, how it starts, when it is ready.

Rules: pure; all are siblings: none is the child of another, so none takes another along. What each is given it is
given by files: nothing secret is in argv or environment.
"""

import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mesh.fleet import ray_names
from mesh.fleet.ray_names import GCS_PORT, NODE_MANAGER_PORT
from mesh.supervision import ray_start
from mesh.supervision.layout import Layout
from mesh.supervision.ray_start import RayHost

TUNNEL_PORT = 7447  # of every host: connections of encrypted Services come in there
HEALTHZ_PORT = 10256  # of netproxy: whether it does its work (X20); kube-proxy's
PREPARES = "mesh-podman"  # the program that prepares the host before those that can't
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True)
class Ready:
    """A program is ready when it accepts connections: at `address` (ip:port, or a unix socket's path)."""

    address: str


@dataclass(frozen=True, slots=True)
class Program:
    """One supervised program. `reads`: files whose change asks for a restart. `spares_children`: what it has started
    lives on when it ends (containers' monitors). `capabilities`: those that it needs of root's, and then it is confined
    where the supervisor can do that; None: it makes containers and needs all. `notifies`: it tells the supervisor when
    it is ready, and that it is alive. `keeps`: others leave with it what they have while they are restarted, so it is
    restarted once they are back. `keys`: files that the supervisor hands over, where it can (mesh.handed). `first`: a
    command that must have ended well before each start."""

    name: str
    title: str
    argv: tuple[str, ...]
    ready: Ready
    environment: Mapping[str, str] = field(default_factory=dict)
    reads: tuple[Path, ...] = ()
    spares_children: bool = False
    capabilities: tuple[str, ...] | None = None
    notifies: bool = False
    keeps: bool = False
    keys: tuple[Path, ...] = ()
    first: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Host:
    """This host as its programs need it. `join`: the address of Ray's head, when it is on another host."""

    layout: Layout
    node_name: str
    node_ip: str
    listen: tuple[str, ...]
    join: str = ""
    control_groups: str = ""  # "none": it may make none (see agent.toml)
    pool: tuple[str, ...] = ()  # addresses for load balancers, when told now; meshd.toml remembers them
    python: Path = Path(sys.executable)  # of the environment the mesh is installed in
    has_meshd: bool = True

    @property
    def ray_head(self) -> str:
        """Where Ray's head is, "ip:port"."""
        return self.join or f"{self.node_ip}:{GCS_PORT}"


def programs(host: Host) -> tuple[Program, ...]:
    """The programs of this host, in the order of starting; they are stopped in the reverse order."""
    here = [_podman(host), _ray(host)]
    if host.has_meshd:
        here.append(_meshd(host))
    return (*here, _holder(host), _tunnel(host), _netproxy(host), _standby(host))


def prepare(host: Host) -> tuple[str, ...]:
    """The argv that makes the host ready for its programs, after every boot; doing it again is no work."""
    return (str(host.python), "-m", "nodeagent", "prepare", "--config", str(host.layout.agent_config))


def prepare_once(host: Host) -> str:
    """The shell command that does it if this boot has not yet; programs that start together wait for one of them."""
    doing = f"{is_prepared(host)} || exec {shlex.join(prepare(host))}"
    return shlex.join(("flock", str(host.layout.prepare_lock), "/bin/sh", "-c", doing))


def is_prepared(host: Host) -> str:
    """The shell command that fails where this boot has not done it."""
    return f"mountpoint -q {shlex.quote(str(host.layout.run))}"


def base_environment() -> dict[str, str]:
    """What every program of ours is given."""
    return {"PATH": PATH, "LANG": "C.UTF-8", "PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1"}


def _podman(host: Host) -> Program:
    config = host.layout.agent_config
    return Program(
        name=PREPARES,
        title="Podman service of the mesh",
        argv=(str(host.python), "-m", "nodeagent", "podman", "--config", str(config)),
        ready=Ready(str(host.layout.podman_socket)),
        environment=base_environment(),
        reads=(config,),
        spares_children=True,
    )


def _ray(host: Host) -> Program:
    ray = RayHost(host.node_name, host.node_ip, host.join)
    return Program(
        name="mesh-ray",
        title="Ray of the mesh, and in it the node agent",
        argv=ray_start.command(host.python, host.layout, ray),
        ready=Ready(f"{host.node_ip}:{NODE_MANAGER_PORT}"),
        environment=ray_start.environment(host.layout, base_environment()),
        reads=(host.layout.agent_config, host.layout.ray_token, host.layout.ray_tls / ray_names.CERTIFICATE),
        keys=(host.layout.agent_key,),
        first=(str(host.python), "-m", "mesh.supervision.headplace", str(host.layout.root)),
    )


def _meshd(host: Host) -> Program:
    layout = host.layout
    return Program(
        name="meshd",
        title="control service of the mesh",
        argv=(str(host.python), "-m", "mesh.app", "--config", str(layout.meshd_config)),
        ready=Ready(host.listen[0]),
        environment={**base_environment(), "GRPC_ENABLE_FORK_SUPPORT": "false"},  # it forks only to exec
        reads=(
            layout.meshd_config,
            layout.ca_certificate,
            layout.meshd_certificate,
            layout.ray_tls / ray_names.AUTHORITY,
        ),
        capabilities=("CAP_IPC_LOCK", "CAP_NET_BIND_SERVICE"),
        notifies=True,
        keys=(layout.meshd_key, layout.store_key),
    )


def _holder(host: Host) -> Program:
    """Keeps netproxy's sockets: a restart of netproxy is its upgrade, and drops nothing."""
    path = host.layout.netproxy_holder
    return Program(
        name="mesh-netproxy-hold",
        title="keeper of the Service proxy's sockets",
        argv=(str(host.python), "-m", "netproxy.hold", str(path)),
        ready=Ready(str(path)),
        environment=base_environment(),
        capabilities=(),
        keeps=True,
    )


def _tunnel(host: Host) -> Program:
    """Carries what is encrypted between hosts; a restart of netproxy does not touch it."""
    layout = host.layout
    path = layout.netproxy_tunnel
    address, allowed = f"{host.node_ip}:{TUNNEL_PORT}", f"{path}.allowed"
    return Program(
        name="mesh-netproxy-tunnel",
        title="encrypted way of the Service proxy to other hosts",
        argv=(str(host.python), "-m", "netproxy.knock", str(path), address, str(layout.pki), allowed),
        ready=Ready(str(path)),
        environment=base_environment(),
        capabilities=(),
        keys=(layout.agent_key,),
    )


def _netproxy(host: Host) -> Program:
    layout = host.layout
    table, holder = str(layout.netproxy_table), str(layout.netproxy_holder)
    argv = (
        "-m", "netproxy", "--socket", str(layout.netproxy_socket), "--last-table", table, "--holder", holder,
        "--tunnel", str(layout.netproxy_tunnel), "--healthz", f"{host.node_ip}:{HEALTHZ_PORT}",
    )  # fmt: skip
    return Program(
        name="mesh-netproxy",
        title="Service proxy of the mesh",
        argv=(str(host.python), *argv, "--ingress", str(layout.ingress)),
        ready=Ready(str(layout.netproxy_socket)),
        environment=base_environment(),
        spares_children=True,  # an HAProxy with requests under way
        capabilities=("CAP_NET_ADMIN", "CAP_NET_BIND_SERVICE", "CAP_NET_RAW"),
    )


def _standby(host: Host) -> Program:
    layout = host.layout
    files = (layout.host_lock, layout.standby_socket, layout.agent_config)
    return Program(
        name="mesh-standby",
        title="stand-in for the node agent while Ray is away",
        argv=(str(host.python), "-m", "nodeagent.standby", *map(str, files)),
        ready=Ready(str(layout.standby_socket)),
        environment=base_environment(),
        reads=(layout.agent_config,),
        keys=(layout.agent_key,),
    )
