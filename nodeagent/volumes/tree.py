"""A pod's directory on the host: volumes, /etc files, the record; and its logs.

    <state>/pods/<uid>/{record.json, etc/, volumes/<name>/, subpaths/, termination/}   <log>/<namespace>_<name>_<uid>/
    <memory>/<uid>/<name>/        volumes whose content could be secret

Rule: synchronous and idempotent; called in a thread. A failure is an OSError, or Unmountable in words.
"""

import os
import shutil
import stat
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType

from mesh.model import quantity
from mesh.model.pods import containers
from mesh.v1.core_pb2 import EmptyDirVolumeSource, HostPathVolumeSource, Pod, Volume
from mesh.v1.node_pb2 import LocalVolume
from nodeagent.runtime import syscalls
from nodeagent.volumes import atomic, lastwords, memory, subpaths
from nodeagent.volumes.files import Content, in_memory
from nodeagent.volumes.local import Local, Unmountable
from nodeagent.wholefile import write_whole

ENV_FILE = 64 * 1024  # bytes that a file of variables may have


class Tree:
    """Where pods' files lie on this host. `exposure` says why what is written below a directory could reach a disk."""

    def __init__(
        self, state_dir: Path, log_dir: Path, memory_dir: Path, exposure: Callable[[Path], str] = memory.exposure
    ) -> None:
        self._pods = state_dir / "pods"
        self._logs = log_dir
        self._memory = memory_dir
        self._exposure = exposure
        self._local = Local(state_dir / "volumes")
        self._claimed: dict[str, dict[str, str]] = {}  # host paths by volume, by pod

    def directory(self, uid: str) -> Path:
        """A pod's directory."""
        return self._pods / uid

    def uids(self) -> set[str]:
        """Pods that have a directory."""
        return {p.name for place in (self._pods, self._memory) if place.is_dir() for p in place.iterdir()}

    def log_uids(self) -> set[str]:
        """Pods that have logs."""
        return {p.name.rpartition("_")[2] for p in self._logs.iterdir()} if self._logs.is_dir() else set()

    def log_directory(self, uid: str) -> Path | None:
        """Where the logs of a pod are, if there are any."""
        return next(iter(self._logs.glob(f"*_{uid}")), None)

    # ---- the record

    def read_record(self, uid: str) -> str:
        """The record's text, "" when there is none."""
        try:
            return (self.directory(uid) / "record.json").read_text()
        except (FileNotFoundError, UnicodeDecodeError):
            return ""

    def write_record(self, uid: str, text: str) -> None:
        """Replaces the record, all or nothing."""
        directory = self.directory(uid)
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_whole(directory / "record.json", text.encode())

    def write_etc(self, uid: str, name: str, text: str) -> str:
        """Writes one /etc file of the pod and returns its path; written in place, for it may be mounted."""
        path = self.directory(uid) / "etc" / name
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o644)
        return str(path)

    # ---- volumes

    def prepare(
        self, pod: Pod, memory_limit: int, contents: Mapping[str, Content] = MappingProxyType({}),
        claims: Mapping[str, LocalVolume] = MappingProxyType({}),
    ) -> None:  # fmt: skip
        """Makes the pod's volumes; raises Unmountable. `memory_limit` bounds emptyDirs in memory; `contents` are the
        files of those volumes that have some, by name; `claims` what its claims are bound to."""
        for volume in pod.spec.volumes:
            if volume.HasField("empty_dir"):
                self._empty_dir(pod, volume, volume.empty_dir, memory_limit)
            elif volume.HasField("host_path"):
                _host_path(volume, volume.host_path)
            elif volume.HasField("persistent_volume_claim"):
                name = volume.persistent_volume_claim.claim_name
                path = self._local.prepare(pod, volume, claims.get(name))
                self._claimed.setdefault(pod.metadata.uid, {})[volume.name] = path
            elif volume.HasField("image"):
                pass  # the runtime has mounted it
            elif volume.name not in contents:
                kind = next((f.json_name for f, _ in volume.ListFields() if f.message_type), "this type")
                raise Unmountable(f'volume "{volume.name}": {kind} is not honoured yet')
            elif contents[volume.name].missing:
                raise Unmountable(f'volume "{volume.name}": {contents[volume.name].missing}')
        self.project(pod, contents)

    def project(self, pod: Pod, contents: Mapping[str, Content], fresh: set[str] | None = None) -> dict[str, str]:
        """Makes the files of volumes what they should be; returns revisions by volume, and adds to `fresh` the names of
        those whose files are new. What is missing something stays
        as it is (V5, V6). Raises Unmountable for a secret that would not stay in memory (V3)."""
        written = {}
        for volume in pod.spec.volumes:
            content = contents.get(volume.name)
            if content is not None and not content.missing:
                if content.secret and (why := self._exposure(self._memory)):
                    raise Unmountable(f'volume "{volume.name}": a secret is not written where it could leak: {why}')
                if atomic.write(Path(self.volume_path(pod, volume)), content) and fresh is not None:
                    fresh.add(volume.name)
                written[volume.name] = content.revision
        return written

    def claim_path(self, name: str) -> Path:
        """The directory that this host has made for a PersistentVolume of that name."""
        return self._local.path(name)

    def volume_path(self, pod: Pod, volume: Volume) -> str:
        """The host path of a prepared volume."""
        if volume.HasField("host_path"):
            return volume.host_path.path
        if volume.HasField("persistent_volume_claim"):
            return self._claimed.get(pod.metadata.uid, {}).get(volume.name, "")
        if in_memory(volume):
            return str(self._memory / pod.metadata.uid / volume.name)
        return str(self.directory(pod.metadata.uid) / "volumes" / volume.name)

    def _empty_dir(self, pod: Pod, volume: Volume, source: EmptyDirVolumeSource, memory_limit: int) -> None:
        path = Path(self.volume_path(pod, volume))
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if source.medium == "Memory":
            wanted = quantity.parse(source.size_limit).whole if source.size_limit else 0
            memory.mount(path, min((s for s in (wanted, memory_limit) if s), default=0), mode=0o777)
        mode = 0o777
        if pod.spec.security_context.HasField("fs_group"):
            os.chown(path, -1, pod.spec.security_context.fs_group)
            mode |= stat.S_ISGID
        path.chmod(mode)
        if _propagates(pod, volume):
            if syscalls.mount_of(str(path)).place != os.path.realpath(path):
                syscalls.bind(str(path), str(path))  # only a mount of its own can pass mounts on
            syscalls.make_shared(str(path))

    def sub_path(self, pod: Pod, volume: Volume, sub_path: str, key: str) -> str:
        """The host path of a subPath, made when missing (V14); raises Unmountable."""
        target = self.directory(pod.metadata.uid) / "subpaths" / key
        try:
            subpaths.bind(self.volume_path(pod, volume), sub_path, target)
        except subpaths.Outside:
            why = "leads out of the volume or through a file"
            raise Unmountable(f'volume "{volume.name}": subPath "{sub_path}" {why}') from None
        return str(target)

    def read_files(self, pod: Pod, wanted: Iterable[tuple[str, str]]) -> dict[tuple[str, str], str]:
        """The texts of those of these files, by volume and path in it, that there are (E5); raises Unmountable."""
        volumes = {volume.name: volume for volume in pod.spec.volumes if volume.HasField("empty_dir")}
        found = {}
        for name, path in wanted:
            if name not in volumes:
                continue
            try:
                data = subpaths.read(self.volume_path(pod, volumes[name]), path, ENV_FILE)
                if data is not None:
                    found[name, path] = data.decode()
            except (subpaths.Outside, UnicodeDecodeError):
                why = f"is no text of at most {ENV_FILE} bytes within the volume"
                raise Unmountable(f'volume "{name}": file "{path}" {why}') from None
        return found

    # ---- last words

    def termination_file(self, uid: str, container: str, attempt: int) -> str:
        """The host path of the file for an attempt's termination message, made when missing (L16)."""
        return lastwords.make(self.directory(uid) / "termination", container, attempt)

    def last_words(self, uid: str, container: str, attempt: int, log_path: str) -> str:
        """An attempt's termination message; `log_path`, if any, stands in for an empty one (L16)."""
        said = lastwords.read(self.directory(uid) / "termination", container, attempt)
        return said or (lastwords.from_log(log_path) if log_path else "")

    # ---- removal

    def remove_volumes(self, uid: str) -> None:
        """Removes what the volumes and /etc files hold; the record and the logs stay."""
        directory = self.directory(uid)
        for group in ("subpaths", "volumes", "etc", "termination"):
            _remove(directory / group)
        _remove(self._memory / uid)

    def retire(self, names: Iterable[str]) -> list[str]:
        """Removes directories that claims had; returns those of which nothing is left."""
        return [name for name in names if self._local.remove(name)]

    def remove(self, uid: str) -> None:
        """Removes everything of the pod, logs included; what its claims hold stays."""
        self.remove_volumes(uid)
        self._claimed.pop(uid, None)
        for written in self._logs.glob(f"*_{uid}"):
            _remove(written)
        _remove(self.directory(uid))

    def remove_old_logs(self, uid: str, container: str, newest: int) -> None:
        """Removes the logs of attempts before the previous one."""
        directory = self.log_directory(uid)
        for path in (directory / container).glob("*.log*") if directory else ():
            number = path.name.partition(".")[0]
            if number.isdigit() and int(number) < newest - 1:
                path.unlink(missing_ok=True)


