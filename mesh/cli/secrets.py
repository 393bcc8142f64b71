"""`mesh secrets`: where Secrets are, and proof of where they are not."""

from typing import TYPE_CHECKING, Any

import click

from mesh.cli.session import Session, Verb, asynchronous

if TYPE_CHECKING:
    from mesh.supervision.traces import Searched
    from mesh.v1.secrets_pb2 import SecretDeliveryResponse

_FORMAT = click.option(
    "-o", "--output", type=click.Choice(["", "json", "yaml"]), default="", metavar="FORMAT", help="json or yaml."
)


class _Secrets(Verb, click.Group):
    """A verb that has verbs of its own."""


@click.group("secrets", cls=_Secrets, short_help="Say where Secrets are, and prove where they are not.")
def command() -> None:
    """Say which pods have which revision of a Secret; never a value.

    \b
    mesh secrets status login        which pod on which host has which revision, and since when
    mesh secrets audit               proves that a secret reaches no disk of this host
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


@command.command("audit", cls=Verb)
@click.option("--image", default="", metavar="NAME", help="An image with sh and sleep; else one that is here.")
@click.option("--root", default="", metavar="DIRECTORY", help="Where the mesh of this host lies (MESH_ROOT).")
@_FORMAT
@click.pass_obj
@asynchronous
async def _audit(session: Session, image: str, root: str, output: str) -> None:
    """Prove that a secret reaches no disk of this host, as root.

    A canary is planted, used by a pod of this host in files, environment and arguments, rotated and deleted; meanwhile
    and afterwards every file of the mesh on a disk is searched for it (store, logs, Podman's root, the OCI runtime's
    state, Ray's session and its spilled objects), what Podman tells, and every command line: as it is, in base64, in
    hexadecimal, URL-escaped, in UTF-16. The exit code is 1 when it is found.
    """
    import os
    from pathlib import Path

    from mesh.errors import Invalid
    from mesh.supervision.audit import Audit
    from mesh.supervision.layout import DEFAULT_ROOT, Layout
    from mesh.supervision.setup import Told
    from mesh.supervision.up import require_root

    require_root()
    layout = Layout(Path(root or os.environ.get("MESH_ROOT") or DEFAULT_ROOT))
    told = Told.read(layout)
    if told is None:
        raise Invalid(f"there is no mesh below {layout.root}: say where it is by --root")
    async with session.client() as client:
        seen = await Audit(client, layout, told.node_name, image, lambda words: click.echo(words, err=True)).run()
    _tell_audit(session, seen, output)
    if seen.traces:
        raise click.exceptions.Exit(1)


def _tell_audit(session: Session, seen: "Searched", output: str) -> None:
    from dataclasses import asdict

    from mesh.cli import tables
    from mesh.cli.printers import Table

    if output:
        click.echo(_text(asdict(seen), output), nl=False)
        return
    rows = tuple((place, str(seen.files[place]), f"{seen.bytes[place]:,}") for place in seen.files)
    tables.show(Table(("SEARCHED", "FILES", "BYTES"), rows), color=session.color)
    for place, why in seen.left_out.items():
        click.echo(f"not searched: {place} {why}")
    for trace in seen.traces:
        click.echo(f"! found in {trace.place}: {trace.shape}")
    if not seen.traces:
        click.echo("The canary is nowhere.")


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
    from google.protobuf import json_format

    return _text(json_format.MessageToDict(message, always_print_fields_with_no_presence=True), output)


def _text(value: "dict[str, Any]", output: str) -> str:
    import json

    import yaml

    return yaml.safe_dump(value, sort_keys=False) if output == "yaml" else json.dumps(value, indent=4) + "\n"
