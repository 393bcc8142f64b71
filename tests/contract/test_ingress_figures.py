"""What a real HAProxy has carried is told by Ingress, and lives through reloads."""

import pytest

from mesh.v1.node_pb2 import IngressFigures, IngressPool
from tests.harness.ingress import Mesh
from tests.harness.ingresstexts import PREFIX, ingress, path, rule

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def told(mesh: Mesh) -> tuple[IngressFigures, dict[str, IngressPool]]:
    """All of it, and the pools by their Service."""
    figures = await mesh.engine.figures()
    assert figures is not None
    return figures, {pool.service: pool for pool in figures.pools}


async def test_requests_are_counted_by_service_and_status_over_reloads(mesh: Mesh) -> None:
    rules = rule("foo.test", path("/", PREFIX, "foo"), path("/none", PREFIX, "nobody"))
    mesh.apply(ingress(rules, name="shop"))
    mesh.apply(ingress(rule("limited.test", path("/", PREFIX, "bar")), name="limited",
                       annotations="{mesh/max-body-bytes: '10'}"))  # fmt: skip
    await mesh.changed()
    for _ in range(3):
        assert (await mesh.get("foo.test")).status == 200
    assert (await mesh.get("foo.test", "/none")).status == 503
    assert (await mesh.get("nobody.test")).status == 404
    assert (await mesh.get("limited.test", method="POST", body=b"x" * 11)).status == 413
    figures, pools = await told(mesh)
    foo = pools["foo"]
    assert (foo.namespace, foo.ingress, foo.port, foo.backends) == ("default", "shop", "8080", 1)
    assert [(r.host, r.path, r.type) for r in foo.routes] == [("foo.test", "/", "Prefix")]
    assert list(foo.traffic.responses) == [0, 3, 0, 0, 0, 0]
    assert foo.traffic.bytes_out > 3 * 100
    assert (pools["nobody"].traffic.responses[4], pools["nobody"].backends) == (1, 0)
    assert (pools["bar"].traffic.responses[3], pools["bar"].traffic.denied) == (1, 1)
    assert (figures.up, figures.door.requests, list(figures.door.responses)) == (True, 6, [0, 3, 0, 2, 1, 0])
    mesh.apply(ingress(rule("more.test", path("/", PREFIX, "aaa")), name="more"))
    await mesh.changed()
    assert (await mesh.get("foo.test")).status == 200
    after, pools = await told(mesh)
    assert (after.reloads - figures.reloads, after.door.requests, pools["foo"].traffic.responses[1]) == (1, 7, 4)


async def test_an_haproxy_that_is_gone_is_told_as_down_with_what_it_had_carried(mesh: Mesh) -> None:
    mesh.apply(ingress(rule("foo.test", path("/", PREFIX, "foo"))))
    await mesh.changed()
    assert (await mesh.get("foo.test")).status == 200
    before, _ = await told(mesh)
    mesh.engine.end()  # nobody starts it again
    await mesh.engine.master.kill()
    after, pools = await told(mesh)
    assert (after.up, after.door.requests) == (False, before.door.requests)
    assert pools["foo"].traffic.responses[1] == 1
