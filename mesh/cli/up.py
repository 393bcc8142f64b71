"""`mesh up`: starts a mesh on this host, or what of it is down.

Rule: doing it again is harmless and quick; options are remembered, so the second run needs none.
"""

import socket
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mesh.cli.session import Session, Verb

if TYPE_CHECKING:
    from rich.status import Status

    from mesh.supervision.layout import Layout
    from mesh.supervision.programs import Host
    from mesh.supervision.setup import Told

ROOT = click.option(
    "--root", type=click.Path(path_type=Path, file_okay=False), envvar="MESH_ROOT", default="/var/lib/mesh",
    show_default=True, show_envvar=True, help="Where everything of the mesh lies on this host.",
)  # fmt: skip
_READY_SECONDS = 60.0


@click.command("up", cls=Verb, short_help="Start a mesh on this host, or what of it is down.")
@ROOT
@click.option("--node-name", metavar="NAME", help="This host's name in the mesh; the hostname by default.")
@click.option("--node-ip", metavar="IP", help="Its address to other hosts; by default the one it reaches them with.")
@click.option("--listen", metavar="IP:PORT", multiple=True, help="Where meshd serves; 127.0.0.1:7443 by default.")
@click.option("--join", metavar="IP:PORT", help="Be a further host of the mesh whose Ray head is there.")
@click.option("--token-file", type=click.Path(path_type=Path, dir_okay=False), help="With --join: its ray/token.")
@click.pass_obj
def command(
    session: Session, root: Path, node_name: str | None, node_ip: str | None, listen: tuple[str, ...],
    join: str | None, token_file: Path | None,
) -> None:  # fmt: skip
    """Start a mesh on this host, or what of it is down.

    Makes certificates and keys, starts the Podman service, Ray with the node agent, meshd and netproxy under the
    machine's supervisor (systemd, else runit), writes the context file, and waits until the host is ready for pods.
    """
    from mesh.supervision import up
    from mesh.supervision.layout import Layout
    from mesh.supervision.setup import Told

    up.require_root()
    layout = Layout(root.absolute())
    told = _told(Told.read(layout), node_name, node_ip, listen, join, session.context)
    host = host_of(layout, told)
    with Steps(session.color) as steps:
        _bring_up(host, told, token_file, steps)
    _farewell(host, told)


def _bring_up(host: "Host", told: "Told", token_file: Path | None, steps: "Steps") -> None:
    from mesh.supervision import setup, up

    setup.check(host)
    up.require_machine(host)
    supervisor = up.supervisor_of(host.layout)
    up.require_ports(host, [status.name for status in supervisor.status() if status.running])
    setup.directories(host.layout)
    told.write(host.layout)
    steps.say("writing certificates, keys and configuration")
    changed = up.write_files(host, token_file)
    steps.done("files", f"below {host.layout.root}")
    steps.say("preparing the host")
    steps.done("host", up.prepare_host(host))
    up.start(host, supervisor, changed, steps.say)
    steps.done("programs", f"kept alive by {supervisor.kind}")
    if told.context:
        setup.client_context(host, told.context)
        steps.done("context", f"{told.context} in {told.context_file}")
        steps.say(f"waiting for node {host.node_name}")
        steps.done("node", f"{host.node_name} is {_await_node(told.context, host.node_name)}")


def host_of(layout: "Layout", told: "Told") -> "Host":
    """This host as values."""
    from mesh.supervision.programs import Host

    return Host(layout, told.node_name, told.node_ip, told.listen, told.join)


def _told(
    before: "Told | None", node_name: str | None, node_ip: str | None, listen: tuple[str, ...], join: str | None,
    context: str,
) -> "Told":  # fmt: skip
    """Options over what was told last time, over defaults."""
    from mesh.sdk.context import config_path
    from mesh.supervision import machine
    from mesh.supervision.setup import Told

    join = join if join is not None else before.join if before else ""
    name = context or (before.context if before else "") or "local"
    return Told(
        node_name=node_name or (before.node_name if before else socket.gethostname().lower()),
        node_ip=node_ip or (before.node_ip if before else machine.primary_address()),
        listen=listen or (before.listen if before else ("127.0.0.1:7443",)),
        join=join,
        context="" if join else name,
        context_file="" if join else str(config_path()),
    )


def _await_node(context: str, name: str) -> str:
    import asyncio

    return asyncio.run(_node_ready(context, name))


async def _node_ready(context: str, name: str) -> str:
    import asyncio

    from mesh.errors import Unavailable
    from mesh.model.kinds import Object
    from mesh.sdk.client import AsyncClient
    from mesh.sdk.wait import Goal, Wait
    from mesh.v1.core_pb2 import Node

    def ready(found: Object | None) -> bool:
        conditions = found.status.conditions if isinstance(found, Node) else ()
        return any(c.type == "Ready" and c.status == "True" for c in conditions)

    async with AsyncClient(context, timeout=_READY_SECONDS) as client:
        until = time.monotonic() + _READY_SECONDS
        while not any(h.name == name and h.connected for h in (await client.status()).hosts):
            if time.monotonic() > until:
                raise Unavailable(f"the agent of {name} does not come: `mesh status` and `mesh doctor` tell more")
            await asyncio.sleep(0.1)  # a Node may still say Ready of its agent's last life, so meshd is asked
        goal = Goal("condition Ready", ready, absent=True)
        await Wait(client, "Node", name, "", goal).run(_READY_SECONDS)
    return "Ready"


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
        f"Another host joins with:  mesh up --join {host.node_ip}:7430 --token-file FILE\n"
        f"  (FILE: a copy of {host.layout.ray_token}, mode 0600)"
    )


def _on_path(name: str) -> bool:
    import shutil

    return shutil.which(name) is not None


class Steps:
    """What is being done, as a living line on a terminal; what is done, a line each."""

    def __init__(self, color: bool) -> None:
        self._color = color
        self._began = time.monotonic()
        self._status: Status | None = None
        if color and sys.stderr.isatty():
            from rich.console import Console

            self._status = Console(stderr=True).status("starting …")

    def __enter__(self) -> "Steps":
        if self._status:
            self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._status:
            self._status.stop()

    def say(self, text: str) -> None:
        """What is being done now."""
        if self._status:
            self._status.update(f"{text} …")

    def done(self, what: str, words: str) -> None:
        """One thing is done."""
        seconds = time.monotonic() - self._began
        mark = click.style("ok", fg="green") if self._color else "ok"
        click.echo(f"{mark}  {what:9} {words}  ({seconds:.1f} s)")
