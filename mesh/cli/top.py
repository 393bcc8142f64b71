"""`mesh top`: what hosts and pods use now, measured when asked.

Rule: a host that does not answer is told of on standard error, and the others are shown; the exit code says that.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import click

from mesh.cli import complete
from mesh.cli.session import Duration, Session, Verb, VerbGroup, asynchronous

if TYPE_CHECKING:
    from mesh.cli.usage import Row
    from mesh.v1.control_pb2 import HostUsage
    from mesh.v1.core_pb2 import Node

_sort = click.option(
    "--sort-by", type=click.Choice(["cpu", "memory"]), default=None, help="The biggest users first, not by name."
)
_labels = click.option("-l", "--selector", default="", metavar="LABELS", help="Only with these labels: app=web.")
_output = click.option(
    "-o", "--output", type=click.Choice(["json", "yaml"]), default=None, help="For programs: metrics.k8s.io's lists."
)
_history = click.option(
    "--history", type=Duration(), default=0.0, metavar="TIME", help="Lines of how it went so long, 6h at most.",
)  # fmt: skip
_POINTS = 30
_plain = click.option("--no-headers", is_flag=True, help="No titles above the columns.")


class _Nouns(VerbGroup):
    """Takes kubectl's other words for both."""

    aliases: ClassVar = {"node": "nodes", "no": "nodes", "pod": "pods", "po": "pods"}


@click.group("top", cls=_Nouns, short_help="Show what hosts and pods use.")
def command() -> None:
    """Show what hosts and pods use: CPU over the last seconds, and memory (the working set) now.

    \b
    mesh top nodes                    mesh top pods -A --sort-by cpu
    mesh top pods web --containers    mesh top pods -l app=web -o json
    mesh top nodes --history 6h       mesh top pods --history 30m
    """


@command.command("nodes", cls=Verb)
@click.argument("names", nargs=-1, metavar="[NODE…]", shell_complete=complete.nodes)
@_labels
@_sort
@_output
@_history
@_plain
@click.pass_obj
@asynchronous
async def _nodes(
    session: Session, names: tuple[str, ...], selector: str, sort_by: str | None, output: str | None, history: float,
    no_headers: bool,
) -> None:  # fmt: skip
    """Show what hosts use, and how much of what they can give to pods that is."""
    from mesh.cli import tables, usage
    from mesh.cli.printers import Table
    from mesh.sdk.measurements import Measurements
    from mesh.v1.core_pb2 import Node

    async with session.client() as client:
        hosts = await Measurements(client.over).nodes(names=names, labels=selector, history=history, points=_POINTS)
        nodes = {n.metadata.name: n for n in await client.list(Node)}
    answered = [h for h in hosts if not h.error]
    rows = usage.ordered(usage.node_rows(answered), sort_by or "")
    if output:
        _print(usage.node_documents(answered, rows), output)
    elif rows:
        titles = ("NAME", "CPU(cores)", "CPU%", "MEMORY(bytes)", "MEMORY%", *_titles(history))
        lines = usage.lines(answered) if history else {}
        body = tuple((*_node_row(r, nodes), *lines.get(("", r.name), _NO_LINES if history else ())) for r in rows)
        tables.show(Table(titles, body), titles=not no_headers, color=session.color)
    _tell_silent(hosts)


@command.command("pods", cls=Verb)
@click.argument("names", nargs=-1, metavar="[POD…]", shell_complete=complete.pods)
@click.option("-A", "--all-namespaces", is_flag=True, help="Pods of all namespaces.")
@click.option("--containers", is_flag=True, help="Each container for itself.")
@click.option("--sum", "with_sum", is_flag=True, help="A last line with the sum.")
@_labels
@_sort
@_output
@_history
@_plain
@click.pass_obj
@asynchronous
async def _pods(
    session: Session, names: tuple[str, ...], all_namespaces: bool, containers: bool, with_sum: bool, selector: str,
    sort_by: str | None, output: str | None, history: float, no_headers: bool,
) -> None:  # fmt: skip
    """Show what pods use."""
    from mesh.cli import tables, usage
    from mesh.cli.printers import Table
    from mesh.sdk.measurements import Measurements

    if names and all_namespaces:
        raise click.UsageError("names can't be combined with -A")
    if history and (containers or with_sum):
        raise click.UsageError("--history is of whole pods: it can't be combined with --containers or --sum")
    async with session.client() as client:
        namespace = "" if all_namespaces else client.namespace
        hosts = await Measurements(client.over).pods(
            names=names, namespace=namespace, labels=selector, history=history, points=_POINTS
        )
    answered = [h for h in hosts if not h.error]
    rows = usage.ordered(usage.pod_rows(answered, containers=containers and not output), sort_by or "")
    if output:
        _print(usage.pod_documents(answered, rows), output)
    elif rows:
        titles = ("POD", "NAME") if containers else ("NAME",)
        titles = (
            *(("NAMESPACE",) if all_namespaces else ()),
            *titles,
            "CPU(cores)",
            "MEMORY(bytes)",
            *_titles(history),
        )
        lines = usage.lines(answered) if history else {}
        more = [lines.get((r.namespace, r.name), _NO_LINES) if history else () for r in rows]
        body = [(*_pod_row(r, all_namespaces, containers), *m) for r, m in zip(rows, more, strict=True)]
        if with_sum:
            body.append(_sum_row(rows, len(titles)))
        tables.show(Table(titles, tuple(body)), titles=not no_headers, color=session.color)
    elif not hosts:
        where = "" if all_namespaces else f" in namespace {namespace}"
        click.echo(f"No pods found{where}.", err=True)
    _tell_silent(hosts)


_NO_LINES = ("", "")


def _titles(history: float) -> tuple[str, ...]:
    return ("CPU OVER TIME", "MEMORY OVER TIME") if history else ()


def _node_row(row: "Row", nodes: "dict[str, Node]") -> tuple[str, ...]:
    from mesh.cli import usage

    cpu, memory = usage.shares(row, nodes.get(row.name))
    return row.name, row.used.cpu_words, cpu, row.used.memory_words, memory


def _pod_row(row: "Row", namespaces: bool, containers: bool) -> tuple[str, ...]:
    names = (*((row.namespace,) if namespaces else ()), row.name, *((row.container,) if containers else ()))
    return *names, row.used.cpu_words, row.used.memory_words


def _sum_row(rows: "Sequence[Row]", width: int) -> tuple[str, ...]:
    from mesh.cli.usage import Used

    used = Used(None, None)
    for row in rows:
        used += row.used
    return *[""] * (width - 3), "sum", used.cpu_words, used.memory_words


def _print(document: dict[str, Any], output: str) -> None:
    import json

    from mesh.model import manifest

    text = json.dumps(document, indent=4) + "\n" if output == "json" else manifest.to_yaml(document)
    click.echo(text, nl=False)


def _tell_silent(hosts: "Sequence[HostUsage]") -> None:
    for host in hosts:
        if host.error:
            click.echo(f"error: {host.host}: {host.error}", err=True)
    if any(host.error for host in hosts):
        raise click.exceptions.Exit(1)
