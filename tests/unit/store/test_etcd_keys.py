"""The store's keys in the box in which they go to the other meshd."""

import base64
import os

import pytest

from mesh.errors import Unavailable
from mesh.store.etcdkeys import opened, sealed
from mesh.store.keyring import Keyring

MESHD, ANOTHER = b"-----BEGIN PRIVATE KEY-----\none\n", b"-----BEGIN PRIVATE KEY-----\ntwo\n"


def test_who_has_meshds_key_gets_the_keys_in_their_order() -> None:
    ring = Keyring([os.urandom(32), os.urandom(32)])
    box = sealed(ring, MESHD)
    assert opened(box, MESHD + b"\n").all() == ring.all()
    assert opened(box, MESHD).primary == ring.primary
    for key in ring.all():
        assert key not in box
        assert base64.b64encode(key) not in box


def test_nobody_else_opens_it_and_no_other_box_counts() -> None:
    box = sealed(Keyring([os.urandom(32)]), MESHD)
    for wrong in (box[:-1], box[:5], b"", bytes([box[0] ^ 1]) + box[1:]):
        with pytest.raises(Unavailable, match="mesh control pack"):
            opened(wrong, MESHD)
    with pytest.raises(Unavailable, match="mesh control pack"):
        opened(box, ANOTHER)
