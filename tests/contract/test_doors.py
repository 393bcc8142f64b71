"""Getting in, over real sockets: tokens, renewal, revocation, a new authority; each refusal is written down."""

import asyncio
import ssl
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import pytest
from grpc import StatusCode, aio

from mesh import authority, pki, raytls
from mesh.errors import Forbidden, Invalid, MeshError, Unavailable
from mesh.meshd import Settings
from mesh.model.kinds import pack
from mesh.rpc.rayaccess import RayAccess
from mesh.sdk.access import Access
from mesh.sdk.client import AsyncClient
from mesh.sdk.context import Context
from mesh.sdk.enrol import Enrolled, enrol
from mesh.v1 import access_pb2 as ap
from mesh.v1 import control_pb2 as pb
from mesh.v1.access_pb2_grpc import AccessStub
from mesh.v1.control_pb2_grpc import ResourcesStub
from mesh.v1.core_pb2 import Secret
from tests.harness.audits import Audits
from tests.harness.authorities import Clock, issue, made_in
from tests.harness.cli import Cli, run_here
from tests.harness.control import RunningMeshd, control
from tests.harness.objects import config_map
from tests.harness.refusals import refused
from tests.harness.waiting import wait_for_other

RAY_TOKEN = "the token of all Ray processes"
REVOKED = pb.ObjectKey(kind="ConfigMap", namespace="kube-system", name="mesh-revoked")


@dataclass
class Doors:
    mesh: RunningMeshd
    directory: Path
    clock: Clock
    audits: Audits = field(default_factory=Audits)

    @property
    def tokens_at(self) -> str:
        return f"127.0.0.1:{self.mesh.meshd.ports[1]}"

    @property
    def bundle(self) -> bytes:
        return (self.directory / "ca.crt").read_bytes()

    def admin(self) -> AsyncClient:
        return AsyncClient(self.context("admin"))

    def context(self, stem: str) -> Context:
        files = (str(self.directory / name) for name in ("ca.crt", f"{stem}.crt", f"{stem}.key"))
        return Context((self.mesh.address,), *files)

    async def token(self, **wish: object) -> str:
        async with self.admin() as client:
            request = ap.CreateTokenRequest(**{"ttl_seconds": 600, **wish})  # type: ignore[arg-type]
            return (await Access(client.over).create_token(request)).token

    def channel(self, pair: pki.Pair, ca: bytes = b"") -> aio.Channel:
        return self.mesh.channel(pair, ca or self.bundle)

    def refusals(self) -> list[str]:
        return [r["why"] for r in self.audits.records if not r["allowed"]]


def ray_of(directory: Path, now: int) -> RayAccess:
    """What the first host has of Ray."""
    made = raytls.made(now)
    for name, content in (("ca.crt", made.certificate), ("ca.key", made.key), ("token", RAY_TOKEN.encode())):
        (directory / name).write_bytes(content)
    return RayAccess("192.0.2.1:7430", directory / "token", directory)


@pytest.fixture
async def doors(tmp_path: Path) -> AsyncIterator[Doors]:
    directory, clock, audits = tmp_path / "pki", Clock(), Audits()
    _, tls = made_in(directory, ("127.0.0.1", "localhost"))
    ray = ray_of(tmp_path, int(time.time()))
    settings = Settings(authority=directory, listen_tokens=("127.0.0.1:0",), clock=clock, audit=audits, ray=ray)
    async with control(settings=settings, tls=tls) as mesh:
        yield Doors(mesh, directory, clock, audits)


async def whoami(channel: aio.Channel) -> ap.WhoAmIResponse:
    return await AccessStub(channel).WhoAmI(ap.WhoAmIRequest(), timeout=60)


