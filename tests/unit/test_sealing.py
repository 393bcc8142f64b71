"""Boxes for one host's key: they open there, in their own context, and nowhere else."""

import pytest

from mesh.errors import Invalid
from mesh.sealing import HYBRID, PLAIN, Context, PrivateKey, PublicKey, seal

PARTS = ("node", "key_id", "namespace", "name", "uid", "revision")


def context(key: PrivateKey, **other: str) -> Context:
    said = {"node": "a", "key_id": key.public.id, "namespace": "default", "name": "s", "uid": "u", "revision": "7"}
    return Context(**{**said, **other})


@pytest.mark.parametrize("suite", [HYBRID, PLAIN])
def test_what_is_sealed_opens_and_lies_unreadable(suite: str) -> None:
    key = PrivateKey(suite)
    travelled = PublicKey(key.public.suite, bytes(key.public.raw))
    box = seal(b"hush hush", travelled, context(key))
    assert b"hush" not in box
    assert box != seal(b"hush hush", travelled, context(key))
    assert key.open(box, context(key)) == b"hush hush"


def test_the_hybrid_suite_is_taken_where_it_is_to_be_had() -> None:
    assert PrivateKey().public.suite == HYBRID


@pytest.mark.parametrize("part", PARTS)
def test_a_box_opens_in_no_other_context(part: str) -> None:
    key = PrivateKey()
    box = seal(b"hush", key.public, context(key))
    with pytest.raises(Invalid, match="another host, key or revision"):
        key.open(box, context(key, **{part: "8"}))


def test_parts_of_a_context_do_not_run_into_each_other() -> None:
    key = PrivateKey(PLAIN)
    box = seal(b"hush", key.public, context(key, namespace="ab", name="c"))
    with pytest.raises(Invalid):
        key.open(box, context(key, namespace="a", name="bc"))


@pytest.mark.parametrize("suite", [HYBRID, PLAIN])
def test_no_other_key_opens_it_and_no_damage_goes_unseen(suite: str) -> None:
    key = PrivateKey(suite)
    box = seal(b"hush", key.public, context(key))
    with pytest.raises(Invalid):
        PrivateKey(suite).open(box, context(key))
    for at in (0, len(box) // 2, len(box) - 1):
        with pytest.raises(Invalid):
            key.open(box[:at] + bytes([box[at] ^ 1]) + box[at + 1 :], context(key))
        with pytest.raises(Invalid):
            key.open(box[:at], context(key))


def test_keys_of_no_known_suite_and_no_keys_at_all_are_refused() -> None:
    key = PrivateKey(PLAIN)
    for public in (PublicKey("rot13", key.public.raw), PublicKey(PLAIN, b"short"), PublicKey(HYBRID, b"x" * 32)):
        with pytest.raises(Invalid):
            seal(b"hush", public, context(key))


def test_a_private_key_shows_nothing_of_itself() -> None:
    key = PrivateKey()
    assert repr(key) == f"PrivateKey({HYBRID}, {key.public.id})"
