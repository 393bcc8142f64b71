"""`mesh proxy`: what the proxies of the hosts carry for Services."""

from typing import TYPE_CHECKING

import click

from mesh.cli import complete
from mesh.cli.session import Session, Verb, VerbGroup, asynchronous

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mesh.v1.control_pb2 import HostFlows


@click.group("proxy", cls=VerbGroup, short_help="Show what the hosts' proxies carry.")
def command() -> None:
    """Show what the hosts' proxies carry for Services."""


@command.command("flows", cls=Verb)
@click.argument("service", default="", required=False)
@click.option(
    "--host", "hosts", multiple=True, metavar="NAME", help="Which hosts; may be given again.  [default: all]",
    shell_complete=complete.nodes,
)  # fmt: skip
@click.option("--connections", is_flag=True, help="Every open connection, not only sums.")
@click.option("-o", "--output", default="", metavar="FORMAT", help="json or yaml.")
@click.pass_obj
@asynchronous
async def _flows(
    session: Session, service: str, hosts: tuple[str, ...], connections: bool, output: str
) -> None:  # fmt: skip
    """Show backends with their connections, bytes and failures, of one SERVICE or of all, for each host.

    \b
    mesh proxy flows     mesh proxy flows web --connections     mesh proxy flows shop/web --host host1 -o json
    """
    async with session.client() as client:
        name = service if not service or "/" in service else f"{client.namespace}/{service}"
        found = await client.proxy_flows(name, connections=connections, hosts=hosts)
        if service and not any(s.backends for host in found for s in host.flows.services):
            where, _, called = name.partition("/")
            await client.get("Service", called, namespace=where)  # a name that is none is told as that
    _show(session, found, connections, output)
    for host in found:
        if host.error:
            click.echo(f"error: {host.host}: {host.error}", err=True)
    if any(host.error for host in found):
        raise click.exceptions.Exit(1)


def _show(session: Session, found: "Sequence[HostFlows]", connections: bool, output: str) -> None:
    from mesh.cli import tables
    from mesh.cli.printers import Table
    from mesh.cli.servicedetails import flow_rows, size

    if output in ("json", "yaml"):
        _dump(found, output)
        return
    if output:
        raise click.UsageError(f'-o "{output}" should be json or yaml')
    titles: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    if connections:
        titles = ("HOST", "SERVICE", "PROTOCOL", "CLIENT", "ADDRESS", "BACKEND", "IN", "OUT", "AGE")
        rows = tuple(
            (host.host, s.service, f.protocol, f.client, f.service_address, f.backend, size(f.bytes_in),
             size(f.bytes_out), f"{f.seconds:.0f}s")
            for host in found for s in host.flows.services for f in s.connections
        )  # fmt: skip
    else:
        titles = ("HOST", "SERVICE", "BACKEND", "POD", "OPEN", "TOTAL", "IN", "OUT", "FAILED", "EJECTIONS")
        rows = tuple(
            (row[0], _service_of(host, index), *row[1:])
            for host in found for index, row in enumerate(flow_rows(host))
        )  # fmt: skip
    if not rows:
        click.echo("No connections are open." if connections else "No backends are served.", err=True)
        return
    tables.show(Table(titles, rows), color=session.color)


def _service_of(host: "HostFlows", row: int) -> str:
    """Whose backend the row of `flow_rows` is."""
    return [s.service for s in host.flows.services for _ in s.backends][row]


def _dump(found: "Sequence[HostFlows]", output: str) -> None:
    import json

    import yaml
    from google.protobuf import json_format

    plain = [json_format.MessageToDict(host) for host in found]
    click.echo(json.dumps(plain, indent=2) if output == "json" else yaml.safe_dump(plain, sort_keys=False).rstrip())
