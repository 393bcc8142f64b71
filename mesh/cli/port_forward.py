"""`mesh port-forward`: ports of a pod, reachable from here until interrupted."""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import click

from mesh.cli import complete
from mesh.cli.failure import report
from mesh.cli.session import Session, Verb, asynchronous

if TYPE_CHECKING:
    from mesh.sdk.streams import PortForward
    from mesh.v1.core_pb2 import Pod
    from mesh.v1.net_pb2 import Service


@click.command("port-forward", cls=Verb, short_help="Reach a pod's ports from here.")
@click.argument("pod", metavar="POD | KIND/NAME", shell_complete=complete.pods)
@click.argument("ports", nargs=-1, required=True, metavar="[LOCAL:]REMOTE…")
@click.option("--address", default="127.0.0.1", show_default=True, metavar="ADDRESS", help="Where to listen.")
@click.pass_obj
@asynchronous
async def command(session: Session, pod: str, ports: tuple[str, ...], address: str) -> None:
    """Reach a pod's ports from here, until interrupted.

    \b
    mesh port-forward web 8080            local port 8080 to the pod's 8080
    mesh port-forward web 8080:80 9000    two ports
    mesh port-forward web :http           a free local port to the port named http
    mesh port-forward deployment/web 8080 a pod of the Deployment
    mesh port-forward service/web 8080:80 a pod of the Service, at the port that its 80 leads to
    """
    from mesh.cli.onepod import pod_meant
    from mesh.errors import Invalid

    async with session.client() as client, AsyncExitStack() as stack:
        found, service = await pod_meant(client, pod)
        pairs = [port_pair(text if service is None else through(text, service), found) for text in ports]
        if found.status.phase != "Running":
            raise Invalid(f"cannot forward ports of pod {pod}: it is not running but {found.status.phase or 'Pending'}")
        forwards = []
        for local, remote in pairs:
            made = await client.port_forward(found.metadata.name, remote, local_port=local, address=address)
            forwards.append(await stack.enter_async_context(made))
            click.echo(f"Forwarding from {address}:{made.port} -> {remote}")
        await _tell_problems(forwards)


def port_pair(text: str, pod: "Pod") -> tuple[int, int]:
    """(local, remote) of "8080", "8080:80", ":80" or "8080:http"; local 0 is a free port. Raises Invalid."""
    from mesh.errors import Invalid
    from mesh.model import pods

    local_text, colon, remote_text = text.rpartition(":")
    named = pods.port_named(pod.spec, remote_text)
    remote = named.container_port if named else _number(remote_text)
    local = _number(local_text) if local_text not in ("", "0") else 0
    if not colon:
        local = remote
    if remote is None or local is None:
        names = ", ".join(p.name for c in pod.spec.containers for p in c.ports if p.name)
        hint = f"; the pod names {names}" if names else ""
        raise Invalid(f'"{text}" is no pair of ports: say REMOTE, LOCAL:REMOTE or :REMOTE, each 1 to 65535{hint}')
    return local, remote


def through(text: str, service: "Service") -> str:
    """ "8080:80" of a Service as it reads for its pods: the port that 80 leads to. Raises Invalid."""
    from mesh.errors import Invalid

    local, colon, remote = text.rpartition(":")
    port = next((p for p in service.spec.ports if remote in (p.name, str(p.port))), None)
    if port is None or not remote:
        known = ", ".join(str(p.port) for p in service.spec.ports)
        raise Invalid(f'Service "{service.metadata.name}" has no port "{remote}"; it has {known}')
    target = port.target_port.string_value or str(port.target_port.int_value or port.port)
    return f"{local if colon else port.port}:{target}"


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and 0 < int(text) < 65536 else None


async def _tell_problems(forwards: "Sequence[PortForward]") -> None:
    """Says why connections fail, until interrupted."""

    async def listen(forward: "PortForward") -> None:
        while True:
            report(await forward.problems.get())

    async with asyncio.TaskGroup() as group:
        for forward in forwards:
            group.create_task(listen(forward))
