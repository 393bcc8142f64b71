"""`mesh console`: a browser, signed in as who asks.

Rule: the browser speaks to this program on the loopback alone; from here on it is TLS with the context's certificate.
The ticket in the address is good once, and only for a minute.
"""

import asyncio
import ssl
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mesh.cli.session import Session, Verb, asynchronous

if TYPE_CHECKING:
    from mesh.sdk.context import Context

_PIECE = 1 << 16


@click.command("console", cls=Verb, short_help="Look at the mesh in a browser.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="On this host.  [default: any that is free]")
@click.option("--browser/--no-browser", default=True, help="Open one, or only print the address.")
@click.pass_obj
@asynchronous
async def command(session: Session, port: int, browser: bool) -> None:
    """Look at the mesh in a browser: hosts, workloads, pods with their probes and logs, services, secrets (never their
    values), events and alerts, as they change. Nothing can be changed there, and you see what you may see.

    It lasts until Ctrl-C. On another machine: mesh console --no-browser --port 8080, and forward that port.
    """
    from mesh.exposition.serving import until_cancelled
    from mesh.v1.control_pb2 import OpenConsoleRequest
    from mesh.v1.control_pb2_grpc import ControlStub

    async with session.client() as client:
        over = client.over
        stub = ControlStub(await over.channel())
        opened = await over.call(stub.OpenConsole(OpenConsoleRequest(), timeout=over.timeout or 20))
        host = over.server.rpartition(":")[0]
        context = _trusting(over.context)
        relay = await asyncio.start_server(
            lambda r, w: _carry(r, w, host, opened.port, context), "127.0.0.1", port
        )  # fmt: skip
        address = f"http://127.0.0.1:{relay.sockets[0].getsockname()[1]}/sign-in?ticket={opened.ticket}"
        click.echo(address)
        if browser:
            import webbrowser

            await asyncio.to_thread(webbrowser.open, address)
        await until_cancelled(relay)


def _trusting(context: "Context") -> ssl.SSLContext:
    made = ssl.create_default_context(cadata=context.pem("ca").decode())
    with tempfile.TemporaryDirectory(prefix="mesh-") as directory:  # 0700; ssl reads keys of files alone
        files = Path(directory) / "certificate", Path(directory) / "key"
        for path, what in zip(files, ("certificate", "key"), strict=True):
            path.touch(0o600)
            path.write_bytes(context.pem(what))
        made.load_cert_chain(*files)
    return made


async def _carry(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str, port: int, context: ssl.SSLContext
) -> None:
    try:
        far, back = await asyncio.open_connection(host, port, ssl=context)
    except OSError as error:
        words = f"the console at {host}:{port} cannot be reached: {error}\n".encode()
        writer.write(b"HTTP/1.1 502 Bad Gateway\r\nConnection: close\r\n\r\n" + words)
        writer.close()
        return
    pipes = [asyncio.ensure_future(_pipe(reader, back)), asyncio.ensure_future(_pipe(far, writer))]
    try:
        await asyncio.wait(pipes, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for pipe in pipes:
            pipe.cancel()
        for end in (back, writer):
            end.close()


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(_PIECE):
            writer.write(data)
            await writer.drain()
