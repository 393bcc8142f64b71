"""What goes to the other meshd, in its box."""

import os

import pytest

from mesh.errors import Unavailable
from mesh.store.etcdboxes import opened, sealed
from mesh.store.etcdlayout import AUTHORITY, KEYS

MESHD, ANOTHER = b"-----BEGIN PRIVATE KEY-----\none\n", b"-----BEGIN PRIVATE KEY-----\ntwo\n"


def test_who_has_meshds_key_gets_what_is_in_it_and_nothing_of_it_shows() -> None:
    content = os.urandom(64)
    box = sealed(content, MESHD, KEYS)
    assert opened(box, MESHD + b"\n", KEYS) == content
    assert content[:16] not in box


def test_nobody_else_opens_it_and_no_other_box_counts() -> None:
    box = sealed(os.urandom(32), MESHD, KEYS)
    for wrong in (box[:-1], box[:5], b"", bytes([box[0] ^ 1]) + box[1:]):
        with pytest.raises(Unavailable, match="mesh control pack"):
            opened(wrong, MESHD, KEYS)
    for key, name in ((ANOTHER, KEYS), (MESHD, AUTHORITY)):
        with pytest.raises(Unavailable, match="mesh control pack"):
            opened(box, key, name)
