"""The manifests that -f names: files, directories, standard input. URLs are refused: nothing is fetched.

Rule: every file is read and checked before anything is sent; one mistake anywhere and nothing is done.
"""

import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from mesh.cli.session import warn
from mesh.errors import Invalid, Violation
from mesh.model import manifest
from mesh.model.kinds import Object, key_of

_SUFFIXES = (".yaml", ".yml", ".json")
_LARGEST = 64 << 20  # bytes of one file


@dataclass(slots=True)
class Manifests:
    """What files hold: objects in order, the reader's warnings, and where each object was."""

    objects: list[Object] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    places: dict[str, str] = field(default_factory=dict)  # by 'Pod "web"'

    @contextmanager
    def placed(self) -> Iterator[None]:
        """Adds to what the service refuses where it was written."""
        try:
            yield
        except Invalid as error:
            named = re.match(r'\w+ "[^"]+"', error.message)
            place = self.places.get(named[0]) if named else None
            if place is None:
                raise
            placed = Invalid(f"{place}: {error.message}", error.violations)
            for note in getattr(error, "__notes__", ()):
                placed.add_note(note)
            raise placed from None


def load(names: Sequence[str], recursive: bool, namespace: str) -> Manifests:
    """The objects of all files; raises Invalid with every mistake of every file."""
    found = Manifests()
    mistakes: list[Invalid] = []
    for source, text in [pair for name in names for pair in _texts(name, recursive)]:
        try:
            loaded = manifest.load(text, source, default_namespace=namespace)
        except Invalid as error:
            mistakes.append(error)
            continue
        found.objects += loaded.objects
        found.warnings += loaded.warnings
        for item in loaded.items:
            name = f'{item.object.DESCRIPTOR.name} "{item.object.metadata.name}"'
            found.places.setdefault(name, f"{source}, document {item.document}")
    if mistakes:
        violations: list[Violation] = [v for mistake in mistakes for v in mistake.violations]
        raise Invalid("\n".join(mistake.message for mistake in mistakes), violations)
    if not found.objects:
        raise Invalid(f"there are no objects in {', '.join(names)}")
    return found


def read(names: Sequence[str], recursive: bool, namespace: str, only: str) -> Manifests:
    """`load` for a verb: the reader's warnings are told, and every object is in the namespace that -n says (`only`)."""
    found = load(names, recursive, namespace)
    check_namespace(found.objects, only)
    for warning in found.warnings:
        warn(warning)
    return found


def check_namespace(objects: Sequence[Object], namespace: str) -> None:
    """Raises Invalid when -n names another namespace than an object itself."""
    for obj in objects:
        key = key_of(obj)
        if namespace and key.namespace and key.namespace != namespace:
            raise Invalid(
                f'{key.kind} "{key.name}" says namespace "{key.namespace}" but -n says "{namespace}": drop one of them'
            )


def _texts(name: str, recursive: bool) -> Iterator[tuple[str, str]]:
    if name == "-":
        yield "standard input", _decoded(sys.stdin.buffer.read(_LARGEST + 1), "standard input")
        return
    if "://" in name:
        raise Invalid(f"cannot read {name}: URLs are not fetched; download the file and name it here")
    path = Path(name).expanduser()
    if not path.is_dir():
        yield name, _content(path)
        return
    found = sorted(p for p in (path.rglob("*") if recursive else path.iterdir()) if p.suffix in _SUFFIXES)
    files = [p for p in found if p.is_file()]
    if not files:
        deeper = "" if recursive else "; -R looks into the directories below too"
        raise Invalid(f"there is no {', '.join(_SUFFIXES)} file in {name}{deeper}")
    for file in files:
        yield str(file), _content(file)


def _content(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return _decoded(file.read(_LARGEST + 1), str(path))
    except OSError as error:
        raise Invalid(f"cannot read {path}: {error.strerror or error}") from error


def _decoded(data: bytes, source: str) -> str:
    if len(data) > _LARGEST:
        raise Invalid(f"cannot read {source}: it is larger than {_LARGEST >> 20} MiB")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Invalid(f"cannot read {source}: it is not UTF-8 text (byte {error.start})") from error
