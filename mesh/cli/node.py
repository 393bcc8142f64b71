"""`mesh node`: a host comes into a mesh, is emptied, and leaves it."""

import socket
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mesh.cli import drain, node_confirm, node_ports, node_remove
from mesh.cli.login import TOKEN, read_token, write_pair
from mesh.cli.session import Session, Verb, VerbGroup
from mesh.cli.steps import Steps
from mesh.cli.up import ROOT, bring_up, host_of

if TYPE_CHECKING:
    from mesh.sdk.enrol import Enrolled, RayPart
    from mesh.supervision.layout import Layout
    from mesh.supervision.setup import Told


@click.group("node", cls=VerbGroup, short_help="Let hosts in, empty them, let them go.")
def command() -> None:
    """Let hosts in, empty them, let them go.

    \b
    mesh token create --node                      # on a host that is in: shows a token
    mesh node join 10.0.0.1:7444 --token -        # on the host that is to come in
    mesh node drain host2 --ignore-daemonsets     # move its pods away
    mesh node remove host2                        # and let it go
    mesh node confirm-down host2                  # it is off: its StatefulSets' pods may start elsewhere
    """


command.add_command(drain.command, "drain")
command.add_command(node_remove.command, "remove")
command.add_command(node_confirm.command, "confirm-down")
command.add_command(node_ports.command, "ports")


@command.command("join", cls=Verb)
@click.argument("address", metavar="HOST:PORT[,HOST:PORT…]")
@TOKEN
@click.option("--node-name", metavar="NAME", help="This host's name in the mesh; the hostname by default.")
@click.option("--node-ip", metavar="IP", help="Its address to other hosts; by default the one it reaches them with.")
@ROOT
@click.pass_obj
def _join(
    session: Session, address: str, text: str | None, node_name: str | None, node_ip: str | None, root: Path
) -> None:
    """Make this host one of a mesh, by a token.

    HOST:PORT is where meshd takes tokens (port 7444 as a rule); of several meshd name all. Looks first whether this
    machine can be a host, gets its certificate and what Ray needs, starts the host's programs, and waits until the mesh
    calls it Ready. A host whose certificate has run out comes in again by a new token, and its pods do not notice.
    """
    from mesh.supervision import up
    from mesh.supervision.layout import Layout
    from mesh.supervision.setup import Told

    up.require_root()
    layout = Layout(root.absolute())
    told = _told(Told.read(layout), layout, node_name, node_ip)
    with Steps(session.color) as steps:
        steps.say("looking at this machine")
        _require(layout, told)
        steps.say(f"asking {address} for a certificate")
        told, changed = _enter(layout, told, address, read_token(text))
        steps.done("let in", f"as {told.node_name}, by {told.control}")
        bring_up(host_of(layout, told), told, steps, changed)
    click.echo(f"\nThis host is in the mesh; `mesh get nodes` at {told.control} shows it.")


def _told(before: "Told | None", layout: "Layout", node_name: str | None, node_ip: str | None) -> "Told":
    from dataclasses import replace

    from mesh.errors import Conflict
    from mesh.supervision import machine
    from mesh.supervision.setup import Told

    if before is not None and not before.join:
        raise Conflict(f"this host has a mesh of its own below {layout.root}: `mesh down --purge` removes it")
    if before is not None:
        return replace(before, node_name=node_name or before.node_name, node_ip=node_ip or before.node_ip)
    return Told(
        node_name=node_name or socket.gethostname().lower(),
        node_ip=node_ip or machine.primary_address(),
        listen=(),
        join="unknown",
    )


def _require(layout: "Layout", told: "Told") -> None:
    """Everything that can be wrong here, before the token is used up."""
    from mesh.supervision import setup, up

    host = host_of(layout, told)
    setup.check(host)
    up.require_machine(host)
    running = [status.name for status in up.supervisor_of(layout).status() if status.running]
    up.require_ports(host, running)


def _enter(layout: "Layout", told: "Told", address: str, token: str) -> "tuple[Told, frozenset[Path]]":
    import asyncio
    from dataclasses import replace

    from mesh.sdk.enrol import enrol
    from mesh.supervision import setup

    enrolled = asyncio.run(enrol(address, token, told.node_name, told.node_ip))
    ray = _ray(enrolled)
    told = replace(told, node_name=enrolled.name, join=ray.head, control=",".join(enrolled.servers))
    setup.directories(layout)
    told.write(layout)
    changed = setup.given_ray(layout, ray.token, ray.authority, ray.pair)
    pair = enrolled.pair
    write_pair(layout.pki, layout.agent_certificate.stem, pair.certificate, pair.key, enrolled.authorities)
    return told, changed


def _ray(enrolled: "Enrolled") -> "RayPart":
    from mesh.errors import Invalid

    if not enrolled.node:
        raise Invalid("this was a user's token, which is used up now: `mesh login` is for those")
    if enrolled.ray is None:
        raise Invalid(f"{enrolled.servers[0]} drives no hosts: its meshd.toml names no ray.address")
    return enrolled.ray