def _remove(path: Path) -> None:
    """Removes a file or a tree, never through a mount into what is mounted."""
    if not path.is_symlink() and path.is_dir():
        syscalls.unmount_all(path)
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def verify_propagation(path: str, kind: str) -> None:
    """Raises Unmountable where mounts can't be passed on as asked, for the host keeps them to itself (V15)."""
    if kind not in ("HostToContainer", "Bidirectional"):
        return
    found = syscalls.mount_of(path)
    if not (found.shared or (kind == "HostToContainer" and found.slave)):
        what = "a shared mount" if kind == "Bidirectional" else "a shared or slave mount"
        raise Unmountable(f"path {path} is mounted on {found.place} but it is not {what}")


def _propagates(pod: Pod, volume: Volume) -> bool:
    mounts = (m for c in containers(pod.spec) for m in c.volume_mounts if m.name == volume.name)
    return any(m.mount_propagation in ("HostToContainer", "Bidirectional") for m in mounts)


_CHECKS = {
    "Directory": (stat.S_ISDIR, "directory"),
    "DirectoryOrCreate": (stat.S_ISDIR, "directory"),
    "File": (stat.S_ISREG, "file"),
    "FileOrCreate": (stat.S_ISREG, "file"),
    "Socket": (stat.S_ISSOCK, "socket"),
    "CharDevice": (stat.S_ISCHR, "character device"),
    "BlockDevice": (stat.S_ISBLK, "block device"),
}


def _host_path(volume: Volume, source: HostPathVolumeSource) -> None:
    """What is at the path is what `type` says (V13); "…OrCreate" makes it, 0755 or 0644."""
    path = Path(source.path)
    subject = f'volume "{volume.name}": hostPath {source.path}'
    if source.type == "DirectoryOrCreate" and not path.exists():
        path.mkdir(mode=0o755, parents=True)
    elif source.type == "FileOrCreate" and not path.exists():
        if not path.parent.is_dir():
            raise Unmountable(f"{subject} can't be made: there is no directory {path.parent}")
        path.touch(mode=0o644)
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        raise Unmountable(f"{subject} does not exist on this host") from None
    if source.type in _CHECKS:
        check, word = _CHECKS[source.type]
        if not check(mode):
            raise Unmountable(f"{subject} is not a {word}")
