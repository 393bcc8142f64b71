"""Logs of several containers together: read to their end, or followed while pods come and go.

Rule: what is shown is in the order of time. A follower watches the pods of its selector: a new pod is followed from its
first line, a container that starts again from its new run on, and one that went away ends nothing.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from mesh.cli.failure import report
from mesh.cli.logmerge import PATIENCE, Line, Merge, Source, read
from mesh.errors import MeshError
from mesh.model import pods
from mesh.v1.core_pb2 import Pod

if TYPE_CHECKING:
    from mesh.sdk.client import AsyncClient

Show = Callable[[Source, Line], None]
Choose = Callable[[Pod], Iterable[Source]]


async def merged(client: "AsyncClient", sources: Sequence[Source], options: dict[str, Any], show: Show) -> bool:
    """All lines of logs that end; whether one could not be read, which has been told."""
    merge = Merge()

    async def one(source: Source) -> bool:
        try:
            async for line in _lines(client, source, options):
                merge.put(source, line, 0.0)
        except MeshError as error:
            report(error)
            return True
        return False

    for source in sources:  # in this order among lines of one moment
        merge.know(source)
    failed = await asyncio.gather(*(one(source) for source in sources))
    for source, line in merge.rest():
        show(source, line)
    return any(failed)


async def _lines(client: "AsyncClient", source: Source, options: dict[str, Any]) -> AsyncIterator[Line]:
    rest, at = b"", 0
    async for chunk in client.log_bytes(source.pod, container=source.container, **options):
        *whole, rest = (rest + chunk).split(b"\n")
        for raw in whole:
            line = read(raw, at)
            at = line.at
            yield line
    if rest:
        yield read(rest, at)


class Follower:
    """Follows what `choose` names of the pods with these labels, `most` at once; for ever."""

    def __init__(
        self, client: "AsyncClient", choose: Choose, options: dict[str, Any], show: Show, most: int
    ) -> None:  # fmt: skip
        self._client = client
        self._choose = choose
        self._options = options
        self._show = show
        self._most = most
        self._merge = Merge()
        self._failed = False
        self._lasting = False
        self._came = asyncio.Event()
        self._runs: dict[tuple[str, Source], int] = {}  # by pod's uid: which run of the container was followed last
        self._tasks: dict[tuple[str, Source], asyncio.Task[None]] = {}

    async def run(self, labels: str, present: Sequence[Pod]) -> bool:
        """Until cancelled; without labels until these pods' logs end. Whether one could not be read."""
        async with asyncio.TaskGroup() as group:
            printing = group.create_task(self._print())
            for pod in present:
                self._look(group, pod, fresh=False)
            if not labels:
                await asyncio.gather(*self._tasks.values())
                printing.cancel()
                for source, line in self._merge.rest():
                    self._show(source, line)
                return self._failed
            self._lasting = True
            revision = getattr(present, "revision", 0)
            changes = self._client.watch(Pod, labels=labels, after=revision)
            async with contextlib.aclosing(changes):
                async for change in changes:
                    if change.type != "DELETED":
                        self._look(group, change.object, fresh=True)
        return self._failed

    def _look(self, group: asyncio.TaskGroup, pod: Pod, *, fresh: bool) -> None:
        for source in self._choose(pod):
            key = pod.metadata.uid, source
            run = _run_of(pod, source.container)
            if run is None or run <= self._runs.get(key, -1) or key in self._tasks:
                continue
            if len(self._tasks) >= self._most:
                continue
            again = key in self._runs
            self._runs[key] = run
            options = self._options
            if fresh:
                options = {k: v for k, v in options.items() if k not in ("tail", "since", "since_seconds")}
            self._tasks[key] = group.create_task(self._follow(group, key, options, pod, quiet=again))

    async def _follow(
        self, group: asyncio.TaskGroup, key: tuple[str, Source], options: dict[str, Any], pod: Pod, *, quiet: bool
    ) -> None:
        source = key[1]
        try:
            async for line in _lines(self._client, source, options):
                self._merge.put(source, line, asyncio.get_running_loop().time())
                self._came.set()
        except MeshError as error:
            if not quiet:
                report(error)
                self._failed = True
        del self._tasks[key]
        if not self._lasting:
            return
        with contextlib.suppress(MeshError):  # it may have started again while its old log was still read
            now = await self._client.get(Pod, source.pod, namespace=pod.metadata.namespace)
            if now.metadata.uid == key[0]:
                self._look(group, now, fresh=True)

    async def _print(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._came.wait()
            self._came.clear()
            while self._merge:
                await asyncio.sleep(PATIENCE)
                for source, line in self._merge.ready(loop.time()):
                    self._show(source, line)


def _run_of(pod: Pod, container: str) -> int | None:
    """Which run of a container has a log, None before the first."""
    told = pod.status
    status = pods.status_named((*told.init_container_statuses, *told.container_statuses), container)
    if status is None:
        return None
    begun = status.state.HasField("running") or status.state.HasField("terminated")
    return status.restart_count if begun or status.restart_count else None
