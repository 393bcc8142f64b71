"""Log files kept small: 10Mi each, 5 of a container, looked at every 10 s (G2).

Rule: one stat per running container and round, nothing more while no log is full. A full log is renamed and conmon told
to begin anew, also by the agent after one that died in between; the newest of the old ones stays as it is, for it may
still be written to and read, older ones are gz.
"""

import asyncio
import contextlib
import gzip
import shutil
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path

import structlog

from mesh.model import quantity
from mesh.model.times import SECOND
from nodeagent.config import AgentConfig
from nodeagent.runtime.port import Runtime, RuntimeFailure
from nodeagent.runtime.seen import SeenContainer

log = structlog.get_logger()

EVERY = 10.0  # seconds
STAMP = "%Y%m%d-%H%M%S"


class LogRotation:
    """The logs of the containers that `running` tells."""

    def __init__(
        self, config: AgentConfig, runtime: Runtime, running: Callable[[], Iterable[SeenContainer]],
        clock: Callable[[], int],
    ) -> None:  # fmt: skip
        self._runtime = runtime
        self._running = running
        self._clock = clock
        self._size = quantity.amount("memory", config.container_log_max_size)  # bytes
        self._files = config.container_log_max_files  # with the one being written
        self._told: set[str] = set()  # logs that conmon was told to begin anew: told twice, it would lose lines

    async def run(self) -> None:
        """For ever."""
        while True:
            await asyncio.sleep(EVERY)
            await self.look()

    async def look(self) -> None:
        """One round: logs that are full begin anew."""
        containers = [c for c in self._running() if c.log_path]
        self._told &= {c.log_path for c in containers}
        for container in await asyncio.to_thread(self._full, containers):
            try:
                await self._rotate(container)
            except (OSError, RuntimeFailure) as error:
                log.warning("log_not_rotated", container=container.name, pod=container.pod_uid, why=str(error))

    def _full(self, containers: list[SeenContainer]) -> list[SeenContainer]:
        """Those whose log has too much, or was put aside by an agent that has told nobody."""
        sizes = ((c, _size(Path(c.log_path))) for c in containers)
        return [c for c, size in sizes if (c.log_path not in self._told if size is None else size > self._size)]

    async def _rotate(self, container: SeenContainer) -> None:
        path = Path(container.log_path)
        stamp = datetime.fromtimestamp(self._clock() / SECOND, UTC).strftime(STAMP)
        aside = path.with_name(f"{path.name}.{stamp}")
        await asyncio.to_thread(_put_aside, path, aside, self._files)
        try:
            await self._runtime.reopen_log(container.id)
        except RuntimeFailure:
            await asyncio.to_thread(_put_back, aside, path)
            raise
        self._told.add(container.log_path)


def _put_aside(path: Path, aside: Path, files: int) -> None:
    if path.exists():  # else an agent that died has done so, and what it put aside is still written to
        make_room(path, files)
        path.rename(aside)


def _put_back(aside: Path, path: Path) -> None:
    if aside.exists() and not path.exists():  # it is written to under its new name
        aside.rename(path)


def make_room(path: Path, files: int) -> None:
    """Packs the old ones of a log and removes the oldest, so that with one more and the log itself there are `files`.

    What an interrupted packing left is removed. Blocking.
    """
    for half in path.parent.glob(f"{path.name}.*.tmp"):
        half.unlink()
    old = sorted(path.parent.glob(f"{path.name}.*"), key=lambda p: p.name.removesuffix(".gz"))
    excess = max(len(old) - (files - 2), 0)
    for gone in old[:excess]:
        gone.unlink()
    for plain in old[excess:]:
        if plain.suffix != ".gz":
            _pack(plain)


def _pack(path: Path) -> None:
    half, whole = path.with_name(f"{path.name}.tmp"), path.with_name(f"{path.name}.gz")
    with path.open("rb") as source, half.open("xb") as target:
        half.chmod(0o600)
        with gzip.GzipFile(fileobj=target, mode="wb", compresslevel=6) as packed:
            shutil.copyfileobj(source, packed, 1 << 20)
    half.rename(whole)
    path.unlink()


def _size(path: Path) -> int | None:
    """None: it is not there, but older ones of it are."""
    with contextlib.suppress(OSError):
        return path.stat().st_size
    return None if any(path.parent.glob(f"{path.name}.*")) else 0
