"""Files of volumes on disk: all at once, never through a link, never into what is mounted (V5, V14)."""

import contextlib
import itertools
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from nodeagent.runtime import syscalls
from nodeagent.volumes import atomic, lastwords, subpaths
from nodeagent.volumes.files import Content, File


def texts(root: Path) -> dict[str, str]:
    shown = [p for p in root.rglob("*") if not p.relative_to(root).parts[0].startswith("..") and p.is_file()]
    shown += [p for top in root.iterdir() if not top.name.startswith("..") and top.is_dir() for p in top.rglob("*")]
    return {str(p.relative_to(root)): p.read_text() for p in shown if p.is_file()}


def content(**files: str) -> Content:
    return Content({name.replace("__", "/"): File(text.encode()) for name, text in files.items()})


def test_what_is_shown_follows(tmp_path: Path) -> None:
    root = tmp_path / "v"
    assert atomic.write(root, content(a="1", d__x="2", d__y="3"))
    assert texts(root) == {"a": "1", "d/x": "2", "d/y": "3"}
    assert (root / "a").readlink() == Path("..data/a")
    assert atomic.held(root) == content(a="1", d__x="2", d__y="3").revision
    assert not atomic.write(root, content(a="1", d__x="2", d__y="3"))
    assert atomic.write(root, content(a="new", b="4"))
    assert texts(root) == {"a": "new", "b": "4"}
    assert sorted(p.name for p in root.iterdir()) == sorted(
        ["a", "b", "..data", f"..{content(a='new', b='4').revision}"]
    )
    assert atomic.write(root, Content())
    assert texts(root) == {}


def test_a_directory_may_become_a_file(tmp_path: Path) -> None:
    atomic.write(tmp_path, content(a__b="1"))
    atomic.write(tmp_path, content(a="2"))
    assert texts(tmp_path) == {"a": "2"}


def test_a_reader_in_the_middle_sees_one_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    atomic.write(tmp_path, content(a="1", b="1"))
    seen: set[tuple[str, ...]] = set()
    for step in ("mkdir", "symlink_to", "rename", "chmod"):
        monkeypatch.setattr(Path, step, _watched(getattr(Path, step), tmp_path, seen))
    atomic.write(tmp_path, content(a="2", b="2"))
    assert seen == {("1", "1"), ("2", "2")}


def _watched(original: Callable[..., object], root: Path, seen: set[tuple[str, ...]]) -> Callable[..., object]:
    def call(*args: object, **kw: object) -> object:
        seen.add(tuple((root / name).read_text() for name in "ab"))
        result = original(*args, **kw)
        seen.add(tuple((root / name).read_text() for name in "ab"))
        return result

    return call


