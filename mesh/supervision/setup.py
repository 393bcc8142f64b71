"""The files of a host: directories, certificates, token, keys, configurations, the client's context.

Rules: everything may be done again; what is there and right is kept, above all keys. Private files are 0600 from the
moment they exist, and are replaced whole. Returned are the paths that changed, so that their readers are restarted.
"""

import json
import secrets
import socket
import tomllib
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mesh import authority, pki, raytls
from mesh.errors import Invalid, Unavailable, Violation
from mesh.files import whole_file
from mesh.fleet import ray_names
from mesh.model import formats
from mesh.sdk import context
from mesh.store.keyring import create_key_file
from mesh.supervision import toml
from mesh.supervision.layout import LONGEST_ROOT, Layout
from mesh.supervision.programs import Host

METRICS_PORT = 7445  # of meshd; an agent's is 7446
CONSOLE_PORT = 7448
HEADER = "# Written by `mesh up`. Keys that it does not know of are kept; `mesh up` again applies what is changed.\n"


@dataclass(frozen=True, slots=True)
class Told:
    """What `mesh up` was told last time; kept in install.json, so that the second run needs no options."""

    node_name: str
    node_ip: str
    listen: tuple[str, ...]
    join: str = ""
    context: str = ""  # the context's name, empty when there is none
    context_file: str = ""
    control: str = ""  # where meshd is, on a host that joined by a token: ip:port, of each with commas between
    with_meshd: bool = False  # one of several is here, though Ray's head is not

    @property
    def has_meshd(self) -> bool:
        """Whether it is a control host."""
        return self.with_meshd or not self.join

    @classmethod
    def read(cls, layout: Layout) -> "Told | None":
        """None on a host that has no mesh below this root."""
        try:
            values: dict[str, Any] = json.loads(layout.install.read_text())
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise Unavailable(f"cannot read {layout.install}: {error}") from error
        known = {name: value for name, value in values.items() if name in cls.__slots__}  # a newer release says more
        return cls(**{**known, "listen": tuple(values["listen"])})

    def host(self, layout: Layout) -> Host:
        """This host as values."""
        return Host(layout, self.node_name, self.node_ip, self.listen, self.join, has_meshd=self.has_meshd)

    def write(self, layout: Layout) -> None:
        """Replaces install.json."""
        private_file(layout.install, json.dumps(asdict(self), indent=2) + "\n")


def check(host: Host) -> None:
    """Raises Invalid for a host that can't be."""
    wrong = []
    root = str(host.layout.root)
    if not root.startswith("/") or len(root) > LONGEST_ROOT:
        wrong.append(Violation("--root", f"must be absolute and at most {LONGEST_ROOT} characters: it holds sockets"))
    if why := formats.dns_subdomain(host.node_name):
        wrong.append(Violation("--node-name", why))
    if wrong:
        raise Invalid.of("mesh up", wrong)
    if host.layout.root.is_dir() and any(host.layout.root.iterdir()) and not host.layout.install.exists():
        raise Invalid(f"{root} has files that are not the mesh's: choose another --root, or empty it")


def directories(layout: Layout) -> None:
    """Makes what is missing; 0700."""
    for directory in layout.private_directories():
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        directory.chmod(0o700)


def token(layout: Layout) -> set[Path]:
    """Ray's token: the one there, or a new one."""
    if layout.ray_token.exists():
        return set()
    return private_file(layout.ray_token, secrets.token_hex(32))


def certificates(host: Host, now: int) -> set[Path]:
    """The authority, and the certificates of meshd, this host and the administrator; issued anew, for the same keys,
    when two thirds of their life are over. While meshd runs it does that."""
    layout, changed = host.layout, set()
    if not layout.ca_certificate.exists():
        for name, content in authority.made("mesh", now).files().items():
            if content:
                changed |= private_file(layout.pki / name, content.decode())
    files = (authority.BUNDLE, authority.KEY, authority.CROSS)
    held = authority.Authority(*(_bytes(layout.pki / name) for name in files))
    names = _names(host)
    for request, certificate, key in (
        (pki.server("meshd", names), layout.meshd_certificate, layout.meshd_key),
        (pki.node(host.node_name), layout.agent_certificate, layout.agent_key),
        (pki.user("admin"), layout.admin_certificate, layout.admin_key),
    ):
        if not _good(certificate, key, held, request.hosts, now):
            wish = pki.wish(_bytes(key))
            chain = held.certify(request, wish.certificate, now, authority.life(request))
            changed |= private_file(key, wish.key.decode())
            changed |= private_file(certificate, chain.decode())
    return changed


