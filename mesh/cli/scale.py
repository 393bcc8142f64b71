"""`mesh scale`: how many pods a workload should have."""

from typing import TYPE_CHECKING

import click

from mesh.cli import complete
from mesh.cli.session import Session, Verb, asynchronous

if TYPE_CHECKING:
    from mesh.model.kinds import Object

SCALED = ("Deployment", "ReplicaSet", "ReplicationController", "StatefulSet")


@click.command("scale", cls=Verb, short_help="Say how many pods a workload should have.")
@click.argument("what", nargs=-1, required=True, metavar="KIND/NAME… | KIND NAME…",
                shell_complete=complete.kinds_and_names)  # fmt: skip
@click.option("--replicas", type=click.IntRange(0), required=True, metavar="COUNT", help="How many pods.")
@click.option("--current-replicas", type=click.IntRange(0), metavar="COUNT", help="Only when it is so many now.")
@click.option("-l", "--selector", default="", metavar="LABELS", help="Every object of the kind with these labels.")
@click.option("--all", "everything", is_flag=True, help="Every object of the kind.")
@click.pass_obj
@asynchronous
async def command(
    session: Session, what: tuple[str, ...], replicas: int, current_replicas: int | None, selector: str,
    everything: bool,
) -> None:  # fmt: skip
    """Say how many pods a workload should have.

    \b
    mesh scale deployment/web --replicas=4
    mesh scale sts db --replicas=3 --current-replicas=2
    """
    from mesh.cli.changing import change_all, chosen
    from mesh.errors import Conflict, Invalid
    from mesh.model.kinds import kind_of

    def edit(held: "Object") -> None:
        if kind_of(held).name not in SCALED:
            raise Invalid(f"a {kind_of(held).name} has no replicas; {', '.join(SCALED)} have")
        if current_replicas is not None and held.spec.replicas != current_replicas:  # type: ignore[union-attr]
            now = held.spec.replicas  # type: ignore[union-attr]
            raise Conflict(f"cannot scale {held.metadata.name}: it has {now} replicas, not {current_replicas}")
        held.spec.replicas = replicas  # type: ignore[union-attr] # those of SCALED have it

    async with session.client() as client:
        found = await chosen(client, what, selector, everything=everything)
        await change_all(client, found, edit, "scaled", same="scaled")
