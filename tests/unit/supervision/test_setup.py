"""The files of `mesh up`: made once, kept, mended, private."""

import stat
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from mesh import config, pki
from mesh.errors import Invalid, Unavailable
from mesh.sdk import context
from mesh.store.keyring import load_key_file
from mesh.supervision import setup
from mesh.supervision.layout import Layout
from mesh.supervision.programs import Host, programs
from mesh.supervision.setup import Told
from nodeagent import config as agent_config

NOW = 1_800_000_000


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    monkeypatch.setenv("MESHCONFIG", str(tmp_path / "home" / ".mesh" / "config"))
    made = Host(Layout(tmp_path / "root"), "host1", "10.0.0.1", ("127.0.0.1:7443", "10.0.0.1:7443"))
    setup.directories(made.layout)
    return made


def test_everything_is_private(host: Host) -> None:
    setup.token(host.layout)
    setup.certificates(host, NOW)
    setup.ray_certificate(host, NOW)
    setup.store_key(host.layout)
    setup.configurations(host)
    for path in host.layout.root.rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_a_second_run_changes_nothing(host: Host) -> None:
    assert setup.token(host.layout)
    assert setup.certificates(host, NOW)
    assert setup.configurations(host)
    setup.store_key(host.layout)
    key = host.layout.store_key.read_bytes()
    assert not setup.token(host.layout)
    assert not setup.certificates(host, NOW + 4 * pki.DAY)
    assert not setup.configurations(host)
    setup.store_key(host.layout)
    assert host.layout.store_key.read_bytes() == key


def test_the_programs_understand_what_is_written(host: Host) -> None:
    setup.configurations(host)
    setup.store_key(host.layout)
    meshd = config.parse(host.layout.meshd_config.read_text())
    assert meshd.listen == host.listen
    assert meshd.ray.address == "10.0.0.1:7430"
    assert agent_config.parse(host.layout.agent_config.read_text()).node_name == "host1"
    load_key_file(meshd.key_file)


def test_what_a_user_adds_to_a_configuration_stays(host: Host) -> None:
    setup.configurations(host)
    path = host.layout.agent_config
    path.write_text(path.read_text() + "max_pods = 20\n")
    setup.configurations(host)
    assert tomllib.loads(path.read_text())["max_pods"] == 20


def test_registries_that_a_user_has_added_stay(host: Host) -> None:
    setup.configurations(host)
    path = host.layout.agent_config
    path.write_text(
        path.read_text() + '[[registries]]\nname = "a.test:5000"\nplain_http = true\nmirrors = ["b.test"]\n'
    )
    setup.configurations(host)
    expected = [{"name": "a.test:5000", "plain_http": True, "mirrors": ["b.test"]}]
    assert tomllib.loads(path.read_text())["registries"] == expected


def test_a_broken_configuration_is_told_not_overwritten(host: Host) -> None:
    host.layout.agent_config.write_text("not toml")
    with pytest.raises(Invalid, match=r"agent\.toml"):
        setup.configurations(host)
    assert host.layout.agent_config.read_text() == "not toml"


def test_certificates_are_renewed_at_two_thirds_for_the_same_keys(host: Host) -> None:
    setup.certificates(host, NOW)
    layout = host.layout
    assert setup.certificates(host, NOW + 4 * pki.DAY) == set()
    assert setup.certificates(host, NOW + 5 * pki.DAY) == {layout.admin_certificate}
    assert setup.certificates(host, NOW + 21 * pki.DAY) == {
        layout.meshd_certificate, layout.agent_certificate, layout.admin_certificate
    }  # fmt: skip
    assert pki.belongs(layout.admin_key.read_bytes(), layout.admin_certificate.read_bytes())


def test_a_new_address_gets_a_new_certificate(host: Host) -> None:
    setup.certificates(host, NOW)
    moved = Host(host.layout, "host1", "10.0.0.2", host.listen)
    assert setup.certificates(moved, NOW) == {host.layout.meshd_certificate}
    assert pki.covers(host.layout.meshd_certificate.read_bytes(), ("10.0.0.2", "localhost", "host1"))


def test_ray_has_an_authority_of_its_own_and_keeps_it(host: Host) -> None:
    tls = host.layout.ray_tls
    assert setup.ray_certificate(host, NOW) == {tls / name for name in ("ca.crt", "ca.key", "node.crt", "node.key")}
    certificate, key = (tls / "node.crt").read_bytes(), (tls / "node.key").read_bytes()
    assert pki.signed_by(certificate, (tls / "ca.crt").read_bytes())
    assert pki.covers(certificate, ("10.0.0.1", "127.0.0.1"))
    assert not setup.ray_certificate(host, NOW + 1000 * pki.DAY)
    assert setup.ray_certificate(host, NOW + 1300 * pki.DAY) == {tls / "node.crt"}, "two thirds of five years are over"
    assert (tls / "node.key").read_bytes() == key
    moved = Host(host.layout, "host1", "10.0.0.2", host.listen)
    assert setup.ray_certificate(moved, NOW + 1300 * pki.DAY) == {tls / "node.crt"}


