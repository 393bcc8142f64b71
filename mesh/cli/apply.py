"""`mesh apply`: makes the mesh as files say, all of them or none of it."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import click

from mesh.cli.session import Duration, Session, Verb, asynchronous

if TYPE_CHECKING:
    from mesh.cli.outputs import Format
    from mesh.model.kinds import Object
    from mesh.sdk.client import Applied


def _kustomization(ctx: click.Context, _param: click.Parameter, directory: str | None) -> None:
    if directory:
        said = f"kustomize build {directory} | {ctx.command_path} -f -"
        raise click.UsageError(f"kustomizations are built by kustomize: {said}", ctx)


def file_options(function: "click.decorators.FC") -> "click.decorators.FC":
    """-f and -R, for every verb that reads manifests."""
    for option in (
        click.option("-R", "--recursive", is_flag=True, help="Look into the directories below a directory too."),
        click.option("-f", "--filename", multiple=True, metavar="FILE", type=click.Path(),
                     help="A file, a directory, or - for standard input; may be repeated."),
        click.option("-k", "--kustomize", hidden=True, expose_value=False, callback=_kustomization),
    ):  # fmt: skip
        function = option(function)
    return function


def dry_run_option(says: str) -> "Callable[[click.decorators.FC], click.decorators.FC]":
    """--dry-run, for every verb that only the service can check."""
    return click.option("--dry-run", type=click.Choice(["none", "server"]), default="none", is_flag=False,
                        flag_value="server", help=f"server: {says}")  # fmt: skip


@click.command("apply", cls=Verb, short_help="Create or change objects as files say.")
@file_options
@dry_run_option("check everything and say what would change, and change nothing.")
@click.option("-o", "--output", default="", metavar="FORMAT", help="name, yaml, json or jsonpath=TEMPLATE.")
@click.option("--wait", is_flag=True, help="Wait until the pods are ready, or one of them can't be.")
@click.option(
    "--timeout", type=Duration(), default="60s", show_default=True, metavar="TIME", help="How long --wait waits."
)
@click.pass_obj
@asynchronous
async def command(
    session: Session, filename: tuple[str, ...], recursive: bool, dry_run: str, output: str, wait: bool, timeout: float
) -> None:  # fmt: skip
    """Create or change objects as files say: all of them, or on any mistake none.

    \b
    mesh apply -f pod.yaml              mesh apply -f manifests/ -R
    mesh apply -f pod.yaml --wait       cat pod.yaml | mesh apply -f -
    mesh apply -f pod.yaml --dry-run=server
    """
    from mesh.cli import files, outputs
    from mesh.cli.readiness import until_ready

    if not filename:
        raise click.UsageError("say which files: -f FILE, -f DIRECTORY or -f -")
    form = outputs.parse(output)
    async with session.client() as client:
        found = files.read(filename, recursive, client.namespace, session.namespace)
        with found.placed():
            changes = await client.apply(found.objects, dry_run=dry_run == "server")
        _tell(changes, form, dry_run == "server")
        if wait and dry_run == "none":
            await until_ready(client, [c.object for c in changes], timeout, session.color)


def _tell(changes: "Sequence[Applied]", form: "Format", dry: bool) -> None:
    from mesh.cli import outputs
    from mesh.cli.differences import differences
    from mesh.cli.targets import ref
    from mesh.model.kinds import kind_of

    if form.name:
        objects: list[Object] = [c.object for c in changes]
        click.echo(outputs.documents(form, objects, single=len(objects) == 1), nl=False)
        return
    for change in changes:
        mark = " (server dry run)" if dry else ""
        click.echo(f"{ref(kind_of(change.object), change.object.metadata.name)} {change.outcome}{mark}")
        if dry and change.previous is not None:
            for line in differences(change.previous, change.object):
                click.echo(f"  {line}")
