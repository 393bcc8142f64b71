"""Files of the agent's own: whole, and root's alone."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from nodeagent.wholefile import write_whole


@pytest.fixture
def open_to_all() -> Iterator[None]:
    """What is made may be read by everybody, unless it says otherwise."""
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.usefixtures("open_to_all")
def test_the_new_file_takes_the_old_ones_place_and_is_its_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "x"
    write_whole(path, b"1", durable=True)
    write_whole(path, b"2")
    assert (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) == (b"2", 0o600)
    assert len(list(tmp_path.iterdir())) == 1


def test_a_reader_that_has_the_old_file_goes_on_reading_it(tmp_path: Path) -> None:
    path = tmp_path / "x"
    write_whole(path, b"old")
    with path.open("rb") as reader:
        write_whole(path, b"new")
        assert reader.read() == b"old"
