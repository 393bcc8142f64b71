"""A pod's directory: volumes, subPaths, removal (V2, V13, V14)."""

import os
import socket
import stat
from pathlib import Path

import pytest

from mesh.v1.core_pb2 import EmptyDirVolumeSource, HostPathVolumeSource, Pod, PodSecurityContext, Volume
from nodeagent.runtime.syscalls import Mounted
from nodeagent.volumes import memory
from nodeagent.volumes.files import Content, File
from nodeagent.volumes.local import Unmountable
from nodeagent.volumes.tree import ENV_FILE, Tree
from tests.harness.agents import a_pod


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path / "state", tmp_path / "logs", tmp_path / "memory")


def with_volume(**source: object) -> Pod:
    return a_pod("p", volumes=[Volume(name="v", **source)])  # type: ignore[arg-type]


def at(path: Path, kind: str = "") -> Pod:
    return with_volume(host_path=HostPathVolumeSource(path=str(path), type=kind))


def mode(path: str | Path) -> int:
    return stat.S_IMODE(Path(path).stat().st_mode)


def test_an_empty_dir_is_for_everybody_and_lives_with_the_pod(tree: Tree) -> None:  # V2
    pod = with_volume(empty_dir=EmptyDirVolumeSource())
    tree.prepare(pod, 0)
    path = Path(tree.volume_path(pod, pod.spec.volumes[0]))
    assert mode(path) == 0o777
    (path / "kept").write_text("x")
    tree.prepare(pod, 0)
    assert (path / "kept").exists()
    tree.remove("uid-p")
    assert not tree.uids()


def test_an_empty_dir_may_belong_to_a_group(tree: Tree) -> None:
    pod = with_volume(empty_dir=EmptyDirVolumeSource())
    pod.spec.security_context.CopyFrom(PodSecurityContext(fs_group=os.getgid()))
    tree.prepare(pod, 0)
    assert mode(tree.volume_path(pod, pod.spec.volumes[0])) == 0o2777


@pytest.mark.parametrize(
    ("kind", "made", "bits"), [("DirectoryOrCreate", "is_dir", 0o755), ("FileOrCreate", "is_file", 0o644)]
)
def test_what_is_made_when_missing(tree: Tree, tmp_path: Path, kind: str, made: str, bits: int) -> None:  # V13
    path = tmp_path / "new"
    tree.prepare(at(path, kind), 0)
    assert getattr(path, made)()
    assert mode(path) == bits
    tree.prepare(at(path, kind), 0)
    tree.remove_volumes("uid-p")
    assert path.exists()


@pytest.mark.parametrize("kind", ["", "Directory", "File", "Socket", "CharDevice", "BlockDevice"])
def test_what_must_be_there(tree: Tree, tmp_path: Path, kind: str) -> None:  # V13
    with pytest.raises(Unmountable, match=r'volume "v": hostPath .*missing does not exist'):
        tree.prepare(at(tmp_path / "missing", kind), 0)


def test_what_is_there_must_be_of_its_type(tree: Tree, tmp_path: Path) -> None:  # V13
    file, directory, at_socket = tmp_path / "f", tmp_path / "d", tmp_path / "s"
    file.touch()
    directory.mkdir()
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(at_socket))
    fits = {"Directory": directory, "File": file, "Socket": at_socket, "CharDevice": Path("/dev/null"),
            "DirectoryOrCreate": directory, "FileOrCreate": file}  # fmt: skip
    for kind, path in fits.items():
        tree.prepare(at(path, kind), 0)
        wrong = file if "File" not in kind else directory
        with pytest.raises(Unmountable, match="is not a"):
            tree.prepare(at(wrong, kind), 0)
    with pytest.raises(Unmountable, match="is not a block device"):
        tree.prepare(at(file, "BlockDevice"), 0)


def test_a_volume_of_another_kind_is_refused_by_name(tree: Tree) -> None:
    pod = with_volume()
    pod.spec.volumes[0].secret.secret_name = "s"
    with pytest.raises(Unmountable, match="secret is not honoured yet"):
        tree.prepare(pod, 0)


def test_a_sub_path_never_leads_out_of_its_volume(tree: Tree, tmp_path: Path) -> None:  # V14
    outside, volume = tmp_path / "outside", tmp_path / "volume"
    outside.mkdir()
    volume.mkdir()
    (volume / "link").symlink_to(outside)
    (volume / "file").touch()
    pod = at(volume)
    for path in ("link", "link/x", "../outside", "a/../../outside", "file/x"):
        with pytest.raises(Unmountable, match="subPath"):
            tree.sub_path(pod, pod.spec.volumes[0], path, "main-0")