def test_another_authority_of_ray_knows_nothing_of_what_the_old_one_issued(host: Host) -> None:
    tls = host.layout.ray_tls
    setup.ray_certificate(host, NOW)
    old, key = (tls / "node.crt").read_bytes(), (tls / "node.key").read_bytes()
    setup.forget_ray_authority(host.layout)
    assert setup.ray_certificate(host, NOW) == {tls / name for name in ("ca.crt", "ca.key", "node.crt")}
    assert not pki.signed_by(old, (tls / "ca.crt").read_bytes())
    assert pki.signed_by((tls / "node.crt").read_bytes(), (tls / "ca.crt").read_bytes())
    assert (tls / "node.key").read_bytes() == key
    restarted = {p.name for p in programs(host) if set(p.reads) & {tls / "ca.crt", tls / "node.crt"}}
    assert restarted == {"mesh-ray", "meshd"}


def test_what_a_newer_release_was_told_is_read(host: Host) -> None:
    told = setup.Told("host1", "10.0.0.1", ("10.0.0.1:7443",))
    told.write(host.layout)
    host.layout.install.write_text(host.layout.install.read_text().replace("{", '{"mood": "calm",', 1))
    assert setup.Told.read(host.layout) == told


def test_a_host_that_has_not_joined_has_no_part_in_ray(host: Host) -> None:
    joined = Host(host.layout, "host2", "10.0.0.2", (), "10.0.0.1:7430", has_meshd=False)
    with pytest.raises(Unavailable, match="mesh node join"):
        setup.ray_certificate(joined, NOW)
    pair = pki.issue(pki.make_ca("mesh ray", NOW), pki.server("host2", ("10.0.0.2",)), NOW)
    changed = setup.given_ray(host.layout, "t" * 64, pair.certificate, pair)
    assert {p.name for p in changed} == {"token", "ca.crt", "node.key", "node.crt"}
    assert not setup.given_ray(host.layout, "t" * 64, pair.certificate, pair)
    assert not setup.ray_certificate(joined, NOW)


def test_the_context_leads_to_this_mesh_and_is_taken_away_again(host: Host) -> None:
    setup.certificates(host, NOW)
    path = setup.client_context(host, "local")
    assert context.load(path=path).servers == ("127.0.0.1:7443",)
    setup.forget_context(Told("host1", "10.0.0.1", host.listen, "", "local", str(path)))
    assert not path.parent.exists()


def test_another_meshs_context_is_not_overwritten(host: Host) -> None:
    other = context.Context(("10.9.9.9:7443",), "ca", "certificate", "key", name="local")
    context.write(context.Contexts({"local": other}, "local"))
    with pytest.raises(Invalid, match="--context"):
        setup.client_context(host, "local")


def test_a_foreign_directory_is_not_taken(tmp_path: Path) -> None:
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "thesis.tex").touch()
    with pytest.raises(Invalid, match="--root"):
        setup.check(Host(Layout(tmp_path / "r"), "host1", "10.0.0.1", ("127.0.0.1:7443",)))


@pytest.mark.parametrize("name", ["Host", "a_b", "", "-x"])
def test_a_node_name_that_is_none(tmp_path: Path, name: str) -> None:
    with pytest.raises(Invalid, match="--node-name"):
        setup.check(Host(Layout(Path("/r")), name, "10.0.0.1", ("127.0.0.1:7443",)))


def test_what_was_told_is_remembered(host: Host) -> None:
    assert Told.read(host.layout) is None
    told = Told("host1", "10.0.0.1", ("127.0.0.1:7443",), context="local", context_file="/c")
    told.write(host.layout)
    assert Told.read(host.layout) == told


def test_addresses_for_load_balancers_are_written_once_and_kept(host: Host) -> None:
    setup.configurations(host)
    assert setup.configurations(replace(host, pool=("10.0.0.240-10.0.0.250",))) == {host.layout.meshd_config}
    assert not setup.configurations(host)
    assert config.parse(host.layout.meshd_config.read_text()).network.load_balancer_pool == ("10.0.0.240-10.0.0.250",)


def test_several_meshd_are_named_in_the_certificate_and_the_context(host: Host) -> None:
    setup.configurations(host)
    path = host.layout.meshd_config
    files = "".join(f'{name} = "/e/{name}"\n' for name in ("ca", "certificate", "key"))
    more = '\n[etcd]\nendpoints = ["10.0.0.1:2379"]\nname = "a"\nadvertise = "10.0.0.1:7443"\n' + files
    path.write_text(path.read_text() + more + 'servers = ["10.0.0.1:7443", "10.0.0.9:7443"]\n')
    setup.certificates(host, NOW)
    assert pki.covers(host.layout.meshd_certificate.read_bytes(), ("10.0.0.1", "10.0.0.9"))
    setup.client_context(host, "here")
    assert context.load("here").servers == ("127.0.0.1:7443", "10.0.0.1:7443", "10.0.0.9:7443")
    setup.configurations(host)  # `mesh up` again keeps what it was told
    assert config.parse(path.read_text()).etcd.servers[1] == "10.0.0.9:7443"
    path.write_text("etcd = 3")
    with pytest.raises(Invalid, match=r"meshd\.toml"):
        setup.servers(host.layout)
