"""`mesh restore`: puts a backup in the store's place, on the host of meshd, while meshd is stopped."""

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mesh.cli.session import Verb
from mesh.cli.store import ROOT, configured, layout_of

if TYPE_CHECKING:
    from mesh.config import MeshdConfig


@click.command("restore", cls=Verb, short_help="Put a backup in the store's place, while meshd is stopped.")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@ROOT
def command(file: Path, root: Path | None) -> None:
    """Put a backup in the store's place. Run it on the host of meshd, while meshd is stopped (`mesh down`).

    The store that was there is kept beside it. Objects made since the backup are gone; hosts stop their pods when
    they learn that. Where [etcd] of meshd.toml names a cluster, its store is the one, and every meshd must be stopped.
    """
    import asyncio

    from mesh.errors import NotFound
    from mesh.store.sqlite import restore

    layout = layout_of(root)
    if not layout.meshd.is_dir():
        raise NotFound(f"there is no mesh below {layout.root}: run this on the host of meshd, or name it with --root")
    config = configured(layout) if layout.meshd_config.is_file() else None
    if config is not None and config.etcd.endpoints:
        kept = asyncio.run(_into_etcd(file.expanduser(), config))
        click.echo("Restored the store in etcd; `mesh up` starts meshd with it.")
    else:
        kept = restore(file.expanduser(), layout.store)
        click.echo(f"Restored {layout.store}; `mesh up` starts meshd with it.")
    if kept is not None:
        click.echo(f"The store that was there is kept as {kept}.")


async def _into_etcd(file: Path, config: "MeshdConfig") -> Path | None:
    from mesh.store import copying
    from mesh.store.etcdclient import address_of
    from mesh.store.etcdlayout import Layout

    copy = copying.read_backup(file)
    kept = config.data_dir / f"etcd.{time.strftime('%Y%m%dT%H%M%S')}.old"
    async with copying.reaching(address_of(config.etcd)) as client:
        return await copying.restore_etcd(client, Layout(config.etcd.prefix), copy, kept)