def test_a_file_of_variables_is_one_of_its_volume(tree: Tree, tmp_path: Path) -> None:  # E5
    pod = with_volume(empty_dir=EmptyDirVolumeSource())
    tree.prepare(pod, 0)
    volume = Path(tree.volume_path(pod, pod.spec.volumes[0]))
    (volume / "sub").mkdir()
    (volume / "sub" / "env").write_text("A='b'")
    (tmp_path / "secret").write_text("A='c'")
    (volume / "out").symlink_to(tmp_path / "secret")
    (volume / "long").write_bytes(b"#" * (ENV_FILE + 1))
    (volume / "odd").write_bytes(b"\xff")
    os.mkfifo(volume / "pipe")
    assert tree.read_files(pod, [("v", "sub/env"), ("v", "none"), ("other", "env")]) == {("v", "sub/env"): "A='b'"}
    for path in ("out", "long", "odd", "pipe", "sub"):
        with pytest.raises(Unmountable, match=f'file "{path}" is no text of at most 65536 bytes within the volume'):
            tree.read_files(pod, [("v", path)])


def test_a_record_is_replaced_whole_and_private(tree: Tree) -> None:
    assert tree.read_record("u") == ""
    tree.write_record("u", "one")
    tree.write_record("u", "two")
    assert tree.read_record("u") == "two"
    assert mode(tree.directory("u") / "record.json") == 0o600
    assert mode(tree.directory("u")) == 0o700
    assert [p.name for p in tree.directory("u").iterdir()] == ["record.json"]


def test_old_logs(tree: Tree, tmp_path: Path) -> None:
    logs = tmp_path / "logs" / "default_p_uid-p" / "main"
    logs.mkdir(parents=True)
    for attempt in range(5):
        (logs / f"{attempt}.log").touch()
    tree.remove_old_logs("uid-p", "main", 4)
    assert sorted(p.name for p in logs.iterdir()) == ["3.log", "4.log"]
    assert tree.log_uids() == {"uid-p"}
    tree.remove("uid-p")
    assert tree.log_uids() == set()


def secret_looking(text: str) -> tuple[Pod, dict[str, Content]]:
    volume = Volume(name="v")
    volume.projected.SetInParent()
    return a_pod("p", volumes=[volume]), {"v": Content({"key": File(text.encode())}, secret=True)}


def test_what_could_be_secret_lies_in_memory_and_goes_with_its_pod(tmp_path: Path) -> None:  # V3
    tree = Tree(tmp_path / "state", tmp_path / "logs", tmp_path / "memory", exposure=lambda _: "")
    pod, contents = secret_looking("hush")
    tree.prepare(pod, 0, contents)
    assert (tmp_path / "memory" / "uid-p" / "v" / "key").read_text() == "hush"
    assert not [p for p in (tmp_path / "state").rglob("*") if p.is_file()]
    assert tree.uids() == {"uid-p"}
    tree.remove_volumes("uid-p")
    assert tree.uids() == set()


def test_a_secret_is_not_written_where_it_could_leak(tmp_path: Path) -> None:  # V3
    tree = Tree(tmp_path / "state", tmp_path / "logs", tmp_path / "memory", exposure=lambda where: f"{where} is a disk")
    pod, contents = secret_looking("hush")
    with pytest.raises(Unmountable, match=r'volume "v": a secret is not written where .*memory is a disk'):
        tree.prepare(pod, 0, contents)
    assert not [p for p in tmp_path.rglob("*") if p.is_file()]


@pytest.mark.parametrize(
    ("mounted", "swaps", "why"),
    [
        (Mounted("/m", False, False, "tmpfs", frozenset({"rw", "noswap"})), True, ""),
        (Mounted("/m", False, False, "tmpfs", frozenset({"rw"})), False, ""),
        (Mounted("/m", False, False, "tmpfs", frozenset({"rw"})), True, "turn swap off"),
        (Mounted("/m", False, False, "ramfs", frozenset({"rw"})), True, ""),
        (Mounted("/m", False, False, "ext4", frozenset({"rw"})), False, "/m is on a disk (ext4)"),
    ],
)
def test_what_memory_may_reach_a_disk(mounted: Mounted, swaps: bool, why: str) -> None:  # V3
    assert memory.exposed(mounted, swaps) == why or (why and why in memory.exposed(mounted, swaps))
