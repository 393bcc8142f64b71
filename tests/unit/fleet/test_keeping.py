"""A host's credentials stay good: certificate, authorities and Ray's token, given when they differ, to itself alone."""

import asyncio
import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from mesh import authority, pki
from mesh.errors import Invalid, Unavailable
from mesh.fleet import raytoken
from mesh.fleet.keeping import Keeping
from mesh.fleet.raytoken import RayToken
from mesh.v1.node_pb2 import HostCredentials, HostKey, ObserveRequest
from nodeagent import keeping as agents
from nodeagent.identity import Identity
from nodeagent.volumes.vault import Vault
from tests.harness.bent_time import bent

NOW = 1_800_000_000
FIRST, SECOND = "1" * 64, "2" * 64


class Issuer:
    """An authority, as meshd has it."""

    def __init__(self) -> None:
        self.now = NOW
        self.held = authority.made("mesh", NOW)
        self.away = False

    def renewed(self, node: str, chain: bytes) -> bytes | None:
        if self.away:
            raise Unavailable("its key is kept elsewhere")
        if not authority.stale(chain, self.held, self.now):
            return None
        return self.held.certify(pki.node(node), chain, self.now, pki.HOST_LIFE)

    def keeping(self, ray: RayToken | None = None) -> Keeping:
        return Keeping(self, lambda: self.held.bundle, lambda: self.now * 1_000_000_000, ray)


class Host:
    """One host's files."""

    def __init__(self, root: Path, name: str, issuer: Issuer) -> None:
        (root / "ray").mkdir(parents=True)
        files = (root / file for file in ("agent.crt", "agent.key", "ca.crt"))
        self.identity = Identity(name, *files, root / "ray" / "token")
        wish = pki.wish()
        chain = issuer.held.certify(pki.node(name), wish.certificate, issuer.now, pki.HOST_LIFE)
        self.identity.certificate.write_bytes(chain)
        self.identity.key.write_bytes(wish.key)
        self.identity.ca.write_bytes(issuer.held.bundle)
        self.identity.ray_token.write_text(FIRST)
        self.vault = Vault(name)

    def told(self) -> HostKey:
        return self.identity.announce("boot", b"nonce", self.vault.public)

    def keep(self, given: HostCredentials | None) -> None:
        if given is not None:
            agents.keep(self.identity, given)


@pytest.fixture
def issuer() -> Issuer:
    return Issuer()


@pytest.fixture
def host(tmp_path: Path, issuer: Issuer) -> Host:
    return Host(tmp_path / "a", "a", issuer)


def test_a_certificate_is_renewed_for_its_key_at_two_thirds_of_its_life(host: Host, issuer: Issuer) -> None:
    keeping = issuer.keeping()
    before = host.identity.certificate.read_bytes()
    for days in (0, 1, 19):
        issuer.now = NOW + days * pki.DAY
        assert keeping.due("a", host.told()) is None
    issuer.now = NOW + 20 * pki.DAY + 1
    stamp = host.identity.stamp
    host.keep(keeping.due("a", host.told()))
    after = host.identity.certificate.read_bytes()
    assert pki.expires(after) > pki.expires(before)
    assert pki.identity(pki.split(after)[0]).name == "a"
    assert pki.belongs(host.identity.key.read_bytes(), after)
    assert host.identity.stamp != stamp, "it is announced anew"
    assert host.identity.certificate.stat().st_mode & 0o777 == 0o600
    assert keeping.due("a", host.told()) is None


def test_a_new_authority_reaches_every_host_at_once(host: Host, issuer: Issuer) -> None:
    keeping = issuer.keeping()
    assert keeping.due("a", host.told()) is None
    issuer.held = issuer.held.rotated("mesh", issuer.now, 31)
    host.keep(keeping.due("a", host.told()))
    assert host.identity.ca.read_bytes() == issuer.held.bundle
    assert pki.signed_by(pki.split(host.identity.certificate.read_bytes())[0], issuer.held.certificate)
    assert keeping.due("a", host.told()) is None
    issuer.held = issuer.held.finished()
    host.keep(keeping.due("a", host.told()))
    assert len(pki.split(host.identity.ca.read_bytes())) == 1


def test_an_authority_whose_key_is_away_is_asked_again(host: Host, issuer: Issuer) -> None:
    keeping = issuer.keeping()
    issuer.now += 25 * pki.DAY
    issuer.away = True
    assert keeping.due("a", host.told()) is None
    issuer.away = False
    assert keeping.due("a", host.told()) is None, "not for each question"
    issuer.now += 61
    given = keeping.due("a", host.told())
    assert given is not None
    assert given.certificate


