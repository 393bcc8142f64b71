"""`mesh cordon` and `mesh uncordon`: whether a host takes new pods (N7)."""

from typing import TYPE_CHECKING

import click

from mesh.cli import complete
from mesh.cli.session import Session, Verb, asynchronous

if TYPE_CHECKING:
    from mesh.model.kinds import Object


def make(name: str, closed: bool, text: str) -> click.Command:
    """The verb that closes or opens hosts."""

    @click.command(name, cls=Verb, short_help=text, help=f"{text} Pods that are there stay.")
    @click.argument("names", nargs=-1, metavar="NODE…", shell_complete=complete.nodes)
    @click.option("-l", "--selector", default="", metavar="LABELS", help="Every node with these labels.")
    @click.pass_obj
    @asynchronous
    async def verb(session: Session, names: tuple[str, ...], selector: str) -> None:
        from mesh.cli.changing import change_all, chosen

        if bool(names) == bool(selector):
            raise click.UsageError("say which nodes: names or -l LABELS")

        def edit(node: "Object") -> None:
            node.spec.unschedulable = closed  # type: ignore[union-attr] # a Node
            if not closed:
                node.spec.ClearField("unschedulable")  # type: ignore[union-attr, arg-type]

        async with session.client() as client:
            bare = [n.removeprefix("node/") for n in names]
            found = await chosen(client, ["Node", *bare], selector, namespace="")
            await change_all(client, found, edit, f"{name}ed", same=f"already {name}ed")

    return verb


command = make("cordon", True, "Let a host take no new pods.")
