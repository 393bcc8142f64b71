"""`mesh drain`: empties a host, so that it can be worked on (N7).

Rule: pods are evicted, so that disruption budgets are kept; whom one holds is asked again every five seconds. What must
stay is said before anything is done.
"""

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from mesh.cli import complete
from mesh.cli.session import Duration, Session, Verb, asynchronous, warn

if TYPE_CHECKING:
    from mesh.cli.progress import Progress
    from mesh.sdk.client import AsyncClient
    from mesh.v1.core_pb2 import Node, Pod

AGAIN = 5.0  # seconds until a budget that forbade an eviction is asked again


@dataclass(frozen=True, slots=True)
class How:
    """How pods are asked to go: `grace` in seconds, None for each pod's own; `evict`: only as budgets let them."""

    grace: int | None
    evict: bool
    dry_run: bool


@click.command("drain", cls=Verb, short_help="Empty a host, so that it can be worked on.")
@click.argument("names", nargs=-1, metavar="NODE…", shell_complete=complete.nodes)
@click.option("-l", "--selector", default="", metavar="LABELS", help="Every node with these labels.")
@click.option("--pod-selector", default="", metavar="LABELS", help="Only pods with these labels.")
@click.option("--ignore-daemonsets", is_flag=True, help="Leave pods of DaemonSets; they would come back at once.")
@click.option("--delete-emptydir-data", is_flag=True, help="Move pods although their emptyDir volumes go with them.")
@click.option("--force", is_flag=True, help="Also pods that nobody will make again.")
@click.option("--disable-eviction", is_flag=True, help="Delete pods whatever their disruption budgets say.")
@click.option("--grace-period", type=int, default=-1, metavar="SECONDS", help="Time to end.  [default: each pod's own]")
@click.option("--timeout", type=Duration(), default=None, metavar="TIME", help="How long to wait.  [default: for ever]")
@click.option("--dry-run", is_flag=True, help="Say what would be done.")
@click.pass_obj
@asynchronous
async def command(
    session: Session, names: tuple[str, ...], selector: str, pod_selector: str, ignore_daemonsets: bool,
    delete_emptydir_data: bool, force: bool, disable_eviction: bool, grace_period: int, timeout: float | None,
    dry_run: bool,
) -> None:  # fmt: skip
    """Cordon hosts, evict their pods and wait until they are gone.

    A pod that a PodDisruptionBudget holds is waited for, until other pods of its application are ready elsewhere or
    --timeout is over. What must stay is said before anything is done; `mesh uncordon` opens the host again, and
    `mesh simulate drain` shows before where its pods would go.

    \b
    mesh drain host1 --ignore-daemonsets
    mesh drain -l disk=old --ignore-daemonsets --timeout=10m
    """
    from mesh.cli.changing import change, chosen
    from mesh.errors import Invalid
    from mesh.v1.core_pb2 import Node, Pod

    if bool(names) == bool(selector):
        raise click.UsageError("say which nodes: names or -l LABELS")
    how = How(None if grace_period < 0 else max(grace_period, 1), not disable_eviction, dry_run)
    async with session.client() as client:
        bare = [n.removeprefix("node/") for n in names]
        for held in await chosen(client, ["Node", *bare], selector, namespace=""):
            assert isinstance(held, Node)  # noqa: S101 - nodes were asked for
            name = held.metadata.name
            closed = held.spec.unschedulable if dry_run else not (await change(client, held, _close))[1]
            click.echo(f"node/{name} {'already cordoned' if closed else 'cordoned'}{_dry(how)}")
            pods = await client.list(Pod, namespace="", labels=pod_selector, fields=f"spec.nodeName={name}")
            doomed, left, against = sort_out(pods, ignore_daemonsets, delete_emptydir_data, force)
            if against:
                lines = "\n".join(f"  {line}" for line in against)
                raise Invalid(f"cannot drain node {name}:\n{lines}\nThe node stays cordoned: mesh uncordon {name}")
            for pod in left:
                warn(f"pod/{pod.metadata.name} of a DaemonSet stays")
            await _empty(client, name, doomed, how, timeout, session.color)
            click.echo(f"node/{name} drained{_dry(how)}")


def _dry(how: How) -> str:
    return " (dry run)" if how.dry_run else ""


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


async def _empty(
    client: "AsyncClient",
    node: str,
    doomed: "list[Pod]",
    how: How,
    timeout: float | None,
    color: bool,
) -> None:
    from mesh.cli.progress import Progress
    from mesh.sdk.words import duration

    held: dict[str, str] = {}  # pods that still have to wait, and for what
    try:
        async with asyncio.timeout(timeout):
            with Progress(len(doomed), color) as progress:
                async with asyncio.TaskGroup() as group:
                    for pod in doomed:
                        group.create_task(_move(client, pod, how, progress, held))
    except TimeoutError:
        waits = "".join(f"\n  {why}" for why in held.values())
        raise TimeoutError(
            f"node {node} is not empty after {duration(timeout or 0)}:{waits or ' its pods are still ending'}\n"
            f"The node stays cordoned: mesh uncordon {node}"
        ) from None


async def _move(client: "AsyncClient", pod: "Pod", how: How, progress: "Progress", held: dict[str, str]) -> None:
    """One pod, until it is gone."""
    from mesh.errors import NotFound
    from mesh.sdk import wait as waiting

    word, uid = f"pod/{pod.metadata.name}", pod.metadata.uid
    try:
        await _ask(client, pod, how, progress, held)
    except NotFound:
        return
    if how.dry_run:
        progress.done(word, "would go (dry run)")
        return
    progress.say(word, "ending")
    goal = waiting.Goal("its deletion", lambda obj: obj is None or obj.metadata.uid != uid, absent=True)
    await waiting.Wait(client, "Pod", pod.metadata.name, pod.metadata.namespace, goal).run(None)
    progress.done(word, "gone")


async def _ask(client: "AsyncClient", pod: "Pod", how: How, progress: "Progress", held: dict[str, str]) -> None:
    """Asks the pod to go, as often as it takes."""
    from mesh.errors import Conflict
    from mesh.v1.core_pb2 import Pod

    name, where, uid = pod.metadata.name, pod.metadata.namespace, pod.metadata.uid
    while True:
        try:
            if how.evict:
                await client.evict(name, namespace=where, grace=how.grace, uid=uid, dry_run=how.dry_run)
            else:
                await client.delete(Pod, name, namespace=where, grace=how.grace, uid=uid, dry_run=how.dry_run)
        except Conflict as error:
            if not how.evict or how.dry_run:
                raise
            if held.get(name) != error.message:
                warn(f"{error.message}; it is asked again until it may go")
            held[name] = error.message
            progress.say(f"pod/{name}", "waits for its budget")
            await asyncio.sleep(AGAIN)
        else:
            held.pop(name, None)
            return
