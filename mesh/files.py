"""Files of the mesh: read, or made whole or not at all, readable by their owner alone."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from mesh.errors import Unavailable


@contextmanager
def whole_file(where: str | Path) -> Iterator[IO[bytes]]:
    """A file (0600) beside `where` that takes its place, durable, when the `with` ends well; raises OSError."""
    target = Path(where).expanduser()
    handle, scratch = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}-")
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        Path(scratch).replace(target)
    except BaseException:
        Path(scratch).unlink(missing_ok=True)
        raise


def read_file(path: Path) -> bytes:
    """What it holds; raises Unavailable."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise Unavailable(f"cannot read {path}: {error.strerror}") from error


def sync_directory(path: Path) -> None:
    """Makes names in a directory durable; raises OSError."""
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
