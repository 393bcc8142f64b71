"""Searches what lies on this host's disks for a word that must not be there, in every shape it may have taken.

Rule: it says what it searched and what it did not, and why. What is memory (tmpfs, ramfs) is not searched: a secret may
lie there. A file that is too big to hold is read in pieces that overlap.
"""

import base64
import errno
import json
import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote

MEMORY = frozenset(("tmpfs", "ramfs", "devtmpfs"))
NO_FILES = frozenset(
    (
        "proc",
        "sysfs",
        "cgroup",
        "cgroup2",
        "devpts",
        "mqueue",
        "nsfs",
        "bpf",
        "debugfs",
        "tracefs",
        "securityfs",
        "fusectl",
        "configfs",
        "pstore",
        "hugetlbfs",
        "overlay",
    )
)  # fmt: skip - an overlay shows directories that are searched where they lie
PIECE = 8 << 20  # bytes


@dataclass(frozen=True, slots=True)
class Trace:
    """A place where a word was found, and in which shape."""

    place: str
    shape: str


@dataclass(slots=True)
class Searched:
    """What was looked at: below each place the files and bytes; what was left out and why; what was found."""

    files: dict[str, int] = field(default_factory=dict)
    bytes: dict[str, int] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    traces: list[Trace] = field(default_factory=list)

    def add(self, other: "Searched") -> None:
        """Takes over what another search saw."""
        for place, count in other.files.items():
            self.files[place] = max(count, self.files.get(place, 0))
            self.bytes[place] = max(other.bytes[place], self.bytes.get(place, 0))
        self.left_out |= other.left_out
        self.traces += [trace for trace in other.traces if trace not in self.traces]


def shapes(word: str) -> dict[str, bytes]:
    """The word as it could be written: by the name of the shape. It is at least 12 characters long."""
    raw = word.encode()
    found = {
        "as it is": raw,
        "hexadecimal": raw.hex().encode(),
        "hexadecimal, upper case": raw.hex().upper().encode(),
        "URL-escaped": quote(word, safe="").encode(),
        "URL-escaped, lower case": quote(word, safe="").lower().encode(),
        "JSON": json.dumps(word)[1:-1].encode(),
        "UTF-16, little end first": word.encode("utf-16-le"),
        "UTF-16, big end first": word.encode("utf-16-be"),
        "reversed": raw[::-1],
    }
    for offset in range(3):  # base64 depends on where in a text the word begins
        head = base64.b64encode(b"\0" * offset + raw)
        first = -(-offset * 8 // 6)  # characters that the bytes before it have a part in
        length = (len(raw) * 8 - (first * 6 - offset * 8)) // 6
        text = head[first : first + length]
        found[f"base64, at {offset}"] = text
        found[f"base64 for URLs, at {offset}"] = text.translate(bytes.maketrans(b"+/", b"-_"))
    unique: dict[str, bytes] = {}
    for name, shape in found.items():
        if shape not in unique.values():
            unique[name] = shape
    return unique


def search(places: Iterable[Path], words: Iterable[str], mounts: Mapping[str, str] | None = None) -> Searched:
    """Every file below the places that lies on a disk. `mounts`: kinds of file systems by mount point; this host's
    unless given."""
    needles = [(name, shape) for word in words for name, shape in shapes(word).items()]
    longest = max((len(shape) for _, shape in needles), default=1)
    kinds = mounts if mounts is not None else mounted()
    seen = Searched()
    for place in places:
        if not place.exists():
            seen.left_out[str(place)] = "is not there"
            continue
        kind = _kind_of(place, kinds)
        if kind in MEMORY | NO_FILES:
            seen.left_out[str(place)] = f"is {kind}, and no disk"
            continue
        count = size = 0
        for path in _files(place, kinds, seen):
            read = _search_file(path, needles, longest, seen)
            count, size = count + 1, size + read
        seen.files[str(place)], seen.bytes[str(place)] = count, size
    return seen


def search_text(place: str, text: bytes, words: Iterable[str]) -> Searched:
    """Something that is no file: what a program says."""
    seen = Searched({place: 1}, {place: len(text)})
    for word in words:
        seen.traces += [Trace(place, name) for name, shape in shapes(word).items() if shape in text]
    return seen


def mounted() -> dict[str, str]:
    """Kinds of file systems by mount point."""
    lines = Path("/proc/self/mountinfo").read_text(errors="surrogateescape").splitlines()
    found = {}
    for line in lines:
        words = line.split(" ")
        found[words[4].replace("\\040", " ")] = words[words.index("-", 6) + 1]
    return found


def _kind_of(path: Path, kinds: Mapping[str, str]) -> str:
    for parent in (path.resolve(), *path.resolve().parents):
        if str(parent) in kinds:
            return kinds[str(parent)]
    return ""


def _files(place: Path, kinds: Mapping[str, str], seen: Searched) -> Iterator[Path]:
    if not place.is_dir():
        yield place
        return
    for directory, below, names in os.walk(place):
        for name in list(below):
            path = str(Path(directory, name))
            kind = kinds.get(path, "")
            if kind in MEMORY | NO_FILES:
                below.remove(name)
                seen.left_out[path] = f"is {kind}, and no disk"
        yield from (Path(directory, name) for name in names)


def _search_file(path: Path, needles: Iterable[tuple[str, bytes]], longest: int, seen: Searched) -> int:
    """The bytes read; what disappears meanwhile is no file any more."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return 0
    with os.fdopen(fd, "rb") as file:
        mode = os.fstat(fd).st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISBLK(mode)):
            return 0
        total, tail, ended = 0, b"", -1
        left = list(needles)
        for at, piece in _pieces(file):
            total += len(piece)
            text = (tail if at == ended else b"") + piece
            ended = at + len(piece)
            hits = [needle for needle in left if needle[1] in text]
            seen.traces += [Trace(str(path), name) for name, _ in hits]
            left = [needle for needle in left if needle not in hits]
            if not left:
                break
            tail = text[-longest:]
        return total


def _pieces(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """What is in a file, and where; holes, of which disks' images are full, are passed over."""
    fd, at = file.fileno(), 0
    while True:
        try:
            at = os.lseek(fd, at, os.SEEK_DATA)
            end = os.lseek(fd, at, os.SEEK_HOLE)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return
            end = at + PIECE  # a file system, or a device, that does not know of holes
        while at < end and (piece := os.pread(fd, min(PIECE, end - at), at)):
            yield at, piece
            at += len(piece)
        if at < end:
            return
