"""What annotations make of an Ingress, through a real HAProxy."""

import asyncio
import base64
from collections import Counter

import pytest

from tests.harness.ingress import Mesh, ask
from tests.harness.ingresstexts import PREFIX, ingress, path, rule

pytestmark = pytest.mark.asyncio(loop_scope="module")

SHA512 = "TVLlQcbpFVof5W3Yz4DTP6gRstiNuHwwTt6GLc1E5n0U0aDehy0S5knV8wiOQSpT0Y77vwPZN.Pq.H91p5hVO1"  # of "secret"


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
