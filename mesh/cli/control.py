"""`mesh control`: the store goes into etcd, a second host gets a meshd, Ray's head another place; see docs/ha.md.

Rule: whatever was done before may be done again; it applies what is new.
"""

import asyncio
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mesh.cli.session import Session, Verb, VerbGroup
from mesh.cli.steps import Steps
from mesh.cli.up import ROOT, bring_up, host_of

if TYPE_CHECKING:
    from mesh.config import MeshdConfig
    from mesh.supervision.layout import Layout
    from mesh.supervision.port import Supervisor
    from mesh.supervision.setup import Told

FILE = click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
OUTPUT = click.option("-o", "--output", type=click.Choice(["", "json"]), default="", metavar="FORMAT",
                      help="json: what was changed, for programs.")  # fmt: skip


@click.group("control", cls=VerbGroup, short_help="Let several hosts control the mesh.")
def command() -> None:
    """Let several hosts control the mesh: nobody's death stops it then.

    docs/ha.md tells all of it. As root:

    \b
    mesh control etcd etcd.toml         # on the first host: the store goes into an etcd cluster
    mesh control pack pack.json         # there: every key of the mesh, in one file
    mesh control add pack.json          # on a host that has joined: a meshd is here, too
    mesh control head 10.0.0.2          # on each host, when the host of Ray's head is lost
    """


@command.command("etcd", cls=Verb)
@FILE
@OUTPUT
@ROOT
@click.pass_obj
def _etcd(session: Session, file: Path, output: str, root: Path) -> None:
    """Have the store in the etcd cluster that [etcd] of FILE names (- reads standard input), on the first control host.

    A store that is a file yet is moved, while meshd is stopped for some seconds; the file stays. Doing it again applies
    what is new in FILE, such as another one of its `servers`.
    """
    from mesh.config import parse
    from mesh.supervision import control, setup, up

    up.require_root()
    layout, told = _told(root)
    text = control.with_etcd(layout, told, _text(file))
    before = layout.meshd_config.read_text()
    changed: frozenset[Path] = frozenset()
    with Steps(session.color, quiet=bool(output)) as steps:
        if text != before:
            if not parse(before).etcd.endpoints:
                steps.say("moving the store")
                steps.done("store", _move(parse(text), up.supervisor_of(layout)))
            changed = frozenset(setup.private_file(layout.meshd_config, text))
        words = bring_up(host_of(layout, told), told, steps, changed)
    _tell(output, words)


def _move(config: "MeshdConfig", supervisor: "Supervisor") -> str:
    """From the file to etcd, while meshd is stopped; it goes on with the file where that can't be. Returns what was
    done, in words."""
    from mesh.cli.store import into_etcd

    supervisor.stop(["meshd"])
    try:
        copied = asyncio.run(into_etcd(config, over=False))
    except BaseException:
        supervisor.start(["meshd"])
        raise
    return f"{copied} are in etcd; {config.store_file} stays as it is"


@command.command("pack", cls=Verb)
@FILE
@ROOT
def _pack(file: Path, root: Path) -> None:
    """Write what a second control host needs to FILE (0600), or to standard output (-).

    Whoever has it has the mesh: carry it over a way that you trust, and remove it afterwards.

    \b
    mesh control pack - | ssh host2 mesh control add -
    """
    from mesh.files import whole_file
    from mesh.supervision import control
    from mesh.supervision.layout import Layout

    text = control.packed(Layout(root.absolute()))
    if str(file) == "-":
        click.echo(text)
        return
    with whole_file(file) as made:
        made.write(text.encode())
    click.echo(f"Wrote {file}: it holds every key of the mesh.")


@command.command("add", cls=Verb)
@FILE
@OUTPUT
@ROOT
@click.pass_obj
def _add(session: Session, file: Path, output: str, root: Path) -> None:
    """Make this host, which has joined, a control host by a pack (- reads it from standard input).

    Do it again with a new pack when Ray's authority was replaced (`mesh certs rotate-ray-ca`).
    """
    from mesh.supervision import control, up

    up.require_root()
    layout, told = _told(root)
    told, changed = control.taken(layout, told, _text(file))
    with Steps(session.color, quiet=bool(output)) as steps:
        steps.done("pack", f"a meshd is at {told.listen[0]}")
        words = bring_up(host_of(layout, told), told, steps, changed)
    _tell(output, words)


@command.command("head", cls=Verb)
@click.argument("address", metavar="IP")
@OUTPUT
@ROOT
@click.pass_obj
def _head(session: Session, address: str, output: str, root: Path) -> None:
    """Say that Ray's head is at the control host IP from now on: first there, then on every other host.

    For when the host of the head is lost: the others go on by their last orders meanwhile. Ray starts anew on each, and
    no container notices. A lost control host that boots again finds it out by itself.
    """
    from mesh.supervision import control, up

    up.require_root()
    layout, told = _told(root)
    told = control.moved(layout, told, address)
    with Steps(session.color, quiet=bool(output)) as steps:
        if not told.join:
            _say_place(layout, host_of(layout, told).ray_head)
            steps.done("head", f"every control host is told that it is at {address}")
        words = bring_up(host_of(layout, told), told, steps)
    _tell(output, words)


def _say_place(layout: "Layout", head: str) -> None:
    """In etcd, so that a control host which was away finds it when it boots."""
    from mesh.cli.store import configured, needed
    from mesh.store import copying, etcdplace
    from mesh.store.etcdclient import address_of
    from mesh.store.etcdlayout import Layout as Keys

    etcd = needed(configured(layout))

    async def say() -> None:
        async with copying.reaching(address_of(etcd)) as client:
            await etcdplace.tell_place(client, Keys(etcd.prefix), head)

    asyncio.run(say())


def _tell(output: str, words: list[str]) -> None:
    if output:
        click.echo(json.dumps({"changed": words}, indent=2))
    else:
        click.echo(f"\nChanged: {', '.join(words)}." if words else "\nAll was so already: nothing was changed.")


def _text(file: Path) -> str:
    from mesh.errors import Unavailable

    try:
        return sys.stdin.read() if str(file) == "-" else file.read_text()
    except OSError as error:
        raise Unavailable(f"cannot read {file}: {error.strerror}") from error


def _told(root: Path) -> "tuple[Layout, Told]":
    from mesh.errors import NotFound
    from mesh.supervision.layout import Layout
    from mesh.supervision.setup import Told

    layout = Layout(root.absolute())
    told = Told.read(layout)
    if told is None:
        raise NotFound(f"this host has no mesh below {layout.root}: `mesh node join` makes it one of a mesh first")
    return layout, told
