"""Secrets in their envelopes: unreadable, bound to their place and time, and clear about a missing key."""

import os

import pytest

from mesh.errors import Unavailable
from mesh.model.keys import Key
from mesh.store.codec import PlainCodec
from mesh.store.encrypted import EncryptedCodec
from mesh.store.keyring import Keyring
from mesh.v1.core_pb2 import ConfigMap, Secret

KEY = Key("Secret", "default", "s")


def secret(uid: str = "u1", value: bytes = b"very hush hush") -> Secret:
    obj = Secret(data={"password": value})
    obj.metadata.name, obj.metadata.namespace, obj.metadata.uid = "s", "default", uid
    return obj


@pytest.fixture
def codec() -> EncryptedCodec:
    return EncryptedCodec(Keyring([os.urandom(32)]))


def test_a_secret_comes_back_at_its_revision_and_lies_unreadable(codec: EncryptedCodec):
    obj = secret()
    box = codec.encode(KEY, obj, 7)
    assert b"hush" not in box
    assert b"password" not in box
    back = codec.decode(KEY, box, 7)
    obj.metadata.resource_version = "7"
    assert back == obj


def test_no_two_boxes_are_alike(codec: EncryptedCodec):
    assert codec.encode(KEY, secret(), 7) != codec.encode(KEY, secret(), 7)


def test_other_kinds_lie_plain(codec: EncryptedCodec):
    obj, key = ConfigMap(data={"a": "readable"}), Key("ConfigMap", "default", "c")
    assert codec.encode(key, obj, 3) == PlainCodec().encode(key, obj, 3)
    assert codec.decode(key, codec.encode(key, obj, 3), 3).metadata.resource_version == "3"


@pytest.mark.parametrize(
    ("key", "revision"),
    [
        (Key("Secret", "default", "s"), 6),
        (Key("Secret", "default", "s"), 8),
        (Key("Secret", "default", "other"), 7),
        (Key("Secret", "other", "s"), 7),
        (Key("Secret", "defaults", ""), 7),
    ],
)
def test_a_box_in_another_place_or_time_is_refused(codec: EncryptedCodec, key: Key, revision: int):
    box = codec.encode(KEY, secret(), 7)
    with pytest.raises(Unavailable, match=str(key)):
        codec.decode(key, box, revision)


def test_a_box_cannot_take_another_uid(codec: EncryptedCodec):
    box = codec.encode(KEY, secret("u1"), 7)
    with pytest.raises(Unavailable):
        codec.decode(KEY, box.replace(b"u1", b"u2", 1), 7)


def test_no_damaged_byte_goes_unseen_or_ends_in_a_traceback(codec: EncryptedCodec):
    box = codec.encode(KEY, secret(), 7)
    for at in range(len(box)):
        with pytest.raises(Unavailable):
            codec.decode(KEY, box[:at] + bytes([box[at] ^ 0x41]) + box[at + 1 :], 7)
        with pytest.raises(Unavailable):
            codec.decode(KEY, box[:at], 7)


def test_a_missing_key_is_named(codec: EncryptedCodec):
    ring = Keyring([os.urandom(32)])
    box = EncryptedCodec(ring).encode(KEY, secret(), 7)
    with pytest.raises(Unavailable, match=f"Secret default/s: .*{ring.primary}"):
        codec.decode(KEY, box, 7)


def test_a_new_first_key_leaves_the_old_boxes_readable():
    old, new = os.urandom(32), os.urandom(32)
    box = EncryptedCodec(Keyring([old])).encode(KEY, secret(), 7)
    both = EncryptedCodec(Keyring([new, old]))
    assert both.decode(KEY, box, 7).data["password"] == b"very hush hush"
    with pytest.raises(Unavailable):
        EncryptedCodec(Keyring([old])).decode(KEY, both.encode(KEY, secret(), 8), 8)


def test_plain_and_encrypted_are_never_taken_for_each_other(codec: EncryptedCodec):
    with pytest.raises(Unavailable, match="not stored encrypted"):
        codec.decode(KEY, PlainCodec().encode(KEY, secret(), 7), 7)
    with pytest.raises(Unavailable, match="encrypted"):
        PlainCodec().decode(KEY, codec.encode(KEY, secret(), 7), 7)