def ray_certificate(host: Host, now: int) -> set[Path]:
    """What Ray's processes of this host prove themselves by. The first host makes the authority; control hosts issue it
    for themselves, others are given it when they join."""
    tls = host.layout.ray_tls
    changed: set[Path] = set()
    certificate, key = tls / ray_names.CERTIFICATE, tls / ray_names.KEY
    if host.join and not (tls / ray_names.AUTHORITY_KEY).exists():
        if not (certificate.exists() and key.exists()):
            raise Unavailable(
                "this host has no certificate for Ray yet: `mesh node join HOST:7444 --token TOKEN` gets it; "
                "`mesh token create` makes the token"
            )
        return changed
    if not (tls / ray_names.AUTHORITY).exists():
        made = raytls.made(now)
        changed |= private_file(tls / ray_names.AUTHORITY_KEY, made.key.decode())
        changed |= private_file(tls / ray_names.AUTHORITY, made.certificate.decode())
    held = raytls.RayAuthority(_bytes(tls / ray_names.AUTHORITY), _bytes(tls / ray_names.AUTHORITY_KEY))
    names, has_key = raytls.names(host.node_ip), key.exists()
    if not (has_key and certificate.exists() and held.fits(_bytes(certificate), names, now)):
        wish = pki.wish(_bytes(key))
        issued = held.certify(host.node_name, names, wish.certificate, now)
        changed |= private_file(key, wish.key.decode())
        changed |= private_file(certificate, issued.decode())
    return changed


def forget_ray_authority(layout: Layout) -> None:
    """Ray gets another one with the next `ray_certificate`; what the old one has issued counts no more then."""
    for name in (ray_names.AUTHORITY_KEY, ray_names.AUTHORITY):  # the latter last: it says that there is one
        (layout.ray_tls / name).unlink(missing_ok=True)


def given_ray(layout: Layout, token: str, authority: bytes, pair: pki.Pair) -> frozenset[Path]:
    """What this host was given for Ray when it joined; the certificate comes last, so that nothing is half there."""
    tls = layout.ray_tls
    changed = private_file(layout.ray_token, token)
    changed |= private_file(tls / ray_names.AUTHORITY, authority.decode())
    changed |= private_file(tls / ray_names.KEY, pair.key.decode())
    return frozenset(changed | private_file(tls / ray_names.CERTIFICATE, pair.certificate.decode()))


def store_key(layout: Layout) -> None:
    """Makes the key that encrypts Secrets, once."""
    if not layout.store_key.exists():
        create_key_file(layout.store_key)


def configurations(host: Host) -> set[Path]:
    """agent.toml, and meshd.toml on the host that has meshd."""
    layout = host.layout
    agent = {"node_name": host.node_name, "node_ip": host.node_ip, "root": str(layout.root)}
    if host.control_groups:
        agent["control_groups"] = host.control_groups
    changed = _configure(layout.agent_config, agent)
    if not host.has_meshd:
        return changed
    meshd = {
        "data_dir": str(layout.meshd),
        "key_file": str(layout.store_key),
        "listen": list(host.listen),
        "listen_tokens": [for_tokens(host.listen[0])],
        "metrics_listen": [f"{host.listen[0].rpartition(':')[0] or host.node_ip}:{METRICS_PORT}"],
        "console_listen": f"{host.listen[0].rpartition(':')[0] or host.node_ip}:{CONSOLE_PORT}",
        "pki": {
            "authority": str(layout.pki),
            "ca": str(layout.ca_certificate),
            "certificate": str(layout.meshd_certificate),
            "key": str(layout.meshd_key),
        },
        "ray": {
            "address": host.ray_head,
            "node_ip": host.node_ip,
            "token_file": str(layout.ray_token),
            "home": str(layout.ray_home),
            "tls_dir": str(layout.ray_tls),
        },
    }
    if host.pool:
        meshd["network"] = {"load_balancer_pool": list(host.pool)}
    return changed | _configure(layout.meshd_config, meshd)


