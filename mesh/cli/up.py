"""`mesh up`: starts a mesh on this host, or what of it is down.

Rule: doing it again is harmless and quick; options are remembered, so the second run needs none.
"""

import json
import os
import socket
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from mesh.cli.session import Session, Verb
from mesh.cli.steps import Steps

if TYPE_CHECKING:
    from mesh.supervision.layout import Layout
    from mesh.supervision.programs import Host
    from mesh.supervision.setup import Told

ROOT = click.option(
    "--root", type=click.Path(path_type=Path, file_okay=False), envvar="MESH_ROOT", default="/var/lib/mesh",
    show_default=True, show_envvar=True, help="Where everything of the mesh lies on this host.",
)  # fmt: skip


@click.command("up", cls=Verb, short_help="Start a mesh on this host, or what of it is down.")
@ROOT
@click.option("--node-name", metavar="NAME", help="This host's name in the mesh; the hostname by default.")
@click.option("--node-ip", metavar="IP", help="Its address to other hosts; by default the one it reaches them with.")
@click.option("--listen", metavar="IP:PORT", multiple=True, help="Where meshd serves; 127.0.0.1:7443 by default.")
@click.option("--load-balancer-pool", "pool", metavar="FIRST-LAST", multiple=True,
              help="Addresses of the hosts' network that Services of type LoadBalancer get.")  # fmt: skip
@click.option(
    "--ephemeral",
    is_flag=True,
    help="Without root: a mesh that lasts as long as COMMAND (a shell, if none), and leaves nothing.",
)
@click.option("-o", "--output", type=click.Choice(["", "json"]), default="", metavar="FORMAT",
              help="json: what was changed, for programs.")  # fmt: skip
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="[COMMAND [ARGS]...]")
@click.pass_context
def command(
    ctx: click.Context, root: Path, node_name: str | None, node_ip: str | None, listen: tuple[str, ...],
    pool: tuple[str, ...], ephemeral: bool, output: str, words: tuple[str, ...],
) -> None:  # fmt: skip
    """Start a mesh on this host, or what of it is down.

    Makes certificates and keys, starts the Podman service, Ray with the node agent, meshd and netproxy under the
    machine's supervisor (systemd, else runit), writes the context file, and waits until the host is ready for pods. A
    host that has joined a mesh (`mesh node join`) starts its part of it.

    With --ephemeral no root is needed, and this host is left as it is: the mesh lives in namespaces of its own and in
    memory, in the foreground. `mesh up --ephemeral -- make test` runs a command in it; see docs/ephemeral.md.
    """
    if ephemeral:
        _ephemeral(ctx, words)
    if words:
        raise click.UsageError("a command is run by --ephemeral alone")
    session: Session = ctx.obj
    from mesh.supervision import up
    from mesh.supervision.layout import Layout
    from mesh.supervision.setup import Told

    up.require_root()
    layout = Layout(root.absolute())
    told = _told(Told.read(layout), node_name, node_ip, listen, session.context)
    host = replace(host_of(layout, told), pool=_pool(pool))
    with Steps(session.color, quiet=bool(output)) as steps:
        changed = bring_up(host, told, steps)
    if output:
        click.echo(json.dumps({"changed": changed}, indent=2))
        return
    _farewell(host, told)


def _ephemeral(ctx: click.Context, words: tuple[str, ...]) -> NoReturn:
    import shutil

    from click.core import ParameterSource

    from mesh.supervision import ephemeral

    mine = ("root", "node_name", "node_ip", "listen", "pool", "output")
    for name in mine:
        if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            option = next(p.opts[-1] for p in ctx.command.params if p.name == name)
            raise click.UsageError(f"an ephemeral mesh has no use for {option}: it is of one host, and nobody else's")
    if words and shutil.which(words[0]) is None:
        raise click.UsageError(f"there is no command {words[0]}")
    ephemeral.require()
    shell = (os.environ.get("SHELL", "/bin/sh"),) if sys.stdin.isatty() else ("sleep", "infinity")
    sys.exit(ephemeral.run(words or shell))


