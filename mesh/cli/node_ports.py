"""`mesh node ports`: what a firewall has to let through to this host."""

from pathlib import Path

import click

from mesh.cli.session import Session, Verb
from mesh.cli.up import ROOT, host_of


@click.command("ports", cls=Verb, short_help="List the ports of this host, for its firewall.")
@click.option("-o", "--output", type=click.Choice(["json"]), default=None, help="For machines.")
@ROOT
@click.pass_obj
def command(session: Session, output: str | None, root: Path) -> None:
    """List the ports at which the mesh listens on this host, and who must reach each.

    Nobody else has to: close them to all others, above all Ray's. What Services and pods open themselves (node ports,
    hostPort) is not in it.

    \b
    mesh node ports
    mesh node ports -o json
    """
    import json

    from mesh.cli import tables
    from mesh.cli.printers import Table
    from mesh.errors import NotFound
    from mesh.supervision import ports
    from mesh.supervision.layout import Layout
    from mesh.supervision.setup import Told

    layout = Layout(root.absolute())
    told = Told.read(layout)
    if told is None:
        raise NotFound(f"this host has no mesh below {layout.root}: `mesh up` or `mesh node join` makes it one")
    found = ports.of_host(host_of(layout, told))
    if output:
        rows = [{"ports": p.numbers, "protocol": p.protocol, "what": p.what, "reachedBy": p.reached_by} for p in found]
        click.echo(json.dumps(rows, indent=2))
        return
    lines = tuple((p.numbers, p.protocol, p.what, p.reached_by) for p in found)
    tables.show(Table(("PORTS", "PROTOCOL", "WHAT", "REACHED BY"), lines), color=session.color)
