"""`mesh get`: objects as tables, YAML, JSON, names or templates; with -w as they change.

Rule: what was found is shown even when something else was not; the exit code says that.
"""

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import click

from mesh.cli import complete
from mesh.cli.failure import report, say
from mesh.cli.session import Session, Verb, asynchronous

if TYPE_CHECKING:
    from mesh.cli.outputs import Format
    from mesh.cli.printers import Look
    from mesh.cli.targets import Target
    from mesh.model.kinds import Kind, Object
    from mesh.sdk.client import AsyncClient


@dataclass(frozen=True, slots=True)
class Question:
    """What was asked for on the command line."""

    namespace: str
    labels: str
    fields: str
    sort_by: str
    titles: bool
    color: bool
    ignore_not_found: bool


@click.command("get", cls=Verb, short_help="List objects, or show some.")
@click.argument(
    "what",
    nargs=-1,
    metavar="KIND[,KIND…] [NAME…] | KIND/NAME…",
    shell_complete=complete.kinds_and_names,
)
@click.option("-A", "--all-namespaces", is_flag=True, help="Objects of all namespaces.")
@click.option("-l", "--selector", default="", metavar="LABELS", help="Only with these labels: app=web,tier!=db.")
@click.option("--field-selector", default="", metavar="FIELDS", help="Only with these fields: spec.nodeName=host1.")
@click.option(
    "-o",
    "--output",
    default="",
    metavar="FORMAT",
    help="wide, name, yaml, json, jsonpath=TEMPLATE or jsonpath-file=FILE.",
)
@click.option("-w", "--watch", is_flag=True, help="After listing, show changes until interrupted.")
@click.option("--show-labels", is_flag=True, help="A column with the labels.")
@click.option("-L", "--label-columns", multiple=True, metavar="KEY[,KEY…]", help="A column for each of these labels.")
@click.option("--sort-by", default="", metavar="JSONPATH", help="Order by a field: .metadata.creationTimestamp.")
@click.option("--no-headers", is_flag=True, help="No titles above the columns.")
@click.option("--show", is_flag=True, help="Show the values of Secrets too, in base64, with -o yaml, json or jsonpath.")
@click.option("--ignore-not-found", is_flag=True, help="A name that is not there is no error.")
@click.option("--raw", default="", metavar="PATH", help="What meshd says at /metrics, a host at /nodes/NAME/metrics.")
@click.pass_obj
@asynchronous
async def command(
    session: Session, raw: str, what: tuple[str, ...], all_namespaces: bool, selector: str, field_selector: str,
    output: str, watch: bool, show_labels: bool, label_columns: tuple[str, ...],
    sort_by: str, no_headers: bool, ignore_not_found: bool, show: bool,
) -> None:  # fmt: skip
    """List objects, or show some.

    \b
    mesh get pods                 mesh get po,no -o wide        mesh get pod web -o yaml
    mesh get pods -l app=web -w   mesh get pod/web node/host1   mesh get events -A
    """
    from mesh.cli import outputs, targets
    from mesh.cli.printers import Look

    if bool(raw) == bool(what):
        raise click.UsageError("say KIND, such as pods, or --raw with a path")
    if raw:
        await _raw(session, raw)
        return
    form, wanted = outputs.parse(output), targets.parse(what)
    if any(t.names for t in wanted) and (selector or field_selector or all_namespaces):
        raise click.UsageError("names can't be combined with -l, --field-selector or -A")
    prefixed = len(wanted) > 1
    async with session.client() as client:
        namespace = "" if all_namespaces else client.namespace
        question = Question(
            namespace, selector, field_selector, sort_by, not no_headers, session.color, ignore_not_found
        )
        look = Look(
            form.name == "wide",
            all_namespaces,
            show_labels,
            tuple(k for keys in label_columns for k in keys.split(",") if k),
        )
        if watch:
            await _watch(client, wanted, question, form, look, show)
            return
        found, failed = await _gather(client, wanted, question)
        single = len(wanted) == 1 and len(wanted[0].names) == 1
        if form.table:
            _tables(found, question, look, prefixed, silent=failed)
        elif not single or any(objects for _, objects in found):
            click.echo(outputs.documents(form, [o for _, os in found for o in os], single=single, show=show), nl=False)
        if failed:
            raise click.exceptions.Exit(1)


async def _raw(session: Session, path: str) -> None:
    """Figures as they are: /metrics…, /nodes/NAME/…, or kubectl's /api/v1/nodes/NAME/proxy/…"""
    from mesh.sdk.measurements import Measurements

    parts = path.removeprefix("/api/v1").strip("/").split("/")
    host = ""
    if parts[0] == "nodes" and len(parts) > 2:
        host, parts = parts[1], parts[3:] if parts[2] == "proxy" else parts[2:]
    async with session.client() as client:
        async for data in Measurements(client.over).raw("/" + "/".join(parts), host=host):
            sys.stdout.buffer.write(data)
    sys.stdout.flush()


