"""Round trips: message -> YAML or JSON -> message loses nothing, for random messages of every kind."""

import random
from typing import Any

import pytest
from google.protobuf.message import Message
from hypothesis import given, settings
from hypothesis import strategies as st

from mesh.model import manifest, reading
from mesh.model.fields import Field, Many, Shape, fields_of
from mesh.model.kinds import KINDS, Kind
from mesh.model.times import to_timestamp
from mesh.model.yamltext import documents
from mesh.v1.core_pb2 import ConfigMap

NASTY = (
    "", "yes", "no", "y", "null", "~", "0600", "0x1f", "1e3", "1:30", "2026-01-31", "2026-01-31T12:00:00Z", "true",
    "- a", "a: b", "a #b", "#", "*x", "&x", "!x", "%", "@", "`", "{}", "[]", "|", ">", "'", '"', "\\", "\t", " lead",
    "trail ", "two\nlines", "two\nlines\n", "\n", "\n\n", "a\n\n", "  a\n b", "a \nb", "tab\tin", "\x00\x07\x1b",
    "\x85\u2028\u2029\ufeff", "😀", "ä", "---", "...", "--- a", "<<", "=", "a" * 200, "x\r\ny", "? a", ": a", "-",
    ".5", "1_000", "+1", "0o7", "1.", ".inf", "\u200b", "key: |\n  text\n", "🏳️‍🌈\n\tindented\n",
)  # fmt: skip


def _single(field: Field, dice: random.Random, depth: int) -> Any:
    if field.shape is Shape.TEXT:
        return dice.choice(NASTY)
    if field.shape is Shape.BYTES:
        return dice.randbytes(dice.choice((0, 1, 2, 3, 60)))
    if field.shape is Shape.BOOLEAN:
        return dice.random() < 0.5
    if field.shape is Shape.WHOLE:
        return dice.choice((*field.bounds, 0, 1, dice.randint(*field.bounds)))
    if field.shape is Shape.NUMBER:
        return dice.choice((0.0, 1.5, 1e300))
    if field.shape is Shape.TIME:
        return to_timestamp(dice.randint(-(10**18), 10**18))
    raise AssertionError((field, depth))


def fill(message: Message, dice: random.Random, depth: int = 0) -> None:
    """Sets random fields of a message to random, nasty values."""
    for field in fields_of(message.DESCRIPTOR).values():
        if dice.random() < 0.3 + 0.1 * depth:
            continue
        _fill(message, field, dice, depth)


def _fill(message: Message, field: Field, dice: random.Random, depth: int) -> None:
    value = getattr(message, field.name)
    nested = field.shape in (Shape.MESSAGE, Shape.PORT_OR_NAME)
    for _ in range(dice.randint(1, 3) if field.many is not Many.ONE else 1):
        if nested:
            made = (
                value.add()
                if field.many is Many.LIST
                else value[dice.choice(NASTY)]
                if field.many is Many.MAP
                else value
            )
            made.SetInParent()
            if field.shape is Shape.PORT_OR_NAME:
                _fill_port(made, dice)
            elif depth < 6:
                fill(made, dice, depth + 1)
        elif field.many is Many.LIST:
            value.append(_single(field, dice, depth))
        elif field.many is Many.MAP:
            given_ = _single(field, dice, depth)
            key = dice.choice(NASTY)
            if isinstance(given_, Message):
                value[key].CopyFrom(given_)
            else:
                value[key] = given_
        elif field.shape is Shape.TIME:
            value.CopyFrom(_single(field, dice, depth))
        else:
            setattr(message, field.name, _single(field, dice, depth))


def _fill_port(port: Any, dice: random.Random) -> None:
    if dice.random() < 0.5:
        port.int_value = dice.choice((0, 80, -(2**31), 2**31 - 1))
    else:
        port.string_value = dice.choice(NASTY)


def _read(text: str, kind: Kind) -> Message:
    (value,) = documents(text)
    made = kind.message()
    assert reading.read(value, made) == []
    return made


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: k.name)
@pytest.mark.parametrize("seed", range(8))
def test_nothing_is_lost(kind: Kind, seed: int) -> None:
    made = kind.message()
    fill(made, random.Random(f"{kind.name}{seed}"))
    assert _read(manifest.to_yaml(made), kind) == made
    assert _read(manifest.to_json(made), kind) == made
    again = kind.message()
    assert reading.read(manifest.to_dict(made), again) == []
    assert again == made


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.text(min_size=1, max_size=20), st.text(max_size=200), max_size=5))
def test_no_text_is_lost(data: dict[str, str]) -> None:
    made = ConfigMap(data=data)
    text = manifest.to_yaml(made)
    (value,) = documents(text)
    again = ConfigMap()
    assert reading.read(value, again) == []
    assert again == made
