"""`mesh diff`: what applying files would change."""

import click

from mesh.cli.apply import file_options
from mesh.cli.session import Session, Verb, asynchronous


@click.command("diff", cls=Verb, short_help="Say what applying files would change.")
@file_options
@click.pass_obj
@asynchronous
async def command(session: Session, filename: tuple[str, ...], recursive: bool) -> None:
    """Say what `mesh apply` of the same files would change, and change nothing.

    The exit code is 1 when something would change, 0 when nothing would.

    \b
    mesh diff -f manifests/
    """
    from mesh.cli import files
    from mesh.cli.differences import differences
    from mesh.cli.targets import ref
    from mesh.model.kinds import kind_of

    if not filename:
        raise click.UsageError("say which files: -f FILE, -f DIRECTORY or -f -")
    async with session.client() as client:
        found = files.read(filename, recursive, client.namespace, session.namespace)
        with found.placed():
            changes = await client.apply(found.objects, dry_run=True)
    changed = False
    for change in changes:
        name = ref(kind_of(change.object), change.object.metadata.name)
        lines = differences(change.previous, change.object) if change.previous is not None else []
        if change.previous is None:
            click.echo(f"{name} would be created")
        elif lines:
            click.echo(f"{name} would be changed")
        changed = changed or change.previous is None or bool(lines)
        for line in lines:
            click.echo(f"  {line}")
    if changed:
        raise click.exceptions.Exit(1)
