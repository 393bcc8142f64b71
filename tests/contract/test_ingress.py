"""Ingress over real HTTP and HTTPS, through a real HAProxy: hosts, paths, TLS, classes, options (H1 to H6)."""

import asyncio
import base64
import os
from collections import Counter
from collections.abc import AsyncIterator

import grpc
import pytest
import pytest_asyncio

from tests.harness.ingress import Mesh, ask, serving

pytestmark = pytest.mark.asyncio(loop_scope="module")

SHA512 = "TVLlQcbpFVof5W3Yz4DTP6gRstiNuHwwTt6GLc1E5n0U0aDehy0S5knV8wiOQSpT0Y77vwPZN.Pq.H91p5hVO1"  # of "secret"
SERVICES = ("fallback", "foo", "foobar", "bar", "aaa", "wild", "any", "exact")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def mesh() -> AsyncIterator[Mesh]:
    async with serving() as made:
        for name in SERVICES:
            await made.service(name, f"{name}-0")
        yield made


@pytest_asyncio.fixture(autouse=True, loop_scope="module")
async def _empty(mesh: Mesh) -> AsyncIterator[None]:
    yield
    mesh.remove("Ingress")
    mesh.remove("IngressClass")


def path(text: str, kind: str, service: str) -> str:
    where = f"path: '{text}', " if text else ""
    return f"{{{where}pathType: {kind}, backend: {{service: {{name: {service}, port: {{number: 8080}}}}}}}}"


def ingress(*rules: str, name: str = "web", more: str = "", annotations: str = "{}") -> str:
    return f"""
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {{name: {name}, annotations: {annotations}}}
spec: {{rules: [{", ".join(rules)}]{more}}}
"""


def rule(host: str, *paths: str) -> str:
    said = f"host: '{host}', " if host else ""
    return f"{{{said}http: {{paths: [{', '.join(paths)}]}}}}"


def default(service: str) -> str:
    return f"defaultBackend: {{service: {{name: {service}, port: {{name: http}}}}}}"


# ---- paths: what is asked, and who answers; "" is nobody (H2)

EXACT, PREFIX = "Exact", "Prefix"
PATHS = [
    ("exact is that path alone", [("/foo", EXACT, "foo")],
     {"/foo": "foo", "/foo/": "", "/foobar": "", "/FOO": "", "/bar": "", "/foo?q=1": "foo"}),
    ("exact with its last slash", [("/foo/", EXACT, "foo")], {"/foo/": "foo", "/foo": ""}),
    ("a prefix is of whole elements", [("/foo", PREFIX, "foo")],
     {"/foo": "foo", "/foo/": "foo", "/foo/bar": "foo", "/foobar": "", "/": ""}),
    ("a prefix's last slash is nothing", [("/foo/", PREFIX, "foo")], {"/foo": "foo", "/foo/x": "foo", "/foox": ""}),
    ("case matters", [("/Foo", PREFIX, "foo")], {"/Foo": "foo", "/foo": ""}),
    ("of two prefixes the longer one", [("/aaa", PREFIX, "aaa"), ("/aaa/bbb", PREFIX, "bar")],
     {"/aaa/bbb": "bar", "/aaa/bbb/ccc": "bar", "/aaa/ccc": "aaa", "/aaa/bbbxyz": "aaa"}),
    ("the root is everything", [("/", PREFIX, "any"), ("/aaa", PREFIX, "aaa")],
     {"/": "any", "/x/y": "any", "/aaa": "aaa", "/aaax": "any"}),
    ("exact beats prefix", [("/foo", PREFIX, "foo"), ("/foo", EXACT, "exact")],
     {"/foo": "exact", "/foo/": "foo", "/foo/x": "foo"}),
    ("a last star is all below", [("/foo/*", "ImplementationSpecific", "foo")], {"/foo/x": "foo", "/foox": ""}),
    ("as the engine likes it: a prefix", [("/foo", "ImplementationSpecific", "foo")], {"/foo/x": "foo", "/fo": ""}),
    ("no path is every path", [("", "ImplementationSpecific", "any")], {"/": "any", "/x": "any"}),
]  # fmt: skip


