"""`mesh rollout`: how the replacement of a workload's pods goes, and what of it can be said."""

from typing import TYPE_CHECKING

import click

from mesh.cli import complete
from mesh.cli.session import Duration, Session, Verb, VerbGroup, asynchronous

if TYPE_CHECKING:
    from mesh.cli.rollouts import Revision
    from mesh.model.kinds import Object
    from mesh.sdk.client import AsyncClient

_WHAT = click.argument("what", nargs=-1, required=True, metavar="KIND/NAME… | KIND [NAME]",
                       shell_complete=complete.kinds_and_names)  # fmt: skip


@click.group("rollout", cls=VerbGroup, short_help="Follow and steer rollouts.")
def command() -> None:
    """Follow and steer the rollout of a Deployment, DaemonSet or StatefulSet."""


async def _workloads(client: "AsyncClient", what: tuple[str, ...]) -> "list[Object]":
    """The workloads named; all of a kind when only a kind is; a bare word that is no kind names a Deployment."""
    from mesh.cli import targets
    from mesh.cli.rollouts import KINDS
    from mesh.errors import Invalid, NotFound
    from mesh.model.kinds import kind_for_word

    if len(what) == 1 and "/" not in what[0]:
        try:
            kind_for_word(what[0].partition(".")[0])
        except NotFound:
            what = ("Deployment", what[0])
    found: list[Object] = []
    for target in targets.parse(what):
        if target.kind.name not in KINDS:
            raise Invalid(f"a {target.kind.name} has no rollouts; {', '.join(KINDS)} have")
        found += [await client.get(target.kind.name, name) for name in target.names]
        if not target.names:
            found += await client.list(target.kind.name, namespace=client.namespace)
    if not found:
        raise NotFound(f'there is no {" ".join(what)} in namespace "{client.namespace}"')
    return found


async def _workload(client: "AsyncClient", what: tuple[str, ...]) -> "Object":
    from mesh.errors import Invalid

    found = await _workloads(client, what)
    if len(found) != 1:
        raise Invalid(f"say one of {', '.join(o.metadata.name for o in found)}: this is told of one at a time")
    return found[0]


async def _revisions(client: "AsyncClient", held: "Object") -> "list[Revision]":
    """What the workload was and is, oldest first."""
    from mesh.cli.rollouts import of_deployment, of_others
    from mesh.v1.apps_pb2 import ControllerRevision, Deployment, ReplicaSet

    where = held.metadata.namespace
    if isinstance(held, Deployment):
        return of_deployment(held, await client.list(ReplicaSet, namespace=where))
    return of_others(held, await client.list(ControllerRevision, namespace=where))


@command.command("status", cls=Verb)
@_WHAT
@click.option("-w", "--watch/--no-watch", default=True, help="Follow it to its end.  [default: yes]")
@click.option(
    "--timeout", type=Duration(), default=None, metavar="TIME", help="How long to follow.  [default: for ever]"
)
@click.pass_obj
@asynchronous
async def _status(session: Session, what: tuple[str, ...], watch: bool, timeout: float | None) -> None:
    """Say how the rollout goes, and follow it to its end; exit code 1 when it has failed.

    What holds its pods up is told as soon as it is known. It has failed after progressDeadlineSeconds without progress.

    \b
    mesh rollout status deployment/web
    """
    import asyncio

    async with session.client() as client:
        for held in await _workloads(client, what):
            said: list[str] = []
            try:
                async with asyncio.timeout(timeout):
                    await _follow(client, held, watch, said)
            except TimeoutError:
                raise click.ClickException(f"not done within {timeout:g} s: {''.join(said[-1:])}") from None


async def _follow(client: "AsyncClient", held: "Object", watch: bool, said: list[str]) -> None:
    """Says how one rollout goes, to its end, and what holds its pods up; exits 1 when it has failed."""
    import asyncio

    async with asyncio.TaskGroup() as group:
        telling = group.create_task(_tell_troubles(client, held))
        await _to_the_end(client, held, watch, said)
        telling.cancel()


async def _to_the_end(client: "AsyncClient", held: "Object", watch: bool, said: list[str]) -> None:
    from mesh.cli.rollouts import progress_of

    name, where = held.metadata.name, held.metadata.namespace
    async for change in client.watch(type(held), namespace=where, fields=f"metadata.name={name}"):
        if change.type == "DELETED":
            raise click.ClickException(f"{name} was deleted while it was followed")
        progress = progress_of(change.object)
        if progress.text not in said[-1:]:
            said.append(progress.text)
            click.echo(progress.text, err=progress.failed)
        if progress.failed:
            click.echo(await _why(client, change.object), err=True, nl=False)
            raise click.exceptions.Exit(1)
        if progress.done or not watch:
            return


