"""What Prometheus is told of a host's proxy."""

from mesh.exposition.text import Page
from mesh.v1.node_pb2 import (
    BackendFlows,
    Flows,
    IngressFigures,
    IngressPool,
    IngressRoute,
    IngressTraffic,
    NameFigures,
    ServiceFlows,
)
from nodeagent.stats.proxyfigures import BOUNDS, proxied
from tests.harness.figures import Figures, parse


def page_of(flows: Flows | None) -> Figures:
    page = Page()
    proxied(page, flows)
    return parse(page.render().decode())


def test_every_service_and_backend_is_told() -> None:
    latency = [0] * (len(BOUNDS) + 1)
    latency[2], latency[-1] = 3, 1  # up to 2.5 ms, and longer than 3 s
    backend = BackendFlows(
        ip="10.244.0.5", port=8080, pod="shop/web-1", open=2, total=9, bytes_in=100, bytes_out=700, failed=4,
        ejections=1, ejected=True, latency=latency, latency_sum=4.5,
    )  # fmt: skip
    service = ServiceFlows(service="shop/web", backends=[backend], rejected=6, problems=["10.96.0.1:80/TCP: taken"])
    figures = page_of(
        Flows(services=[service], workers=1, names=NameFigures(questions=50, failures=2, garbage=1), sync=latency,
              sync_sum=1.5)
    )  # fmt: skip
    of = {"namespace": "shop", "service": "web", "backend": "10.244.0.5:8080", "pod": "web-1"}
    assert figures.of("mesh_proxy_up") == 1
    assert figures.of("mesh_proxy_open_connections", **of) == 2
    assert figures.of("mesh_proxy_connections_total", **of) == 9
    assert figures.of("mesh_proxy_bytes_total", **of, direction="in") == 100
    assert figures.of("mesh_proxy_bytes_total", **of, direction="out") == 700
    assert figures.of("mesh_proxy_connect_errors_total", **of) == 4
    assert figures.of("mesh_proxy_ejections_total", **of) == 1
    assert figures.of("mesh_proxy_ejected", **of) == 1
    assert figures.of("mesh_proxy_connect_duration_seconds_bucket", **of, le="0.001") == 0
    assert figures.of("mesh_proxy_connect_duration_seconds_bucket", **of, le="0.0025") == 3
    assert figures.of("mesh_proxy_connect_duration_seconds_count", **of) == 4
    assert figures.of("mesh_proxy_connect_duration_seconds_sum", **of) == 4.5
    assert figures.of("mesh_proxy_rejected_total", namespace="shop", service="web") == 6
    assert figures.of("mesh_proxy_unserved_addresses", namespace="shop", service="web") == 1
    assert figures.of("mesh_dns_questions_total") == 50
    assert figures.of("kubeproxy_sync_proxy_rules_duration_seconds_count") == 4


def test_a_proxy_that_does_not_answer_is_told_as_down() -> None:
    figures = page_of(None)
    assert figures.of("mesh_proxy_up") == 0
    assert figures.names() == {"mesh_proxy_up"}


def test_what_ingresses_carry_is_told_by_ingress_service_and_port() -> None:
    traffic = IngressTraffic(
        requests=10, open=2, bytes_in=100, bytes_out=700, responses=[0, 6, 1, 2, 1, 0], denied=2, retries=3,
        connect_errors=4, response_errors=5, queue_time=0.001, connect_time=0.002, response_time=0.25, total_time=0.3,
    )  # fmt: skip
    route = IngressRoute(host="shop.test", path="/", type="Prefix")
    pool = IngressPool(
        namespace="shop", ingress="front", service="web", port="80", backends=3, traffic=traffic, routes=[route]
    )
    door = IngressTraffic(requests=12, open=5, sessions=8, bytes_in=120, bytes_out=900, responses=[0, 6, 1, 4, 1, 0])
    figures = page_of(Flows(ingress=IngressFigures(up=True, door=door, pools=[pool], ending=1, reloads=4)))
    of = {"namespace": "shop", "ingress": "front", "service": "web", "port": "80"}
    wanted = {
        "mesh_ingress_up": 1, "mesh_ingress_connections_total": 8, "mesh_ingress_open_connections": 5,
        "mesh_ingress_reloads_total": 4, "mesh_ingress_ending_workers": 1,
    }  # fmt: skip
    assert {name: figures.of(name) for name in wanted} == wanted
    assert figures.of("mesh_ingress_door_requests_total", code="4xx") == 4
    assert figures.of("mesh_ingress_door_bytes_total", direction="out") == 900
    assert [figures.of("mesh_ingress_requests_total", **of, code=c) for c in ("2xx", "3xx", "4xx", "5xx")] == [
        6,
        1,
        2,
        1,
    ]
    assert figures.of("mesh_ingress_bytes_total", **of, direction="in") == 100
    assert [figures.of("mesh_ingress_backend_errors_total", **of, at=at) for at in ("connect", "response")] == [4, 5]
    of_pool = {"mesh_ingress_open_requests": 2, "mesh_ingress_retries_total": 3, "mesh_ingress_denied_total": 2,
               "mesh_ingress_backends": 3}  # fmt: skip
    assert {name: figures.of(name, **of) for name in of_pool} == of_pool
    parts = ("queue", "connect", "response", "total")
    assert [figures.of("mesh_ingress_request_seconds", **of, part=p) for p in parts] == [0.001, 0.002, 0.25, 0.3]
    assert figures.of("mesh_ingress_route_info", **of, host="shop.test", path="/", type="Prefix") == 1


def test_a_host_without_ingress_tells_nothing_of_it() -> None:
    assert not [name for name in page_of(Flows()).names() if name.startswith("mesh_ingress")]
