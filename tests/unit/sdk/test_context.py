"""The context file: private, whole, and clear about what is wrong with it."""

import stat
from pathlib import Path

import pytest

from mesh.errors import Invalid, NotFound
from mesh.sdk import context
from mesh.sdk.context import Context, Contexts

ONE = Context(("127.0.0.1:7443",), "/pki/ca.crt", "/pki/admin.crt", "/pki/admin.key", name="one")


def test_what_is_written_is_read(tmp_path: Path) -> None:
    where = tmp_path / "deep" / "config"
    two = Context(("a:1", "b:2"), "-----BEGIN CERTIFICATE-----\nx\n", "c", "k", "shop", "two")
    context.write(Contexts().having(ONE).having(two, current=False), where)
    assert context.load(path=where) == ONE
    found = context.load("two", where)
    assert (found.servers, found.namespace, found.pem("ca")) == (two.servers, "shop", two.ca.encode())
    assert found.key == str(where.parent / "k")  # relative to the file


def test_the_file_is_its_owners_alone(tmp_path: Path) -> None:
    where = context.write(Contexts().having(ONE), tmp_path / ".mesh" / "config")
    assert stat.S_IMODE(where.stat().st_mode) == 0o600
    assert stat.S_IMODE(where.parent.stat().st_mode) == 0o700
    assert [p.name for p in where.parent.iterdir()] == ["config"]


def test_the_environment_names_another_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MESHCONFIG", str(tmp_path / "mine"))
    context.write(Contexts().having(ONE))
    assert context.load().name == "one"


def test_the_only_context_needs_no_choice_and_several_do(tmp_path: Path) -> None:
    where = tmp_path / "config"
    context.write(Contexts({"one": ONE}), where)
    assert context.load(path=where).name == "one"
    context.write(Contexts({"one": ONE, "two": ONE}), where)
    with pytest.raises(NotFound, match="no context is current"):
        context.load(path=where)
    with pytest.raises(NotFound, match=r'there is no context "three" in .*; known: one, two'):
        context.load("three", where)


def test_forgetting_the_current_context_leaves_none_current() -> None:
    held = Contexts().having(ONE).without("one")
    assert (dict(held.contexts), held.current) == ({}, "")


def test_no_file_says_where_one_comes_from(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="`mesh up` writes one"):
        context.load(path=tmp_path / "none")
    assert context.read(tmp_path / "none") == Contexts()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [", "it is not YAML"),
        ("- a", 'must be a mapping with "contexts"'),
        ("contexts: {one: 3}", 'context "one" must be a mapping'),
        ("contexts: {one: {servers: here}}", "servers must list host:port"),
        ("contexts: {one: {servers: []}}", "servers must list host:port"),
        ("contexts: {one: {servers: ['a:1'], ca: x, key: y}}", "certificate is missing"),
    ],
)
def test_a_broken_file_is_named_with_what_is_wrong(tmp_path: Path, text: str, said: str) -> None:
    where = tmp_path / "config"
    where.write_text(text)
    with pytest.raises(Invalid, match=said) as caught:
        context.load(path=where)
    assert str(where) in str(caught.value)


def test_a_missing_certificate_is_named(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match=r'cannot read the ca of context "one", /pki/ca\.crt: No such file'):
        ONE.pem("ca")


def test_the_key_is_not_shown() -> None:
    secret = Context(("a:1",), "ca", "cert", "-----BEGIN PRIVATE KEY-----\nabc")
    assert "abc" not in repr(secret)
