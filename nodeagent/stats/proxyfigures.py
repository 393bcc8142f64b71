"""/metrics/proxy: what the host's proxy carries, for every Service and backend.

Rule: pure. Names that kube-proxy has too are kube-proxy's. A backend's figures are sums since it came to this host's
proxy; they begin anew with every proxy process.
"""

from collections.abc import Sequence

from mesh.exposition.text import Family, Histogram, Page, labels
from mesh.v1.node_pb2 import BackendFlows, Flows
from nodeagent.stats.ingressfigures import ingressed

BOUNDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 3.0)  # seconds, of BackendFlows.latency
_UP = Family("mesh_proxy_up", "gauge", "1 when this host's proxy answers.")
_WORKERS = Family("mesh_proxy_workers", "gauge", "Processes that carry connections.")
_OPEN = Family("mesh_proxy_open_connections", "gauge", "Open connections and UDP sessions.")
_TOTAL = Family("mesh_proxy_connections_total", "counter", "Connections and UDP sessions begun.")
_BYTES = Family("mesh_proxy_bytes_total", "counter", "Bytes to the backend (in) and from it (out).")
_FAILED = Family("mesh_proxy_connect_errors_total", "counter", "Backends that could not be reached; another was tried.")
_EJECTIONS = Family("mesh_proxy_ejections_total", "counter", "Times that a backend was passed over for a while.")
_EJECTED = Family("mesh_proxy_ejected", "gauge", "1 while the backend is passed over.")
_CONNECT = Family("mesh_proxy_connect_duration_seconds", "histogram", "Until a backend accepted.")
_REJECTED = Family("mesh_proxy_rejected_total", "counter", "Connections refused: no backend left, or too many.")
_PROBLEMS = Family("mesh_proxy_unserved_addresses", "gauge", "Addresses of the Service that can't be listened on.")
_SYNC = Family("kubeproxy_sync_proxy_rules_duration_seconds", "histogram", "How long changes took to be carried out.")
_NAMES = Family("mesh_dns_questions_total", "counter", "Questions that the name service was asked.")
_NAMES_FAILED = Family("mesh_dns_failures_total", "counter", "Questions that other name servers did not answer.")
_GARBAGE = Family("mesh_dns_garbage_total", "counter", "Datagrams that were no question.")


def proxied(page: Page, flows: Flows | None) -> None:
    """All of it; None: the proxy does not answer."""
    page.one(_UP, int(flows is not None))
    if flows is None:
        return
    page.one(_WORKERS, flows.workers)
    page.one(_NAMES, flows.names.questions)
    page.one(_NAMES_FAILED, flows.names.failures)
    page.one(_GARBAGE, flows.names.garbage)
    if flows.sync:
        page.histogram(_SYNC, "", _histogram(flows.sync, flows.sync_sum))
    if flows.HasField("ingress"):
        ingressed(page, flows.ingress)
    for service in flows.services:
        namespace, _, name = service.service.rpartition("/")
        of = labels({"namespace": namespace, "service": name})
        page.one(_REJECTED, service.rejected, of)
        page.one(_PROBLEMS, len(service.problems), of)
        for backend in service.backends:
            _backend(page, of, backend)


def _backend(page: Page, of: str, backend: BackendFlows) -> None:
    pod = backend.pod.rpartition("/")[2]
    of = f"{of},{labels({'backend': f'{backend.ip}:{backend.port}', 'pod': pod})}"
    page.one(_OPEN, backend.open, of)
    page.one(_TOTAL, backend.total, of)
    page.put(_BYTES, [(f'{of},direction="in"', backend.bytes_in), (f'{of},direction="out"', backend.bytes_out)])
    page.one(_FAILED, backend.failed, of)
    page.one(_EJECTIONS, backend.ejections, of)
    page.one(_EJECTED, int(backend.ejected), of)
    if backend.latency:
        page.histogram(_CONNECT, of, _histogram(backend.latency, backend.latency_sum))


def _histogram(counts: Sequence[int], total: float) -> Histogram:
    made = Histogram(BOUNDS)
    made.counts = list(counts)
    made.sum = total
    return made
