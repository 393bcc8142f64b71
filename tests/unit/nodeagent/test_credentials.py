"""Which credentials are for which image: the longest match first (I4)."""

import base64
import json

import pytest

from nodeagent.credentials import CONFIG, CONFIG_JSON, credentials_for
from nodeagent.runtime.port import Credentials
from nodeagent.secrets import Secrets


def entry(text: str) -> dict[str, str]:
    return {"auth": base64.b64encode(text.encode()).decode()}


def secrets(**auths: str) -> Secrets:
    config = json.dumps({"auths": {place: entry(text) for place, text in auths.items()}}).encode()
    return Secrets({"s": {".dockerconfigjson": config}}, {"s": CONFIG_JSON})


@pytest.mark.parametrize(
    ("place", "reference", "fits"),
    [
        ("registry.example", "registry.example/team/app:1", True),
        ("registry.example:5000", "registry.example:5000/app", True),
        ("registry.example", "registry.example:5000/app", False),
        ("registry.example/team", "registry.example/team/app:1", True),
        ("registry.example/team", "registry.example/team:1", True),
        ("registry.example/team", "registry.example/teams/app:1", False),
        ("registry.example/team/app", "registry.example/team/app@sha256:00", True),
        ("https://registry.example/v2/", "registry.example/app", True),
        ("https://index.docker.io/v1/", "docker.io/library/app:1", True),
        ("*.example", "registry.example/app", True),
        ("*.example", "a.registry.example/app", False),
        ("other.example", "registry.example/app", False),
        ("", "registry.example/app", False),
    ],
)
def test_places(place: str, reference: str, fits: bool) -> None:
    found = credentials_for(reference, ["s"], secrets(**{place: "ada:pass:word"}))
    assert found == ([Credentials("ada", "pass:word")] if fits else [])


def test_the_longest_match_comes_first_and_each_once() -> None:
    held = secrets(**{"r.example": "wide:x", "r.example/team": "near:x", "*.example": "wild:x"})
    assert [c.username for c in credentials_for("r.example/team/app", ["s", "s"], held)] == ["near", "wide", "wild"]


def test_the_older_form_and_plain_names() -> None:
    old = Secrets({"s": {".dockercfg": json.dumps({"r.example": {"username": "a", "password": "b"}}).encode()}},
                  {"s": CONFIG})  # fmt: skip
    assert credentials_for("r.example/app", ["s"], old) == [Credentials("a", "b")]


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"auths": 5}', '{"auths": {"r.example": 5}}', '{"auths": {"r.example": {"auth": "%"}}}']
)
def test_what_can_not_be_read_is_no_credential(text: str) -> None:
    held = Secrets({"s": {".dockerconfigjson": text.encode()}}, {"s": CONFIG_JSON})
    assert credentials_for("r.example/app", ["s", "missing"], held) == []


def test_a_password_is_not_shown() -> None:
    assert "hush" not in repr(credentials_for("r.example/a", ["s"], secrets(**{"r.example": "ada:hush"})))
    assert "hush" not in repr(secrets(**{"r.example": "ada:hush"}))