async def test_a_user_comes_in_by_a_token(doors: Doors) -> None:
    token = await doors.token(user="ada", groups=["mesh:viewers"])
    enrolled = await enrol(doors.tokens_at, token)
    assert (enrolled.name, enrolled.node, enrolled.servers) == ("ada", False, (doors.mesh.address,))
    assert enrolled.ray is None, "Ray is for hosts"
    who = await whoami(doors.channel(enrolled.pair, enrolled.authorities))
    assert (who.name, list(who.groups)) == ("ada", ["mesh:viewers", "system:authenticated"])
    assert pki.expires(enrolled.pair.certificate) <= time.time() + pki.LIFE
    assert any('enrolled as user "ada"' in r["why"] and r["by"].startswith("token ") for r in doors.audits.records)


async def test_a_host_comes_in_by_a_token(doors: Doors) -> None:
    enrolled = await enrol(doors.tokens_at, await doors.token(host=True), "host9", "192.0.2.9")
    assert (await whoami(doors.channel(enrolled.pair))).name == "mesh:node:host9"
    ray = enrolled.ray
    assert ray is not None
    assert (ray.head, ray.token) == ("192.0.2.1:7430", RAY_TOKEN)
    assert pki.signed_by(ray.pair.certificate, ray.authority)
    assert pki.covers(ray.pair.certificate, ("192.0.2.9",))
    assert pki.belongs(ray.pair.key, ray.pair.certificate)
    assert not pki.signed_by(ray.pair.certificate, doors.bundle), "the authorities are apart"
    assert RAY_TOKEN not in repr(enrolled)
    named = await doors.token(host=True, node="host1")
    with pytest.raises(Forbidden, match='for the host "host1"'):
        await enrol(doors.tokens_at, named, "host2", "192.0.2.9")
    assert (await enrol(doors.tokens_at, named, "host1", "192.0.2.8")).name == "host1"


async def test_a_token_is_for_one_use_also_for_two_at_once(doors: Doors) -> None:
    token = await doors.token(user="ada", groups=["mesh:admins"])
    results = await asyncio.gather(*(enrol(doors.tokens_at, token) for _ in range(4)), return_exceptions=True)
    assert sum(isinstance(r, Enrolled) for r in results) == 1
    with pytest.raises(Forbidden, match="does not count"):
        await enrol(doors.tokens_at, token)
    assert sum("does not count" in why for why in doors.refusals()) == 4
    assert token.split(".")[2] not in str(doors.audits.records)


async def test_a_token_that_expired_or_was_taken_back_or_never_was_is_refused(doors: Doors) -> None:
    expired, taken = await doors.token(user="a", ttl_seconds=60), await doors.token(user="b")
    async with doors.admin() as client:
        assert {t.user for t in await Access(client.over).tokens()} == {"a", "b"}
        await Access(client.over).revoke_token(taken.split(".")[1])
        doors.clock.ahead = 61
        assert not await Access(client.over).tokens()
    parts = taken.split(".")
    for token in (expired, taken, ".".join([parts[0], parts[1], "a" * 32, parts[3]])):
        with pytest.raises(Forbidden, match="does not count"):
            await enrol(doors.tokens_at, token)
    with pytest.raises(Invalid, match="no token"):
        await enrol(doors.tokens_at, "hello")
    assert len(doors.refusals()) == 3


async def test_a_token_is_not_sent_to_a_stranger(doors: Doors) -> None:
    parts = (await doors.token(user="a")).split(".")
    with pytest.raises(Forbidden, match="the token was not sent"):
        await enrol(doors.tokens_at, ".".join([*parts[:3], "0" * 64]))
    assert doors.refusals() == []


