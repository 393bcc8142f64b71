"""`mesh token`: entry tickets for users and hosts, for one use each."""

import time
from typing import TYPE_CHECKING

import click

from mesh.cli.session import Duration, Session, Verb, VerbGroup, asynchronous

if TYPE_CHECKING:
    from mesh.v1.access_pb2 import CreateTokenResponse, Token


@click.group("token", cls=VerbGroup, short_help="Let users and hosts in.")
def command() -> None:
    """Let users and hosts in: a token is for one use, for a short time, and can be taken back.

    \b
    mesh token create --user ada --group mesh:viewers --ttl 1h
    mesh token create --node --ttl 10m
    mesh token list
    mesh token revoke ID
    """


@command.command("create", cls=Verb)
@click.option("--user", default="", metavar="NAME", help="For a person or a program of this name.")
@click.option("--group", "groups", multiple=True, metavar="NAME",
              help="A group of the user; mesh:viewers, mesh:editors, mesh:admins hold everywhere.")  # fmt: skip
@click.option("--node", is_flag=False, flag_value="*", default=None, metavar="[NAME]",
              help="For the host of this name, or for any that is not there yet.")  # fmt: skip
@click.option("--ttl", type=Duration(), default="1h", show_default=True, metavar="TIME", help="How long it counts.")
@click.option("-o", "--output", type=click.Choice(["", "json", "token"]), default="", metavar="FORMAT",
              help="json, or token: the token alone.")  # fmt: skip
@click.pass_obj
@asynchronous
async def _create(
    session: Session, user: str, groups: tuple[str, ...], node: str | None, ttl: float, output: str
) -> None:
    """Make a token and show it, this once; only its hash is kept."""
    from mesh.sdk.access import Access
    from mesh.v1.access_pb2 import CreateTokenRequest

    if bool(user) == (node is not None):
        raise click.UsageError("say either --user NAME or --node [NAME]")
    request = CreateTokenRequest(
        user=user, groups=groups, host=node is not None, node="" if node in (None, "*") else node, ttl_seconds=int(ttl)
    )
    async with session.client() as client:
        made = await Access(client.over).create_token(request)
    if output == "token":
        click.echo(made.token)
    elif output == "json":
        from google.protobuf import json_format

        click.echo(json_format.MessageToJson(made, indent=4))
    else:
        _tell(made)


def _tell(made: "CreateTokenResponse") -> None:
    where = made.servers[0] if made.servers else "HOST:7444"
    verb = "mesh node join" if made.about.host else "mesh login"
    click.echo(made.token)
    click.echo(
        f"\nFor {_whom(made.about)}, once, until {_when(made.about.expires)}. Use it there by\n"
        f"  {verb} {where} --token -        # and type it in; on the command line others could read it",
        err=True,
    )


@command.command("list", cls=Verb)
@click.pass_obj
@asynchronous
async def _list(session: Session) -> None:
    """List the tokens that count, without their secrets."""
    from mesh.cli import tables
    from mesh.cli.columns import NONE
    from mesh.cli.printers import Table
    from mesh.sdk.access import Access

    async with session.client() as client:
        found = await Access(client.over).tokens()
    rows = tuple((t.id, _whom(t), ",".join(t.groups) or NONE, _when(t.expires), t.by) for t in found)
    tables.show(Table(("ID", "FOR", "GROUPS", "EXPIRES", "BY"), rows), color=session.color)


@command.command("revoke", cls=Verb)
@click.argument("id_", metavar="ID")
@click.pass_obj
@asynchronous
async def _revoke(session: Session, id_: str) -> None:
    """Take a token back that was not used yet."""
    from mesh.sdk.access import Access

    async with session.client() as client:
        await Access(client.over).revoke_token(id_)
    click.echo(f"token/{id_} revoked")


def _whom(token: "Token") -> str:
    if not token.host:
        return f"user {token.user}"
    return f"host {token.node}" if token.node else "a new host"


def _when(seconds: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
