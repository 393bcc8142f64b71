"""What `mesh doctor` says of a host's certificates."""

from pathlib import Path

import pytest

from mesh import pki
from mesh.supervision import checks, setup
from mesh.supervision.layout import Layout
from mesh.supervision.programs import Host

NOW = 1_800_000_000


@pytest.fixture
def host(tmp_path: Path) -> Host:
    made = Host(Layout(tmp_path / "root"), "host1", "10.0.0.1", ("127.0.0.1:7443",))
    setup.directories(made.layout)
    setup.certificates(made, NOW)
    setup.ray_certificate(made, NOW)
    return made


def said(host: Host, days: float) -> dict[str, str]:
    found = checks.certificates(host, NOW + days * pki.DAY)
    return {finding.name.removeprefix("certificate of "): finding.state for finding in found}


def test_certificates_that_are_renewed_in_time_are_well(host: Host) -> None:
    names = {"the authority", "meshd", "the administrator", "this host", "this host's Ray"}
    assert said(host, 0) == dict.fromkeys(names, checks.OK)
    assert said(host, 4) == dict.fromkeys(names, checks.OK)


def test_what_nobody_has_renewed_is_told(host: Host) -> None:
    assert said(host, 6)["the administrator"] == checks.WARNING
    assert said(host, 8)["the administrator"] == checks.FAILURE
    assert said(host, 22)["meshd"] == said(host, 22)["this host"] == checks.WARNING
    assert said(host, 22)["this host's Ray"] == checks.OK


def test_a_joined_host_has_two_and_is_told_how_to_get_them(host: Host) -> None:
    joined = Host(host.layout, "host2", "10.0.0.2", (), "10.0.0.1:7430", has_meshd=False)
    assert set(said(joined, 0)) == {"this host", "this host's Ray"}
    host.layout.agent_certificate.unlink()
    (missing, _) = checks.certificates(joined, NOW)
    assert missing.state == checks.FAILURE
    assert "mesh node join" in missing.mend