async def test_only_administrators_make_tokens_and_no_reserved_names(doors: Doors) -> None:
    enrolled = await enrol(doors.tokens_at, await doors.token(user="ada", groups=["mesh:editors"]))
    ada = doors.channel(enrolled.pair)
    for call in (
        AccessStub(ada).CreateToken(ap.CreateTokenRequest(user="eve", groups=["mesh:admins"], ttl_seconds=600)),
        AccessStub(ada).ListTokens(ap.ListTokensRequest()),
        AccessStub(ada).Revoke(ap.RevokeRequest(kind="user", name="admin")),
        AccessStub(ada).RotateAuthority(ap.RotateAuthorityRequest()),
        ResourcesStub(ada).Delete(pb.DeleteRequest(key=REVOKED)),
    ):  # fmt: skip
        assert (await refused(call)).code is StatusCode.PERMISSION_DENIED
    wishes: list[dict[str, object]] = [
        {"user": "mesh:node:a"}, {"user": "system:x"}, {"user": "a", "groups": ["mesh:nodes"]}, {"user": ""},
        {"user": "a", "groups": ["x" * 65]}, {"user": "a", "ttl_seconds": 1}, {"host": True, "groups": ["x"]},
        {"host": True, "node": "A_b"},
    ]  # fmt: skip
    for wish in wishes:
        with pytest.raises(Invalid):
            await doors.token(**wish)


async def test_an_editor_cannot_forge_a_token_nor_take_a_revocation_away(doors: Doors) -> None:
    enrolled = await enrol(doors.tokens_at, await doors.token(user="ada", groups=["mesh:editors"]))
    stub = ResourcesStub(doors.channel(enrolled.pair))
    forged = Secret(api_version="v1", kind="Secret", type="mesh/entry-token")
    forged.metadata.namespace, forged.metadata.name = "kube-system", "entry-x"
    for obj in (forged, config_map("mesh-revoked", "kube-system")):
        for call in (stub.Create(pb.CreateRequest(object=pack(obj))), stub.Apply(pb.ApplyRequest(objects=[pack(obj)]))):
            assert (await refused(call)).code is StatusCode.PERMISSION_DENIED


async def test_without_a_certificate_the_token_port_serves_nothing_else(doors: Doors) -> None:
    credentials = grpc.ssl_channel_credentials(doors.bundle)
    async with aio.secure_channel(doors.tokens_at, credentials) as channel:
        for call in (
            ResourcesStub(channel).List(pb.ListRequest(kind="Secret")),
            AccessStub(channel).WhoAmI(ap.WhoAmIRequest()),
            AccessStub(channel).Renew(ap.RenewRequest()),
        ):
            refusal = await refused(call)
            assert (refusal.code, "certificate is required" in refusal.message) == (StatusCode.PERMISSION_DENIED, True)
    assert len(doors.refusals()) == 3


async def test_a_revoked_certificate_is_refused_and_its_watch_ends(doors: Doors) -> None:
    first = await enrol(doors.tokens_at, await doors.token(user="ada", groups=["mesh:editors"]))
    channel = doors.channel(first.pair)
    watch = ResourcesStub(channel).Watch(pb.WatchRequest(kind="Pod"))
    assert (await watch.read()).type == pb.WatchEvent.BOOKMARK
    async with doors.admin() as client:
        await Access(client.over).revoke("user", "ada", "left")
        assert [(r.kind, r.name, r.why) for r in (await Access(client.over).certificates()).revoked] == [
            ("user", "ada", "left")
        ]
    assert (await refused(watch.read())).code is StatusCode.PERMISSION_DENIED
    assert "was revoked" in (await refused(whoami(channel))).message
    assert sum("was revoked" in why for why in doors.refusals()) == 2
    doors.clock.ahead = 2  # who comes again later is somebody new
    again = await enrol(doors.tokens_at, await doors.token(user="ada"))
    assert (await whoami(doors.channel(again.pair))).name == "ada"
    serial = f"{pki.serial(again.pair.certificate):X}"
    async with doors.admin() as client:
        await Access(client.over).revoke("serial", serial)
    assert "was revoked" in (await refused(whoami(doors.channel(again.pair)))).message


async def test_a_host_that_counts_no_more_costs_ray_its_token(doors: Doors) -> None:
    file = doors.directory.parent / "token"
    async with doors.admin() as client:
        await Access(client.over).revoke("user", "ada", "left")
        assert file.read_text() == RAY_TOKEN
        await Access(client.over).revoke("node", "host1", "removed")
    assert len(await asyncio.to_thread(wait_for_other, file, RAY_TOKEN, 60)) == 64
    assert file.stat().st_mode & 0o777 == 0o600


