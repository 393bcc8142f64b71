"""A log as a stream: what is written so far, then what comes, until the container stops.

Rule: no polling while there is nothing to read but for the container's end, and that once a second; files are read a
block at a time.
"""

import asyncio
import contextlib
import ctypes
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Protocol

from mesh.errors import NotFound
from mesh.v1.node_pb2 import Channel, LogOptions
from nodeagent.logs import Reader, Tail, attempts, now_nanoseconds, open_rotated, reader_for, rotated
from nodeagent.runtime import syscalls

Put = Callable[["Channel.ValueType", bytes], Awaitable[None]]
IN_MODIFY = 0x2
CHECK = 1.0

_libc = ctypes.CDLL(None, use_errno=True)


class FileWatch:
    """One inotify descriptor for all logs that are followed."""

    def __init__(self) -> None:
        self._inotify: syscalls.Inotify | None = None
        self._events: dict[int, set[asyncio.Event]] = {}

    def add(self, path: Path, event: asyncio.Event) -> int:
        """Sets the event whenever the file grows."""
        if self._inotify is None:
            self._inotify = syscalls.Inotify()
            asyncio.get_running_loop().add_reader(self._inotify.fd, self._read)
        watch = self._inotify.add(path, IN_MODIFY)
        self._events.setdefault(watch, set()).add(event)
        return watch

    def discard(self, watch: int, event: asyncio.Event) -> None:
        """Stops."""
        events = self._events.get(watch, set())
        events.discard(event)
        if self._inotify is None or events:
            return
        self._events.pop(watch, None)
        _libc.inotify_rm_watch(self._inotify.fd, watch)
        if not self._events:
            asyncio.get_running_loop().remove_reader(self._inotify.fd)
            self._inotify.close()
            self._inotify = None

    def _read(self) -> None:
        for watch, _, _ in self._inotify.read() if self._inotify else ():
            for event in self._events.get(watch, ()):
                event.set()


class Followed(Protocol):
    """The container whose log it is."""

    name: str

    def runs(self, attempt: int) -> bool:
        """This very attempt runs."""
        ...

    @property
    def waits(self) -> bool:
        """It ended, and waits to be started again."""
        ...


class LogSource:
    """One attempt's log; the end of that attempt is the end of a followed log."""

    def __init__(
        self, put: Put, options: LogOptions, directory: Path | None, container: Followed, watch: FileWatch
    ) -> None:  # fmt: skip
        self._put = put
        self._options = options
        self._container = container
        self._directory = directory
        self._attempt = 0
        self._watch = watch
        self._tail: Tail | None = None
        self._path: Path | None = None
        self._watched = 0
        self._before = ""  # the newest file put aside before the one that is read
        self._aside = False  # the one that is read was itself put aside
        self.ended = False

    async def begin(self) -> None:
        """Finds and opens the log; raises NotFound in words."""
        name = self._container.name
        found = attempts(self._directory, name)
        if self._options.previous and not self._container.waits:
            found = found[:-1]
        if not found or self._directory is None:
            if self._options.previous:
                raise NotFound(f"there is no previous log of container {name}: it was not restarted")
            raise NotFound(f"container {name} has no log: it has not started yet")
        self._attempt = found[-1]
        self._path = self._directory / name / f"{self._attempt}.log"
        lines = self._options.tail_lines if self._options.HasField("tail_lines") else None
        try:
            while self._tail is None or self._before != max(rotated(self._path), default=""):
                self._before = max(rotated(self._path), default="")
                self._tail = Tail(self._path, lines)
        except FileNotFoundError:
            raise NotFound(f"the log of container {name} was just removed") from None

    async def run(self) -> None:
        """Hands on what the options ask for."""
        if self._tail is None or self._path is None:
            return
        follow = self._options.follow and not self._options.previous
        grown = asyncio.Event()
        try:
            await self._read(follow, grown)
        finally:
            self._unwatch(grown)

    def _look_out(self, path: Path, grown: asyncio.Event) -> None:
        """Watches the file, unless it was put aside a moment ago and the next one has not begun."""
        if not self._watched:
            with contextlib.suppress(FileNotFoundError):
                self._watched = self._watch.add(path, grown)

    def _unwatch(self, grown: asyncio.Event) -> None:
        if self._watched:
            self._watch.discard(self._watched, grown)
            self._watched = 0

    async def _read(self, follow: bool, grown: asyncio.Event) -> None:
        reader = reader_for(self._options, now_nanoseconds())
        last = False
        while not reader.full:
            grown.clear()
            if follow and self._path is not None:
                self._look_out(self._path, grown)
            stopped = not follow or not self._container.runs(self._attempt)
            shown = await self._hand_on(reader)
            if shown or (follow and await self._turn_page(reader, grown)):
                last = False
                continue
            if stopped and (last or not follow):
                return
            last = stopped  # one more look after the end was seen: nothing is written afterwards
            if not stopped:
                timer = asyncio.get_running_loop().call_later(CHECK, grown.set)
                await grown.wait()
                timer.cancel()

    async def _turn_page(self, reader: Reader, grown: asyncio.Event) -> bool:
        """Goes on with the next file when this one was put aside (G2); True when it was."""
        if self._tail is None or self._path is None or not (self._aside or self._tail.is_replaced(self._path)):
            return False
        later = [name for name in rotated(self._path) if name > self._before]
        if not later:
            return False
        while await self._hand_on(reader):
            pass  # what was written before the next file began
        try:
            following = open_rotated(self._path, later[1]) if later[1:] else Tail(self._path, None)
        except FileNotFoundError:
            return False
        if [name for name in rotated(self._path) if name > self._before] != later:  # rotated meanwhile: look again
            following.close()
            return True
        self._tail.close()
        self._tail, self._before, self._aside = following, later[0], bool(later[1:])
        self._unwatch(grown)
        return True

    async def _hand_on(self, reader: Reader) -> bool:
        """Hands on the lines at hand; False when there are none."""
        if self._tail is None:
            return False
        lines = self._tail.lines()
        if lines is None:
            return False
        out: list[tuple[Channel.ValueType, bytes]] = []
        for line in lines:
            shown = reader.show(line)
            if shown is None:
                continue
            if out and out[-1][0] == shown[0]:
                out[-1] = (shown[0], out[-1][1] + shown[1])
            else:
                out.append(shown)
        for channel, data in out:
            await self._put(channel, data)
        await asyncio.sleep(0)
        return True

    async def write(self, data: bytes) -> None:
        """A log takes no input."""

    async def close_input(self) -> None:
        """A log takes no input."""

    def resize(self, rows: int, columns: int) -> None:
        """There is no terminal."""

    def end(self) -> None:
        """Closes the file."""
        self.ended = True
        if self._tail is not None:
            self._tail.close()
            self._tail = None
