"""`mesh restore`: puts a backup in the store's place, on the host of meshd, while meshd is stopped."""

import os
from pathlib import Path

import click

from mesh.cli.session import Verb


@click.command("restore", cls=Verb, short_help="Put a backup in the store's place, while meshd is stopped.")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--root",
    type=click.Path(file_okay=False, path_type=Path),
    default=None,
    metavar="DIRECTORY",
    help="Where the mesh's state lies.  [default: $MESH_ROOT or /var/lib/mesh]",
)
def command(file: Path, root: Path | None) -> None:
    """Put a backup in the store's place. Run it on the host of meshd, while meshd is stopped (`mesh down`).

    The store that was there is kept beside it. Objects made since the backup are gone; hosts stop their pods when
    they learn that.
    """
    from mesh.errors import NotFound
    from mesh.store.sqlite import restore
    from mesh.supervision.layout import DEFAULT_ROOT, Layout

    layout = Layout(root or Path(os.environ.get("MESH_ROOT") or DEFAULT_ROOT))
    if not layout.meshd.is_dir():
        raise NotFound(f"there is no mesh below {layout.root}: run this on the host of meshd, or name it with --root")
    kept = restore(file.expanduser(), layout.store)
    click.echo(f"Restored {layout.store}; `mesh up` starts meshd with it.")
    if kept is not None:
        click.echo(f"The store that was there is kept as {kept}.")