async def test_a_certificate_is_renewed_for_its_own_key_and_identity(doors: Doors) -> None:
    enrolled = await enrol(doors.tokens_at, await doors.token(user="ada", groups=["devs"]))
    stub = AccessStub(doors.channel(enrolled.pair))
    wish = pki.wish()
    certified = await stub.Renew(ap.RenewRequest(request=wish.certificate))
    assert pki.identity(certified.certificate) == pki.Identity("ada", ("devs",))
    assert pki.belongs(wish.key, certified.certificate)
    assert (await whoami(doors.channel(pki.Pair(certified.certificate, wish.key)))).name == "ada"
    assert (await refused(stub.Renew(ap.RenewRequest(request=b"x")))).code is StatusCode.INVALID_ARGUMENT


async def test_a_client_renews_by_itself_while_its_watch_goes_on(doors: Doors) -> None:
    now = int(time.time())
    held = authority.Authority(doors.bundle, (doors.directory / "ca.key").read_bytes())
    old = issue(held, pki.user("admin"), now - 6 * pki.DAY)  # more than two thirds are over
    context = doors.context("late")
    Path(context.certificate).write_bytes(old.certificate)
    Path(context.key).write_bytes(old.key)
    async with AsyncClient(context) as client:
        assert (await Access(client.over).whoami()).name == "admin"
    fresh = Path(context.certificate).read_bytes()
    assert pki.due(fresh, now) > 0
    assert Path(context.key).read_bytes() == old.key


async def test_an_expired_context_says_what_to_do(doors: Doors) -> None:
    held = authority.Authority(doors.bundle, (doors.directory / "ca.key").read_bytes())
    old = issue(held, pki.user("admin"), int(time.time()) - 8 * pki.DAY)
    context = doors.context("late")
    Path(context.certificate).write_bytes(old.certificate)
    Path(context.key).write_bytes(old.key)
    async with AsyncClient(context) as client:
        with pytest.raises(Forbidden, match=r"expired at .*mesh login"):
            await client.status()


async def test_a_new_authority_interrupts_nothing(doors: Doors) -> None:
    """Expiry of what meshd shows, a new authority and the end of the old one, during a watch."""
    early = await enrol(doors.tokens_at, await doors.token(user="ada", groups=["mesh:admins"]))
    old_bundle = doors.bundle
    channel = doors.channel(early.pair, old_bundle)
    watch = ResourcesStub(channel).Watch(pb.WatchRequest(kind="ConfigMap", namespace="default"))
    assert (await watch.read()).type == pb.WatchEvent.BOOKMARK
    async with doors.admin() as client:
        first = await Access(client.over).rotate_authority()
        assert [a.note for a in first] == ["issues", "trusted until the change is over"]
        with pytest.raises(Invalid, match="finish"):
            await Access(client.over).rotate_authority()
        await client.create(config_map("one"))
    assert (await watch.read()).type == pb.WatchEvent.ADDED
    # who knows only the old authority still comes in, and so does who has a certificate of the new one
    assert (await whoami(doors.channel(early.pair, old_bundle))).name == "ada"
    late = await enrol(doors.tokens_at, await doors.token(user="bob"))
    assert not pki.signed_by(late.pair.certificate, old_bundle)
    assert (await whoami(doors.channel(late.pair, late.authorities))).name == "bob"
    assert (await whoami(doors.channel(late.pair, old_bundle))).name == "bob"
    renewed = await AccessStub(channel).Renew(ap.RenewRequest(request=pki.wish(early.pair.key).certificate))
    async with doors.admin() as client:
        assert [a.note for a in await Access(client.over).rotate_authority(finish=True)] == ["issues"]
        await client.create(config_map("two"))
    assert (await watch.read()).type == pb.WatchEvent.ADDED  # on the connection from before all this
    mine = pki.Pair(renewed.certificate, early.pair.key)
    assert (await whoami(doors.channel(mine, renewed.authorities))).name == "ada"
    for pair, ca in ((early.pair, renewed.authorities), (mine, old_bundle)):
        assert (await refused(whoami(doors.channel(pair, ca)))).code is StatusCode.UNAVAILABLE


