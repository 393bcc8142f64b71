"""meshd's own figures: its store, controllers, calls and links to hosts (docs/metrics.md).

Rule: asked for, nothing is kept but what others count; looking costs the loop less than a millisecond.
"""

import asyncio
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Protocol

from mesh import __version__, pki
from mesh.errors import AlreadyExists, Conflict, MeshError, NotFound
from mesh.exposition.process import process
from mesh.exposition.tally import Tally, timed
from mesh.exposition.text import CONTENT_TYPE, OPENMETRICS, Family, Page, labels
from mesh.exposition.web import Answer, Files, Request
from mesh.figures.alerts import AUTHORITY, PATIENCE, Receipts, Seen, alerts
from mesh.figures.cluster import KINDS, cluster
from mesh.model.kinds import Object, served_kinds
from mesh.model.times import SECOND
from mesh.rpc.control import Host
from mesh.store.feed import Feed
from mesh.store.port import Store
from mesh.tracing.walks import trace_of_call
from mesh.v1.control_pb2 import AlertStatus
from mesh.v1.core_pb2 import Node
from mesh.v1.node_pb2 import SecretReceipt

COMMITS = Family("mesh_store_commits_total", "counter", "Commits, by how they ended; a conflict is tried again.")
COMMIT_TOOK = Family("mesh_store_commit_duration_seconds", "histogram", "How long commits took.")
_BUILD = Family("mesh_build_info", "gauge", "The version of meshd.")
_REVISION = Family("mesh_store_revision", "counter", "The newest revision that meshd knows.")
_OBJECTS = Family("apiserver_storage_objects", "gauge", "Objects, by kind.")
_DEPTH = Family("workqueue_depth", "gauge", "Keys that wait for a controller.")
_PENDING = Family("scheduler_pending_pods", "gauge", "Pods without a node.")
_CERTIFICATES = Family("mesh_certificate_expires_seconds", "gauge", "When a certificate ends.")
_ALERTS = Family("mesh_alert", "gauge", "What needs somebody now, as `mesh status` says it.")
_RAY = Family("mesh_ray_connected", "gauge", "1 when meshd reaches Ray.")
_CONNECTED = Family("mesh_host_connected", "gauge", "1 when the host's agent answers.")
_SEEN = Family("mesh_host_last_seen_seconds", "gauge", "When the host's agent last answered.")
_SETTLED = Family("mesh_host_settled", "gauge", "1 when the host holds the newest order.")
_NOT_WORD = re.compile(r"\W", re.ASCII)
PATHS = ("/metrics", "/metrics/cluster", "/sd")


class Hosts(Protocol):
    """The roster."""

    @property
    def state(self) -> str: ...
    def hosts(self) -> Sequence[Host]: ...
    def receipts(self, node: str, uid: str) -> Sequence[SecretReceipt]: ...


