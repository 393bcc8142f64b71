"""`mesh exec`: a command in a container, with its input, output, terminal and exit code."""

import asyncio
import contextlib
import sys
from typing import TYPE_CHECKING

import click

from mesh.cli import complete
from mesh.cli.failure import say
from mesh.cli.session import Session, Verb, asynchronous

if TYPE_CHECKING:
    from mesh.sdk.client import AsyncClient
    from mesh.sdk.streams import ExecStream


class _AfterDash(Verb):
    """Takes what follows `--` as the command, untouched."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Keeps the command in ctx.meta and parses the rest."""
        if "--" in args:
            at = args.index("--")
            ctx.meta["mesh.exec"] = args[at + 1 :]
            args = args[:at]
        return super().parse_args(ctx, args)


@click.command("exec", cls=_AfterDash, short_help="Run a command in a container.", options_metavar="[OPTIONS]")
@click.argument("pod", metavar="POD", shell_complete=complete.pods)
@click.argument("stray", nargs=-1, metavar="-- COMMAND [ARG…]")
@click.option(
    "-c", "--container", default="", metavar="NAME", help="Which container.", shell_complete=complete.containers
)
@click.option("-i", "--stdin", is_flag=True, help="Pass standard input on.")
@click.option("-t", "--tty", is_flag=True, help="Give the command a terminal.")
@click.option("-q", "--quiet", is_flag=True, help="Only what the command prints.")
@click.pass_context
@asynchronous
async def command(
    ctx: click.Context, pod: str, stray: tuple[str, ...], container: str, stdin: bool, tty: bool, quiet: bool
) -> None:  # fmt: skip
    """Run a command in a container; mesh ends with the command's exit code.

    \b
    mesh exec web -- ls /            mesh exec -it web -- sh
    mesh exec web -c app -- env      tar c . | mesh exec -i web -- tar x -C /data
    """
    words = ctx.meta.get("mesh.exec") or []
    if stray or not words:
        raise click.UsageError("put the command behind two dashes: mesh exec POD -- COMMAND [ARG…]")
    session = ctx.find_object(Session) or Session()
    if tty and not sys.stdin.isatty():
        say("Unable to use a TTY - input is not a terminal or the right kind of file")
        tty = False
    async with session.client() as client:
        name, chosen = await where(client, pod, container, quiet)
        code = await _run(client, name, chosen, list(words), stdin, tty)
    if code:
        if not quiet:
            say(f"command terminated with exit code {code}")
        raise click.exceptions.Exit(code)


async def where(client: "AsyncClient", word: str, container: str, quiet: bool) -> tuple[str, str]:
    """The pod's name and the container meant; raises NotFound."""
    from mesh.cli.onepod import pod_meant
    from mesh.errors import NotFound
    from mesh.model import pods

    pod, _ = await pod_meant(client, word, quiet=quiet)
    names = [c.name for c in pods.containers(pod.spec)]
    if container and container not in names:
        raise NotFound(f'pod "{pod.metadata.name}" has no container "{container}"; it has {", ".join(names)}')
    chosen = container or pods.default_container(pod)
    if not container and len(pod.spec.containers) > 1 and not quiet:
        say(f'Defaulted container "{chosen}" out of: {", ".join(names)}')
    return pod.metadata.name, chosen


async def _run(client: "AsyncClient", pod: str, container: str, words: list[str], stdin: bool, tty: bool) -> int:
    from mesh.cli import terminal

    size = terminal.size() if tty else (0, 0)
    stream = await client.exec_stream(pod, words, container=container, stdin=stdin, tty=tty, size=size)
    await converse(stream, stdin, tty)
    return stream.exit_code or 0


async def converse(stream: "ExecStream", stdin: bool, tty: bool) -> None:
    """Carries our input there and what comes back here, until the stream ends."""
    from mesh.cli import terminal

    tasks: list[asyncio.Task[None]] = []
    with contextlib.ExitStack() as stack:
        if tty:
            stack.enter_context(terminal.raw())
            stack.enter_context(terminal.on_resize(lambda: tasks.append(asyncio.create_task(_resize(stream)))))
        async with stream:
            if stdin:
                tasks.append(asyncio.create_task(_feed(stream)))
            try:
                async for where, data in stream:
                    out = sys.stderr if where == "stderr" else sys.stdout
                    out.buffer.write(data)
                    out.buffer.flush()
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)


async def _resize(stream: "ExecStream") -> None:
    from mesh.cli import terminal

    rows, columns = terminal.size()
    if rows and columns:
        await stream.resize(rows, columns)


async def _feed(stream: "ExecStream") -> None:
    from mesh.cli import terminal

    async for data in terminal.typed():
        await stream.write(data)
    await stream.close_stdin()