@pytest.mark.parametrize(("paths", "asked"), [p[1:] for p in PATHS], ids=[p[0] for p in PATHS])
async def test_paths(mesh: Mesh, paths: list[tuple[str, str, str]], asked: dict[str, str]) -> None:
    mesh.apply(ingress(rule("paths.test", *(path(*p) for p in paths))))
    await mesh.changed()
    for text, service in asked.items():
        answer = await mesh.get("paths.test", text)
        assert (answer.status, answer.pod) == ((200, f"{service}-0") if service else (404, "")), text


# ---- hosts (H1)


async def test_an_exact_host_beats_a_wildcard_which_is_one_label_and_beats_no_host(mesh: Mesh) -> None:
    every = path("/", PREFIX, "any")
    mesh.apply(ingress(rule("*.foo.test", path("/", PREFIX, "wild")), rule("a.foo.test", path("/", PREFIX, "exact")),
                       rule("", every)))  # fmt: skip
    await mesh.changed()
    wanted = {"a.foo.test": "exact", "b.foo.test": "wild", "A.FOO.test:80": "exact", "x.b.foo.test": "any",
              "foo.test": "any", "other": "any", ".foo.test": "any"}  # fmt: skip
    assert {host: (await mesh.get(host)).pod for host in wanted} == {h: f"{s}-0" for h, s in wanted.items()}


async def test_a_hosts_paths_are_its_own(mesh: Mesh) -> None:
    mesh.apply(ingress(rule("a.foo.test", path("/a", PREFIX, "exact")), rule("*.foo.test", path("/", PREFIX, "wild"))))
    await mesh.changed()
    assert (await mesh.get("a.foo.test", "/b")).status == 404


async def test_who_matches_nothing_gets_the_default_backend(mesh: Mesh) -> None:
    mesh.apply(ingress(rule("foo.test", path("/foo", EXACT, "foo")), more=", " + default("fallback")))
    await mesh.changed()
    for host, text in (("foo.test", "/bar"), ("nobody.test", "/foo"), ("", "/")):
        assert (await mesh.get(host, text)).pod == "fallback-0", (host, text)
    assert (await mesh.get("foo.test", "/foo")).pod == "foo-0"


async def test_an_ingress_of_a_default_backend_alone(mesh: Mesh) -> None:
    mesh.apply(ingress().replace("rules: []", default("fallback")))
    await mesh.changed()
    answer = await mesh.get("whoever.test", "/what?so=ever")
    assert (answer.pod, answer.said["path"]) == ("fallback-0", "/what?so=ever")


# ---- several (H4), classes (H6)


async def test_several_are_merged_and_the_older_one_has_what_both_want(mesh: Mesh) -> None:
    mesh.apply(ingress(rule("foo.test", path("/foo", PREFIX, "foo")), name="z-older"))
    mesh.apply(ingress(rule("foo.test", path("/foo", PREFIX, "bar"), path("/bar", PREFIX, "bar")), name="a-younger"))
    await mesh.changed()
    assert [(await mesh.get("foo.test", p)).pod for p in ("/foo", "/bar")] == ["foo-0", "bar-0"]


async def test_ingresses_of_another_engines_class_are_left_alone(mesh: Mesh) -> None:
    for name, controller in (("ours", "mesh/ingress"), ("theirs", "example.com/other")):
        mesh.apply(f"{{apiVersion: networking.k8s.io/v1, kind: IngressClass, metadata: {{name: {name}}}, "
                   f"spec: {{controller: {controller}}}}}")  # fmt: skip
    for name, class_ in (("a", "ours"), ("b", "theirs"), ("c", "nobodys")):
        mesh.apply(ingress(rule(f"{name}.test", path("/", PREFIX, "foo")), name=name,
                           more=f", ingressClassName: {class_}"))  # fmt: skip
    old = "{kubernetes.io/ingress.class: ours}"
    mesh.apply(ingress(rule("d.test", path("/", PREFIX, "foo")), name="d", annotations=old))
    await mesh.changed()
    assert [(await mesh.get(f"{h}.test")).status for h in "abcd"] == [200, 404, 404, 200]


async def test_a_service_that_is_not_there_or_has_no_pods_is_503(mesh: Mesh) -> None:
    await mesh.service("empty")
    mesh.apply(ingress(rule("foo.test", path("/none", PREFIX, "nobody"), path("/empty", PREFIX, "empty"))))
    await mesh.changed()
    assert [(await mesh.get("foo.test", p)).status for p in ("/none", "/empty")] == [503, 503]


