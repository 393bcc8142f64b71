"""`mesh store`: moves the store between a file and an etcd cluster, while meshd is stopped."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mesh.cli.session import Verb, VerbGroup, asynchronous

if TYPE_CHECKING:
    from mesh.config import Etcd, MeshdConfig
    from mesh.supervision.layout import Layout

ROOT = click.option(
    "--root",
    type=click.Path(file_okay=False, path_type=Path),
    default=None,
    metavar="DIRECTORY",
    help="Where the mesh's state lies.  [default: $MESH_ROOT or /var/lib/mesh]",
)


@click.group("store", cls=VerbGroup, short_help="Move the store between a file and etcd.")
def command() -> None:
    """Move the store between a file and etcd, while meshd is stopped. docs/ha.md tells when and how."""


@command.command("migrate", cls=Verb)
@click.option(
    "--to", type=click.Choice(["etcd", "sqlite"]), required=True,
    help="etcd: from the file into the cluster that [etcd] of meshd.toml names; sqlite: back.",
)  # fmt: skip
@click.option("--overwrite", is_flag=True, help="Replace what the cluster holds; a file is replaced anyway, and kept.")
@ROOT
@asynchronous
async def _migrate(to: str, overwrite: bool, root: Path | None) -> None:
    """Copy the whole store, while every meshd is stopped (`mesh down`).

    Objects keep their revisions, and Secrets stay encrypted as they are: the key of the store is not needed, and stays
    the same. The source is left as it is.

    \b
    mesh down                     on every host that has meshd
    mesh store migrate --to etcd  on the one that has the store, once meshd.toml has [etcd]
    mesh up                       and start the others
    """
    from mesh.store import copying
    from mesh.store.etcdclient import address_of
    from mesh.store.etcdlayout import Layout as Keys

    config = configured(layout_of(root))
    etcd = needed(config)
    if to == "etcd":
        copied = await into_etcd(config, over=overwrite)
        click.echo(f"Copied {copied} from {config.store_file} to etcd.")
        click.echo("Start meshd: it uses etcd while meshd.toml has [etcd].")
        return
    async with copying.reaching(address_of(etcd)) as client:
        keys = Keys(etcd.prefix)
        await copying.refuse_in_use(client, keys)
        copy = await copying.read_etcd(client, keys)
        kept = copying.write_file(copy, config.store_file)
    click.echo(f"Copied {len(copy.objects)} objects at revision {copy.revision} from etcd to {config.store_file}.")
    if kept is not None:
        click.echo(f"The store that was there is kept as {kept}.")
    click.echo("Take [etcd] out of meshd.toml, and start this one meshd.")


async def into_etcd(config: "MeshdConfig", *, over: bool) -> str:
    """Copies the store in the file into the cluster that the configuration names, and says there where Ray's head is;
    returns in words what was copied. Raises AlreadyExists, Conflict, Unavailable."""
    from mesh.store import copying, etcdplace
    from mesh.store.etcdclient import address_of
    from mesh.store.etcdlayout import Layout as Keys

    async with copying.reaching(address_of(config.etcd)) as client:
        copy = copying.read_file(config.store_file)
        await copying.write_etcd(client, Keys(config.etcd.prefix), copy, over=over)
        await etcdplace.tell_place(client, Keys(config.etcd.prefix), config.ray.address)
    return f"{len(copy.objects)} objects at revision {copy.revision}"


def layout_of(root: Path | None) -> "Layout":
    """Where the mesh of this host lies."""
    from mesh.supervision.layout import DEFAULT_ROOT, Layout

    return Layout(root or Path(os.environ.get("MESH_ROOT") or DEFAULT_ROOT))


def configured(layout: "Layout") -> "MeshdConfig":
    """What meshd.toml says; raises NotFound, Invalid."""
    from mesh.config import parse
    from mesh.errors import NotFound

    if not layout.meshd_config.is_file():
        raise NotFound(f"there is no {layout.meshd_config}: run this on a host of meshd, or name its root with --root")
    return parse(layout.meshd_config.read_text())


def needed(config: "MeshdConfig") -> "Etcd":
    """Where the cluster is; raises Invalid when meshd.toml names none."""
    from mesh.errors import Invalid

    if not config.etcd.endpoints:
        raise Invalid("meshd.toml has no [etcd] with endpoints: docs/ha.md says what belongs there")
    return config.etcd