async def test_meshds_own_certificate_is_renewed_in_time_and_used_at_once(doors: Doors) -> None:
    keeper = doors.mesh.meshd.enrolment
    assert keeper is not None
    before = (doors.directory / "meshd.crt").read_bytes()
    assert keeper.certificates.renew() > 60
    assert (doors.directory / "meshd.crt").read_bytes() == before
    doors.clock.ahead = 21 * pki.DAY
    keeper.certificates.renew()
    after = (doors.directory / "meshd.crt").read_bytes()
    assert pki.expires(after) > pki.expires(before)
    assert (doors.directory / "meshd.crt").stat().st_mode & 0o777 == 0o600
    host, _, port = doors.mesh.address.partition(":")
    shown = await asyncio.to_thread(ssl.get_server_certificate, (host, int(port)))
    assert pki.serial(shown.encode()) == pki.serial(after)


async def test_without_the_authoritys_key_nobody_new_comes_in(doors: Doors) -> None:
    token = await doors.token(user="ada")
    (doors.directory / "ca.key").rename(doors.directory / "away")
    with pytest.raises(MeshError, match="kept elsewhere"):
        await enrol(doors.tokens_at, token)
    async with doors.admin() as client:
        infos = (await Access(client.over).certificates()).certificates
        assert infos[0].note == "its key is kept elsewhere"
        with pytest.raises(Unavailable, match="kept elsewhere"):
            await Access(client.over).rotate_authority()


async def test_the_commands(doors: Doors, tmp_path: Path) -> None:
    cli = Cli(doors.mesh, tmp_path)
    for name, stem in (("ca.pem", "ca.crt"), ("admin.pem", "admin.crt"), ("admin.key", "admin.key")):
        (tmp_path / name).write_bytes((doors.directory / stem).read_bytes())
    made = await cli("token", "create", "--user", "ada", "--group", "mesh:viewers", "--ttl", "10m")
    assert "mesh login 127.0.0.1:0 --token -" in made.err
    assert "user ada" in (await cli("token", "list")).out
    home = {"MESHCONFIG": str(tmp_path / "home" / "config")}
    result = await asyncio.to_thread(
        run_here, ["login", doors.tokens_at, "--token", "-", "--name", "m"], made.out.encode(), home
    )
    assert result.out == 'Logged in as ada; the context "m" is current.\n', result.err
    for path in (tmp_path / "home" / "pki" / "m").iterdir():
        assert path.stat().st_mode & 0o777 == 0o600
    who = await asyncio.to_thread(run_here, ["auth", "whoami"], b"", home)
    assert "mesh:viewers" in who.out
    again = await asyncio.to_thread(run_here, ["certs", "renew"], b"", home)
    assert again.out.startswith("The certificate lasts until"), again.err
    node = await cli("token", "create", "--node", "-o", "token")
    joining = ["node", "join", doors.tokens_at, "--node-name", "host9", "--root", str(tmp_path / ("long" * 20))]
    refusal = await asyncio.to_thread(run_here, joining, node.out.encode(), {})
    assert refusal.code == 1, "the path is too long, and who is not root may not do it"
    assert (await enrol(doors.tokens_at, node.out, "host9", "192.0.2.9")).name == "host9", (
        "what is wrong here uses no token up"
    )
    listed = (await cli("certs", "list")).out
    assert "authority" in listed
    assert "issues" in listed
    assert (await cli("certs", "revoke", "--user", "ada")).out == "user/ada revoked\n"
    assert (await asyncio.to_thread(run_here, ["get", "pods"], b"", home)).err.startswith(
        "Error from server (Forbidden)"
    )
    assert (await cli("certs", "rotate-ca")).out.count("authority") == 2
