"""netproxy: wires the proxy of one host; nothing else."""

import asyncio
import resource
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import structlog

from mesh.exposition.serving import until_cancelled
from netproxy.control import Control
from netproxy.health import Healthz
from netproxy.ingress.engine import Ingress
from netproxy.proxy import Proxy
from netproxy.turns import Turns

log = structlog.get_logger()
SPARE = 512  # descriptors for listeners and all else, at least; connections have two each


@dataclass(frozen=True, slots=True)
class Options:
    """Of one proxy; see the command line."""

    socket: Path
    last_table: Path
    holder: Path | None
    tunnel: Path | None
    ingress: Path | None
    healthz: str


async def serve(turns: Turns, options: Options) -> None:
    """Runs until SIGTERM or SIGINT."""
    loop = asyncio.get_running_loop()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    most = max(SPARE, hard - max(SPARE, hard // 3)) // 2
    proxy = Proxy(turns, loop, options.last_table, options.holder, options.tunnel, most)
    if options.ingress is not None:
        proxy.begin_ingress(Ingress(loop, options.ingress))
    control = Control(options.socket, proxy.held, proxy.carry_out)
    proxy.news = control.tell
    server = await control.start()
    telling = asyncio.create_task(Healthz(options.healthz, proxy.standing).run()) if options.healthz else None
    serving = asyncio.create_task(until_cancelled(server))
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, serving.cancel)
    log.info("netproxy_started", socket=str(options.socket), digest=proxy.held().digest, descriptors=hard, before=soft)
    try:
        await serving
    except asyncio.CancelledError:
        if telling is not None:
            telling.cancel()
        log.info("netproxy_stopped", left=proxy.stop())


@click.command()
@click.option("--socket", type=click.Path(path_type=Path), required=True, help="Where the node agent programs it.")
@click.option("--last-table", type=click.Path(path_type=Path), required=True, help="File that keeps the last table.")
@click.option("--holder", type=click.Path(path_type=Path), help="Who keeps the sockets between two proxies.")
@click.option("--tunnel", type=click.Path(path_type=Path), help="Socket of the encrypted way to other hosts.")
@click.option("--ingress", type=click.Path(path_type=Path), help="Directory in memory for what HAProxy reads.")
@click.option("--healthz", default="", help="Where it says whether it does its work, ip:port; nowhere by default.")
def main(**options: Any) -> None:
    """The Service proxy of one host. Started by the supervisor, programmed by the node agent."""
    turns = Turns()
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(turns)) as runner:
        runner.run(serve(turns, Options(**options)))
