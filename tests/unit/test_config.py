"""meshd.toml: what is read, and how mistakes are named."""

from pathlib import Path

import pytest

from mesh import config
from mesh.errors import Invalid

MINIMAL = """
data_dir = "/var/lib/mesh/meshd"
key_file = "/var/lib/mesh/keys/store.key"
[pki]
ca = "/p/ca.pem"
certificate = "/p/meshd.pem"
key = "/p/meshd.key"
"""


def fields_of(text: str) -> dict[str, str]:
    with pytest.raises(Invalid) as caught:
        config.parse(text)
    return {v.field: v.reason for v in caught.value.violations}


def test_defaults_fill_what_is_not_said() -> None:
    read = config.parse(MINIMAL)
    assert read.listen == ("127.0.0.1:7443",)
    assert read.network == config.Network("10.244.0.0/16", 24)
    assert read.store_file == Path("/var/lib/mesh/meshd/store.db")
    assert read.ray.address == ""


def test_everything_can_be_said() -> None:
    text = (
        'listen = ["0.0.0.0:7443", "[::1]:7443"]\nnode_silence_seconds = 4\n'
        + MINIMAL
        + '[network]\ncluster_cidr = "10.0.0.0/9"\nservice_cidr = "10.128.0.0/16"\n'
        + 'load_balancer_pool = ["10.1.0.1-10.1.0.4", "10.1.0.64/28", "10.1.0.9"]\nnode_ports = "31000-31999"\n'
        + '[ray]\naddress = "127.0.0.1:7430"\ntoken_file = "/t"\nhome = "/h"\ntls_dir = "/s"\n'
        + "[log]\njson = false"
    )
    read = config.parse(text)
    assert (read.listen[0], read.node_silence_seconds, read.log.json) == ("0.0.0.0:7443", 4, False)
    assert read.ray.token_file == Path("/t")


ETCD = """
[etcd]
endpoints = ["10.0.0.1:2379", "10.0.0.2:2379"]
ca = "/e/ca.crt"
certificate = "/e/meshd.crt"
key = "/e/meshd.key"
name = "host1"
advertise = "10.0.0.1:7443"
"""


def test_a_store_in_etcd_needs_all_that_it_takes_to_reach_it() -> None:
    read = config.parse(MINIMAL + ETCD)
    assert (read.etcd.endpoints[1], read.etcd.prefix, read.etcd.lease_seconds) == ("10.0.0.2:2379", "/mesh/", 5)
    assert fields_of(MINIMAL + '[etcd]\nendpoints = ["10.0.0.1:2379"]').keys() == {
        "etcd.ca", "etcd.certificate", "etcd.key", "etcd.name", "etcd.advertise"}  # fmt: skip


@pytest.mark.parametrize(
    ("line", "field"),
    [
        ('endpoints = ["10.0.0.1"]', "etcd.endpoints[0]"),
        ('prefix = "mesh"', "etcd.prefix"),
        ("lease_seconds = 1", "etcd.lease_seconds"),
        ("lease_seconds = 61", "etcd.lease_seconds"),
        ('name = "a/b"', "etcd.name"),
        ('advertise = "host1"', "etcd.advertise"),
    ],
)
def test_what_is_wrong_about_etcd_is_named(line: str, field: str) -> None:
    kept = [said for said in ETCD.splitlines() if not said.startswith(line.partition(" ")[0])]
    assert list(fields_of(MINIMAL + "\n".join([*kept, line]))) == [field]


def test_every_mistake_is_named_at_once() -> None:
    assert fields_of('data_dir = "var"\nlisten = []\nport = 1\n[pki]\nca = 3\nx = 1') == {
        "port": "is not a key of meshd.toml",
        "key_file": "is required",
        "listen": "must be a list of texts, not empty",
        "data_dir": 'must be an absolute path, not "var"',
        "pki.x": "is not a key of meshd.toml",
        "pki.certificate": "is required",
        "pki.key": "is required",
        "pki.ca": "must be a text",
    }


@pytest.mark.parametrize(
    ("line", "field"),
    [
        ('listen = ["7443"]', "listen[0]"),
        ('listen = ["a:70000"]', "listen[0]"),
        ("node_silence_seconds = 0", "node_silence_seconds"),
        ("node_silence_seconds = true", "node_silence_seconds"),
        ("silent_but_alive_seconds = -1", "silent_but_alive_seconds"),
        ("pki = 3", None),
    ],
)
def test_impossible_values_are_refused(line: str, field: str | None) -> None:
    if field is None:
        assert "pki" in fields_of('data_dir = "/a"\nkey_file = "/b"\n' + line)
    else:
        assert field in fields_of(line + MINIMAL)


def test_ranges_of_pods_must_fit() -> None:
    assert "network.node_mask" in fields_of(MINIMAL + "[network]\nnode_mask = 8")
    assert "network.cluster_cidr" in fields_of(MINIMAL + '[network]\ncluster_cidr = "10.244.0.1/16"')


def test_ray_is_told_completely() -> None:
    wrong = fields_of(MINIMAL + '[ray]\naddress = "here"')
    assert set(wrong) == {"ray.address", "ray.token_file", "ray.home", "ray.tls_dir"}


def test_what_is_no_toml_is_refused() -> None:
    with pytest.raises(Invalid, match="cannot read meshd's configuration"):
        config.parse("= 3")


@pytest.mark.parametrize(
    ("line", "field"),
    [
        ('service_cidr = "10.244.8.0/22"', "network.service_cidr"),  # the pods' own
        ('service_cidr = "10.96.0.0/30"', "network.service_cidr"),
        ('node_ports = "30000"', "network.node_ports"),
        ('node_ports = "32000-31000"', "network.node_ports"),
        ('load_balancer_pool = ["10.0.0.9-10.0.0.1"]', "network.load_balancer_pool"),
        ('load_balancer_pool = ["here"]', "network.load_balancer_pool"),
        ('dns_address = "10.1.0.10"', "network.dns_address"),
        ('cluster_domain = "a_b"', "network.cluster_domain"),
    ],
)
def test_ranges_of_services_must_fit(line: str, field: str) -> None:
    assert field in fields_of(MINIMAL + "[network]\n" + line)
