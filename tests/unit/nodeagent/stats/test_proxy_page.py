"""What Prometheus is told of a host's proxy."""

from mesh.exposition.text import Page
from mesh.v1.node_pb2 import BackendFlows, Flows, NameFigures, ServiceFlows
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
