"""`mesh backup`: a consistent copy of the store, while everything runs."""

from pathlib import Path

import click

from mesh.cli.session import Session, Verb, asynchronous


@click.command("backup", cls=Verb, short_help="Write a copy of the store to a file.")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--overwrite", is_flag=True, help="Replace a file that is there already.")
@click.pass_obj
def command(session: Session, file: Path, overwrite: bool) -> None:
    """Write a consistent copy of the store to FILE, while everything runs.

    Secrets in it are encrypted; the key is not part of it: keep a copy of keys/store.key elsewhere. `mesh restore`
    puts the file in the store's place.
    """
    from mesh.errors import AlreadyExists

    if file.exists() and not overwrite:
        raise AlreadyExists(f"{file} is there already; --overwrite replaces it")
    _write(session, file)
    click.echo(f"Wrote {file} ({file.stat().st_size / 1024:.0f} KiB).")


@asynchronous
async def _write(session: Session, file: Path) -> None:
    async with session.client() as client:
        await client.backup_to(file)
