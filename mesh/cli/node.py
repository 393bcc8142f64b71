"""`mesh node`: this host's part in a mesh."""

import socket
from pathlib import Path

import click

from mesh.cli.login import TOKEN, read_token, write_pair
from mesh.cli.session import Session, Verb, VerbGroup, asynchronous
from mesh.cli.up import ROOT


@click.group("node", cls=VerbGroup, short_help="Give this host its part in a mesh.")
def command() -> None:
    """Give this host its part in a mesh."""


@command.command("join", cls=Verb)
@click.argument("address", metavar="HOST:PORT")
@TOKEN
@click.option("--node-name", metavar="NAME", help="This host's name in the mesh; the hostname by default.")
@ROOT
@click.pass_obj
@asynchronous
async def _join(_session: Session, address: str, text: str | None, node_name: str | None, root: Path) -> None:
    """Get this host's certificate by a token.

    The port is the one for tokens (7444 as a rule). With it Secrets can be sealed to this host; `mesh up --join` starts
    its programs.
    """
    from mesh.sdk.enrol import enrol
    from mesh.supervision.layout import Layout

    enrolled = await enrol(address, read_token(text), node_name or socket.gethostname().lower())
    if not enrolled.node:
        raise click.UsageError("this was a user's token, which is used up now: `mesh login` is for those")
    layout = Layout(root)
    certificate, key = enrolled.pair.certificate, enrolled.pair.key
    for directory in (layout.root, layout.pki):
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_pair(layout.pki, layout.agent_certificate.stem, certificate, key, enrolled.authorities)
    click.echo(f"This host has the certificate of {enrolled.name}, in {layout.pki}.")