# ---- load balancing, endpoints


async def test_requests_are_spread_and_pods_come_and_go_without_a_reload(mesh: Mesh) -> None:
    await mesh.service("spread", *(f"spread-{n}" for n in range(4)))
    mesh.apply(ingress(rule("spread.test", path("/", PREFIX, "spread"))))
    await mesh.changed()
    before = await mesh.engine.master.workers()

    def evenly(found: Counter[str], *numbers: int) -> None:
        assert set(found) == {f"spread-{n}" for n in numbers}
        assert max(found.values()) - min(found.values()) <= 4

    async def spread() -> Counter[str]:
        return Counter([(await mesh.get("spread.test")).pod for _ in range(40)])

    evenly(await spread(), 0, 1, 2, 3)
    mesh.unready("spread-1")
    await mesh.pod("spread-4", "spread")
    await mesh.changed()
    evenly(await spread(), 0, 2, 3, 4)
    assert (await mesh.engine.master.workers()).current == before.current


async def test_a_connection_kept_open_lives_through_reloads(mesh: Mesh) -> None:
    mesh.apply(ingress(rule("keep.test", path("/", PREFIX, "foo"))))
    await mesh.changed()
    reader, writer = await mesh.connect()
    assert (await ask(reader, writer, "keep.test")).pod == "foo-0"
    mesh.apply(ingress(rule("more.test", path("/", PREFIX, "bar")), name="more"))
    await mesh.changed()
    answer = await ask(reader, writer, "keep.test")  # the old worker still answers, and asks to come again
    assert (answer.pod, answer.headers.get("connection")) == ("foo-0", "close")
    writer.close()


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


# ---- annotations


async def test_plain_http_is_sent_to_https(mesh: Mesh) -> None:
    mesh.apply(ingress(rule("foo.test", path("/", PREFIX, "foo")), annotations="{mesh/redirect-to-https: 'true'}"))
    await mesh.changed()
    answer = await mesh.get("foo.test", "/x?y=1")
    assert (answer.status, answer.headers["location"]) == (308, "https://foo.test/x?y=1")
    assert (await mesh.get("foo.test", "/x", tls=True)).pod == "foo-0"


async def test_a_body_may_have_so_many_bytes(mesh: Mesh) -> None:
    mesh.apply(ingress(rule("foo.test", path("/", PREFIX, "foo")), annotations="{mesh/max-body-bytes: '10'}"))
    await mesh.changed()
    found = [await mesh.get("foo.test", method="POST", body=b"x" * size) for size in (10, 11)]
    assert [a.status for a in found] == [200, 413]
    chunked = {"Transfer-Encoding": "chunked"}
    assert (await mesh.get("foo.test", method="POST", headers=chunked)).status == 411


async def test_a_client_stays_with_its_pod(mesh: Mesh) -> None:
    await mesh.service("sticky", "sticky-0", "sticky-1", "sticky-2")
    mesh.apply(ingress(rule("foo.test", path("/", PREFIX, "sticky")), annotations="{mesh/session-cookie: stay}"))
    await mesh.changed()
    first = await mesh.get("foo.test")
    cookie = first.headers["set-cookie"].partition(";")[0]
    assert cookie.startswith("stay=")
    again = [await mesh.get("foo.test", headers={"Cookie": cookie}) for _ in range(6)]
    assert {a.pod for a in again} == {first.pod}
    assert "stay" not in again[0].said["headers"].get("cookie", "")


async def test_one_address_may_ask_so_often(mesh: Mesh) -> None:
    mesh.apply(ingress(rule("foo.test", path("/", PREFIX, "foo")), annotations="{mesh/requests-per-second: '5'}"))
    await mesh.changed()
    reader, writer = await mesh.connect()
    found = Counter([(await ask(reader, writer, "foo.test")).status for _ in range(200)])
    assert set(found) == {200, 429}
    assert found[200] >= 5
    writer.close()


async def test_a_canary_gets_its_share(mesh: Mesh) -> None:
    await mesh.service("new", "new-0")
    await mesh.service("old", "old-0", "old-1", "old-2")
    annotations = "{mesh/canary-service: new, mesh/canary-percent: '25'}"
    mesh.apply(ingress(rule("foo.test", path("/", PREFIX, "old")), annotations=annotations))
    await mesh.changed()
    found = Counter([(await mesh.get("foo.test")).pod.partition("-")[0] for _ in range(80)])
    assert set(found) == {"old", "new"}
    assert 15 <= found["new"] <= 25  # a quarter