def client_context(host: Host, name: str) -> Path:
    """Writes the context of this mesh and makes it the current one; returns the file."""
    layout = host.layout
    held = context.read()
    wanted = context.Context(
        servers=tuple(dict.fromkeys((reachable(host.listen[0]), *servers(layout)))),
        ca=str(layout.ca_certificate),
        certificate=str(layout.admin_certificate),
        key=str(layout.admin_key),
        name=name,
    )
    before = held.contexts.get(name)
    if before and (before.ca, before.key) == (wanted.ca, wanted.key):
        if before.servers == wanted.servers and held.current == name:
            return context.config_path()
    elif before:
        raise Invalid(f'there is a context "{name}" of another mesh in {context.config_path()}: name one by --context')
    return context.write(held.having(wanted))


def forget_context(told: Told) -> None:
    """Takes the context away again; the file too, when nothing else is in it."""
    path = Path(told.context_file)
    if not told.context or not path.exists():
        return
    left = context.read(path).without(told.context)
    if left.contexts:
        context.write(left, path)
        return
    path.unlink()
    if path.parent.name == ".mesh" and not any(path.parent.iterdir()):
        path.parent.rmdir()


def reachable(listen: str) -> str:
    """Where a client on this machine finds what listens at ip:port, or at a unix socket."""
    if listen.startswith("/"):
        return listen
    host, _, port = listen.rpartition(":")
    return f"127.0.0.1:{port}" if host in ("0.0.0.0", "", "[::]") else listen  # noqa: S104 - compared, not bound


def servers(layout: Layout) -> tuple[str, ...]:
    """Where clients reach each meshd, when several share a store: `servers` of [etcd] in meshd.toml. Raises Invalid."""
    try:
        held = tomllib.loads(layout.meshd_config.read_text()) if layout.meshd_config.exists() else {}
        return tuple(str(address) for address in held.get("etcd", {}).get("servers", ()))
    except (ValueError, AttributeError, TypeError) as error:
        raise Invalid(f"cannot read {layout.meshd_config}: {error}; mend it, then `mesh up` again") from error


def for_tokens(listen: str) -> str:
    """Where clients come that have a token and no certificate: the port after the first."""
    host, _, port = listen.rpartition(":")
    return f"{host}:{int(port) + 1}"


def private_file(path: Path, text: str) -> set[Path]:
    """Makes the file say `text`, 0600; returns it when it did not."""
    try:
        if path.read_text() == text:
            path.chmod(0o600)
            return set()
    except FileNotFoundError:
        pass
    with whole_file(path) as file:
        file.write(text.encode())
    return {path}


def _configure(path: Path, ours: dict[str, Any]) -> set[Path]:
    held = path.read_text() if path.exists() else ""
    try:
        return private_file(path, toml.merged(held, ours, HEADER))
    except ValueError as error:
        raise Invalid(f"cannot read {path}: {error}; mend it or remove it, then `mesh up` writes it anew") from error


# The Service by which pods call; its address is the first of those that Services have unless said otherwise.
IN_PODS = ("10.96.0.1", "kubernetes", "kubernetes.default", "kubernetes.default.svc",
           "kubernetes.default.svc.cluster.local")  # fmt: skip


def _names(host: Host) -> tuple[str, ...]:
    """Under which meshd is called."""
    addresses = (*host.listen, *servers(host.layout))
    listened = (address.rpartition(":")[0].strip("[]") for address in addresses)
    names = ["localhost", "127.0.0.1", host.node_ip, host.node_name, socket.gethostname(), *listened, *IN_PODS]
    return tuple(dict.fromkeys(name for name in names if name not in ("", "0.0.0.0", "::")))  # noqa: S104


def _good(certificate: Path, key: Path, ca: authority.Authority, hosts: Iterable[str], now: int) -> bool:
    if not (certificate.exists() and key.exists()):
        return False
    held = certificate.read_bytes()
    return not authority.stale(held, ca, now) and pki.covers(held, tuple(hosts)) and pki.belongs(key.read_bytes(), held)


def _bytes(path: Path) -> bytes:
    return path.read_bytes() if path.exists() else b""


def _read(path: Path) -> str:
    try:
        if path.stat().st_mode & 0o077:
            raise Invalid(f"{path} can be read by others: chmod 600 it")
        return path.read_text()
    except OSError as error:
        raise Invalid(f"cannot read {path}: {error.strerror}") from error