def bring_up(
    host: "Host", told: "Told", steps: "Steps", changed: frozenset[Path] = frozenset(), *, awaited: bool = True
) -> list[str]:
    """Does all of it; returns in words what had to be changed, nothing where all was as it should be. `changed`: files
    that its programs read and that are other ones than they know. `awaited`: until the node is Ready."""
    from mesh.cli import ready
    from mesh.supervision import setup, up

    setup.check(host)
    up.require_machine(host)
    changed |= up.require_head(host)
    supervisor = up.supervisor_of(host.layout)
    up.require_ports(host, [status.name for status in supervisor.status() if status.running])
    setup.directories(host.layout)
    told.write(host.layout)
    steps.say("writing certificates, keys and configuration")
    changed |= up.write_files(host)
    steps.done("files", f"below {host.layout.root}")
    steps.say("preparing the host")
    steps.done("host", up.prepare_host(host))
    words = [f"wrote {path}" for path in sorted(changed)] + up.start(host, supervisor, changed, steps.say)
    steps.done("programs", f"kept alive by {supervisor.kind}")
    if told.context:
        setup.client_context(host, told.context)
        steps.done("context", f"{told.context} in {told.context_file}")
    if not awaited:
        return words
    steps.say(f"waiting for node {host.node_name}")
    if told.context:
        steps.done("node", f"{host.node_name} is {ready.by_meshd(told.context, host.node_name)}")
    elif told.control:
        steps.done("node", f"{host.node_name} is {ready.by_itself(host.layout, told.control, host.node_name)}")
    return words


def _pool(pool: tuple[str, ...]) -> tuple[str, ...]:
    from mesh.config import pool_of

    try:
        pool_of(pool)
    except ValueError as error:
        raise click.UsageError(f"--load-balancer-pool: {error}") from None
    return pool


def host_of(layout: "Layout", told: "Told") -> "Host":
    """This host as values."""
    return told.host(layout)


def _told(
    before: "Told | None", node_name: str | None, node_ip: str | None, listen: tuple[str, ...], context: str
) -> "Told":  # fmt: skip
    """Options over what was told last time, over defaults."""
    from mesh.sdk.context import config_path
    from mesh.supervision import machine
    from mesh.supervision.setup import Told

    told = Told(
        node_name=node_name or (before.node_name if before else socket.gethostname().lower()),
        node_ip=node_ip or (before.node_ip if before else machine.primary_address()),
        listen=listen or (before.listen if before else ("127.0.0.1:7443",)),
        join=before.join if before else "",
        control=before.control if before and before.join else "",
        with_meshd=before is not None and before.with_meshd,
    )
    if not told.has_meshd:
        return told
    name = context or (before.context if before else "") or "local"
    return replace(told, context=name, context_file=str(config_path()))


def _farewell(host: "Host", told: "Told") -> None:
    if not told.context:
        click.echo(f"\nThis host has joined the mesh at {told.join}; `mesh get nodes` there shows it.")
        return
    mesh = Path(sys.argv[0])
    command = "mesh" if _on_path("mesh") else str(mesh)
    click.echo(
        f"\nThe mesh is up. Try:\n"
        f"  {command} get nodes -o wide\n"
        f"  {command} status\n"
        f"  {command} apply -f pod.yaml && {command} get pods -w\n"
        f"{_another(host)}"
    )


def _another(host: "Host") -> str:
    address, _, port = host.listen[0].rpartition(":")
    if address in ("127.0.0.1", "localhost", "[::1]"):
        return f"Other hosts can join once meshd is where they reach it:  mesh up --listen {host.node_ip}:{port}"
    where = host.node_ip if address in ("0.0.0.0", "[::]") else address  # noqa: S104 - compared, not bound
    return (
        "Another host joins with a token:  mesh token create --node\n"
        f"  and there:  mesh node join {where}:{int(port) + 1} --token -"
    )


def _on_path(name: str) -> bool:
    import shutil

    return shutil.which(name) is not None