@pytest.mark.parametrize("step", ["mkdir", "symlink_to", "rename", "unlink"])
def test_what_a_killed_writer_left_is_completed(tmp_path: Path, step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "v"
    atomic.write(root, content(a="1", gone="1"))
    for count in range(20):
        with monkeypatch.context() as patch:
            patch.setattr(Path, step, _mortal(getattr(Path, step), count))
            with contextlib.suppress(InterruptedError):
                atomic.write(root, content(a="2", new="2"))
        assert (root / "a").read_text() in ("1", "2")
        atomic.write(root, content(a="2", new="2"))
        assert texts(root) == {"a": "2", "new": "2"}
        assert len([p for p in root.iterdir() if p.name.startswith("..")]) == 2
        atomic.write(root, content(a="1", gone="1"))


def _mortal(original: Callable[..., object], lives: int) -> Callable[..., object]:
    """Works so many times, then the writer is killed."""
    turns = itertools.count()

    def call(*args: object, **kw: object) -> object:
        if next(turns) >= lives:
            raise InterruptedError
        return original(*args, **kw)

    return call


def test_modes_and_groups(tmp_path: Path) -> None:
    atomic.write(tmp_path, Content({"x/a": File(b"", 0o440)}, group=os.getgid()))
    real = tmp_path / "..data" / "x"
    assert (real.stat().st_mode & 0o7777, (real / "a").stat().st_mode & 0o7777) == (0o2755, 0o440)
    assert tmp_path.stat().st_mode & 0o7777 == 0o2777


# ---- subPath


@pytest.fixture
def bound(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What would have been mounted, without root."""
    seen: list[str] = []
    monkeypatch.setattr(syscalls, "bind", lambda source, _: seen.append(str(Path(source).readlink())))
    monkeypatch.setattr(syscalls, "unmount", lambda _: False)
    return seen


@pytest.mark.parametrize("path", ["out", "out/x", "up", "dangling", "dangling/x", "file/x", "loop", "a/../../outside"])
def test_nothing_outside_is_reached(tmp_path: Path, bound: list[str], path: str) -> None:  # V14
    base = tmp_path / "v"
    base.mkdir()
    (tmp_path / "outside").mkdir()
    (base / "out").symlink_to(tmp_path / "outside")
    (base / "up").symlink_to("../outside")
    (base / "dangling").symlink_to("nowhere")
    (base / "loop").symlink_to("loop")
    (base / "file").touch()
    with pytest.raises((subpaths.Outside, OSError)):
        subpaths.bind(str(base), path, tmp_path / "t" / "0")
    assert bound == []
    assert not list((tmp_path / "outside").iterdir())


def test_links_within_are_followed_and_what_is_missing_is_made(tmp_path: Path, bound: list[str]) -> None:  # V14
    atomic.write(tmp_path / "v", content(key="1"))
    subpaths.bind(str(tmp_path / "v"), "key", tmp_path / "t" / "0")
    assert bound[-1] == str((tmp_path / "v" / "key").resolve())
    assert (tmp_path / "t" / "0").is_file()
    (tmp_path / "v").chmod(0o750)
    subpaths.bind(str(tmp_path / "v"), "new/er", tmp_path / "t" / "0")  # a file before, a directory now
    assert bound[-1] == str(tmp_path / "v" / "new" / "er")
    assert (tmp_path / "v" / "new" / "er").stat().st_mode & 0o777 == 0o750  # of its parent
    subpaths.bind(str(tmp_path / "v"), ".", tmp_path / "t" / "0")
    assert bound[-1] == str(tmp_path / "v")


# ---- last words


def test_messages_are_ends_of_plain_files(tmp_path: Path) -> None:  # L16
    path = Path(lastwords.make(tmp_path, "main", 3))
    assert lastwords.read(tmp_path, "main", 3) == ""
    path.write_bytes(b"a" * 10 + b"\xff" + b"b" * 4095)
    assert lastwords.read(tmp_path, "main", 3) == "\ufffd" + "b" * 4095
    path.unlink()
    path.symlink_to("/etc/passwd")
    assert lastwords.read(tmp_path, "main", 3) == ""
    lastwords.make(tmp_path, "main", 4)
    assert sorted(p.name for p in (tmp_path / "main").iterdir()) == ["3", "4"]
    lastwords.make(tmp_path, "main", 5)
    assert sorted(p.name for p in (tmp_path / "main").iterdir()) == ["4", "5"]


def test_a_log_that_stands_in(tmp_path: Path) -> None:  # L16: 80 lines, 2048 bytes
    log = tmp_path / "0.log"
    stamp = "2027-01-15T08:00:00.000000000+00:00"
    log.write_text("".join(f"{stamp} stdout F line {n}\n" for n in range(200)))
    assert lastwords.from_log(str(log)) == "".join(f"line {n}\n" for n in range(120, 200))
    log.write_text(f"{stamp} stderr P one \n{stamp} stderr F line\n{stamp} stdout F {'x' * 3000}\n")
    assert lastwords.from_log(str(log)) == "x" * 2047 + "\n"
    log.write_text(f"{stamp} stderr P one \n{stamp} stderr F line\n")
    assert lastwords.from_log(str(log)) == "one line\n"
    assert lastwords.from_log(str(tmp_path / "none")) == ""
