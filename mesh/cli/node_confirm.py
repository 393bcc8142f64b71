"""`mesh node confirm-down`: what only people know of a host, that it is off (N5).

Rule: a host that answers is not off, whatever is said.
"""

from typing import TYPE_CHECKING

import click

from mesh.cli import complete
from mesh.cli.session import Session, Verb, asynchronous

if TYPE_CHECKING:
    from mesh.v1.core_pb2 import Node


@click.command("confirm-down", cls=Verb, short_help="Say that a silent host is off.")
@click.argument("name", metavar="NODE", shell_complete=complete.nodes)
@click.option("--undo", is_flag=True, help="It is not known to be off after all.")
@click.pass_obj
@asynchronous
async def command(session: Session, name: str, undo: bool) -> None:
    """Say that a silent host is off and stays off: its pods have ended, and those of StatefulSets start elsewhere.

    The mesh hears nothing of a host that lost its power, nor of one that lost its cable and goes on running. Only who
    has looked can tell these apart; said of a host that still runs, it lets a pod of a StatefulSet be up twice. The
    word is taken back by itself once the host answers again.

    \b
    mesh node confirm-down host2
    """
    from mesh.cli.changing import change
    from mesh.controllers.nodes import OUT_OF_SERVICE, ready_of
    from mesh.errors import Conflict
    from mesh.v1.core_pb2 import Node

    def edit(node: "Node") -> None:
        taints = [t for t in node.spec.taints if t.key == OUT_OF_SERVICE]
        for taint in taints:
            node.spec.taints.remove(taint)
        if undo:
            return
        if ready_of(node) == "True":
            raise Conflict(f"{node.metadata.name} answers, so it is not off; to empty it: mesh drain {name}")
        if taints:
            node.spec.taints.append(taints[0])
        else:
            node.spec.taints.add(key=OUT_OF_SERVICE, value="nodeshutdown", effect="NoExecute")

    async with session.client() as client:
        held = await client.get(Node, name.removeprefix("node/"))
        node, differs = await change(client, held, edit)
    said = "is no longer said to be off" if undo else "is off: its pods end now, and start elsewhere"
    click.echo(f"node/{node.metadata.name} {said if differs else 'unchanged'}")
