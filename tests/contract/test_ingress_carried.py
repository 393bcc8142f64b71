"""What Ingress carries: TLS by name (H5), headers, WebSockets, gRPC; and that its HAProxy is always there."""

import grpc
import pytest

from tests.harness.ingress import Mesh, ask, serving
from tests.harness.ingresstexts import PREFIX, ingress, path, rule

pytestmark = pytest.mark.asyncio(loop_scope="module")

# ---- TLS (H5)


async def test_certificates_follow_names_and_the_meshs_own_is_for_all_others(mesh: Mesh) -> None:
    mesh.secret("one")
    mesh.secret("two")
    tls = ", tls: [{hosts: [one.test], secretName: one}, {hosts: ['*.two.test'], secretName: two}]"
    mesh.apply(ingress(rule("", path("/", PREFIX, "foo")), more=tls))
    await mesh.changed()
    assert [await mesh.shown(n) for n in ("one.test", "a.two.test", "two.test", "x.test")] == [
        "one-0", "two-0", "ingress.mesh", "ingress.mesh",
    ]  # fmt: skip
    answer = await mesh.get("one.test", tls=True)
    said = answer.said["headers"]
    assert (said["x-forwarded-proto"], said["x-forwarded-host"]) == ("https", "one.test")


async def test_tls_without_hosts_is_the_default_certificate(mesh: Mesh) -> None:
    mesh.secret("default")
    mesh.apply(ingress(rule("", path("/", PREFIX, "foo")), more=", tls: [{secretName: default}]"))
    await mesh.changed()
    assert await mesh.shown("x.test") == "default-0"


async def test_a_new_certificate_is_shown_without_a_reload(mesh: Mesh) -> None:
    mesh.secret("turn")
    mesh.apply(ingress(rule("", path("/", PREFIX, "foo")), more=", tls: [{hosts: [turn.test], secretName: turn}]"))
    await mesh.changed()
    before = (await mesh.engine.master.workers()).current
    mesh.secret("turn", serial=1)
    await mesh.changed()
    assert (await mesh.shown("turn.test"), (await mesh.engine.master.workers()).current) == ("turn-1", before)


# ---- what is carried


async def test_headers_say_who_asked_and_how(mesh: Mesh) -> None:
    mesh.apply(ingress(rule("foo.test", path("/", PREFIX, "foo"))))
    await mesh.changed()
    said = (await mesh.get("foo.test", headers={"X-Forwarded-For": "6.6.6.6"})).said["headers"]
    names = ("x-forwarded-for", "x-real-ip", "x-forwarded-proto", "x-forwarded-port", "host")
    assert [said[n] for n in names] == ["127.0.0.1", "127.0.0.1", "http", str(mesh.http), "foo.test"]


async def test_websockets(mesh: Mesh) -> None:
    mesh.apply(ingress(rule("foo.test", path("/", PREFIX, "foo"))))
    await mesh.changed()
    reader, writer = await mesh.connect()
    upgrade = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="}
    answer = await ask(reader, writer, "foo.test", headers=upgrade)
    assert answer.status == 101
    writer.write(b"words")
    assert await reader.readexactly(5) == b"WORDS"
    writer.close()


async def test_grpc_over_tls_to_a_pod_that_speaks_it_plainly(mesh: Mesh) -> None:
    server = grpc.aio.server()

    async def shout(request: bytes, _context: object) -> bytes:
        return request.upper()

    handler = grpc.method_handlers_generic_handler("a.B", {"Shout": grpc.unary_unary_rpc_method_handler(shout)})
    server.add_generic_rpc_handlers((handler,))
    server.add_insecure_port("127.78.0.1:8080")
    await server.start()
    await mesh.service("calls", protocol="grpc")
    mesh.put_pod("calls-0", "127.78.0.1", "calls")
    mesh.secret("calls", "calls.test")
    mesh.apply(ingress(rule("calls.test", path("/", PREFIX, "calls")),
                       more=", tls: [{hosts: [calls.test], secretName: calls}]"))  # fmt: skip
    await mesh.changed()
    credentials = grpc.ssl_channel_credentials(mesh.ca.certificate)
    options = [("grpc.ssl_target_name_override", "calls.test")]
    async with grpc.aio.secure_channel(f"127.0.0.1:{mesh.https}", credentials, options) as channel:
        assert await channel.unary_unary("/a.B/Shout")(b"words") == b"WORDS"
    await server.stop(None)


async def test_an_haproxy_that_dies_as_soon_as_it_is_there_is_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving() as fresh:
        master = fresh.engine.master
        start, died = master.start, False

        async def dying() -> None:
            nonlocal died
            await start()
            if not died:
                died = True
                await master.kill()

        monkeypatch.setattr(master, "start", dying)
        fresh.apply(ingress(rule("foo.test", path("/", PREFIX, "nobody"))))
        await fresh.changed()
        assert died
        assert (await fresh.get("foo.test")).status == 503  # somebody answers