async def test_who_has_no_password_is_asked_for_one(mesh: Mesh) -> None:
    mesh.apply(
        """
        apiVersion: v1
        kind: Secret
        metadata: {name: users}
        stringData: {auth: "ada:$6$saltsalt$HASH\\nbad line\\n"}
    """.replace("HASH", SHA512)
    )
    mesh.apply(ingress(rule("foo.test", path("/", PREFIX, "foo")), annotations="{mesh/basic-auth-secret: users}"))
    mesh.apply(ingress(rule("closed.test", path("/", PREFIX, "foo")), name="closed",
                       annotations="{mesh/basic-auth-secret: nothere}"))  # fmt: skip
    await mesh.changed()
    right, wrong = ({"Authorization": "Basic " + base64.b64encode(w).decode()} for w in (b"ada:secret", b"ada:no"))
    found = [(await mesh.get("foo.test", headers=h)).status for h in ({}, wrong, right)]
    assert found == [401, 401, 200]
    assert (await mesh.get("closed.test", headers=right)).status == 401  # without its Secret nobody gets in


async def test_a_pod_that_takes_too_long_is_504(mesh: Mesh) -> None:
    asked = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        asked.set()

    server = await asyncio.start_server(silent, "127.78.0.2", 8080)
    await mesh.service("slow")
    mesh.put_pod("slow-0", "127.78.0.2", "slow")
    mesh.apply(ingress(rule("foo.test", path("/", PREFIX, "slow")), annotations="{mesh/timeout-seconds: '1'}"))
    await mesh.changed()
    assert (await mesh.get("foo.test")).status == 504
    assert asked.is_set()
    server.close()


# ---- while everything changes; MESH_INGRESS_REQUESTS=200000 for the long one

REQUESTS = int(os.environ.get("MESH_INGRESS_REQUESTS") or "0") or 1500
CHANGES = 8  # at least


class Load:
    """Clients that keep their connections and ask over HTTPS until it is over."""

    def __init__(self, mesh: Mesh, host: str) -> None:
        self.mesh, self.host = mesh, host
        self.asked, self.wrong = 0, Counter[str]()
        self.over = asyncio.Event()

    async def client(self) -> None:
        connection: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        while not self.over.is_set():
            fresh = connection is None
            connection = connection or await self.mesh.connect(self.host)
            try:
                answer = await ask(*connection, self.host, "/load")
            except (ConnectionError, asyncio.IncompleteReadError) as error:
                if fresh:  # one that was kept may be closed between two requests: clients ask again
                    self.wrong[repr(error)] += 1
                connection[1].close()
                connection = None
                continue
            self.asked += 1
            if answer.status != 200:
                self.wrong[f"{answer.status} {answer.body!r}"] += 1
            if answer.headers.get("connection") == "close":
                connection[1].close()
                connection = None
        if connection is not None:
            connection[1].close()


@pytest.mark.timeout(120 + REQUESTS // 100)
async def test_nothing_fails_while_pods_routes_and_certificates_change(mesh: Mesh) -> None:
    host, turn = "load.test", 0
    await mesh.service("load", "load-0", "load-1", "load-2")
    mesh.secret("load", host)
    tls = f", tls: [{{hosts: [{host}], secretName: load}}]"
    mesh.apply(ingress(rule(host, path("/", PREFIX, "load")), name="load", more=tls))
    await mesh.changed()
    load = Load(mesh, host)
    async with asyncio.TaskGroup() as tasks:
        for _ in range(8):
            tasks.create_task(load.client())
        while load.asked < REQUESTS or turn < CHANGES:
            turn += 1
            await mesh.pod(f"load-{turn + 2}", "load")
            mesh.unready(f"load-{turn - 1}")
            mesh.secret("load", host, serial=turn)
            if turn % 4 == 0:
                mesh.apply(ingress(rule(f"r{turn}.test", path("/", PREFIX, "foo")), name=f"more-{turn % 3}"))
            await mesh.changed()
        load.over.set()
    print(f"\n{load.asked} requests, {turn} changes")
    assert load.wrong == Counter()
