"""A host that has joined becomes a control host by a pack; Ray's head goes from one to the other."""

import json
import stat
import tomllib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from mesh import config, pki
from mesh.cli.up import host_of
from mesh.errors import Conflict, Forbidden, Invalid, Unavailable
from mesh.fleet import rayhead
from mesh.supervision import control, headplace, setup, toml, up
from mesh.supervision.layout import Layout
from mesh.supervision.programs import Host, Program, programs
from mesh.supervision.setup import Told

NOW = 1_800_000_000
SERVERS = ["10.0.0.1:7443", "10.0.0.2:7443"]
JOINED = Told("host2", "10.0.0.2", (), "10.0.0.1:7430", control="10.0.0.1:7443")


def etcd(root: Path, servers: Sequence[str] = SERVERS) -> str:
    files = "\n".join(f'{name} = "{root}/{name}.pem"' for name in ("ca", "certificate", "key"))
    told = (
        f'endpoints = ["10.0.0.1:2379"]\nname = "host1"\nadvertise = "10.0.0.1:7443"\nservers = {json.dumps(servers)}'
    )
    return f"\n[etcd]\n{told}\n{files}\n"


@pytest.fixture
def first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Layout:
    """Of a control host whose store is in etcd."""
    monkeypatch.setenv("MESHCONFIG", str(tmp_path / "context"))
    layout = Layout(tmp_path / "first")
    setup.directories(layout)
    for name in ("ca", "certificate", "key"):
        (tmp_path / f"{name}.pem").write_text(f"etcd's {name}")
    layout.meshd_config.write_text("node_silence_seconds = 9\n" + etcd(tmp_path))
    host = host_of(layout, Told("host1", "10.0.0.1", ("10.0.0.1:7443",)))
    setup.certificates(host, NOW)
    setup.ray_certificate(host, NOW)
    setup.store_key(layout)
    setup.configurations(host)
    return layout


@pytest.fixture
def other(tmp_path: Path, first: Layout) -> Layout:
    """Of a host that has joined."""
    layout = Layout(tmp_path / "other")
    setup.directories(layout)
    (layout.pki / "ca.crt").write_bytes(first.ca_certificate.read_bytes())
    return layout


def test_a_host_that_takes_the_pack_has_a_meshd_of_the_same_mesh(first: Layout, other: Layout) -> None:
    told, changed = control.taken(other, JOINED, control.packed(first))
    host = host_of(other, told)
    assert {p.name for p in programs(host)} - {p.name for p in programs(host_of(other, JOINED))} == {"meshd"}
    assert setup.certificates(host, NOW) >= {other.meshd_certificate, other.admin_certificate}
    setup.configurations(host)
    meshd = config.parse(other.meshd_config.read_text())
    assert (meshd.listen, meshd.etcd.name, meshd.etcd.advertise) == (("10.0.0.2:7443",), "host2", "10.0.0.2:7443")
    assert (meshd.ray.address, meshd.ray.node_ip) == ("10.0.0.1:7430", "10.0.0.2")
    assert meshd.node_silence_seconds == 9
    assert meshd.etcd.key is not None
    assert meshd.etcd.key.read_text() == "etcd's key"
    assert other.store_key.read_bytes() == first.store_key.read_bytes()
    assert other.meshd_key.read_bytes() == first.meshd_key.read_bytes(), "tokens of pods count, whoever leads"
    assert pki.covers(other.meshd_certificate.read_bytes(), ("10.0.0.1", "10.0.0.2", "host2"))
    assert {path for path in changed if not path.is_relative_to(other.root)} == set()
    assert {stat.S_IMODE(path.stat().st_mode) for path in changed} == {0o600}


def test_taking_it_again_changes_what_is_new_and_nothing_else(first: Layout, other: Layout) -> None:
    told, _ = control.taken(other, JOINED, control.packed(first))
    setup.certificates(host_of(other, told), NOW)
    setup.configurations(host_of(other, told))
    assert control.taken(other, told, control.packed(first)) == (told, frozenset())
    assert not setup.configurations(host_of(other, told))
    first.store_key.unlink()
    setup.store_key(first)
    first.meshd_config.write_text(first.meshd_config.read_text().replace("= 9", "= 8"))
    assert control.taken(other, told, control.packed(first)) == (told, {other.store_key, other.meshd_config})
    assert tomllib.loads(other.meshd_config.read_text())["listen"] == ["10.0.0.2:7443"], "its own"


def test_another_authority_of_ray_comes_with_a_pack_and_issues_there_too(first: Layout, other: Layout) -> None:
    told, _ = control.taken(other, JOINED, control.packed(first))
    setup.ray_certificate(host_of(other, told), NOW)
    setup.forget_ray_authority(first)
    setup.ray_certificate(host_of(first, Told("host1", "10.0.0.1", ("10.0.0.1:7443",))), NOW)
    told, changed = control.taken(other, told, control.packed(first))
    authority, certificate = other.ray_tls / "ca.crt", other.ray_tls / "node.crt"
    assert authority in changed
    assert certificate in setup.ray_certificate(host_of(other, told), NOW)
    assert pki.signed_by(certificate.read_bytes(), (first.ray_tls / "ca.crt").read_bytes())


def test_what_is_kept_elsewhere_is_not_in_a_pack(first: Layout, other: Layout) -> None:
    first.ca_key.unlink()
    control.taken(other, JOINED, control.packed(first))
    assert not other.ca_key.exists()


def test_a_mesh_whose_store_is_a_file_has_no_second_meshd(first: Layout, tmp_path: Path) -> None:
    table = tomllib.loads(first.meshd_config.read_text())
    del table["etcd"]
    first.meshd_config.write_text(toml.dump(table))
    with pytest.raises(Invalid, match="mesh control etcd"):
        control.packed(first)
    with pytest.raises(Unavailable, match="on a control host"):
        control.packed(Layout(tmp_path))