async def _gather(
    client: "AsyncClient", wanted: "Sequence[Target]", question: Question
) -> "tuple[list[tuple[Kind, Sequence[Object]]], bool]":
    """The objects of each target, and whether one was not found (which has been told)."""
    found: list[tuple[Kind, Sequence[Object]]] = []
    failed = False
    for target in wanted:
        objects, missed = await _objects(client, target, question)
        failed = failed or missed
        found.append((target.kind, objects))
    return found, failed


async def _objects(client: "AsyncClient", target: "Target", question: Question) -> "tuple[list[Object], bool]":
    from mesh.cli import outputs
    from mesh.cli.printers import last_seen
    from mesh.errors import NotFound
    from mesh.v1.core_pb2 import Event

    objects: list[Object] = []
    failed = False
    for name in target.names:
        try:
            objects.append(await client.get(target.kind.name, name, namespace=question.namespace))
        except NotFound as error:
            if not question.ignore_not_found:
                report(error)
                failed = True
    if not target.names:
        objects += await client.list(
            target.kind.name, namespace=question.namespace, labels=question.labels, fields=question.fields
        )
    if question.sort_by:
        objects.sort(key=outputs.sort_key(question.sort_by))
    elif target.kind.name == "Event":
        objects.sort(key=lambda o: last_seen(o) if isinstance(o, Event) else 0.0)
    return objects, failed


def _tables(
    found: "Sequence[tuple[Kind, Sequence[Object]]]", question: Question, look: "Look", prefixed: bool, *, silent: bool
) -> None:
    from mesh.cli import outputs

    shown = 0
    for kind, objects in found:
        if not objects:
            continue
        if shown:
            click.echo()
        group = kind.api_version.rpartition("/")[0]
        prefix = f"{kind.name.lower()}{'.' + group if group else ''}/" if prefixed else ""
        mine = replace(look, prefix=prefix, namespaces=look.namespaces and kind.namespaced)
        outputs.show_table(kind, objects, mine, titles=question.titles, color=question.color)
        shown += 1
    if not shown and not question.ignore_not_found and not silent:
        nothing_found([kind for kind, _ in found], question.namespace)


def nothing_found(kinds: "Sequence[Kind]", namespace: str) -> None:
    """kubectl's words for an empty answer, on standard error."""
    where = f" in {namespace} namespace" if namespace and any(k.namespaced for k in kinds) else ""
    say(f"No resources found{where}.")


async def _watch(
    client: "AsyncClient", wanted: "Sequence[Target]", question: Question, form: "Format", look: "Look", show: bool
) -> None:
    from contextlib import aclosing

    if len(wanted) != 1 or len(wanted[0].names) > 1:
        raise click.UsageError("-w watches one kind, or one name of it")
    target = wanted[0]
    fields = f"metadata.name={target.names[0]}" if target.names else question.fields
    present = await client.list(target.kind.name, namespace=question.namespace, labels=question.labels, fields=fields)
    if target.names and not present:
        await client.get(target.kind.name, target.names[0], namespace=question.namespace)  # says that it is not there
    mine = replace(look, namespaces=look.namespaces and target.kind.namespaced)
    rows = _Rows(target.kind, mine, question) if form.table else None
    _tell(present, form, rows, show)
    changes = client.watch(
        target.kind.name, namespace=question.namespace, labels=question.labels, fields=fields, after=present.revision
    )
    async with aclosing(changes):
        async for change in changes:
            if change.type != "DELETED" or rows is not None:
                _tell([change.object], form, rows, show)
            sys.stdout.flush()


def _tell(objects: "Sequence[Object]", form: "Format", rows: "_Rows | None", show: bool) -> None:
    from mesh.cli import outputs

    if rows is not None:
        rows.show(objects)
        return
    for obj in objects:
        text = outputs.documents(form, [obj], single=True, show=show)
        click.echo(("---\n" if form.name == "yaml" else "") + text, nl=not text.endswith("\n"))


@dataclass(slots=True)
class _Rows:
    """Rows that keep their columns while they come in; titles stand above the first."""

    kind: "Kind"
    look: "Look"
    question: Question
    widths: tuple[int, ...] = ()

    def show(self, objects: "Sequence[Object]") -> None:
        from mesh.cli import printers, tables

        if not objects:
            return
        table = printers.table(self.kind, objects, time.time(), self.look)
        titles = self.question.titles and not self.widths
        self.widths = tuple(tables.widths_of(table, self.widths))
        for line in tables.lines_of(table, self.widths, titles=titles, color=self.question.color):
            click.echo(line)
        sys.stdout.flush()
