"""Parts of volumes for containers to mount (V14): no symbolic link, whoever made it, leads out of the volume.

Rule: a path is walked by the kernel (openat2, RESOLVE_BENEATH) and bound by descriptor: what was checked is what is
mounted. A bind is made anew for each attempt of a container, so that a restarted one sees what there is now.
"""

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path

from nodeagent.runtime import syscalls

BENEATH = syscalls.RESOLVE_BENEATH | syscalls.RESOLVE_NO_MAGICLINKS
_ESCAPES = (errno.EXDEV, errno.ELOOP, errno.ENOTDIR)


class Outside(Exception):  # noqa: N818 - a fact about a path, told to the user
    """The path leads out of its volume, or through something that is no directory."""


def bind(base: str, sub_path: str, target: Path) -> None:
    """Mounts `sub_path` of the directory `base` on `target`, and makes it when it is missing.

    Raises:
        Outside: it can't be reached within `base`.
        OSError: it can't be made or mounted.
    """
    root = os.open(base, os.O_PATH | os.O_DIRECTORY)
    try:
        found = _open(root, sub_path)
        try:
            release(target)
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            if stat.S_ISDIR(os.fstat(found).st_mode):
                target.mkdir()
            else:
                target.touch()
            syscalls.bind(f"/proc/self/fd/{found}", str(target))
        finally:
            os.close(found)
    finally:
        os.close(root)


def read(base: str, path: str, most: int) -> bytes | None:
    """What the file `path` within the directory `base` has in it; None: it is not there.

    Raises:
        Outside: it can't be reached within `base`, is no file or has more than `most` bytes.
        OSError: it can't be read.
    """
    root = os.open(base, os.O_PATH | os.O_DIRECTORY)
    try:
        found = _guarded(lambda: syscalls.openat2(root, path, os.O_RDONLY | os.O_NONBLOCK, BENEATH))
    except FileNotFoundError:
        return None
    finally:
        os.close(root)
    try:
        data = os.read(found, most + 1) if stat.S_ISREG(os.fstat(found).st_mode) else None
    finally:
        os.close(found)
    if data is None or len(data) > most:
        raise Outside
    return data


def release(target: Path) -> None:
    """Takes a bind away again, and the file or directory that it was on; what it showed is left alone."""
    while syscalls.unmount(target):
        pass
    if target.is_dir():
        target.rmdir()
    else:
        target.unlink(missing_ok=True)


def _open(root: int, sub_path: str) -> int:
    """The descriptor of a path below `root`; missing directories are made with their parent's mode and owner."""
    parts = [part for part in sub_path.split("/") if part not in ("", ".")]
    if not parts:
        return os.dup(root)
    try:
        return _guarded(lambda: syscalls.openat2(root, "/".join(parts), os.O_PATH, BENEATH))
    except FileNotFoundError:
        pass
    parent = os.dup(root)
    try:
        for number, part in enumerate(parts):
            found = _step(root, parent, part, "/".join(parts[: number + 1]))
            os.close(parent)
            parent = found
        return os.dup(parent)
    finally:
        os.close(parent)


def _step(root: int, parent: int, part: str, path: str) -> int:
    try:
        return _guarded(lambda: syscalls.openat2(root, path, os.O_PATH, BENEATH))
    except FileNotFoundError:
        pass
    above = os.fstat(parent)
    try:
        os.mkdir(part, 0o700, dir_fd=parent)
    except FileExistsError:  # a link to nowhere, or somebody was faster
        raise Outside from None
    found = _guarded(lambda: syscalls.openat2(parent, part, os.O_PATH | os.O_NOFOLLOW | os.O_DIRECTORY, BENEATH))
    made = Path(f"/proc/self/fd/{found}")
    os.chown(made, above.st_uid, above.st_gid)
    made.chmod(stat.S_IMODE(above.st_mode))
    return found


def _guarded(call: Callable[[], int]) -> int:
    try:
        return call()
    except OSError as error:
        if error.errno in _ESCAPES:
            raise Outside from error
        raise
