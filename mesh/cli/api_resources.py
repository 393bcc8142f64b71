"""`mesh api-resources`: the kinds of objects that the mesh serves."""

from typing import TYPE_CHECKING

import click

from mesh.cli.session import Session, Verb, asynchronous

if TYPE_CHECKING:
    from mesh.v1.control_pb2 import KindInfo


@click.command("api-resources", cls=Verb, short_help="List the kinds of objects.")
@click.option("--all", "everything", is_flag=True, help="Those too that are known but not served yet, with the reason.")
@click.option(
    "--namespaced", type=bool, default=None, metavar="true|false", help="Only kinds that lie in a namespace, or not."
)
@click.option("--no-headers", is_flag=True, help="No titles above the columns.")
@click.option(
    "-o",
    "--output",
    type=click.Choice(["", "name"]),
    default="",
    metavar="FORMAT",
    help="name: print the plural alone.",
)
@click.pass_obj
@asynchronous
async def command(
    session: Session, everything: bool, namespaced: bool | None, no_headers: bool, output: str
) -> None:  # fmt: skip
    """List the kinds of objects that the mesh serves."""
    from mesh.cli import tables
    from mesh.cli.printers import Table

    async with session.client() as client:
        kinds = [k for k in await client.kinds() if k.served or everything]
    kinds = sorted((k for k in kinds if namespaced in (None, k.namespaced)), key=lambda k: (k.api_version, k.plural))
    if output == "name":
        click.echo("".join(f"{_full_name(k)}\n" for k in kinds), nl=False)
        return
    titles = ("NAME", "SHORTNAMES", "APIVERSION", "NAMESPACED", "KIND", *(("WHY NOT",) if everything else ()))
    rows = tuple(
        (k.plural, ",".join(k.short_names), k.api_version, str(k.namespaced).lower(), k.kind,
         *((k.why_not,) if everything else ()))
        for k in kinds
    )  # fmt: skip
    tables.show(Table(titles, rows), titles=not no_headers, color=session.color)


def _full_name(kind: "KindInfo") -> str:
    group = kind.api_version.rpartition("/")[0]
    return f"{kind.plural}.{group}" if group else kind.plural