def test_the_store_goes_into_etcd_as_a_text_says(first: Layout, tmp_path: Path) -> None:
    told = Told("host1", "10.0.0.1", ("10.0.0.1:7443",))
    before = first.meshd_config.read_text()
    assert control.with_etcd(first, told, etcd(tmp_path)) == before, "again"
    three = control.with_etcd(first, told, etcd(tmp_path, [*SERVERS, "10.0.0.3:7443"]))
    assert config.parse(three).etcd.servers[2] == "10.0.0.3:7443"
    assert first.meshd_config.read_text() == before, "nothing is written yet"
    with pytest.raises(Invalid, match="mesh up --listen"):
        control.with_etcd(first, told, etcd(tmp_path, ["10.0.0.2:7443"]))
    with pytest.raises(Invalid, match=r"docs/ha\.md"):
        control.with_etcd(first, told, "endpoints = []")
    with pytest.raises(Invalid, match="endpoints"):
        control.with_etcd(first, told, etcd(tmp_path).replace(":2379", ""))


def test_the_first_host_must_know_of_the_second(first: Layout, other: Layout) -> None:
    pack = control.packed(first)
    with pytest.raises(Invalid, match=r"10\.0\.0\.3:7443"):
        control.taken(other, replace(JOINED, node_ip="10.0.0.3"), pack)
    assert not other.store_key.exists()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 1, "files": {}, "config": ""}', '{"format": 2}'])
def test_what_is_no_pack_is_refused(other: Layout, text: str) -> None:
    with pytest.raises(Invalid, match=r"mesh control pack|another release"):
        control.taken(other, JOINED, text)


def test_only_the_files_of_a_pack_are_written(first: Layout, other: Layout) -> None:
    pack = json.loads(control.packed(first))
    pack["files"]["../../stray"] = "x"
    _, changed = control.taken(other, JOINED, json.dumps(pack))
    assert "stray" not in {path.name for path in changed}
    assert not (other.root.parent.parent / "stray").exists()


def test_rays_head_goes_to_the_second_once_the_first_is_silent(
    first: Layout, other: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    told, _ = control.taken(other, JOINED, control.packed(first))
    silent = Unavailable("nothing answers")

    def prove(_address: str, _tls: Path, _seconds: float) -> None:
        if silent is not None:
            raise silent

    monkeypatch.setattr(rayhead, "prove", prove)
    there = control.moved(other, told, "10.0.0.2")
    assert (there.join, host_of(other, there).has_meshd) == ("", True)
    assert host_of(other, there).ray_head == "10.0.0.2:7430"
    back = control.moved(first, Told("host1", "10.0.0.1", ("10.0.0.1:7443",)), "10.0.0.2")
    assert (back.join, host_of(first, back).has_meshd) == ("10.0.0.2:7430", True), "it has a meshd still"
    worker = control.moved(other, replace(JOINED, node_name="host3", node_ip="10.0.0.3"), "10.0.0.2")
    assert (worker.join, host_of(other, worker).has_meshd) == ("10.0.0.2:7430", False)
    assert worker.control == "10.0.0.1:7443,10.0.0.2:7443"
    assert control.moved(other, worker, "10.0.0.2") == worker
    silent = None
    with pytest.raises(Conflict, match="Ray's head is there"):
        control.moved(other, told, "10.0.0.2")
    silent = Forbidden("it is not ours")
    with pytest.raises(Forbidden):
        control.moved(other, told, "10.0.0.2")


class Installer:
    """A supervisor that is told units alone."""

    def __init__(self) -> None:
        self.argv: dict[str, tuple[str, ...]] = {}

    def install(self, _host: Host, wanted: Sequence[Program]) -> set[str]:
        self.argv = {program.name: program.argv for program in wanted}
        return set(self.argv)


def test_a_first_host_that_was_lost_finds_out_where_rays_head_is_by_now(
    first: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    supervisor = Installer()
    monkeypatch.setattr(up, "supervisor_of", lambda _: supervisor)
    told = Told("host1", "10.0.0.1", ("10.0.0.1:7443",), context="local")
    told.write(first)
    for known in ("", "10.0.0.1:7430"):
        assert headplace.found(first, lambda _, known=known: known) == "", "nobody has said so, or it is here"
        assert Told.read(first) == told

    words = headplace.found(first, lambda etcd: "10.0.0.2:7430" if etcd.servers else "")
    assert "10.0.0.2:7430" in words
    after = Told.read(first)
    assert after is not None
    assert (after.join, after.with_meshd, after.context) == ("10.0.0.2:7430", True, "local"), "a control host still"
    assert "--address=10.0.0.2:7430" in supervisor.argv["mesh-ray"]
    assert "meshd" in supervisor.argv
    assert config.parse(first.meshd_config.read_text()).ray.address == "10.0.0.2:7430"
    assert headplace.found(first, lambda _: "10.0.0.2:7430") == "", "then Ray starts"


def test_a_host_whose_store_is_a_file_asks_nobody(other: Layout) -> None:
    def ask(_: config.Etcd) -> str:
        raise AssertionError("there is nobody to ask")

    JOINED.write(other)
    assert headplace.found(other, ask) == ""
    other.meshd_config.write_text("node_silence_seconds = 9\n")
    assert headplace.found(other, ask) == ""


def test_a_host_without_meshd_can_not_have_rays_head(other: Layout) -> None:
    with pytest.raises(Invalid, match="mesh control add"):
        control.moved(other, JOINED, "10.0.0.2")
