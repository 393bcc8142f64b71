"""The part of /metrics/proxy about Ingress: what the host's HAProxy carries, for every Ingress, Service and port.

Rule: pure. A `mesh_ingress_route_info` names each host and path that leads there: several may lead to the same port of
a Service, and are counted together. Times are means of HAProxy's last 1024 requests.
"""

from mesh.exposition.text import Family, Page, labels
from mesh.v1.node_pb2 import IngressFigures, IngressPool, IngressTraffic

CODES = ("1xx", "2xx", "3xx", "4xx", "5xx", "other")
_UP = Family("mesh_ingress_up", "gauge", "1 when this host's HAProxy answers.")
_CONNECTIONS = Family("mesh_ingress_connections_total", "counter", "Connections of clients.")
_OPEN = Family("mesh_ingress_open_connections", "gauge", "Open connections of clients.")
_ALL = Family("mesh_ingress_door_requests_total", "counter", "All requests, also those that no route was for.")
_ALL_BYTES = Family("mesh_ingress_door_bytes_total", "counter", "Bytes from clients (in) and to them (out).")
_RELOADS = Family("mesh_ingress_reloads_total", "counter", "Configurations that took the place of another.")
_ENDING = Family("mesh_ingress_ending_workers", "gauge", "Workers of former configurations that end what they began.")
_REQUESTS = Family("mesh_ingress_requests_total", "counter", "Requests by class of the answer's status.")
_UNDER_WAY = Family("mesh_ingress_open_requests", "gauge", "Requests that are not answered yet.")
_BYTES = Family("mesh_ingress_bytes_total", "counter", "Bytes of requests (in) and answers (out).")
_RETRIES = Family("mesh_ingress_retries_total", "counter", "Connects to a pod that were tried again.")
_ERRORS = Family(
    "mesh_ingress_backend_errors_total", "counter", "Pods not reached (connect), answers broken off (response)."
)
_DENIED = Family("mesh_ingress_denied_total", "counter", "Requests refused by an annotation's limit.")
_BACKENDS = Family("mesh_ingress_backends", "gauge", "Pods that are given requests.")
_SECONDS = Family(
    "mesh_ingress_request_seconds", "gauge", "Mean of the last 1024: queue, connect, response (first byte), total."
)
_ROUTE = Family("mesh_ingress_route_info", "gauge", "1 for each host and path that leads to this port of a Service.")


def ingressed(page: Page, figures: IngressFigures) -> None:
    """All of it."""
    door = figures.door
    page.one(_UP, int(figures.up))
    page.one(_CONNECTIONS, door.sessions)
    page.one(_OPEN, door.open)
    page.put(_ALL, [(f'code="{code}"', count) for code, count in zip(CODES, door.responses, strict=False)])
    page.put(_ALL_BYTES, _both("", door))
    page.one(_RELOADS, figures.reloads)
    page.one(_ENDING, figures.ending)
    for pool in figures.pools:
        _pool(page, pool)


def _pool(page: Page, pool: IngressPool) -> None:
    named = {"namespace": pool.namespace, "ingress": pool.ingress, "service": pool.service, "port": pool.port}
    of, traffic = labels(named), pool.traffic
    page.put(_REQUESTS, [(f'{of},code="{code}"', n) for code, n in zip(CODES, traffic.responses, strict=False)])
    page.one(_UNDER_WAY, traffic.open, of)
    page.put(_BYTES, _both(f"{of},", traffic))
    page.one(_RETRIES, traffic.retries, of)
    page.put(
        _ERRORS, [(f'{of},at="connect"', traffic.connect_errors), (f'{of},at="response"', traffic.response_errors)]
    )
    page.one(_DENIED, traffic.denied, of)
    page.one(_BACKENDS, pool.backends, of)
    for part in ("queue", "connect", "response", "total"):
        page.one(_SECONDS, getattr(traffic, f"{part}_time"), f'{of},part="{part}"')
    for route in pool.routes:
        page.one(_ROUTE, 1, f"{of},{labels({'host': route.host, 'path': route.path, 'type': route.type})}")


def _both(of: str, traffic: IngressTraffic) -> list[tuple[str, float]]:
    return [(f'{of}direction="in"', traffic.bytes_in), (f'{of}direction="out"', traffic.bytes_out)]
