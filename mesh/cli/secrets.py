"""`mesh secrets`: where Secrets are, and proof of where they are not."""

from typing import TYPE_CHECKING, Any

import click

from mesh.cli.session import Session, Verb, VerbGroup, asynchronous

if TYPE_CHECKING:
    from mesh.supervision.layout import Layout
    from mesh.supervision.traces import Searched
    from mesh.v1.secrets_pb2 import SecretDeliveryResponse

_FORMAT = click.option(
    "-o", "--output", type=click.Choice(["", "json", "yaml"]), default="", metavar="FORMAT", help="json or yaml."
)


@click.group("secrets", cls=VerbGroup, short_help="Say where Secrets are, and prove where they are not.")
def command() -> None:
    """Say which pods have which revision of a Secret; never a value.

    \b
    mesh secrets status login        which pod on which host has which revision, and since when
    mesh secrets rotate-keys         a new key for Secrets in the store
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
        told = await Secrets(client.over).delivery(name)
        namespace = client.namespace
    if output:
        click.echo(_document(told, output), nl=False)
    elif not told.revision and not told.deliveries:
        raise NotFound(f'there is no Secret "{name}" in namespace "{namespace}", and no pod refers to one')
    else:
        _show(session, told)
    if not all(delivery.current for delivery in told.deliveries):
        raise click.exceptions.Exit(1)


@command.command("rotate-keys", cls=Verb)
@click.pass_obj
@asynchronous
async def _rotate_keys(session: Session) -> None:
    """Rotate the key that encrypts Secrets in the store, while meshd serves.

    A new key wraps the data key of every Secret, of history too; then the old one is retired. What was interrupted goes
    on when this is called again. Backups made before need the old key: keep it as long as you keep them.
    """
    from mesh.sdk.secrets import Secrets

    words = ""
    async with session.client() as client:
        async for step in Secrets(client.over).rotate_keys():
            if step.words != words:
                click.echo(f"{step.words} (key {step.key_id}, {step.wrapped} boxes)")
            words = step.words


_ROOT = click.option("--root", default="", metavar="DIRECTORY", help="Where the mesh of this host lies (MESH_ROOT).")


_PASSPHRASE = click.option(
    "--passphrase-file", default="", metavar="FILE", help="Its first line, instead of a question; - for input."
)


@command.command("set-passphrase", cls=Verb)
@_ROOT
@_PASSPHRASE
def _set_passphrase(root: str, passphrase_file: str) -> None:
    """Put the store's key under a passphrase, or under another one, as root.

    From its next start on meshd waits for the passphrase: `mesh secrets unlock`. There is no way back without it.
    """
    from mesh.store.keysource import FileKeys, PassphraseKeys, is_under_passphrase
    from mesh.supervision.up import require_root

    require_root()
    path = _layout(root).store_key
    held: FileKeys | PassphraseKeys = FileKeys(path)
    if is_under_passphrase(path):
        held = PassphraseKeys(path, click.prompt("Passphrase now", hide_input=True))
    keys = held.load().all()
    passphrase = _passphrase(passphrase_file, "New passphrase", again=True)
    PassphraseKeys(path, passphrase).save(keys)
    click.echo(f"{path} is under the passphrase. Restart meshd, then say it: mesh secrets unlock")


@command.command("unlock", cls=Verb)
@_ROOT
@_PASSPHRASE
@asynchronous
async def _unlock(root: str, passphrase_file: str) -> None:
    """Say the passphrase of the store's key to the meshd of this host, which waits for it at its start."""
    from mesh.unlock import unlock

    await unlock(_layout(root).meshd / "unlock.sock", _passphrase(passphrase_file, "Passphrase", again=False))
    click.echo("meshd has its keys.")


@command.command("forget-unreadable", cls=Verb)
@_ROOT
@click.option("--yes", is_flag=True, help="Remove them; otherwise they are only named.")
def _forget_unreadable(root: str, yes: bool) -> None:
    """After the loss of the store's key: name the Secrets that nobody can read any more, and remove them.

    meshd must be stopped. Nothing else is touched, and the store as it was is kept beside. See docs/secrets.md.
    """
    from mesh.store import recovery
    from mesh.store.encrypted import EncryptedCodec
    from mesh.store.keyring import create_key_file, load_key_file
    from mesh.supervision.up import require_root

    require_root()
    layout = _layout(root)
    ring = load_key_file(layout.store_key) if layout.store_key.exists() else create_key_file(layout.store_key)
    codec = EncryptedCodec(ring)
    if not yes:
        lost = recovery.unreadable(layout.store, codec)
        click.echo("".join(f"{key.namespace}/{key.name}\n" for key in lost), nl=False)
        click.echo(f"{len(lost)} Secrets can't be read; with --yes they are removed.", err=True)
        return
    lost, kept = recovery.forget_unreadable(layout.store, codec)
    click.echo("".join(f"{key.namespace}/{key.name} removed\n" for key in lost), nl=False)
    if kept is not None:
        click.echo(f"The store as it was is {kept}.", err=True)


def _layout(root: str) -> "Layout":
    import os
    from pathlib import Path

    from mesh.supervision.layout import DEFAULT_ROOT, Layout

    return Layout(Path(root or os.environ.get("MESH_ROOT") or DEFAULT_ROOT))


def _passphrase(file: str, question: str, *, again: bool) -> str:
    """From a file or the terminal, never from a command line; raises Invalid for an empty one."""
    from mesh.errors import Invalid

    if file:
        with click.open_file(file) as lines:
            said = lines.readline().rstrip("\n")
    else:
        said = click.prompt(question, hide_input=True, confirmation_prompt=again)
    if not said:
        raise Invalid("the passphrase is empty")
    return str(said)


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
    from mesh.errors import Invalid
    from mesh.supervision.audit import Audit
    from mesh.supervision.setup import Told
    from mesh.supervision.up import require_root

    require_root()
    layout = _layout(root)
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
    from mesh.cli.columns import NONE
    from mesh.cli.printers import Table
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
