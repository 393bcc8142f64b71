"""`mesh wait`: until objects are as wanted, by watching them."""

import asyncio
from typing import TYPE_CHECKING

import click

from mesh.cli import complete
from mesh.cli.session import Duration, Session, Verb, asynchronous

if TYPE_CHECKING:
    from mesh.cli.targets import Target
    from mesh.sdk.client import AsyncClient

_FOR_EVER = 7 * 24 * 3600.0  # as kubectl has it


@click.command("wait", cls=Verb, short_help="Wait until objects are as wanted.")
@click.argument(
    "what",
    nargs=-1,
    required=True,
    metavar="KIND/NAME… | KIND NAME… | KIND -l LABELS",
    shell_complete=complete.kinds_and_names,
)
@click.option(
    "--for",
    "goal",
    required=True,
    metavar="WHAT",
    help="condition=NAME[=VALUE], jsonpath={PATH}[=VALUE], delete or create.",
)
@click.option("-l", "--selector", default="", metavar="LABELS", help="Every object with these labels.")
@click.option("--all", "everything", is_flag=True, help="Every object of the kind.")
@click.option("-A", "--all-namespaces", is_flag=True, help="With -l or --all: in all namespaces.")
@click.option(
    "--timeout",
    type=Duration(),
    default="30s",
    show_default=True,
    metavar="TIME",
    help="How long to wait; 0 looks once, less than 0 is a week.",
)
@click.pass_obj
@asynchronous
async def command(
    session: Session, what: tuple[str, ...], goal: str, selector: str, everything: bool, all_namespaces: bool,
    timeout: float,
) -> None:  # fmt: skip
    """Wait until objects are as wanted.

    \b
    mesh wait pod/web --for=condition=Ready --timeout=1m
    mesh wait pods -l app=web --for=delete
    mesh wait pod/web --for=jsonpath='{.status.phase}'=Running
    """
    from mesh.cli import targets
    from mesh.cli.failure import report
    from mesh.errors import MeshError
    from mesh.sdk import wait as waiting

    aim, wanted = waiting.parse(goal), targets.parse(what)
    limit = _FOR_EVER if timeout < 0 else timeout
    async with session.client() as client:
        namespace = "" if all_namespaces else client.namespace
        found = [pair for t in wanted for pair in await _named(client, t, namespace, selector, everything)]
        if not found and not aim.absent:
            click.echo("error: no matching resources found", err=True)
            raise click.exceptions.Exit(1)

        async def one(target: "Target", where: str, name: str) -> bool:
            try:
                await waiting.Wait(client, target.kind.name, name, where, aim).run(max(limit, 0.5))
            except (MeshError, TimeoutError) as error:
                report(error)
                return False
            done = "deleted" if goal.lower() == "delete" else "condition met"
            click.echo(f"{targets.ref(target.kind, name)} {done}")
            return True

        met = await asyncio.gather(*(one(*pair) for pair in found))
    if not all(met):
        raise click.exceptions.Exit(1)


async def _named(
    client: "AsyncClient", target: "Target", namespace: str, selector: str, everything: bool
) -> "list[tuple[Target, str, str]]":
    """(target, namespace, name) of each object to wait for."""
    if target.names:
        if selector or everything:
            raise click.UsageError("names can't be combined with -l or --all")
        return [(target, namespace, name) for name in target.names]
    if not (selector or everything):
        raise click.UsageError(f"say which {target.kind.plural}: names, -l LABELS or --all")
    present = await client.list(target.kind.name, namespace=namespace, labels=selector)
    return [(target, obj.metadata.namespace, obj.metadata.name) for obj in present]
