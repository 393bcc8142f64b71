"""Registries of agent.toml as Podman's configuration, and the words for a registry that is away (I4, S4)."""

import tomllib

import pytest

from mesh.errors import Invalid
from nodeagent.config import parse
from nodeagent.registries import Registry, authorities, registries_conf
from nodeagent.runtime.images import pull_failure

HOST = 'node_name = "a"\nnode_ip = "192.0.2.1"\nroot = "/r"\n'
TEXT = (
    HOST
    + """
max_parallel_pulls = 2
image_gc_high_percent = 90
image_gc_low_percent = 50
[[registries]]
name = "docker.io"
mirrors = ["mirror.test:5000", "secure.test/hub"]
[[registries]]
name = "mirror.test:5000"
plain_http = true
[[registries]]
name = "secure.test/hub"
ca = "/etc/ca.pem"
"""
)


def test_mirrors_and_plain_http() -> None:
    config = parse(TEXT)
    assert config.registries[1] == Registry("mirror.test:5000", plain_http=True)
    assert (config.max_parallel_pulls, config.image_gc_high_percent, config.image_gc_low_percent) == (2, 90, 50)
    written = tomllib.loads(registries_conf(config.registries))
    hub = written["registry"][0]
    assert (hub["prefix"], hub["location"], hub["insecure"]) == ("docker.io", "docker.io", False)
    assert hub["mirror"] == [
        {"location": "mirror.test:5000", "insecure": True},
        {"location": "secure.test/hub", "insecure": False},
    ]
    assert authorities(config.registries) == {"secure.test": "/etc/ca.pem"}


def test_nothing_configured_speaks_no_plain_http() -> None:
    assert parse(HOST).registries == ()
    assert "insecure = true" not in registries_conf(())


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("registries = 3", "registries"),
        ("[[registries]]\nmirrors = []", "registries[0].name"),
        ('[[registries]]\nname = "a"\nplain_http = "yes"', "registries[0].plain_http"),
        ('[[registries]]\nname = "a"\nmirrors = [1]', "registries[0].mirrors"),
        ('[[registries]]\nname = "a"\ncolour = 1', "registries[0].colour"),
        ("max_parallel_pulls = 0", "max_parallel_pulls"),
        ("max_parallel_pulls = true", "max_parallel_pulls"),
        ("image_gc_low_percent = 85", "image_gc_low_percent"),
    ],
)
def test_what_is_wrong_is_named(text: str, field: str) -> None:
    with pytest.raises(Invalid) as refused:
        parse(HOST + text)
    assert [v.field for v in refused.value.violations] == [field]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        ('initializing source docker://a: pinging: Get "http://a": dial tcp: connect: connection refused',
         "RegistryUnavailable"),
        ("initializing source docker://a: lookup a on 1.1.1.1: no such host", "RegistryUnavailable"),
        ("initializing source docker://a: received unexpected HTTP status: 503 Service Unavailable",
         "RegistryUnavailable"),
        ("initializing source docker://a: reading manifest 2: manifest unknown", "ErrImagePull"),
        ("initializing source docker://a: unauthorized: authentication required", "ErrImagePull"),
    ],
)  # fmt: skip
def test_a_registry_that_is_away_is_told_from_an_image_that_is_not_there(error: str, reason: str) -> None:  # S4
    assert pull_failure("a:1", error).reason == reason