async def _tell_troubles(client: "AsyncClient", held: "Object") -> None:
    """Says once of each pod and reason what holds it up, as soon as it is known: a deadline may be ten minutes away."""
    from mesh.cli.rollouts import held_up, trouble
    from mesh.errors import MeshError
    from mesh.model.selectors import format_labels
    from mesh.model.workloads import selector_of
    from mesh.v1.core_pb2 import Pod

    labels = format_labels(selector_of(held))  # type: ignore[arg-type] # a workload
    said: set[tuple[str, str]] = set()
    try:
        async for change in client.watch(Pod, namespace=held.metadata.namespace, labels=labels):
            pod, reason = change.object, held_up(change.object)
            if change.type != "DELETED" and reason and (pod.metadata.uid, reason) not in said:
                said.add((pod.metadata.uid, reason))
                click.echo(f"  {trouble(pod)}")
    except MeshError:  # who may not see pods, say, hears of the rollout alone
        return


async def _why(client: "AsyncClient", held: "Object") -> str:
    """What the pods that are not ready wait for, a line each."""
    from mesh.cli.rollouts import troubles
    from mesh.model.selectors import format_labels
    from mesh.model.workloads import selector_of
    from mesh.v1.core_pb2 import Pod

    labels = format_labels(selector_of(held))  # type: ignore[arg-type] # a workload
    pods = await client.list(Pod, namespace=held.metadata.namespace, labels=labels)
    return "".join(f"  {line}\n" for line in troubles(pods))


@command.command("history", cls=Verb)
@_WHAT
@click.option("--revision", type=int, default=0, metavar="NUMBER", help="Tell everything about one revision.")
@click.pass_obj
@asynchronous
async def _history(session: Session, what: tuple[str, ...], revision: int) -> None:
    """List the templates that a workload has had."""
    from mesh.cli.printers import Table
    from mesh.cli.tables import show
    from mesh.errors import NotFound
    from mesh.model import manifest

    async with session.client() as client:
        held = await _workload(client, what)
        known = await _revisions(client, held)
        if not revision:
            rows = tuple((str(r.number), r.cause or "<none>", ",".join(r.images)) for r in known)
            show(Table(("REVISION", "CHANGE-CAUSE", "IMAGES"), rows), color=session.color)
            return
        found = next((r for r in known if r.number == revision), None)
        if found is None:
            raise NotFound(f"{held.metadata.name} has no revision {revision}")
        click.echo(manifest.to_yaml(found.template), nl=False)


@command.command("undo", cls=Verb)
@_WHAT
@click.option("--to-revision", type=int, default=0, metavar="NUMBER", help="Which one.  [default: the one before]")
@click.pass_obj
@asynchronous
async def _undo(session: Session, what: tuple[str, ...], to_revision: int) -> None:
    """Go back to an earlier template: a new rollout of the old one."""
    from mesh.cli.changing import change_all
    from mesh.cli.rollouts import before
    from mesh.model.workloads import TEMPLATE_HASH

    async with session.client() as client:
        held = await _workload(client, what)
        found = before(held, await _revisions(client, held), to_revision)

        def edit(wanted: "Object") -> None:
            wanted.spec.template.CopyFrom(found.template)  # type: ignore[union-attr] # a workload
            wanted.spec.template.metadata.labels.pop(TEMPLATE_HASH, None)  # type: ignore[union-attr]

        await change_all(client, [held], edit, "rolled back", same=f"skipped: it is at revision {found.number} already")


@command.command("restart", cls=Verb)
@_WHAT
@click.pass_obj
@asynchronous
async def _restart(session: Session, what: tuple[str, ...]) -> None:
    """Replace every pod by a new one of the same template, as a rollout does it."""
    from datetime import UTC, datetime

    from mesh.cli.changing import change_all
    from mesh.model.workloads import RESTARTED_AT

    now = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    async with session.client() as client:
        found = await _workloads(client, what)

        def edit(wanted: "Object") -> None:
            wanted.spec.template.metadata.annotations[RESTARTED_AT] = now  # type: ignore[union-attr] # a workload

        await change_all(client, found, edit, "restarted", same="not restarted: it was, within this second")


def _pausing(name: str, paused: bool, text: str) -> None:
    @command.command(name, cls=Verb, help=text)
    @_WHAT
    @click.pass_obj
    @asynchronous
    async def _verb(session: Session, what: tuple[str, ...]) -> None:
        from mesh.cli.changing import change_all
        from mesh.errors import Invalid
        from mesh.v1.apps_pb2 import Deployment

        async with session.client() as client:
            found = await _workloads(client, what)

            def edit(wanted: "Object") -> None:
                if not isinstance(wanted, Deployment):
                    raise Invalid("only a Deployment can be paused")
                wanted.spec.paused = paused

            done = "paused" if paused else "resumed"
            await change_all(client, found, edit, done, same=f"{done} already")


_pausing("pause", True, "Let changes of the template gather without rolling them out.")
_pausing("resume", False, "Roll out what has gathered.")
