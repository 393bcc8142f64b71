"""netproxy: wires the proxy of one host; nothing else."""

import asyncio
import secrets
import signal
from pathlib import Path

import click
import structlog
import uvloop

from mesh.v1.node_pb2 import ProxyHeld, ServiceTable
from netproxy import lastgood
from netproxy.control import Control
from netproxy.dataplane import Dataplane

log = structlog.get_logger()


class Proxy:
    """Holds the data plane; the one place where it is swapped."""

    def __init__(self, last_table: Path) -> None:
        self._last_table = last_table
        self._boot = secrets.token_hex(8)
        self._plane = Dataplane()
        table = lastgood.load(last_table)
        if table is not None:
            self._plane = self._plane.accept(table)

    def held(self, error: str = "") -> ProxyHeld:
        """What is served now."""
        return self._plane.held(self._boot, error)

    def program(self, table: ServiceTable) -> None:
        """Serves `table` from now on and keeps it for the next start; raises Conflict, OSError."""
        plane = self._plane.accept(table)
        if plane != self._plane:
            lastgood.save(self._last_table, plane.table())
            self._plane = plane
            log.info("table_served", revision=plane.revision, digest=plane.digest)


async def serve(socket: Path, last_table: Path) -> None:
    """Runs until SIGTERM or SIGINT."""
    proxy = Proxy(last_table)
    control = asyncio.create_task(Control(socket, proxy.held, proxy.program).run())
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, control.cancel)
    log.info("netproxy_started", socket=str(socket), digest=proxy.held().digest)
    try:
        await control
    except asyncio.CancelledError:
        log.info("netproxy_stopped")


@click.command()
@click.option("--socket", type=click.Path(path_type=Path), required=True, help="Where the node agent programs it.")
@click.option("--last-table", type=click.Path(path_type=Path), required=True, help="File that keeps the last table.")
def main(socket: Path, last_table: Path) -> None:
    """The Service proxy of one host. Started by the supervisor, programmed by the node agent."""
    uvloop.run(serve(socket, last_table))
