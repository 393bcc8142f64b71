"""Exits of containers within milliseconds, without polling: conmon's exit files by inotify, processes by pidfd; and
changes of Podman's images, whoever makes them.

Rules: lives on the event loop (add_reader), blocks nothing, decides nothing: it tells its listeners. The exit file is
the ordinary way (it carries the code, for some 40 ms); the pidfd is for containers whose conmon was killed, of which
Podman never learns that they ended.
"""

import asyncio
import contextlib
import os
import re
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from nodeagent.runtime import syscalls

LISTEN_TRIES, LISTEN_PAUSE = 100, 0.02  # seconds
IMAGES = "images.json"
CONTAINER_ID = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Exit:
    """`code` is None when the file was gone before it could be read; `at` in nanoseconds since the epoch."""

    container_id: str
    code: int | None = None
    at: int = 0


@dataclass(frozen=True, slots=True)
class Listeners:
    """Who is told."""

    exited: Callable[[Exit], None]  # conmon says so
    died: Callable[[str], None]  # a followed container's process is gone
    back: Callable[[], None]  # Podman's service listens anew
    images: Callable[[], None]  # Podman's list of images was written


class Watch:
    """One host's exits; the host is prepared, or FileNotFoundError is raised."""

    def __init__(self, exits: Path, service: Path, images: Path, listeners: Listeners) -> None:
        """`images`: the directory in which Podman's storage keeps its list of them; made where it is not there yet."""
        self._exits = exits
        self._socket = service
        self._tell = listeners
        self._loop = asyncio.get_running_loop()
        self._inotify = syscalls.Inotify()
        self._exits_watch = -1
        self._closed = False
        self._descriptors: dict[str, int] = {}
        self._inotify.add(service.parent, syscalls.IN_CREATE | syscalls.IN_MOVED_TO)
        images.mkdir(mode=0o700, exist_ok=True)
        self._images_watch = self._inotify.add(images, syscalls.IN_MOVED_TO)
        self._watch_exits()
        self._loop.add_reader(self._inotify.fd, self._read)

    def close(self) -> None:
        """Watches nothing any more."""
        self._closed = True
        self._loop.remove_reader(self._inotify.fd)
        self._inotify.close()
        for container_id in list(self._descriptors):
            self.forget(container_id)

    def follow(self, container_id: str, pid: int) -> None:
        """Tells `died` when the process ends; at once when it is no process of this container."""
        if container_id in self._descriptors:
            return
        try:
            descriptor = os.pidfd_open(pid)
            if not _is_of(pid, container_id):
                os.close(descriptor)
                raise ProcessLookupError(pid)
        except (ProcessLookupError, ValueError):
            self._loop.call_soon(self._tell.died, container_id)
            return
        self._descriptors[container_id] = descriptor
        self._loop.add_reader(descriptor, self._died, container_id)

    def forget(self, container_id: str) -> None:
        """Follows it no longer."""
        descriptor = self._descriptors.pop(container_id, None)
        if descriptor is not None:
            self._loop.remove_reader(descriptor)
            os.close(descriptor)

    def descriptor(self, container_id: str) -> int | None:
        """The pidfd of a followed container."""
        return self._descriptors.get(container_id)

    def _died(self, container_id: str) -> None:
        self.forget(container_id)
        self._tell.died(container_id)

    def _watch_exits(self) -> None:
        self._exits_watch = self._inotify.add(self._exits, syscalls.IN_CLOSE_WRITE | syscalls.IN_MOVED_TO)

    def _read(self) -> None:
        for watch, mask, name in self._inotify.read():
            if watch == self._exits_watch and CONTAINER_ID.fullmatch(name):
                self._tell.exited(read_exit(self._exits / name))
            elif mask & syscalls.IN_IGNORED and watch == self._exits_watch:  # the directory was made anew
                self._exits_watch = -1
                self._back(LISTEN_TRIES)
            elif watch == self._images_watch:
                if name == IMAGES:
                    self._tell.images()
            elif name == self._socket.name:
                self._back(LISTEN_TRIES)

    def _back(self, tries: int) -> None:
        """A socket's file is there a moment before somebody listens."""
        if self._closed:
            return
        with socket.socket(socket.AF_UNIX) as probe:
            probe.setblocking(False)
            listens = probe.connect_ex(str(self._socket)) == 0
        if listens or not tries:
            if self._exits_watch < 0 and self._exits.exists():
                self._watch_exits()
            self._tell.back()
        else:
            self._loop.call_later(LISTEN_PAUSE, self._back, tries - 1)


def read_exit(file: Path) -> Exit:
    """What conmon wrote; Podman takes the file's time for the time of the exit, and so do we."""
    with contextlib.suppress(FileNotFoundError, ValueError):
        code = int(file.read_text())
        return Exit(file.name, code, file.stat().st_ctime_ns)
    return Exit(file.name)


def _is_of(pid: int, container_id: str) -> bool:
    """Whether the process is in this container's cgroup: a process number may be another's by now."""
    try:
        return container_id in Path(f"/proc/{pid}/cgroup").read_text()
    except OSError:
        return False
