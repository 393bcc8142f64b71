"""What makes several control hosts of one: the store in etcd, a second meshd by a pack, Ray's head elsewhere.

Rules: a pack holds every key of the mesh; it is one text, for a way that its owner trusts. Only the files named here
are written from it, 0600. Doing any of it again changes nothing unless something is another one now.
"""

import json
import tomllib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from mesh import config
from mesh.authority import CROSS
from mesh.errors import Conflict, Invalid, Unavailable
from mesh.fleet import rayhead
from mesh.fleet.ray_names import AUTHORITY, AUTHORITY_KEY, GCS_PORT
from mesh.sdk import context
from mesh.supervision import toml
from mesh.supervision.layout import Layout
from mesh.supervision.setup import HEADER, Told, private_file

_FORMAT = 1
_ETCD = ("ca", "certificate", "key")
_SPARED = ("cross", "authority key", "ray authority key")  # which may be kept elsewhere, or not be there
# of meshd.toml, what is each host's own
_OWN = ("data_dir", "key_file", "listen", "listen_tokens", "metrics_listen", "console_listen", "pki", "ray")


def with_etcd(layout: Layout, told: Told, text: str) -> str:
    """This host's meshd.toml once it has the [etcd] of a TOML `text`, with its own part in it. Raises Invalid."""
    try:
        wanted = dict(tomllib.loads(text)["etcd"])
    except (ValueError, KeyError, TypeError) as error:
        raise Invalid("there is no [etcd] in this TOML: docs/ha.md says what belongs there") from error
    own = _own(wanted, told)
    if own not in told.listen:
        raise Invalid(
            f"`servers` of [etcd] must name where meshd listens on this host, and that is {', '.join(told.listen)}: "
            f"`mesh up --listen {told.node_ip}:7443` changes it"
        )
    table = {"etcd": {**wanted, "name": told.node_name, "advertise": own}}
    merged = toml.merged(_read(layout.meshd_config), table, HEADER)
    config.parse(merged)
    return merged


def packed(layout: Layout) -> str:
    """The pack of this control host. Raises Unavailable for what can't be read, Invalid where the store is no etcd."""
    text = _read(layout.meshd_config)
    told = config.parse(text)
    if not told.etcd.endpoints:
        raise Invalid(
            "a second meshd needs the store in etcd, and here it is a file: `mesh control etcd` moves it (docs/ha.md)"
        )
    if told.key_credential:
        raise Invalid("the store's key is a systemd credential here: a pack can't hold it; name a key_file instead")
    files = {name: _read(path) for name, path in _files(layout).items() if path.exists() or name not in _SPARED}
    files |= {f"etcd/{name}": _read(getattr(told.etcd, name)) for name in _ETCD}
    return json.dumps({"format": _FORMAT, "config": text, "files": files}, indent=1)


def taken(layout: Layout, told: Told, text: str) -> tuple[Told, frozenset[Path]]:
    """Writes what a pack holds; returns what this host is told from now on, and the files that changed. Raises Invalid
    for what is no pack, and for one whose `servers` do not name this host."""
    table, files = _unpacked(text)
    own = _own(table["etcd"], told)
    if not own:
        raise Invalid(
            f"the first host does not know that a meshd is to be at {told.node_ip}: add {told.node_ip}:7443 to "
            "`servers` of [etcd] there (`mesh control etcd`), and pack again"
        )
    changed: set[Path] = set()
    paths = {**_files(layout), **{f"etcd/{name}": layout.root / "etcd" / f"{name}.pem" for name in _ETCD}}
    for name, path in paths.items():
        if name in files:
            path.parent.mkdir(mode=0o700, exist_ok=True)
            changed |= private_file(path, files[name])
    table["etcd"] |= {"name": told.node_name, "advertise": own}
    table["etcd"] |= {name: str(paths[f"etcd/{name}"]) for name in _ETCD}
    changed |= _configured(layout, table)
    named = {"context": told.context or "local", "context_file": told.context_file or str(context.config_path())}
    return replace(told, with_meshd=True, listen=(own,), **named), frozenset(changed)


def moved(layout: Layout, told: Told, address: str) -> Told:
    """What this host is told once Ray's head is at the control host `address` (an IP). Raises Invalid where this host
    can't have it, Conflict while the old one answers. Blocks."""
    here, head = address == told.node_ip, told.join or f"{told.node_ip}:{GCS_PORT}"
    if here and not (layout.ray_tls / AUTHORITY_KEY).exists():
        raise Invalid("only a control host can have Ray's head: `mesh control add` makes this host one")
    if here and told.join and _answers(head, layout.ray_tls):
        raise Conflict(f"Ray's head is there, at {head}: it can be elsewhere once it has ended (`mesh down` there)")
    return placed(told, address)


def placed(told: Told, address: str) -> Told:
    """What a host is told where Ray's head is at `address`, an IP of a control host."""
    here = address == told.node_ip
    join = "" if here else f"{address}:{GCS_PORT}"
    return replace(told, join=join, with_meshd=told.has_meshd and not here, control=_reached(told.control, address))


def _reached(control: str, address: str) -> str:
    """Where a host that joined finds a meshd: at this address, too, by the same port."""
    if not control:
        return ""
    return ",".join(dict.fromkeys([*control.split(","), f"{address}:{control.rpartition(':')[2]}"]))


def _answers(head: str, tls: Path) -> bool:
    try:
        rayhead.prove(head, tls, 3.0)
    except Unavailable:
        return False
    return True


def _own(etcd: Mapping[str, Any], told: Told) -> str:
    """Where clients reach this host's meshd, of all `servers`; "" when it is not among them."""
    return next((str(s) for s in etcd.get("servers", ()) if str(s).rpartition(":")[0] == told.node_ip), "")


def _files(layout: Layout) -> Mapping[str, Path]:
    """What every control host has the same, by its name in a pack."""
    return {
        "store key": layout.store_key,
        "authority": layout.ca_certificate,
        "authority key": layout.ca_key,
        "cross": layout.pki / CROSS,
        "meshd key": layout.meshd_key,
        "ray authority": layout.ray_tls / AUTHORITY,
        "ray authority key": layout.ray_tls / AUTHORITY_KEY,
    }


def _unpacked(text: str) -> tuple[dict[str, Any], Mapping[str, str]]:
    try:
        pack = json.loads(text)
        if pack["format"] != _FORMAT:
            raise Invalid(f"this pack is of another release (format {pack['format']}): make it with this one")
        files = {str(name): str(content) for name, content in pack["files"].items()}
        table = tomllib.loads(pack["config"])
        return {**table, "etcd": dict(table["etcd"])}, files
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Invalid("this is no pack of a control host: `mesh control pack` there makes one") from error


def _configured(layout: Layout, table: dict[str, Any]) -> set[Path]:
    path = layout.meshd_config
    held = tomllib.loads(path.read_text()) if path.exists() else {}
    wanted = {name: value for name, value in table.items() if name not in _OWN}
    wanted |= {name: held[name] for name in _OWN if name in held}
    return set() if held == wanted else private_file(path, toml.dump(wanted))


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError as error:
        raise Unavailable(f"cannot read {path}: {error.strerror}; run this on a control host, as root") from error