class Figures:
    """Of one meshd."""

    def __init__(
        self, feed: Feed, tally: Tally, files: Files | None, clock: Callable[[], int], *, exemplars: bool = False
    ) -> None:  # fmt: skip
        self._exemplars = exemplars
        self._feed = feed
        self._tally = tally
        self._files = files
        self._clock = clock
        self._began = clock() // SECOND
        self._seen = Seen()
        self.roster: Hosts | None = None
        self.depths: Callable[[], Mapping[str, int]] = dict
        self.port = 0  # where they are read, once they are
        self.open = asyncio.Event()

    def opened(self, port: int) -> None:
        """They can be read there."""
        self.port = port
        self.open.set()

    async def answer(self, request: Request) -> Answer:
        """What a reader gets; raises NotFound."""
        path = request.path.rstrip("/")
        if path == "/metrics" and self._exemplars and "application/openmetrics-text" in request.accept:
            return Answer(self._mine(Page(openmetrics=True)), OPENMETRICS)
        return Answer(await self.raw(path), "application/json" if path == "/sd" else CONTENT_TYPE)

    async def raw(self, path: str) -> bytes:
        """What is said under a path; raises NotFound."""
        match path.rstrip("/"):
            case "/metrics":
                return self._mine(Page())
            case "/metrics/cluster":
                view = self._feed.view
                objects = {kind: view.of_kind(kind) for kind in KINDS}
                return await asyncio.to_thread(_cluster, objects)  # objects never change; the view does
            case "/sd":
                return json.dumps(targets(self._feed.view.nodes()), indent=1).encode() + b"\n"
        raise NotFound(f'there are no figures of meshd at "{path}"; there are: {" ".join(PATHS)}')

    def _mine(self, page: Page) -> bytes:
        process(page)
        self._own(page)
        self._tally.show(page)
        self._hosts(page)
        return page.render()

    def alerts(self) -> list[AlertStatus]:
        """What needs somebody now."""
        now = self._clock() // SECOND
        return [
            AlertStatus(name=a.name, severity=a.severity, kind=a.kind, namespace=a.namespace, object=a.object,
                        message=a.message)
            for a in alerts(self._feed.view, self._certificates(), now, self._receipts(now), self._seen)
        ]  # fmt: skip

    def _receipts(self, now: int) -> Receipts | None:
        """What hosts say of Secrets, once all of them have had the time to say it to this meshd."""
        return self.roster.receipts if self.roster is not None and self._began + PATIENCE <= now else None

    def _certificates(self) -> dict[str, int]:
        """When they end, in seconds since the epoch; what can't be read is left out."""
        found = {}
        for name, path in (
            {AUTHORITY: self._files.ca, "meshd": self._files.certificate} if self._files else {}
        ).items():
            with suppress(OSError, MeshError):
                found[name] = pki.expires(path.read_bytes())
        return found

    def _own(self, page: Page) -> None:
        view = self._feed.view
        page.one(_BUILD, 1, labels({"version": __version__}))
        page.one(_REVISION, view.revision)
        page.put(_OBJECTS, [(labels({"resource": kind.plural}), view.count(kind.name)) for kind in served_kinds()])
        page.put(_DEPTH, [(labels({"name": name}), depth) for name, depth in self.depths().items()])
        page.one(_PENDING, len(view.pods_on("")))
        page.put(_CERTIFICATES, [(labels({"certificate": name}), end) for name, end in self._certificates().items()])
        page.put(_ALERTS, [(_alert(a), 1) for a in self.alerts()])

    def _hosts(self, page: Page) -> None:
        if self.roster is None:
            return
        page.one(_RAY, int(self.roster.state.startswith("connected")))
        hosts = [(labels({"node": host.name}), host) for host in self.roster.hosts()]
        page.put(_CONNECTED, [(of, int(host.connected)) for of, host in hosts])
        page.put(_SEEN, [(of, host.last_seen / 1e9) for of, host in hosts if host.last_seen])
        page.put(_SETTLED, [(of, int(host.settled)) for of, host in hosts])


def _alert(alert: AlertStatus) -> str:
    about = {"kind": alert.kind, "namespace": alert.namespace, "name": alert.object}
    return labels({"alertname": alert.name, "severity": alert.severity, **about})


def _cluster(objects: Mapping[str, Sequence[Object]]) -> bytes:
    page = Page()
    cluster(page, objects)
    return page.render()


def targets(nodes: Iterable[Node]) -> list[dict[str, Any]]:
    """The hosts that offer figures, as Prometheus' HTTP service discovery reads them."""
    found = []
    for node in nodes:
        address = next((a.address for a in node.status.addresses if a.type == "InternalIP"), "")
        port = node.status.daemon_endpoints.kubelet_endpoint.port
        if address and port:
            named = {"__meta_mesh_node": node.metadata.name, "__meta_mesh_address": address}
            told = {f"__meta_mesh_label_{_NOT_WORD.sub('_', k)}": v for k, v in sorted(node.metadata.labels.items())}
            found.append({"targets": [f"{address}:{port}"], "labels": {**named, **told}})
    return found


def counted(store: Store, tally: Tally) -> Store:
    """The same store, whose commits are counted."""

    def told(_: str, seconds: float, failure: BaseException | None) -> None:
        lost = isinstance(failure, Conflict | AlreadyExists | NotFound)
        result = "ok" if failure is None else "conflict" if lost else "error"
        tally.add(COMMITS, labels({"result": result}))
        tally.observe(COMMIT_TOOK, "", seconds, trace_of_call())

    for result in ("ok", "conflict", "error"):
        tally.add(COMMITS, labels({"result": result}), 0)  # so that the first failure is an increase
    return timed(store, ("commit",), told)
