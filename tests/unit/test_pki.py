"""Certificates: what they say, who signed them, what is refused."""

import pytest

from mesh import pki
from mesh.errors import Invalid

NOW = 1_790_000_000


@pytest.fixture(scope="module")
def ca() -> pki.Pair:
    return pki.make_ca("mesh test", NOW)


def test_a_users_certificate_names_the_user_and_the_groups(ca: pki.Pair) -> None:
    pair = pki.issue(ca, pki.user("ada", ("mesh:admins", "dev")), NOW)
    assert pki.identity(pair.certificate) == pki.Identity("ada", ("mesh:admins", "dev"))
    assert pki.signed_by(pair.certificate, ca.certificate)
    assert pki.expires(pair.certificate) == NOW + 365 * pki.DAY


def test_a_servers_certificate_covers_names_and_addresses(ca: pki.Pair) -> None:
    pair = pki.issue(ca, pki.server("meshd", ("localhost", "127.0.0.1", "::1")), NOW)
    assert pki.covers(pair.certificate, ("localhost", "127.0.0.1"))
    assert not pki.covers(pair.certificate, ("localhost", "10.0.0.1"))


def test_a_foreign_authority_is_told_apart(ca: pki.Pair) -> None:
    foreign = pki.make_ca("mesh test", NOW)
    pair = pki.issue(foreign, pki.user("eve"), NOW)
    assert not pki.signed_by(pair.certificate, ca.certificate)
    assert pki.fingerprint(foreign.certificate) != pki.fingerprint(ca.certificate)


def test_fingerprints_are_colon_separated_sha256(ca: pki.Pair) -> None:
    assert len(pki.fingerprint(ca.certificate).split(":")) == 32


def test_a_key_that_is_not_the_authoritys_is_refused(ca: pki.Pair) -> None:
    other = pki.make_ca("other", NOW)
    with pytest.raises(Invalid, match="not the key of its certificate"):
        pki.issue(pki.Pair(ca.certificate, other.key), pki.user("ada"), NOW)


def test_what_is_no_certificate_is_refused() -> None:
    with pytest.raises(Invalid, match="not a PEM certificate"):
        pki.identity(b"hello")


def test_who_it_is_stands_among_the_alternative_names_and_not_in_the_common_name(ca: pki.Pair) -> None:
    host = pki.identity(pki.issue(ca, pki.node("host1"), NOW).certificate)
    assert (host.kind, host.name) == ("node", "host1")
    odd = pki.identity(pki.issue(ca, pki.user("a/b c@d"), NOW).certificate)
    assert (odd.kind, odd.name, odd.serial > 0, odd.issued == NOW) == ("user", "a/b c@d", True, True)
    for uris in ((), ("mesh://user/",), ("mesh://robot/x",), ("mesh://user/a", "mesh://node/b"), ("spiffe://user/a",)):
        pair = pki.issue(ca, pki.Request("admin", (pki.ADMINS,), uris=uris, client=True), NOW)
        with pytest.raises(Invalid, match="names no identity"):
            pki.identity(pair.certificate)
