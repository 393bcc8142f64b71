"""`mesh attach`: a running container's own output, and its input and terminal."""

import sys
from typing import TYPE_CHECKING

import click

from mesh.cli import complete
from mesh.cli.exec import converse, where
from mesh.cli.failure import say
from mesh.cli.session import Session, Verb, asynchronous

if TYPE_CHECKING:
    from mesh.sdk.client import AsyncClient
    from mesh.v1.core_pb2 import Container

PROMPT = "If you don't see a command prompt, try pressing enter."


@click.command("attach", cls=Verb, short_help="Attach to a running container.")
@click.argument("pod", metavar="POD", shell_complete=complete.pods)
@click.option(
    "-c", "--container", default="", metavar="NAME", help="Which container.", shell_complete=complete.containers
)
@click.option("-i", "--stdin", is_flag=True, help="Pass standard input on; its spec must say stdin: true.")
@click.option("-t", "--tty", is_flag=True, help="Its terminal is ours; its spec must say tty: true.")
@click.option("-q", "--quiet", is_flag=True, help="Only what the container prints.")
@click.pass_obj
@asynchronous
async def command(session: Session, pod: str, container: str, stdin: bool, tty: bool, quiet: bool) -> None:
    """Attach to a running container: see what it writes from now on, and talk to it with -i.

    What it wrote before is in `mesh logs`. Ends with the container, or with Ctrl-C; input to its end (Ctrl-D) leaves a
    container with `stdinOnce: true` without input for good.

    \b
    mesh attach web              mesh attach -it shell -c main
    """
    async with session.client() as client:
        name, chosen = await where(client, pod, container, quiet)
        await attach(client, name, chosen, stdin=stdin, tty=tty, quiet=quiet)


async def attach(client: "AsyncClient", pod: str, container: str, *, stdin: bool, tty: bool, quiet: bool) -> None:
    """Talks with a running container until it ends."""
    from mesh.cli import terminal

    has = await _container(client, pod, container)
    if tty and (not has.tty or not sys.stdin.isatty()):
        why = "input is not a terminal" if has.tty else f"container {container} did not allocate one"
        say(f"Unable to use a TTY - {why}")
        tty = False
    if stdin and not quiet and sys.stdin.isatty():
        say(PROMPT)
    size = terminal.size() if tty else (0, 0)
    stream = await client.attach(pod, container=container, stdin=stdin, tty=tty, size=size)
    await converse(stream, stdin, tty)


async def _container(client: "AsyncClient", pod: str, container: str) -> "Container":
    from mesh.errors import NotFound
    from mesh.model.pods import container_named
    from mesh.v1.core_pb2 import Pod

    found = container_named((await client.get(Pod, pod)).spec, container)
    if found is None:
        raise NotFound(f'pod "{pod}" has no container "{container}" any more')
    return found
