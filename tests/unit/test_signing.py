"""Who may announce a host's key and who may give orders: each by its own certificate, and nobody else."""

import pytest

from mesh import pki, signing
from mesh.errors import Forbidden

NOW = 1_800_000_000
CA = pki.make_ca("mesh", NOW)
OTHER_CA = pki.make_ca("mesh", NOW)
HOST = pki.issue(CA, pki.node("a"), NOW)
MESHD = pki.issue(CA, pki.server("meshd", ("localhost",)), NOW)
WORDS = signing.announcement("a", "boot", b"nonce", "x25519", b"key")


def test_a_host_vouches_for_its_own_key() -> None:
    signed = signing.sign(HOST, signing.HOST_KEY, WORDS)
    signing.verify_host(signed, signing.HOST_KEY, WORDS, "a", CA.certificate, NOW)
    signing.verify_host(signed, signing.HOST_KEY, WORDS, "a", OTHER_CA.certificate + CA.certificate, NOW)


@pytest.mark.parametrize(
    "pair",
    [
        pki.issue(CA, pki.node("b"), NOW),
        pki.issue(CA, pki.user("a"), NOW),
        pki.issue(CA, pki.user("a", (pki.NODES,)), NOW),
        pki.issue(OTHER_CA, pki.node("a"), NOW),
        pki.issue(CA, pki.node("a"), NOW - 3 * pki.DAY, days=1),
        pki.issue(CA, pki.node("a"), NOW + 3 * pki.DAY),
        MESHD,
    ],
    ids=[
        "another host",
        "a user",
        "a user who says it is a host",
        "another authority",
        "expired",
        "too early",
        "meshd",
    ],
)
def test_nobody_else_announces_a_hosts_key(pair: pki.Pair) -> None:
    with pytest.raises(Forbidden):
        signing.verify_host(
            signing.sign(pair, signing.HOST_KEY, WORDS), signing.HOST_KEY, WORDS, "a", CA.certificate, NOW
        )


@pytest.mark.parametrize(
    "words",
    [
        signing.announcement("b", "boot", b"nonce", "x25519", b"key"),
        signing.announcement("a", "other", b"nonce", "x25519", b"key"),
        signing.announcement("a", "boot", b"older", "x25519", b"key"),
        signing.announcement("a", "boot", b"nonce", "x25519", b"mine"),
        signing.announcement("a", "bootn", b"once", "x25519", b"key"),
    ],
)
def test_an_announcement_holds_for_its_host_boot_nonce_and_key_alone(words: bytes) -> None:
    signed = signing.sign(HOST, signing.HOST_KEY, WORDS)
    with pytest.raises(Forbidden):
        signing.verify_host(signed, signing.HOST_KEY, words, "a", CA.certificate, NOW)


def test_only_the_control_service_gives_orders() -> None:
    signed = signing.sign(MESHD, signing.ORDER, b"order")
    signing.verify_control(signed, signing.ORDER, b"order", CA.certificate, NOW)
    for pair in (
        HOST,
        pki.issue(CA, pki.node("meshd"), NOW),
        pki.issue(CA, pki.user("meshd"), NOW),
        pki.issue(CA, pki.server("other", ()), NOW),
        pki.issue(OTHER_CA, pki.server("meshd", ()), NOW),
    ):
        with pytest.raises(Forbidden):
            signing.verify_control(
                signing.sign(pair, signing.ORDER, b"order"), signing.ORDER, b"order", CA.certificate, NOW
            )


def test_a_signature_serves_one_purpose_and_one_text() -> None:
    signed = signing.sign(MESHD, signing.HOST_KEY, b"order")
    with pytest.raises(Forbidden):
        signing.verify_control(signed, signing.ORDER, b"order", CA.certificate, NOW)
    with pytest.raises(Forbidden):
        signing.verify_control(
            signing.sign(MESHD, signing.ORDER, b"order"), signing.ORDER, b"another", CA.certificate, NOW
        )
    with pytest.raises(Forbidden):
        signing.verify_control(signing.Signed(b"no certificate", b""), signing.ORDER, b"order", CA.certificate, NOW)


def test_a_leaf_is_no_authority_in_a_chain() -> None:
    """A host's certificate in between does not make its own issues count."""
    fake = pki.Pair(HOST.certificate, HOST.key)
    forged = pki.issue(fake, pki.node("a"), NOW)
    chained = pki.Pair(forged.certificate + HOST.certificate, forged.key)
    with pytest.raises(Forbidden, match="not of this mesh's authority"):
        signing.verify_host(
            signing.sign(chained, signing.HOST_KEY, WORDS), signing.HOST_KEY, WORDS, "a", CA.certificate, NOW
        )
