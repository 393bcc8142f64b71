"""`mesh events`: what happened, oldest first."""

import time
from contextlib import aclosing
from typing import TYPE_CHECKING

import click

from mesh.cli import complete
from mesh.cli.failure import say
from mesh.cli.session import Session, Verb, asynchronous

if TYPE_CHECKING:
    from mesh.v1.core_pb2 import Event


@click.command("events", cls=Verb, short_help="List what happened.")
@click.option("-A", "--all-namespaces", is_flag=True, help="Events of all namespaces.")
@click.option(
    "--for",
    "about",
    default="",
    metavar="KIND/NAME",
    help="Only of this object.",
    shell_complete=complete.kinds_and_names,
)
@click.option("--types", default="", metavar="TYPE[,TYPE]", help="Only Normal or Warning ones.")
@click.option("-w", "--watch", is_flag=True, help="Then go on, until interrupted.")
@click.option("--no-headers", is_flag=True, help="No titles above the columns.")
@click.option("-o", "--output", default="", metavar="FORMAT", help="wide, name, yaml, json or jsonpath=TEMPLATE.")
@click.pass_obj
@asynchronous
async def command(
    session: Session, all_namespaces: bool, about: str, types: str, watch: bool, no_headers: bool, output: str
) -> None:  # fmt: skip
    """List what happened, oldest first.

    \b
    mesh events                mesh events -A -w
    mesh events --for pod/web  mesh events --types Warning
    """
    from mesh.cli import outputs, printers, tables, targets
    from mesh.model.kinds import kind_named
    from mesh.v1.core_pb2 import Event

    form, wanted = outputs.parse(output), {t.strip().capitalize() for t in types.split(",") if t.strip()}
    if wanted - {"Normal", "Warning"}:
        raise click.UsageError("--types are Normal and Warning")
    fields = ""
    if about:
        target = targets.one(about.split())
        fields = f"involvedObject.kind={target.kind.name},involvedObject.name={target.names[0]}"
    look = printers.Look(form.name == "wide", all_namespaces)
    kind = kind_named("Event")
    async with session.client() as client:
        namespace = "" if all_namespaces else client.namespace
        present = await client.list(Event, namespace=namespace, fields=fields)
        events = sorted((e for e in present if _wanted(e, wanted)), key=printers.last_seen)
        if not form.table:
            click.echo(outputs.documents(form, events, single=False), nl=False)
        elif events:
            outputs.show_table(kind, events, look, titles=not no_headers, color=session.color)
        elif not watch:
            say(f"No events found{f' in {namespace} namespace' if namespace else ''}.")
        if not watch:
            return
        widths = tables.widths_of(printers.table(kind, events, time.time(), look))
        async with aclosing(client.watch(Event, namespace=namespace, fields=fields, after=present.revision)) as changes:
            async for event in (c.object async for c in changes if c.type != "DELETED" and _wanted(c.object, wanted)):
                if form.table:
                    row = printers.table(kind, [event], time.time(), look)
                    widths = tables.widths_of(row, widths)
                    click.echo("\n".join(tables.lines_of(row, widths, titles=False, color=session.color)))
                else:
                    click.echo(outputs.documents(form, [event], single=True), nl=False)


def _wanted(event: "Event", types: set[str]) -> bool:
    return not types or event.type in types
