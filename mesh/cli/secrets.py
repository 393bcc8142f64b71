"""`mesh secrets`: where Secrets are, and proof of where they are not."""

from typing import TYPE_CHECKING

import click

from mesh.cli.session import Session, Verb, asynchronous

if TYPE_CHECKING:
    from mesh.v1.secrets_pb2 import SecretDeliveryResponse

_FORMAT = click.option(
    "-o", "--output", type=click.Choice(["", "json", "yaml"]), default="", metavar="FORMAT", help="json or yaml."
)


class _Secrets(Verb, click.Group):
    """A verb that has verbs of its own."""


@click.group("secrets", cls=_Secrets, short_help="Say which pods have which revision of a Secret.")
def command() -> None:
    """Say which pods have which revision of a Secret; never a value.

    \b
    mesh secrets status login        which pod on which host has which revision, and since when
    """


@command.command("status", cls=Verb)
@click.argument("name")
@_FORMAT
@click.pass_obj
@asynchronous
async def _status(session: Session, name: str, output: str) -> None:
    """Say which revision of a Secret is in which pod, by the hosts' own receipts.

    Files follow a change within a second; an environment is of the start of its container. The exit code is 1 while a
    pod has not the newest revision.
    """
    from mesh.errors import NotFound
    from mesh.sdk.secrets import Secrets

    async with session.client() as client:
        told = await Secrets(client).delivery(name)
        namespace = client.namespace
    if output:
        click.echo(_document(told, output), nl=False)
    elif not told.revision and not told.deliveries:
        raise NotFound(f'there is no Secret "{name}" in namespace "{namespace}", and no pod refers to one')
    else:
        _show(session, told)
    if not all(delivery.current for delivery in told.deliveries):
        raise click.exceptions.Exit(1)


def _show(session: Session, told: "SecretDeliveryResponse") -> None:
    import time

    from mesh.cli import tables
    from mesh.cli.printers import NONE, Table
    from mesh.sdk.words import age

    now = time.time()
    current = sum(delivery.current for delivery in told.deliveries)
    click.echo(f"revision {told.revision or NONE}, in {current} of {len(told.deliveries)} places")
    rows = tuple(
        (d.pod, d.host or NONE, d.where, d.revision or NONE, age(d.since, now) if d.HasField("since") else NONE,
         "yes" if d.current else f"no: {d.why}")
        for d in told.deliveries
    )  # fmt: skip
    if rows:
        tables.show(Table(("POD", "HOST", "WHERE", "REVISION", "SINCE", "CURRENT"), rows), color=session.color)


def _document(message: "SecretDeliveryResponse", output: str) -> str:
    import json

    import yaml
    from google.protobuf import json_format

    value = json_format.MessageToDict(message, always_print_fields_with_no_presence=True)
    return yaml.safe_dump(value, sort_keys=False) if output == "yaml" else json.dumps(value, indent=4) + "\n"
