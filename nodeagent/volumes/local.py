"""Directories of this host that claims are bound to (V17); they outlive pods and are removed by order alone.

    <state>/volumes/<name of the PersistentVolume>/

Rule: synchronous and idempotent; called in a thread. Nothing but what the mesh has made is ever removed.
"""

import os
import shutil
import stat
from pathlib import Path

from mesh.v1.core_pb2 import Pod, Volume
from mesh.v1.node_pb2 import LocalVolume


class Unmountable(Exception):  # noqa: N818 - a fact about a volume, told to the user
    """A volume can't be made; the message says which and why."""


class Local:
    """Those of one host."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def prepare(self, pod: Pod, volume: Volume, bound: LocalVolume | None) -> str:
        """The host path of a claim's volume, made when the host names it itself; raises Unmountable."""
        claim = volume.persistent_volume_claim.claim_name
        if bound is None:
            raise Unmountable(f'volume "{volume.name}": persistentvolumeclaim "{claim}" is not bound')
        path = Path(bound.path) if bound.path else self._made(bound.name)
        if not path.is_dir():
            raise Unmountable(f'volume "{volume.name}": {path}, of persistentvolumeclaim "{claim}", is no directory')
        context = pod.spec.security_context
        if context.HasField("fs_group") and not volume.persistent_volume_claim.read_only:
            _own(path, context.fs_group, context.fs_group_change_policy)
        return str(path)

    def path(self, name: str) -> Path:
        """Where a directory lies, or would."""
        return self._directory / name

    def _made(self, name: str) -> Path:
        path = self.path(name)
        if not path.is_dir():
            path.mkdir(mode=0o700, parents=True)
            path.chmod(0o777)  # as emptyDir: which user comes is not known
        return path

    def remove(self, name: str) -> bool:
        """Removes a directory; whether nothing of it is left."""
        path = self._directory / name
        if path.parent == self._directory and path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        return not path.exists()


def _own(top: Path, group: int, policy: str) -> None:
    """Gives all of a volume to fsGroup (E11); with OnRootMismatch only when its root is not yet as it should be.

    Another pod may be at work in it meanwhile: everything is reached by descriptor, so that what is swapped for a link
    leads nowhere.
    """
    if policy == "OnRootMismatch" and _is_owned(top.lstat(), group):
        return
    for _, directories, files, at in os.fwalk(top, topdown=False):
        for name in files:
            _give(name, group, 0o660, at)
        for name in directories:
            _give(name, group, 0o770 | stat.S_ISGID, at)
    _give(str(top), group, 0o770 | stat.S_ISGID)  # last: a root that is right tells that all below it is


def _is_owned(found: os.stat_result, group: int) -> bool:
    wanted = 0o070 | stat.S_ISGID
    return found.st_gid == group and found.st_mode & wanted == wanted


def _give(name: str, group: int, mode: int, directory: int | None = None) -> None:
    """What is gone again needs no owner; a link has no mode."""
    try:
        found = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    except FileNotFoundError:
        return
    try:
        path = Path(f"/proc/self/fd/{found}")
        os.chown(path, -1, group)
        is_now = os.fstat(found).st_mode
        if not stat.S_ISLNK(is_now):
            path.chmod(stat.S_IMODE(is_now) | mode)
    finally:
        os.close(found)
