"""`mesh status`: how the service, its hosts and Ray are, and what needs somebody.

Rule: it answers whatever is down; the exit code is 1 when something needs somebody.
"""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from mesh.cli.session import Session, Verb, asynchronous

if TYPE_CHECKING:
    from mesh.errors import MeshError
    from mesh.v1.control_pb2 import StatusResponse
    from mesh.v1.core_pb2 import Node, Pod


@click.command("status", cls=Verb, short_help="Show how the service, its hosts and Ray are.")
@click.option(
    "-o", "--output", type=click.Choice(["", "json"]), default="", metavar="FORMAT", help="json: for programs."
)
@click.pass_obj
@asynchronous
async def command(session: Session, output: str) -> None:
    """Show how the service, its hosts and Ray are, and what needs somebody."""
    from google.protobuf import json_format

    from mesh.errors import MeshError
    from mesh.v1.core_pb2 import Node, Pod

    async with session.client() as client:
        try:
            status = await client.status()
            nodes, pods = await client.list(Node), await client.list(Pod, namespace="")
        except MeshError as error:
            _away(client.over.server, error, output)
            raise click.exceptions.Exit(1) from None
        server = client.over.server
    found = alerts(status)
    if output == "json":
        click.echo(json_format.MessageToJson(status))
    else:
        for text in found:
            click.echo(click.style("! ", fg="red") + text if session.color else f"! {text}")
        if found:
            click.echo()
        _show(status, nodes, pods, server, session.color)
        if not found:
            click.echo("Everything is well.")
    if found:
        raise click.exceptions.Exit(1)


def _away(server: str, error: "MeshError", output: str) -> None:
    """Says that meshd does not answer, and how the programs on this host are."""
    import json

    from mesh.cli import tables
    from mesh.cli.printers import Table
    from mesh.sdk.words import duration

    why = str(error).partition("; is meshd running")[0]
    programs = _programs_here()
    if output == "json":
        click.echo(json.dumps({"error": why, "programs": {name: words for name, words, _ in programs}}))
        return
    click.echo(f"meshd     {why}\n")
    if programs:
        rows = tuple((name, words, duration(since)) for name, words, since in programs)
        tables.show(Table(("PROGRAM", "STATE", "SINCE"), rows))
        click.echo()
    click.echo(
        f"! meshd at {server} does not answer; on its host, `mesh doctor` says why and `mesh up` starts what is down"
    )


def _programs_here() -> list[tuple[str, str, float]]:
    """(name, state, seconds) of the mesh's programs on this host; none for another host or who may not ask."""
    import os
    from pathlib import Path

    from mesh.errors import MeshError
    from mesh.supervision.layout import DEFAULT_ROOT, Layout
    from mesh.supervision.setup import Told
    from mesh.supervision.up import supervisor_of

    layout = Layout(Path(os.environ.get("MESH_ROOT") or DEFAULT_ROOT))
    try:
        if os.geteuid() != 0 or Told.read(layout) is None:
            return []
        states = supervisor_of(layout).status()
    except (MeshError, OSError):
        return []
    return [(s.name, "runs" if s.running else s.words or "does not run", s.since) for s in states]


def _show(
    status: "StatusResponse", nodes: "Sequence[Node]", pods: "Sequence[Pod]", server: str, color: bool
) -> None:  # fmt: skip
    from mesh.cli import tables
    from mesh.cli.columns import NONE
    from mesh.cli.printers import Table, node_status
    from mesh.sdk.words import age

    now = time.time()
    click.echo(f"meshd     {status.version} at {server}, up {age(status.started_at, now)}, store {status.store}")
    for line in members(status):
        click.echo(line)
    click.echo(f"Ray       {status.ray}")
    counts = ", ".join(f"{count} {kind}" for kind, count in sorted(status.objects.items()))
    click.echo(f"objects   {counts or 'none'} (revision {status.revision})\n")
    words = {n.metadata.name: node_status(n) for n in nodes}
    releases = {n.metadata.name: n.status.node_info.kubelet_version for n in nodes}
    rows = tuple(
        (
            host.name,
            words.get(host.name, "Unknown"),
            "connected" if host.connected else host.message or "away",
            str(sum(p.spec.node_name == host.name and p.status.phase == "Running" for p in pods)),
            "yes" if host.assignment_held else "not yet",
            f"{age(host.last_seen, now)} ago" if host.HasField("last_seen") else NONE,
            releases.get(host.name) or NONE,
        )
        for host in status.hosts
    )
    if rows:
        tables.show(
            Table(("HOST", "STATUS", "AGENT", "RUNNING", "UP TO DATE", "LAST SEEN", "VERSION"), rows), color=color
        )
        click.echo()


def members(status: "StatusResponse") -> list[str]:
    """Who leads and who follows, of several meshd and of the store's cluster; nothing where there is one."""
    control = [f"{m.name} at {m.address} {'leads' if m.leads else 'follows'}" for m in status.control_members]
    store = [f"{m.address} {m.state}" for m in status.store_members]
    return [f"{what:<10}{', '.join(said)}" for what, said in (("control", control), ("etcd", store)) if said]


def alerts(status: "StatusResponse") -> list[str]:
    """What needs somebody, one sentence each with what to do."""
    found = _members_missing(status)
    if status.control_members and not any(m.leads and m.answers for m in status.control_members):
        return [*found, "this meshd follows: ask the one that leads for hosts (name all in the context's servers)"]
    if status.ray != "connected":
        found.append(f"Ray is not connected: {status.ray}; `mesh doctor` tells more")
    if not status.hosts:
        found.append("no host has joined; `mesh up` on a host joins it")
    found += [
        f"host {h.name} does not answer: {h.message or 'no reason is known'}; `mesh doctor` on it tells more"
        for h in status.hosts
        if not h.connected
    ]
    found += [f"host {h.name} is given no orders: {h.skew}" for h in status.hosts if h.skew]
    away = {h.name for h in status.hosts if not h.connected}
    found += [a.message for a in status.alerts if not (a.kind == "Node" and a.object in away)]
    return found


def _members_missing(status: "StatusResponse") -> list[str]:
    found = [
        f"etcd's member {m.address} {m.state}" for m in status.store_members if m.state not in ("leads", "follows")
    ]
    if status.control_members and not any(m.leads for m in status.control_members):
        found.append("no meshd leads: nothing is written; etcd needs more than half of its members")
    if len(status.control_members) == 1:
        found.append("no second meshd is there to take over")
    return found
