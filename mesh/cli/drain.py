"""`mesh drain`: empties a host, so that it can be worked on (N7)."""

import asyncio
from typing import TYPE_CHECKING

import click

from mesh.cli import complete
from mesh.cli.session import Duration, Session, Verb, asynchronous, warn

if TYPE_CHECKING:
    from mesh.sdk.client import AsyncClient
    from mesh.v1.core_pb2 import Node, Pod


@click.command("drain", cls=Verb, short_help="Empty a host, so that it can be worked on.")
@click.argument("names", nargs=-1, required=True, metavar="NODE…", shell_complete=complete.nodes)
@click.option("--ignore-daemonsets", is_flag=True, help="Leave pods of DaemonSets; they would come back at once.")
@click.option("--delete-emptydir-data", is_flag=True, help="Delete pods although their emptyDir volumes go with them.")
@click.option("--force", is_flag=True, help="Delete pods too that nobody will make again.")
@click.option("--grace-period", type=int, default=-1, metavar="SECONDS", help="Time to end.  [default: each pod's own]")
@click.option("--timeout", type=Duration(), default=None, metavar="TIME", help="How long to wait.  [default: for ever]")
@click.pass_obj
@asynchronous
async def command(
    session: Session, names: tuple[str, ...], ignore_daemonsets: bool, delete_emptydir_data: bool, force: bool,
    grace_period: int, timeout: float | None,
) -> None:  # fmt: skip
    """Cordon hosts, delete their pods gracefully and wait until they are gone; what must stay is said before anything
    is deleted.

    \b
    mesh drain host1 --ignore-daemonsets
    """
    from mesh.cli.changing import change
    from mesh.errors import Invalid
    from mesh.v1.core_pb2 import Node, Pod

    async with session.client() as client:
        for name in (n.removeprefix("node/") for n in names):
            held = await client.get(Node, name)
            node, differs = await change(client, held, _close)
            click.echo(f"node/{name} {'cordoned' if differs else 'already cordoned'}")
            pods = await client.list(Pod, namespace="", fields=f"spec.nodeName={name}")
            doomed, left, against = sort_out(pods, ignore_daemonsets, delete_emptydir_data, force)
            if against:
                lines = "\n".join(f"  {line}" for line in against)
                raise Invalid(f"cannot drain node {name}:\n{lines}\nThe node stays cordoned: mesh uncordon {name}")
            for pod in left:
                warn(f"pod/{pod.metadata.name} of a DaemonSet stays")
            await _empty(client, doomed, None if grace_period < 0 else max(grace_period, 1), timeout)
            click.echo(f"node/{node.metadata.name} drained")


def _close(node: "Node") -> None:
    node.spec.unschedulable = True


def sort_out(
    pods: "list[Pod]", ignore_daemonsets: bool, delete_emptydir_data: bool, force: bool
) -> "tuple[list[Pod], list[Pod], list[str]]":
    """The pods to delete, those that stay, and in words why nothing may be done without another option."""
    from mesh.model.pods import is_mirror, is_terminal
    from mesh.model.workloads import controller_of

    doomed, left, against = [], [], []
    for pod in pods:
        owner = controller_of(pod.metadata)
        name = f"pod {pod.metadata.namespace}/{pod.metadata.name}"
        if is_mirror(pod):
            continue
        if owner is not None and owner.kind == "DaemonSet" and not is_terminal(pod):
            left.append(pod)
            if not ignore_daemonsets:
                against.append(f"{name} is of a DaemonSet (--ignore-daemonsets leaves it)")
            continue
        doomed.append(pod)
        if is_terminal(pod):
            continue
        if owner is None and not force:
            against.append(f"{name} is of no workload and would not come back (--force deletes it)")
        if any(v.HasField("empty_dir") for v in pod.spec.volumes) and not delete_emptydir_data:
            against.append(f"{name} would lose its emptyDir (--delete-emptydir-data deletes it)")
    return doomed, left, against


async def _empty(client: "AsyncClient", doomed: "list[Pod]", grace: int | None, timeout: float | None) -> None:
    from mesh.errors import NotFound
    from mesh.sdk import wait as waiting
    from mesh.v1.core_pb2 import Pod

    async def one(pod: "Pod") -> None:
        name, where, uid = pod.metadata.name, pod.metadata.namespace, pod.metadata.uid
        try:
            await client.delete(Pod, name, namespace=where, grace=grace)
        except NotFound:
            return
        goal = waiting.Goal("its deletion", lambda obj: obj is None or obj.metadata.uid != uid, absent=True)
        await waiting.Wait(client, "Pod", name, where, goal).run(timeout)
        click.echo(f"pod/{name} gone")

    async with asyncio.TaskGroup() as group:
        for pod in doomed:
            group.create_task(one(pod))
