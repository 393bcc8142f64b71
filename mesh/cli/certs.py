"""`mesh certs`: certificates, when they end, and who is kept out."""

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mesh.cli.session import Session, Verb, VerbGroup, asynchronous
from mesh.cli.up import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mesh.cli.printers import Table
    from mesh.v1.access_pb2 import CertificateInfo


@click.group("certs", cls=VerbGroup, short_help="Show, renew and revoke certificates.")
def command() -> None:
    """Show, renew and revoke certificates. They renew themselves at two thirds of their life."""


@command.command("list", cls=Verb)
@click.option("-o", "--output", type=click.Choice(["", "json"]), default="", metavar="FORMAT", help="json.")
@click.pass_obj
@asynchronous
async def _list(session: Session, output: str) -> None:
    """List the authorities, the certificates on meshd's host, your own, and what was revoked."""
    from google.protobuf import json_format

    from mesh.cli import tables
    from mesh.cli.printers import Table
    from mesh.sdk.access import Access

    async with session.client() as client:
        found = await Access(client.over).certificates()
        mine = client.context.pem("certificate")
    if output:
        click.echo(json_format.MessageToJson(found, indent=4, always_print_fields_with_no_presence=True))
        return
    tables.show(_table([*found.certificates, _own(mine)]), color=session.color)
    if found.revoked:
        click.echo()
        rows = tuple((r.kind, r.name, _when(r.at), r.by, r.why) for r in found.revoked)
        tables.show(Table(("REVOKED", "NAME", "AT", "BY", "WHY"), rows), color=session.color)


@command.command("renew", cls=Verb)
@click.pass_obj
@asynchronous
async def _renew(session: Session) -> None:
    """Renew the context's own certificate now."""
    from mesh.sdk.access import Access

    async with session.client() as client:
        ends = await Access(client.over).renew()
    click.echo(f"The certificate lasts until {_when(ends)} now.")


@command.command("rotate-ca", cls=Verb)
@click.option("--finish", is_flag=True, help="End the trust in the old authority now.")
@click.pass_obj
@asynchronous
async def _rotate(session: Session, finish: bool) -> None:
    """Replace the mesh's authority.

    The old one stays trusted beside the new one until everything that it issued has expired (31 days), or --finish.
    Nothing is interrupted; who was not there in between logs in or joins anew.
    """
    from mesh.cli import tables
    from mesh.sdk.access import Access

    async with session.client() as client:
        trusted = await Access(client.over).rotate_authority(finish)
    tables.show(_table(trusted), color=session.color)


@command.command("rotate-ray-ca", cls=Verb)
@ROOT
@click.pass_obj
def _rotate_ray(session: Session, root: Path) -> None:
    """Replace the authority of Ray; on the first host, as root.

    To be done when a host was removed whose root is not to be trusted: its token of Ray counts no more, and its
    certificate of Ray does not then either. Ray and meshd are started again on this host. Every other host comes in
    again by a new token (`mesh token create --node NAME`, and there `mesh node join`); its pods do not notice. Another
    control host is given it by a new pack (`mesh control pack`), and hears no host until then.
    """
    from mesh import config
    from mesh.cli.steps import Steps
    from mesh.cli.up import bring_up, host_of
    from mesh.errors import Invalid, NotFound
    from mesh.supervision import setup, up
    from mesh.supervision.layout import Layout

    up.require_root()
    layout = Layout(root.absolute())
    told = setup.Told.read(layout)
    if told is None:
        raise NotFound(f"there is no mesh below {layout.root}: run this on the first host, or name its --root")
    if told.join:
        raise Invalid("cannot replace Ray's authority here: run this on the mesh's first host, which has it")
    setup.forget_ray_authority(layout)
    alone = not config.parse(layout.meshd_config.read_text()).etcd.endpoints
    with Steps(session.color) as steps:
        bring_up(host_of(layout, told), told, steps, awaited=alone)  # who leads elsewhere does not hear this host yet
    click.echo("Ray has another authority. The other hosts come in again: `mesh token create --node NAME`.")
    if not alone:
        click.echo("First every other control host: `mesh control pack - | ssh root@HOST mesh control add -`.")


@command.command("revoke", cls=Verb)
@click.option("--user", default="", metavar="NAME", help="Everything that this user was issued until now.")
@click.option("--node", default="", metavar="NAME", help="Everything that this host was issued until now.")
@click.option("--serial", default="", metavar="HEX", help="One certificate; the audit log names it by its number.")
@click.option("--why", default="", metavar="TEXT", help="Shown in the list.")
@click.pass_obj
@asynchronous
async def _revoke(session: Session, user: str, node: str, serial: str, why: str) -> None:
    """Keep somebody out whose certificate has not expired; what he has running ends at once."""
    from mesh.sdk.access import Access

    named = [(kind, name) for kind, name in (("user", user), ("node", node), ("serial", serial)) if name]
    if len(named) != 1:
        raise click.UsageError("say one of --user, --node and --serial")
    async with session.client() as client:
        await Access(client.over).revoke(*named[0], why)
    click.echo(f"{named[0][0]}/{named[0][1]} revoked")


def _own(certificate: bytes) -> "CertificateInfo":
    from mesh import pki
    from mesh.v1.access_pb2 import CertificateInfo

    leaf = pki.split(certificate)[0]
    who = pki.identity(leaf)
    return CertificateInfo(
        name=who.name, kind="your own", fingerprint=pki.fingerprint(leaf), serial=f"{who.serial:X}",
        issued=pki.issued(leaf), expires=pki.expires(leaf),
    )  # fmt: skip


def _table(infos: "Iterable[CertificateInfo]") -> "Table":
    from mesh.cli.printers import Table
    from mesh.sdk.words import duration

    now = time.time()
    rows = []
    for info in infos:
        left = duration(info.expires - now) if info.expires > now else "EXPIRED"
        rows.append((info.kind, info.name, left, _when(info.expires), info.fingerprint[:23] + "…", info.note))
    return Table(("KIND", "NAME", "LEFT", "EXPIRES", "FINGERPRINT", "NOTE"), tuple(rows))


def _when(seconds: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
