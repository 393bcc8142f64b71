"""`mesh simulate`: what would happen, told by the same controllers and scheduler on a copy of the objects.

Rule: it only reads, and no Secrets.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from mesh.cli import complete
from mesh.cli.apply import file_options
from mesh.cli.session import Duration, Session, Verb, VerbGroup, asynchronous

if TYPE_CHECKING:
    from mesh.model.kinds import Object
    from mesh.sdk.client import AsyncClient
    from mesh.simulate.whatif import Answer, WhatIf

_UNREAD = ("Event", "Secret", "Endpoints", "EndpointSlice", "HorizontalPodAutoscaler")


@click.group("simulate", cls=VerbGroup, short_help="Say what would happen, and touch nothing.")
def command() -> None:
    """Say what would happen, and touch nothing.

    The same controllers and scheduler that meshd runs are run here, on a copy of the objects as they are now, with
    made-up hosts and a made-up clock: minutes pass in a moment. The answer is a timeline and how everything stands in
    the end: which host has how many pods, which workloads have too few, which pods no host would take and why.

    \b
    mesh simulate lose host2                  # what happens if host2 dies now?
    mesh simulate drain host3                 # where would its pods go, and what holds them?
    mesh simulate apply -f web.yaml           # is there room, and how does the rollout go?

    Hosts are taken to be as fast as the options say, and pods to be fine: images, probes' answers and crashes are not
    known, autoscalers are left out, and what pods of Jobs do takes --job each.
    """


def _options(function: "click.decorators.FC") -> "click.decorators.FC":
    """How fast hosts are, how long to look, how to say it."""
    for option in (
        click.option("-o", "--output", type=click.Choice(["json"]), default=None, help="For machines."),
        click.option("--for", "span", type=Duration(), default="10m", show_default=True, metavar="TIME",
                     help="How much time passes at most."),
        click.option("--job", type=Duration(), default="30s", show_default=True, metavar="TIME",
                     help="How long pods of Jobs run."),
        click.option("--stop", type=Duration(), default="2s", show_default=True, metavar="TIME",
                     help="How long a pod takes to end, unless its grace is shorter."),
        click.option("--start", type=Duration(), default="1s", show_default=True, metavar="TIME",
                     help="How long a pod takes to run; its readiness probe's delay comes on top."),
        click.option("--eviction", type=Duration(), default="5s", show_default=True, metavar="TIME",
                     help="pod_eviction_seconds of meshd.toml."),
        click.option("--silence", type=Duration(), default="4s", show_default=True, metavar="TIME",
                     help="node_silence_seconds of meshd.toml."),
    ):  # fmt: skip
        function = option(function)
    return function


@command.command("lose", cls=Verb, short_help="Hosts lose their power now.")
@click.argument("names", nargs=-1, required=True, metavar="NODE…", shell_complete=complete.nodes)
@_options
@click.pass_obj
@asynchronous
async def _lose(session: Session, /, names: tuple[str, ...], **how: Any) -> None:
    """What happens if these hosts die now.

    \b
    mesh simulate lose host2
    mesh simulate lose host2 host3 --for=1h -o json
    """

    from mesh.simulate.whatif import WhatIf

    await _answer(session, _of_each(names, WhatIf.host_dies), how)


@command.command("drain", cls=Verb, short_help="Hosts are drained, one after the other.")
@click.argument("names", nargs=-1, required=True, metavar="NODE…", shell_complete=complete.nodes)
@_options
@click.pass_obj
@asynchronous
async def _drain(session: Session, /, names: tuple[str, ...], **how: Any) -> None:
    """What happens if these hosts are drained now, as by `mesh drain --ignore-daemonsets --force`.

    \b
    mesh simulate drain host3
    """

    from mesh.simulate.whatif import WhatIf

    await _answer(session, _of_each(names, WhatIf.drain), how)


@command.command("apply", cls=Verb, short_help="Files are applied.")
@file_options
@_options
@click.pass_obj
@asynchronous
async def _apply(session: Session, /, filename: tuple[str, ...], recursive: bool, **how: Any) -> None:
    """What happens if these files are applied now; what would be refused is refused.

    \b
    mesh simulate apply -f web.yaml
    mesh simulate apply -f manifests/ -R --start=10s
    """
    from mesh.cli import files

    if not filename:
        raise click.UsageError("say which files: -f FILE, -f DIRECTORY or -f -")

    def ask(question: "WhatIf", namespace: str) -> None:
        found = files.read(filename, recursive, namespace, session.namespace)
        with found.placed():
            question.apply(found.objects)

    await _answer(session, ask, how)


def _of_each(names: Sequence[str], ask: "Callable[[WhatIf, str], None]") -> "Callable[[WhatIf, str], None]":
    """Asks the same of each host."""

    def ask_all(question: "WhatIf", _namespace: str) -> None:
        for name in names:
            ask(question, name.removeprefix("node/"))

    return ask_all


async def _answer(session: Session, ask: "Callable[[WhatIf, str], None]", how: dict[str, Any]) -> None:
    import json
    import time

    from mesh.simulate.hosts import Pace
    from mesh.simulate.whatif import WhatIf

    async with session.client() as client:
        objects, namespace = await _everything(client), client.namespace
    pace = Pace(how["start"], how["stop"], how["job"], how["silence"])
    question = WhatIf(objects, time.time_ns(), pace, how["eviction"])
    ask(question, namespace)
    answer = question.answer(how["span"])
    if how["output"] == "json":
        said = {"timeline": [asdict(line) for line in answer.lines], "end": asdict(answer.end)}
        click.echo(json.dumps(said, indent=2))
    else:
        _tell(answer)


async def _everything(client: "AsyncClient") -> "list[Object]":
    """Every object that decides about pods, as it is now."""
    from mesh.model.kinds import served_kinds

    found: list[Object] = []
    for kind in served_kinds():
        if kind.name not in _UNREAD:
            found += await client.list(kind.name, namespace="")
    return found


def _tell(answer: "Answer") -> None:
    from mesh.cli import tables
    from mesh.cli.printers import Table

    for line in answer.lines:
        click.echo(f"{line.at:8.1f} s  {line.who} {line.what}")
    end = answer.end
    click.echo(f"\nIn the end, after {end.seconds:.1f} s:")
    rows = tuple((host, str(before), str(after)) for host, (before, after) in end.pods.items())
    tables.show(Table(("HOST", "PODS NOW", "PODS THEN"), rows))
    _list("Too few are ready:", [f"{s.name}  {s.ready} of {s.wanted}" for s in end.short])
    _list("No host would take:", [f"{pod}: {why}" for pod, why in end.waits])
    _list("Still ending, for their host does not answer (`mesh node confirm-down` says that it is off):",
          [f"{pod} on {host}" for pod, host in end.stuck])  # fmt: skip
    _list("Lost, for nobody makes them again:", list(end.lost))
    if not (end.short or end.waits or end.lost):
        click.echo("Every workload has what it wants.")


def _list(title: str, lines: Sequence[str]) -> None:
    if lines:
        click.echo(title)
        for line in lines:
            click.echo(f"  {line}")
