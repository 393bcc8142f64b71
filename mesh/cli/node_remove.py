"""`mesh node remove`: a host leaves the mesh for good (N7).

Rule: its certificate is taken back before its Node goes, so that it does not come back by itself; a host that can still
be reached is told to end what is left of its pods.
"""

from typing import TYPE_CHECKING

import click

from mesh.cli import complete
from mesh.cli.session import Session, Verb, asynchronous, warn

if TYPE_CHECKING:
    from mesh.v1.core_pb2 import Pod


@click.command("remove", cls=Verb, short_help="Let a host go for good.")
@click.argument("name", metavar="NODE", shell_complete=complete.nodes)
@click.option("--lost", is_flag=True, help="The host is gone for good: its pods count as ended.")
@click.pass_obj
@asynchronous
async def command(session: Session, name: str, lost: bool) -> None:
    """Let a drained host go for good: takes its certificate back and removes its Node.

    Ray gets another token then, which the other hosts are given; a host that is away meanwhile comes in again by a new
    token (`mesh node join`). On the host itself `mesh down --purge` then leaves the machine as it was; it comes in
    again by a new token only, as a new host. With --lost it need not be drained; say so only when it can't run its
    pods any more.

    \b
    mesh node drain host2 --ignore-daemonsets && mesh node remove host2
    """
    from mesh.errors import Invalid
    from mesh.sdk.access import Access
    from mesh.v1.core_pb2 import Node, Pod

    name = name.removeprefix("node/")
    async with session.client() as client:
        await client.get(Node, name)
        pods = await client.list(Pod, namespace="", fields=f"spec.nodeName={name}")
        if not lost and (held := [pod for pod in pods if _holds(pod)]):
            there = f"{held[0].metadata.namespace}/{held[0].metadata.name}"
            raise Invalid(
                f"cannot remove node {name}: pod {there} is on it: `mesh node drain {name} --ignore-daemonsets` moves "
                "its pods away; --lost gives them up"
            )
        await Access(client.over).revoke("node", name, "removed from the mesh")
        for pod in pods if lost else ():
            await client.delete(Pod, pod.metadata.name, namespace=pod.metadata.namespace, grace=0)
        await client.delete(Node, name)
    click.echo(f"node/{name} removed")
    warn(f"on {name} itself, `mesh down --purge` removes what is there of the mesh")


def _holds(pod: "Pod") -> bool:
    from mesh.model.pods import is_mirror, is_terminal
    from mesh.model.workloads import controller_of

    owner = controller_of(pod.metadata)
    return not is_mirror(pod) and not is_terminal(pod) and (owner is None or owner.kind != "DaemonSet")
