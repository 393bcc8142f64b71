"""`mesh patch`: changes fields of an object, by a JSON merge patch (RFC 7386)."""

from typing import TextIO

import click

from mesh.cli import complete
from mesh.cli.session import Session, Verb, asynchronous


@click.command("patch", cls=Verb, short_help="Change fields of an object.")
@click.argument("what", nargs=-1, required=True, metavar="KIND/NAME | KIND NAME",
                shell_complete=complete.kinds_and_names)  # fmt: skip
@click.option("-p", "--patch", default="", metavar="TEXT", help="The fields, in JSON or YAML; null takes one away.")
@click.option("--patch-file", type=click.File(), metavar="FILE", help="A file with them.")
@click.option("--type", type=click.Choice(["merge"]), default="merge", expose_value=False, show_default=True,
              help="How the patch is read.")  # fmt: skip
@click.option("--subresource", type=click.Choice(["status"]),
              help="The pod's conditions that its readinessGates name.")  # fmt: skip
@click.option("-o", "--output", default="", metavar="FORMAT", help="name, yaml, json or jsonpath=TEMPLATE.")
@click.pass_obj
@asynchronous
async def command(
    session: Session, what: tuple[str, ...], patch: str, patch_file: TextIO | None, output: str,
    subresource: str | None,
) -> None:  # fmt: skip
    """Change fields of an object. A list replaces the whole list that is there.

    \b
    mesh patch deployment web -p '{"spec":{"replicas":4}}'
    mesh patch node/host1 -p 'spec: {unschedulable: true}'
    mesh patch pod web --subresource=status -p 'status: {conditions: [{type: example.com/gate, status: "True"}]}'
    """
    import yaml

    from mesh.cli import outputs, targets
    from mesh.errors import Invalid

    if bool(patch) == bool(patch_file):
        raise click.UsageError("say the fields: -p TEXT or --patch-file FILE")
    try:
        fields = yaml.safe_load(patch or patch_file)  # type: ignore[arg-type] # one of the two is there
    except yaml.YAMLError as error:
        raise Invalid(f"cannot read the patch: {error}") from None
    if not isinstance(fields, dict):
        raise Invalid("cannot read the patch: it must be a mapping of fields")
    form = outputs.parse(output)
    async with session.client() as client:
        target = targets.one(what)
        held = await client.get(target.kind.name, target.names[0])
        wanted = await client.patch(target.kind.name, target.names[0], fields, subresource=subresource or "")
    if form.name and not form.table:
        click.echo(outputs.documents(form, [wanted], single=True), nl=False)
        return
    same = held.metadata.resource_version == wanted.metadata.resource_version
    click.echo(f"{targets.ref(target.kind, target.names[0])} patched{' (no change)' if same else ''}")
