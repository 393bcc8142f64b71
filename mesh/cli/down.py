"""`mesh down`: stops the mesh on this host; with --purge, leaves the machine as it was before `mesh up`.

Rule: without --purge nothing is lost: containers keep running, and the next `mesh up` finds them.
"""

from pathlib import Path

import click

from mesh.cli.session import Session, Verb
from mesh.cli.up import ROOT, Steps, host_of


@click.command("down", cls=Verb, short_help="Stop the mesh on this host; --purge removes its data too.")
@ROOT
@click.option("--purge", is_flag=True, help="Remove containers, images, state, certificates and context as well.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def command(session: Session, root: Path, purge: bool, yes: bool) -> None:
    """Stop the mesh on this host.

    Containers keep running unsupervised, and the next `mesh up` takes them over as they are. With --purge they are
    removed, and with them everything else that `mesh up` made; other hosts of the mesh lose it when it had meshd.
    """
    from mesh.supervision import up
    from mesh.supervision.layout import Layout
    from mesh.supervision.setup import Told

    up.require_root()
    layout = Layout(root.absolute())
    told = Told.read(layout)
    if told is None:
        click.echo(f"There is no mesh below {layout.root}.")
        return
    if purge and not yes:
        click.confirm(f"Remove every container and all data of the mesh below {layout.root}?", abort=True)
    host = host_of(layout, told)
    supervisor = up.supervisor_of(layout)
    with Steps(session.color) as steps:
        if purge:
            up.purge(host, told, supervisor, steps.say)
            steps.done("purged", f"nothing of the mesh is left below {layout.root}")
        else:
            up.stop(host, supervisor, steps.say)
            steps.done("stopped", "containers keep running; `mesh up` goes on from here")
