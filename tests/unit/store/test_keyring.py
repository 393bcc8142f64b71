"""The key file: private, whole, never overwritten."""

import os
from pathlib import Path

import pytest

from mesh.errors import AlreadyExists, Unavailable
from mesh.store.keyring import Keyring, create_key_file, key_id, load_key_file


def test_a_new_key_file_is_private_and_reads_back(tmp_path: Path):
    path = tmp_path / "keys" / "store.key"
    made = create_key_file(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert [p.name for p in path.parent.iterdir()] == ["store.key"]
    read = load_key_file(path)
    assert read.primary == made.primary
    assert read.key(made.primary) == made.key(made.primary)
    assert len(read.key(made.primary)) == 32


def test_a_key_file_is_never_overwritten(tmp_path: Path):
    path = tmp_path / "store.key"
    before = create_key_file(path).primary
    with pytest.raises(AlreadyExists):
        create_key_file(path)
    assert load_key_file(path).primary == before
    assert [p.name for p in tmp_path.iterdir()] == ["store.key"]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o620, 0o601, 0o644])
def test_a_key_file_open_to_others_is_refused_with_the_mending_command(tmp_path: Path, mode: int):
    path = tmp_path / "store.key"
    create_key_file(path)
    path.chmod(mode)
    with pytest.raises(Unavailable, match=f"chmod 600 {path}"):
        load_key_file(path)


def test_what_is_no_key_file_is_refused_in_words(tmp_path: Path):
    path = tmp_path / "store.key"
    with pytest.raises(Unavailable, match="missing"):
        load_key_file(path)
    create_key_file(path)
    good = path.read_bytes()
    for bad, words in (
        (b"", "no key"),
        (b"\n\n", "no key"),
        (good[:-10] + b"\n", "line 1 is damaged"),
        (good.replace(b"mesh-store-key", b"mesh-other-key"), "line 1 is damaged"),
        (good + b"\xff\x00 rubbish", "line 2 is damaged"),
        (good[:20] + bytes([good[20] ^ 1]) + good[21:], "line 1 is damaged"),
    ):
        path.write_bytes(bad)
        with pytest.raises(Unavailable, match=words):
            load_key_file(path)
    path.unlink()
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Unavailable):
        load_key_file(path)
    path.unlink()
    os.mkfifo(path, 0o600)
    with pytest.raises(Unavailable, match="regular file"):
        load_key_file(path)


def test_the_first_of_several_keys_encrypts_and_all_are_there(tmp_path: Path):
    old, new = tmp_path / "old", tmp_path / "new"
    first, second = create_key_file(old), create_key_file(new)
    new.write_bytes(new.read_bytes() + old.read_bytes())
    both = load_key_file(new)
    assert both.primary == second.primary
    assert both.key(first.primary) == first.key(first.primary)


def test_keys_are_not_printed():
    key = os.urandom(32)
    assert repr(Keyring([key])) == f"Keyring({key_id(key)})"
