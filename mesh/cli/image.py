"""`mesh image`: images on hosts, without a registry (docs/images.md)."""

import asyncio
import sys
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Any

import click

from mesh.cli import complete
from mesh.cli.session import Session, Verb, VerbGroup, asynchronous

if TYPE_CHECKING:
    from mesh.v1.control_pb2 import ImageResult
    from mesh.v1.core_pb2 import Node

_PIECE = 1 << 18


_hosts = click.option(
    "--host", "hosts", multiple=True, metavar="NAME", help="Which hosts; may be given again.  [default: all]",
    shell_complete=complete.nodes,
)  # fmt: skip


@click.group("image", cls=VerbGroup, short_help="Load, list and remove images on hosts, without a registry.")
def command() -> None:
    """Load, list and remove images on hosts, without a registry.

    An image named localhost/… belongs to the hosts: no pull policy asks a registry for it.
    """


@command.command("load", cls=Verb)
@click.argument("file", type=click.File("rb"))
@_hosts
@click.pass_obj
@asynchronous
async def _load(session: Session, file: Any, hosts: tuple[str, ...]) -> None:
    """Take the images of an archive to hosts: FILE of `podman save` or `docker save`, - for standard input."""
    import os
    import stat

    from mesh.sdk.images import Images

    total = os.fstat(file.fileno()).st_size if stat.S_ISREG(os.fstat(file.fileno()).st_mode) else 0
    results: list[ImageResult] = []
    bar = _Bar(total, session.color)
    async with session.client() as client:
        try:
            async for news in Images(client.over).load(_pieces(file), hosts=hosts):
                if isinstance(news, int):
                    bar.at(news)
                else:
                    bar.close()
                    results.append(news)
                    _tell(news, "loaded")
        finally:
            bar.close()
    _fail_if_any(results)


@command.command("list", cls=Verb)
@_hosts
@click.pass_obj
@asynchronous
async def _list(session: Session, hosts: tuple[str, ...]) -> None:
    """List the images that hosts report, 50 of each at most, the largest first."""
    from mesh.cli import tables
    from mesh.cli.printers import Table
    from mesh.errors import NotFound
    from mesh.v1.core_pb2 import Node

    async with session.client() as client:
        nodes = await client.list(Node)
    known = {node.metadata.name for node in nodes}
    for name in hosts:
        if name not in known:
            raise NotFound(f'there is no host "{name}"; there are: {", ".join(sorted(known))}')
    rows = tuple(row for node in nodes if not hosts or node.metadata.name in hosts for row in _rows(node))
    tables.show(Table(("HOST", "IMAGE", "SIZE"), rows), color=session.color)


@command.command("rm", cls=Verb)
@click.argument("images", nargs=-1, required=True, metavar="IMAGE…")
@_hosts
@click.pass_obj
@asynchronous
async def _remove(session: Session, images: tuple[str, ...], hosts: tuple[str, ...]) -> None:
    """Remove images under all their names from hosts; one that a container has stays."""
    from mesh.sdk.images import Images

    results: list[ImageResult] = []
    async with session.client() as client:
        for image in images:
            results += await Images(client.over).remove(image, hosts=hosts)
    for result in results:
        _tell(result, "removed")
    _fail_if_any(results)


def _rows(node: "Node") -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for image in node.status.images:
        names = [name for name in image.names if "@" not in name] or list(image.names) or ["<none>"]
        rows += [(node.metadata.name, name, _size(image.size_bytes)) for name in names]
    return rows


def _size(count: int) -> str:
    return f"{count / 1e6:.1f}MB" if count < 1e9 else f"{count / 1e9:.2f}GB"


def _tell(result: "ImageResult", word: str) -> None:
    if result.error:
        click.echo(f"error: {result.host}: {result.error}", err=True)
    for name in result.names:
        click.echo(f"{result.host}: {name} {word}")


def _fail_if_any(results: "Sequence[ImageResult]") -> None:
    if any(result.error for result in results):
        raise click.exceptions.Exit(1)


async def _pieces(file: Any) -> AsyncIterator[bytes]:
    while data := await asyncio.to_thread(file.read, _PIECE):
        yield data


class _Bar:
    """How much is taken; drawn on a terminal only."""

    def __init__(self, total: int, color: bool) -> None:
        self._bar: Any = None
        if color and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, DownloadColumn, Progress, TransferSpeedColumn

            columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn())
            self._bar = Progress(*columns, console=Console(stderr=True), transient=True)
            self._task = self._bar.add_task("load", total=total or None)
            self._bar.start()

    def at(self, taken: int) -> None:
        """So many bytes are with every host."""
        if self._bar is not None:
            self._bar.update(self._task, completed=taken)

    def close(self) -> None:
        """Takes the line away."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
