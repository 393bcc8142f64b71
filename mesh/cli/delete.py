"""`mesh delete`: asks for the end of objects, and waits until they are gone."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import click

from mesh.cli import complete
from mesh.cli.apply import dry_run_option, file_options
from mesh.cli.failure import report
from mesh.cli.session import Duration, Session, Verb, asynchronous, warn

if TYPE_CHECKING:
    from mesh.model.kinds import Kind
    from mesh.sdk.client import AsyncClient


@dataclass(frozen=True, slots=True)
class Doomed:
    """One object to delete; `uid` is known once the deletion is asked for."""

    kind: "Kind"
    namespace: str
    name: str
    uid: str = ""


@dataclass(frozen=True, slots=True)
class Wish:
    """How they are deleted: `grace` in seconds (None: their own), `dry`: checked only."""

    grace: int | None
    cascade: str
    dry: bool
    force: bool
    output: str
    ignore_not_found: bool


@click.command("delete", cls=Verb, short_help="Delete objects.")
@click.argument(
    "what",
    nargs=-1,
    metavar="KIND NAME… | KIND/NAME… | KIND -l LABELS | KIND --all",
    shell_complete=complete.kinds_and_names,
)
@file_options
@click.option("-l", "--selector", default="", metavar="LABELS", help="Every object with these labels.")
@click.option("--all", "everything", is_flag=True, help="Every object of the kind in the namespace.")
@click.option("-A", "--all-namespaces", is_flag=True, help="With -l or --all: in all namespaces.")
@click.option(
    "--grace-period", type=int, default=None, metavar="SECONDS", help="Time for the containers to end by themselves."
)
@click.option("--now", is_flag=True, help="The same as --grace-period=1.")
@click.option("--force", is_flag=True, help="Forget the object at once, before its containers are gone.")
@click.option("--wait/--no-wait", default=True, help="Wait until the objects are gone.  [default: wait]")
@click.option("--timeout", type=Duration(), default=None, metavar="TIME", help="How long to wait.  [default: for ever]")
@click.option(
    "--cascade",
    type=click.Choice(["background", "foreground", "orphan"]),
    default="background",
    help="What becomes of the objects that belong to these.",
)
@click.option("--ignore-not-found", is_flag=True, help="A name that is not there is no error.")
@dry_run_option("check, and delete nothing.")
@click.option(
    "-o", "--output", type=click.Choice(["", "name"]), default="", metavar="FORMAT", help="name: print KIND/NAME alone."
)
@click.pass_obj
@asynchronous
async def command(
    session: Session, what: tuple[str, ...], filename: tuple[str, ...], recursive: bool, selector: str,
    everything: bool, all_namespaces: bool, grace_period: int | None, now: bool, force: bool, wait: bool,
    timeout: float | None, cascade: str, ignore_not_found: bool, dry_run: str, output: str,
) -> None:  # fmt: skip
    """Delete objects, and wait until they are gone.

    \b
    mesh delete pod web          mesh delete -f pod.yaml        mesh delete pods -l app=web
    mesh delete pod/web --now    mesh delete pods --all         mesh delete ns test
    """
    if bool(filename) == bool(what):
        raise click.UsageError("say what to delete: KIND NAME, KIND/NAME, KIND -l LABELS, KIND --all, or -f FILE")
    dry = dry_run == "server"
    wish = Wish(_grace(grace_period, now, force), cascade, dry, force, output, ignore_not_found)
    async with session.client() as client:
        if filename:
            doomed = _of_files(filename, recursive, session.namespace, client.namespace)
        else:
            namespace = "" if all_namespaces else client.namespace
            doomed = await _of_words(client, what, namespace, selector, everything)
        if not doomed:
            click.echo("No resources found", err=True)
        asked, failed = await _asked(client, doomed, wish)
        if wait and not dry:
            await _until_gone(client, asked, timeout, session.color)
        if failed:
            raise click.exceptions.Exit(1)


def _grace(grace_period: int | None, now: bool, force: bool) -> int | None:
    if now and grace_period is not None:
        raise click.UsageError("--now and --grace-period can't be combined")
    if grace_period is not None and grace_period < -1:
        raise click.UsageError("--grace-period can't be negative")
    if force:
        if now or grace_period:
            raise click.UsageError("--force leaves no grace: drop --now and --grace-period")
        warn("the objects are forgotten at once; their containers may still run for a while")
        return 0
    if now or grace_period == 0:  # as kubectl: only --force forgets a pod before it has ended
        return 1
    return None if grace_period == -1 else grace_period


def _of_files(names: Sequence[str], recursive: bool, chosen: str, namespace: str) -> list[Doomed]:
    from mesh.cli import files
    from mesh.model.kinds import key_of, kind_of

    objects = files.load(names, recursive, namespace).objects
    files.check_namespace(objects, chosen)
    return [Doomed(kind_of(obj), key_of(obj).namespace, obj.metadata.name) for obj in objects]


async def _of_words(
    client: "AsyncClient", words: Sequence[str], namespace: str, selector: str, everything: bool
) -> list[Doomed]:
    from mesh.cli import targets

    found: list[Doomed] = []
    for target in targets.parse(words):
        if target.names and (selector or everything):
            raise click.UsageError("names can't be combined with -l or --all")
        if not target.names and not (selector or everything):
            raise click.UsageError(f"say which {target.kind.plural}: names, -l LABELS or --all")
        found += [Doomed(target.kind, namespace, name) for name in target.names]
        if not target.names:
            present = await client.list(target.kind.name, namespace=namespace, labels=selector)
            found += [Doomed(target.kind, o.metadata.namespace, o.metadata.name) for o in present]
    return found


async def _asked(client: "AsyncClient", doomed: Sequence[Doomed], wish: Wish) -> tuple[list[Doomed], bool]:
    """Asks for the end of each and tells of it; returns those that were there, and whether one was refused."""
    from mesh.errors import MeshError, NotFound

    asked, failed = [], False
    for one in doomed:
        try:
            obj = await client.delete(
                one.kind.name, one.name, namespace=one.namespace, grace=wish.grace, propagation=wish.cascade,
                dry_run=wish.dry,
            )  # fmt: skip
        except MeshError as error:
            if not (wish.ignore_not_found and isinstance(error, NotFound)):
                failed = True
                report(error)
        else:
            _tell(one, wish)
            asked.append(replace(one, uid=obj.metadata.uid))
    return asked, failed


def _tell(one: Doomed, wish: Wish) -> None:
    from mesh.cli.targets import ref

    if wish.output == "name":
        click.echo(ref(one.kind, one.name))
        return
    how = "force deleted" if wish.force else "deleted"
    kind = ref(one.kind, one.name).rpartition("/")[0]
    click.echo(f'{kind} "{one.name}" {how}' + (" (server dry run)" if wish.dry else ""))


async def _until_gone(client: "AsyncClient", doomed: Sequence[Doomed], timeout: float | None, color: bool) -> None:
    from mesh.cli.progress import Progress
    from mesh.sdk import wait as waiting
    from mesh.sdk.words import summary
    from mesh.v1.core_pb2 import Pod

    with Progress(len(doomed), color, quiet=True) as progress:

        async def one(it: Doomed) -> None:
            goal = waiting.Goal("its deletion", lambda obj: obj is None or obj.metadata.uid != it.uid, absent=True)
            word = f"{it.kind.name.lower()}/{it.name}"
            wait = waiting.Wait(
                client, it.kind.name, it.name, it.namespace, goal,
                lambda obj: progress.say(word, summary(obj).status if isinstance(obj, Pod) else "Terminating"),
            )  # fmt: skip
            await wait.run(timeout)
            progress.done(word, "gone")

        async with asyncio.TaskGroup() as group:
            for it in doomed:
                group.create_task(one(it))