def test_a_host_takes_no_certificate_but_its_own(host: Host, issuer: Issuer, tmp_path: Path) -> None:
    other = Host(tmp_path / "b", "b", issuer)
    before = host.identity.certificate.read_bytes()
    wrong = (
        HostCredentials(certificate=other.identity.certificate.read_bytes()),
        HostCredentials(certificate=issuer.held.certify(pki.node("a"), pki.wish().certificate, NOW, pki.DAY)),
        HostCredentials(certificate=issuer.held.certify(pki.user("a"), before, NOW, pki.DAY)),
        HostCredentials(certificate=b"none"),
        HostCredentials(authorities=b"none"),
        HostCredentials(ray_token="../../etc/passwd"),
    )
    for given in wrong:
        with pytest.raises(Invalid):
            host.keep(given)
    assert host.identity.certificate.read_bytes() == before
    assert host.identity.ray_token.read_text() == FIRST


# ---- Ray's token


def digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


def says(token: str, stale: bool = False) -> HostKey:
    return HostKey(ray_token=digest(token), ray_stale=stale)


@bent
async def test_the_head_is_the_last_to_lose_the_old_token(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(FIRST)
    ray = RayToken(file, lambda: "head")
    behind = {"a", "b"}

    def waits(has: object) -> Iterator[str]:
        assert callable(has)
        return (name for name in sorted(behind | {"head"}) if not has(name))

    running = asyncio.create_task(ray.run(waits))
    await asyncio.sleep(1)
    assert ray.due("a", says(FIRST)) == ("", False)
    ray.rotate()
    await asyncio.sleep(1)
    token, now = ray.due("a", says(FIRST))
    assert (len(token), now) == (64, False)
    assert token != FIRST
    assert ray.due("head", says(FIRST)) == ("", False)
    assert ray.due("a", says(token, stale=True)) == ("", False)
    await asyncio.sleep(5)
    assert file.read_text() == FIRST, "b has not answered"
    assert RayToken(file, lambda: "head").due("b", says(FIRST))[0] == token, "a meshd that dies goes on"
    ray.due("b", says(token))
    await asyncio.sleep(2)
    assert file.read_text() == token
    assert not (tmp_path / "token.next").exists()
    assert file.stat().st_mode & 0o777 == 0o600
    assert ray.due("head", says(token, stale=True)) == (token, True)
    assert ray.due("head", says(token)) == ("", False)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


@bent
async def test_a_host_that_does_not_answer_is_left_out_in_the_end(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(FIRST)
    ray = RayToken(file, lambda: "head")
    running = asyncio.create_task(ray.run(lambda _has: ["away"]))
    ray.rotate()
    await asyncio.sleep(raytoken.PATIENCE - 1)
    assert file.read_text() == FIRST
    await asyncio.sleep(2)
    assert file.read_text() != FIRST
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


def test_another_hosts_meshd_gives_the_head_its_token_last(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(FIRST)
    (tmp_path / "token.next").write_text(SECOND)
    begun = RayToken(file, lambda: "head")
    assert begun.due("head", says(FIRST)) == ("", False), "others come first"
    (tmp_path / "token.next").replace(file)
    ended = RayToken(file, lambda: "head")
    assert ended.due("head", says(FIRST)) == (SECOND, True)
    assert ended.due("head", says(SECOND)) == ("", False)


def test_who_has_no_ray_is_given_none(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(FIRST)
    ray = RayToken(tmp_path / "token", lambda: "")
    ray.rotate()
    assert ray.due("a", HostKey()) == ("", False)


@bent
async def test_a_hosts_ray_follows_when_meshd_asks_no_more(host: Host) -> None:
    ended: list[float] = []
    loop = asyncio.get_running_loop()
    tasks: list[asyncio.Task[None]] = []
    keeping = agents.Keeping(
        host.identity, lambda work: tasks.append(asyncio.create_task(work)), lambda: ended.append(loop.time())
    )
    await keeping.asked(ObserveRequest(credentials=HostCredentials(ray_token=SECOND), wait_milliseconds=4000))
    assert host.identity.ray_token.read_text() == SECOND
    for _ in range(5):
        await asyncio.sleep(3)
        assert (await keeping.asked(ObserveRequest(wait_milliseconds=4000))).wait_milliseconds == 4000
    assert not ended
    last = loop.time()
    await asyncio.gather(*tasks)
    assert ended == [pytest.approx(last + agents.SILENCE, abs=0.01)]


@bent
async def test_the_heads_ray_is_started_again_once_the_answer_is_out(host: Host) -> None:
    ended: list[float] = []
    loop = asyncio.get_running_loop()
    tasks: list[asyncio.Task[None]] = []
    keeping = agents.Keeping(
        host.identity, lambda work: tasks.append(asyncio.create_task(work)), lambda: ended.append(loop.time())
    )
    given = HostCredentials(ray_token=FIRST, ray_now=True)
    asked = await keeping.asked(ObserveRequest(credentials=given, wait_milliseconds=4000))
    assert asked.wait_milliseconds == 0
    await keeping.asked(ObserveRequest(credentials=given))
    await asyncio.gather(*tasks)
    assert ended == [pytest.approx(agents.ANSWERED, abs=0.01)]
