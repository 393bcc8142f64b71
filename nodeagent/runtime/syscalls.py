"""The few Linux calls that Python's library lacks: mount, unshare, setns, inotify.

Rule: each is one call with Python's habits (str in, OSError out); no policy.
"""

import ctypes
import os
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWNET = 0x40000000

MS_RDONLY = 0x1
MS_NOSUID = 0x2
MS_NODEV = 0x4
MS_NOEXEC = 0x8
MS_BIND = 0x1000
MS_SHARED = 0x100000
MNT_DETACH = 0x2

RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_BENEATH = 0x08
_OPENAT2 = 437  # the same on every architecture

IN_MODIFY = 0x2
IN_CLOSE_WRITE = 0x8
IN_MOVED_TO = 0x80
IN_CREATE = 0x100
IN_IGNORED = 0x8000
IN_NONBLOCK = os.O_NONBLOCK
IN_CLOEXEC = os.O_CLOEXEC

NSFS_MAGIC = 0x6E736673

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, *what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), *what)
    return result


def mount(source: str, target: str, kind: str = "", flags: int = 0, data: str = "") -> None:
    """mount(2)."""
    arguments = [source.encode(), target.encode(), kind.encode() or None, ctypes.c_ulong(flags), data.encode() or None]
    _check(_libc.mount(*arguments), target)


def bind(source: str, target: str) -> None:
    """A bind mount of one file or directory."""
    mount(source, target, "", MS_BIND)


def make_shared(target: str) -> None:
    """What is mounted below the mount `target` is seen wherever it is bound, and the other way round."""
    mount("none", target, "", MS_SHARED)


def openat2(directory: int, path: str, flags: int, resolve: int) -> int:
    """openat2(2) (Linux 5.6): opens `path` from a directory's descriptor under the rules of `resolve`."""
    how = struct.pack("QQQ", flags | os.O_CLOEXEC, 0, resolve)
    return _check(_libc.syscall(_OPENAT2, directory, os.fsencode(path), how, ctypes.c_size_t(len(how))), path)


@dataclass(frozen=True, slots=True)
class Mounted:
    """One mount of this host: where, whether it passes on (`shared`) or takes (`slave`) what is mounted below, the kind
    of its filesystem and that filesystem's options."""

    place: str
    shared: bool
    slave: bool
    kind: str = ""
    options: frozenset[str] = frozenset()
    source: str = ""


def mounts() -> list[Mounted]:
    """Every mount, in the order they were made."""
    found = []
    for line in Path("/proc/self/mountinfo").read_text(errors="surrogateescape").splitlines():
        words = line.split(" ")
        dash = words.index("-", 6)
        tags, kind, options = words[6:dash], words[dash + 1], words[-1]
        place = re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), words[4])
        shared, slave = (any(t.startswith(kind) for t in tags) for kind in ("shared:", "master:"))
        found.append(Mounted(place, shared, slave, kind, frozenset(options.split(",")), words[dash + 2]))
    return found


def mount_of(path: str) -> Mounted:
    """The mount that a path lies on; symbolic links are followed."""
    real = os.path.realpath(path)
    above = [m for m in mounts() if m.place in ("/", real) or real.startswith(m.place + "/")]
    return max(enumerate(above), key=lambda found: (len(found[1].place), found[0]))[1]


def unmount_all(path: Path) -> None:
    """Detaches whatever is mounted on `path` and below it; binds of one filesystem too, which `is_mount` can't tell."""
    top = os.path.realpath(path)
    for mounted in reversed(mounts()):
        if mounted.place == top or mounted.place.startswith(top + "/"):
            unmount(mounted.place)


def unmount(target: str | Path) -> bool:
    """Detaches the mount on `target`; False when nothing is mounted there."""
    try:
        _check(_libc.umount2(os.fsencode(target), MNT_DETACH), str(target))
    except OSError as error:
        if error.errno in (22, 2):  # EINVAL: no mount; ENOENT: no such path
            return False
        raise
    return True


def last_group() -> int:
    """The greatest group id that there is here: a user namespace has those alone that it was given."""
    ranges = [line.split() for line in Path("/proc/self/gid_map").read_text().splitlines()]
    return min(max(int(first) + int(count) - 1 for first, _, count in ranges), 0x7FFFFFFF)


def unshare(flags: int) -> None:
    """unshare(2) of the calling thread; call it in a thread that ends."""
    _check(_libc.unshare(flags))


def setns(fd: int, kind: int) -> None:
    """setns(2) of the calling thread; call it in a thread that ends."""
    _check(_libc.setns(fd, kind))


def is_namespace(path: str | Path) -> bool:
    """Whether a namespace is mounted on this file."""
    buffer = ctypes.create_string_buffer(256)
    if _libc.statfs(os.fsencode(path), buffer) < 0:
        return False
    return int(struct.unpack_from("l", buffer)[0]) == NSFS_MAGIC


def is_mount(path: Path) -> bool:
    """Whether something is mounted on `path` itself (its device differs from its parent's)."""
    try:
        return path.stat().st_dev != path.parent.stat().st_dev
    except FileNotFoundError:
        return False


class Inotify:
    """One inotify descriptor; `add` returns the watch's number, `read` the events (watch, mask, name) at hand."""

    def __init__(self) -> None:
        self.fd = _check(_libc.inotify_init1(IN_NONBLOCK | IN_CLOEXEC))

    def add(self, path: Path, mask: int) -> int:
        """Watches a directory."""
        return _check(_libc.inotify_add_watch(self.fd, os.fsencode(path), ctypes.c_uint32(mask)), str(path))

    def read(self) -> list[tuple[int, int, str]]:
        """What happened; an empty list when nothing did."""
        try:
            data = os.read(self.fd, 64 * 1024)
        except BlockingIOError:
            return []
        events, at = [], 0
        while at < len(data):
            watch, mask, _, length = struct.unpack_from("iIII", data, at)
            name = data[at + 16 : at + 16 + length].rstrip(b"\0")
            events.append((watch, mask, os.fsdecode(name)))
            at += 16 + length
        return events

    def close(self) -> None:
        """Gives the descriptor back."""
        os.close(self.fd)


def in_thread_of_its_own(work: Callable[[], object]) -> None:
    """Runs `work` in a new thread that ends with it, so that namespaces it enters die with the thread; raises what it
    raises."""
    import threading  # noqa: PLC0415 - only here

    raised: list[BaseException] = []

    def body() -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - carried to the caller, who raises it
            raised.append(error)

    thread = threading.Thread(target=body, name="namespace")
    thread.start()
    thread.join()
    if raised:
        raise raised[0]
