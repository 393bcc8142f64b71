"""`mesh patch`: changes fields of an object; strategic, merge (RFC 7386), json (RFC 6902), as kubectl has them."""

from typing import TYPE_CHECKING, Any, TextIO

import click

from mesh.cli import complete
from mesh.cli.session import Session, Verb, asynchronous

if TYPE_CHECKING:
    from mesh.model.kinds import Object
    from mesh.sdk.client import AsyncClient

_TRIES = 5


@click.command("patch", cls=Verb, short_help="Change fields of an object.")
@click.argument("what", nargs=-1, required=True, metavar="KIND/NAME | KIND NAME",
                shell_complete=complete.kinds_and_names)  # fmt: skip
@click.option("-p", "--patch", default="", metavar="TEXT", help="The fields, in JSON or YAML; null takes one away.")
@click.option("--patch-file", type=click.File(), metavar="FILE", help="A file with them.")
@click.option("--type", "type_", type=click.Choice(["strategic", "merge", "json"]), default="strategic",
              show_default=True, help="How the patch is read: lists by their elements' names, as a whole, or as "
              "operations of RFC 6902.")  # fmt: skip
@click.option("--subresource", type=click.Choice(["status"]),
              help="The pod's conditions that its readinessGates name.")  # fmt: skip
@click.option("-o", "--output", default="", metavar="FORMAT", help="name, yaml, json or jsonpath=TEMPLATE.")
@click.pass_obj
@asynchronous
async def command(
    session: Session, what: tuple[str, ...], patch: str, patch_file: TextIO | None, type_: str, output: str,
    subresource: str | None,
) -> None:  # fmt: skip
    """Change fields of an object. Containers, ports, variables … are known by their names: those that the patch does
    not name stay. With --type=merge a list replaces the whole list that is there.

    \b
    mesh patch deployment web -p '{"spec":{"replicas":4}}'
    mesh patch deployment web -p '{"spec":{"template":{"spec":{"containers":[{"name":"app","image":"web:2"}]}}}}'
    mesh patch deployment web --type=json -p '[{"op":"remove","path":"/spec/template/spec/nodeSelector"}]'
    mesh patch node/host1 -p 'spec: {unschedulable: true}'
    mesh patch pod web --subresource=status -p 'status: {conditions: [{type: example.com/gate, status: "True"}]}'
    """
    from mesh.cli import outputs, targets

    fields = _read(patch, patch_file, type_)
    form = outputs.parse(output)
    async with session.client() as client:
        target = targets.one(what)
        held = await client.get(target.kind.name, target.names[0])
        if subresource or type_ == "merge":
            changed = await client.patch(target.kind.name, target.names[0], fields, subresource=subresource or "")
        else:
            changed = await _patched(client, held, type_, fields)
    if form.name and not form.table:
        click.echo(outputs.documents(form, [changed], single=True), nl=False)
        return
    same = held.metadata.resource_version == changed.metadata.resource_version
    click.echo(f"{targets.ref(target.kind, target.names[0])} patched{' (no change)' if same else ''}")


def _read(patch: str, patch_file: TextIO | None, type_: str) -> Any:
    """What the patch says; raises Invalid."""
    import yaml

    from mesh.errors import Invalid

    if bool(patch) == bool(patch_file):
        raise click.UsageError("say the fields: -p TEXT or --patch-file FILE")
    try:
        fields: Any = yaml.safe_load(patch or patch_file)  # type: ignore[arg-type] # one of the two is there
    except yaml.YAMLError as error:
        raise Invalid(f"cannot read the patch: {error}") from None
    expected: type = list if type_ == "json" else dict
    if not isinstance(fields, expected):
        wanted = "a list of operations" if type_ == "json" else "a mapping of fields"
        raise Invalid(f"cannot read the patch: it must be {wanted}")
    return fields


async def _patched(client: "AsyncClient", held: "Object", type_: str, fields: Any) -> "Object":
    """Patches what was read, and again what somebody else has made of it meanwhile."""
    from mesh.errors import Conflict
    from mesh.model import patches
    from mesh.model.kinds import kind_of
    from mesh.model.writing import to_dict

    kind, name = kind_of(held).name, held.metadata.name
    for left in reversed(range(_TRIES)):
        before = to_dict(held)
        after = (patches.json_patch(before, fields) if type_ == "json" else
                 patches.strategic(before, fields, held.DESCRIPTOR))  # fmt: skip
        change = patches.difference(before, after)
        change.setdefault("metadata", {}).setdefault("resourceVersion", held.metadata.resource_version)
        try:
            return await client.patch(kind, name, change)
        except Conflict:
            if not left:
                raise
            held = await client.get(kind, name)
    raise AssertionError("unreachable")
