"""`mesh login`: become a user of a mesh by a token."""

import sys
from pathlib import Path

import click

from mesh.cli.session import Session, Verb, asynchronous

TOKEN = click.option(
    "--token", "text", metavar="TOKEN", envvar="MESH_TOKEN", show_envvar=True,
    help="What `mesh token create` showed; - reads it from standard input, and without it you are asked.",
)  # fmt: skip


@click.command("login", cls=Verb, short_help="Become a user of a mesh by a token.")
@click.argument("address", metavar="HOST:PORT[,HOST:PORT…]")
@TOKEN
@click.option("--name", metavar="CONTEXT", help="What the context is called; by default the mesh's host.")
@click.pass_obj
@asynchronous
async def command(session: Session, address: str, text: str | None, name: str | None) -> None:
    """Become a user of a mesh by a token, and make its context the current one.

    The port is the one for tokens (7444 as a rule); of several meshd name all. The key is made here and stays here; the
    certificate is renewed while you use it.
    """
    from mesh.sdk import context
    from mesh.sdk.enrol import enrol

    enrolled = await enrol(address, read_token(text))
    if enrolled.node:
        raise click.UsageError("this was a host's token, which is used up now: `mesh node join` is for those")
    called = name or session.context or address.partition(",")[0].rpartition(":")[0].strip("[]")
    folder = context.config_path().parent / "pki" / called.replace("/", "_")
    write_pair(folder, "user", enrolled.pair.certificate, enrolled.pair.key, enrolled.authorities)
    made = context.Context(
        enrolled.servers, str(folder / "ca.crt"), str(folder / "user.crt"), str(folder / "user.key"), name=called
    )
    context.write(context.read().having(made))
    click.echo(f'Logged in as {enrolled.name}; the context "{called}" is current.')


def read_token(text: str | None) -> str:
    """The token given, typed or piped."""
    if text == "-" or (text is None and not sys.stdin.isatty()):
        return sys.stdin.readline().strip()
    return text or str(click.prompt("Token", hide_input=True))


def write_pair(folder: Path, stem: str, certificate: bytes, key: bytes, authorities: bytes) -> None:
    """STEM.crt, STEM.key and ca.crt, 0600 in a directory 0700; the key first, so that a pair is never half there."""
    from mesh.files import whole_file

    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name, content in ((f"{stem}.key", key), (f"{stem}.crt", certificate), ("ca.crt", authorities)):
        with whole_file(folder / name) as file:
            file.write(content)
