"""YAML as kubectl reads it (YAML 1.1 as go-yaml v2 has it), and texts that would exhaust a reader."""

import time
from typing import Any

import pytest

from mesh.model import yamltext
from mesh.model.yamltext import MalformedError, documents, plain


def read(text: str) -> Any:
    return [plain(d) for d in documents(text)]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *[(w, True) for w in ("y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON")],
        *[(w, False) for w in ("n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF")],
        *[(w, None) for w in ("", "~", "null", "Null", "NULL")],
        ("yEs", "yEs"),
        ("tRUE", "tRUE"),
        ("none", "none"),
        ("0", 0),
        ("42", 42),
        ("-7", -7),
        ("+7", 7),
        ("0600", 0o600),
        ("-0600", -0o600),
        ("0o600", 0o600),
        ("0x1F", 31),
        ("0b101", 5),
        ("1_000", 1000),
        ("0900", 900.0),  # no octal: go-yaml falls through to a float
        ("1:30", "1:30"),  # no sexagesimals
        ("190:20:30", "190:20:30"),
        ("2026-01-31", "2026-01-31"),
        ("2026-01-31T12:00:00Z", "2026-01-31T12:00:00Z"),
        ("1.5", 1.5),
        (".5", 0.5),
        ("1.", 1.0),
        ("1e3", 1000.0),
        ("1.5e+3", 1500.0),
        ("1e400", "1e400"),
        ("18446744073709551615", 2**64 - 1),
        ("1.2.3", "1.2.3"),
        ("10.0.0.1", "10.0.0.1"),
        ("64Mi", "64Mi"),
        ("100m", "100m"),
        (".inf", ".inf"),  # no number of JSON: stays a text
        ("-", None),
        ("'yes'", "yes"),
        ('"0600"', "0600"),
        ("!!str 0600", "0600"),
        ("!!int 0600", 0o600),
        ("!!binary aGk=", "hi"),
        ("=", "="),
    ],
)
def test_scalars(text: str, value: Any) -> None:
    if text == "-":
        assert read("- ") == [[None]]
        return
    assert read(f"a: {text}") == [{"a": value}]


def test_documents_are_counted_with_the_empty_ones() -> None:
    assert read("a: 1\n---\n---\nb: 2\n") == [{"a": 1}, None, {"b": 2}]
    assert read("---\na: 1\n...\n---\nb: 2\n") == [{"a": 1}, {"b": 2}]
    assert read("") == []
    assert read("# only a comment\n") in ([], [None])


def test_keys_that_are_no_texts_become_texts() -> None:
    assert read("1: a\nyes: b\n2.5: c\n") == [{"1": "a", "true": "b", "2.5": "c"}]


def test_anchors_and_merges() -> None:
    assert read("a: &x {k: 1, l: 2}\nb: *x\nc: {<<: *x, k: 3}\n") == [
        {"a": {"k": 1, "l": 2}, "b": {"k": 1, "l": 2}, "c": {"k": 3, "l": 2}}
    ]
    assert read("a: &x {k: 1}\nb: &y {k: 2, m: 4}\nc: {<<: [*x, *y]}\n")[0]["c"] == {"k": 1, "m": 4}
    assert read('a: {"<<": 1}') == [{"a": {"<<": 1}}]


def test_json_is_read_as_json() -> None:
    assert read('{"a": "\\ud83d\\ude00",\n\t"b": [1, 2.5, true, null]}\n{"c": 1}') == [
        {"a": "😀", "b": [1, 2.5, True, None]},
        {"c": 1},
    ]
    assert read("{a: yes, b: [1]}") == [{"a": True, "b": [1]}]  # YAML in its flow style


@pytest.mark.parametrize(
    ("text", "document", "words"),
    [
        ("a: [1", 1, "is not YAML"),
        ("a: 1\n---\n  b: 2\n c: 3\n", 2, "line 4"),
        ("a: b: c", 1, "quote a value that contains a colon"),
        ("a:\n\t- b\n", 1, "spaces, not tabs"),
        ("name: {{ .Values.name }}", 1, "a key must be a text"),
        ("a: {{ x }}{{ y }}", 1, ""),
        ("a: 1\nb: 2\na: 3\n", 1, 'the key "a" is given twice (line 3)'),
        ('{"a": 1, "a": 2}', 1, 'the key "a" is given twice'),
        ('{"a": NaN}', 1, "NaN is no number"),
        ('{"a": 1e999}', 1, "too large a number"),
        ('{"a": ' + "1" * 5000 + "}", 1, "too many digits"),
        ("a: *nowhere", 1, "names no anchor"),
        ("a: &a [*a]", 1, "names no anchor"),
        ("a: !foo 1", 1, 'the tag "!foo" is not accepted'),
        ("a: !!python/object:os.system {}", 1, "is not accepted"),
        ("a: !!int x", 1, "not of the type"),
        ("a: !!binary '?'", 1, "!!binary"),
        ("? [a]\n: 1", 1, "a key must be a text"),
        ("? \n: 1", 1, "a key must be a text"),
        ("a: {<<: 1}", 1, "merges mappings only"),
        ("a: \x07", 1, "is not YAML"),
        ("[" * 200 + "]" * 200, 1, "nested too deeply"),
        ("".join("  " * n + "a:\n" for n in range(200)), 1, "nested too deeply"),
        ('{"a":' * 100_000 + "1" + "}" * 100_000, 1, "nested too deeply"),
    ],
)
def test_refuses(text: str, document: int, words: str) -> None:
    with pytest.raises(MalformedError) as caught:
        read(text)
    assert caught.value.document == document
    assert words in str(caught.value)


def test_a_bomb_of_aliases_is_refused_before_it_unfolds() -> None:
    lines = ["a0: &a0 [" + ", ".join(["x"] * 10) + "]"]
    lines += [f"a{n}: &a{n} [" + ", ".join([f"*a{n - 1}"] * 10) + "]" for n in range(1, 30)]
    started = time.process_time()
    with pytest.raises(MalformedError, match="aliases unfold to more than"):
        read("\n".join(lines))
    assert time.process_time() - started < 5


def test_a_long_text_repeated_by_aliases_counts_by_its_length() -> None:
    text = f"a: &a {'x' * 100_000}\nb: [" + ", ".join(["*a"] * 100) + "]"
    with pytest.raises(MalformedError, match="aliases unfold"):
        read(text)


def test_a_text_beyond_32_mib_is_refused_unread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yamltext, "TEXT_LIMIT", 100)
    with pytest.raises(MalformedError, match="too large: 101 characters"):
        read("a" * 101)


def test_a_byte_order_mark_is_no_part_of_the_text() -> None:
    assert read("\ufeffa: 1") == [{"a": 1}]
