"""Replaces all files of a volume at once, as Kubernetes does (V5): readers see the old ones or the new ones.

    <volume>/..data -> ..<revision>        <volume>/..<revision>/a/b        <volume>/a -> ..data/a

Rule: nothing is written when the link says that the revision is there, so a restarted writer reads it back from the
disk; whatever a killed writer left is completed or removed by the next one.
"""

import os
import shutil
import stat
from pathlib import Path, PurePosixPath

from nodeagent.volumes.files import Content

DATA, NEXT = "..data", "..data_tmp"
DIRECTORY_MODE = 0o755
ROOT_MODE = 0o777


def write(root: Path, content: Content) -> bool:
    """Makes `content` what the volume shows; says whether anything had to be written. Raises OSError."""
    target = f"..{content.revision}"
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = held(root) != content.revision
    if fresh:
        _make(root / target, content)
        _own(root, content, ROOT_MODE)
        (root / NEXT).unlink(missing_ok=True)
        (root / NEXT).symlink_to(target)
        (root / NEXT).rename(root / DATA)
    shown = {PurePosixPath(path).parts[0] for path in content.files}
    there = {entry.name for entry in os.scandir(root)}
    for name in sorted(shown - there):
        (root / name).symlink_to(f"{DATA}/{name}")
    for name in there - shown - {DATA, target}:
        _remove(root / name)
    return fresh


def held(root: Path) -> str:
    """The revision that the volume shows; "" for none."""
    try:
        target = (root / DATA).readlink().name
    except OSError:
        return ""
    return target.removeprefix("..") if (root / target).is_dir() else ""


def _make(directory: Path, content: Content) -> None:
    if directory.exists():  # of a writer that was killed
        shutil.rmtree(directory)
    directory.mkdir(mode=0o700)
    for path, file in content.files.items():
        place = directory / path
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(fd, "wb") as stream:
            stream.write(file.data)
            if content.group is not None:
                os.fchown(fd, -1, content.group)
            os.fchmod(fd, file.mode)
    for made, _, _ in os.walk(directory):
        _own(Path(made), content, DIRECTORY_MODE)


def _own(directory: Path, content: Content, mode: int) -> None:
    if content.group is not None:
        os.chown(directory, -1, content.group)
        mode |= stat.S_ISGID
    directory.chmod(mode)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
