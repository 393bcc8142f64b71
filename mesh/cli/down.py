"""`mesh down`: stops the mesh on this host; with --purge, leaves the machine as it was before `mesh up`.

Rule: without --purge nothing is lost: containers keep running, and the next `mesh up` finds them.
"""

from pathlib import Path

import click

from mesh.cli.session import Session, Verb
from mesh.cli.steps import Steps
from mesh.cli.up import ROOT, host_of


@click.command("down", cls=Verb, short_help="Stop the mesh on this host; --purge removes its data too.")
@ROOT
@click.option("--purge", is_flag=True, help="Remove containers, images, state, certificates and context as well.")
@click.option("--drain", is_flag=True, help="End the pods gracefully first; they fail with the reason Terminated.")
@click.option("--grace", type=click.IntRange(1), default=30, show_default=True, metavar="SECONDS",
              help="With --drain: how long all pods may take together.")  # fmt: skip
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def command(session: Session, root: Path, purge: bool, drain: bool, grace: int, yes: bool) -> None:
    """Stop the mesh on this host.

    Containers keep running unsupervised, and the next `mesh up` takes them over as they are. With --purge they are
    removed, and with them everything else that `mesh up` made; other hosts of the mesh lose it when it had meshd.

    With --drain the pods end first, as before the host itself is shut down: critical ones last, in a third of the time.
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
        if drain:
            up.drain(host, grace, steps.say)
        if purge:
            up.purge(host, told, supervisor, steps.say)
            steps.done("purged", f"nothing of the mesh is left below {layout.root}")
        else:
            up.stop(host, supervisor, steps.say)
            left = "no pod runs on this host" if drain else "containers keep running"
            steps.done("stopped", f"{left}; `mesh up` goes on from here")
