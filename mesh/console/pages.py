"""The console's pages: each a function from what the caller may see to HTML.

Rule: pure. A page has at most PAGE rows of a long list; everything on it is of one moment of the view.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from heapq import nlargest
from typing import Any

from mesh.console.html import PAGE, Html, join, link, pages, progress, spark, state, table, tag, text
from mesh.console.reader import Reader
from mesh.model.conditions import find
from mesh.network.endpoints import endpoints_of
from mesh.sdk.words import age, duration, seconds_of, summary
from mesh.v1.core_pb2 import Event, Node, Pod
from mesh.v1.net_pb2 import Service

Query = Mapping[str, str]
Page = Callable[[Reader, Query], Html]
FEW = 12  # hosts on the overview, those that need somebody first
WORKLOADS = ("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job", "CronJob")


def overview(reader: Reader, _query: Query) -> Html:
    """What needs somebody, hosts, counts, the newest events."""
    many = len(_nodes(reader))
    counts = Counter(reader.pods.status(pod) for pod in _pods(reader))
    return join([
        tag("h1", "Overview"),
        alerts(reader),
        tag("h2", "Pods"),
        table(("Status", "Pods"), [(state(name), count) for name, count in counts.most_common()], "no pods",
              narrow=True),
        tag("h2", "Hosts"),
        _hosts(reader, hosts_shown(reader, "/", {})),
        tag("p", link(f"all {many} hosts", "hosts")) if many > FEW else Html(),
        tag("h2", "Newest events"),
        _events(reader, nlargest(10, _all_events(reader), key=last_seen)),
    ])  # fmt: skip


def alerts(reader: Reader) -> Html:
    """What needs somebody, the critical first."""
    found = reader.troubles()
    if not found:
        return tag("p", "Everything is well.", class_="good", id="alerts")
    lines = [
        tag("li", tag("b", a.name), " ", a.message, class_="bad" if a.severity == "critical" else "warn")
        for a in found[:PAGE]
    ]
    if len(found) > PAGE:
        lines.append(tag("li", f"and {len(found) - PAGE} more: `mesh status` has them all"))
    return tag("ul", *lines, class_="alerts", id="alerts")


def hosts(reader: Reader, query: Query) -> Html:
    """Every host."""
    shown = _hosts(reader, hosts_shown(reader, "/hosts", query))
    return join([tag("h1", "Hosts"), shown, pages(number(query), len(_nodes(reader)), "/hosts")])


def hosts_shown(reader: Reader, path: str, query: Query) -> list[Node]:
    """The hosts on a page: only these are asked how it went."""
    found, page = _nodes(reader), number(query)
    if path == "/":
        return sorted(found, key=lambda node: _ready(node) == "Ready")[:FEW]
    return found[page * PAGE : (page + 1) * PAGE] if path == "/hosts" else []


def _nodes(reader: Reader) -> list[Node]:
    return [node for node in reader.all("Node") if isinstance(node, Node)]


def _ready(node: Node) -> str:
    ready = find(node.status.conditions, "Ready")
    word = "Ready" if ready is not None and ready.status == "True" else "NotReady"
    word = "Unknown" if ready is not None and ready.status == "Unknown" else word
    return f"{word}, cordoned" if node.spec.unschedulable else word


def _hosts(reader: Reader, nodes: Sequence[Node]) -> Html:
    rows = []
    for node in nodes:
        name = node.metadata.name
        running = sum(p.status.phase == "Running" for p in reader.view.pods_on(name))
        lines = {s.name: s.values for s in reader.history[name].series if not s.pod} if name in reader.history else {}
        rows.append((
            name, state(_ready(node)), running,
            spark(lines.get("cpu", ()), "CPU"), spark(lines.get("memory", ()), "memory"),
            ", ".join(a.address for a in node.status.addresses if a.type == "InternalIP"),
            node.status.node_info.kubelet_version, age(node.metadata.creation_timestamp, reader.now),
        ))  # fmt: skip
    return table(("Host", "Status", "Running", "CPU, an hour", "Memory", "Address", "Version", "Age"), rows, "no hosts")


def workloads(reader: Reader, query: Query) -> Html:
    """Every workload with its rollout."""
    rows = [_workload(obj, reader) for kind in WORKLOADS for obj in reader.all(kind) if not _owned(obj)]
    page, titles = number(query), ("Kind", "Namespace", "Name", "Ready", "Up to date", "State", "Age")
    return join([
        tag("h1", "Workloads"),
        table(titles, rows[page * PAGE : (page + 1) * PAGE]),
        pages(page, len(rows), "/workloads"),
    ])  # fmt: skip


def _owned(obj: Any) -> bool:
    return any(owner.controller for owner in obj.metadata.owner_references)


def _workload(obj: Any, reader: Reader) -> tuple[object, ...]:
    kind, status, spec, meta = type(obj).__name__, obj.status, obj.spec, obj.metadata
    of = {"DaemonSet": "desired_number_scheduled", "Job": "", "CronJob": ""}.get(kind)
    words = ""
    if kind == "CronJob":
        ready, fresh = Html(spec.schedule), Html("")
        words = "suspended" if spec.suspend else f"{len(status.active)} active"
    elif kind == "Job":
        ready, fresh = progress(status.succeeded, spec.completions or 1), Html("")
        words = next((c.type for c in status.conditions if c.status == "True"), f"{status.active} active")
    else:
        wanted = getattr(status, of) if of else spec.replicas
        ready = progress(getattr(status, "number_ready" if of else "ready_replicas"), wanted)
        updated = getattr(status, "updated_number_scheduled" if of else "updated_replicas", wanted)
        fresh = progress(updated, wanted)
        words = _rollout(status, updated, wanted)
    named = link(meta.name, "pods", namespace=meta.namespace, owner=meta.name)
    return kind, meta.namespace, named, ready, fresh, words, age(meta.creation_timestamp, reader.now)


def _rollout(status: Any, updated: int, wanted: int) -> str:
    going = find(getattr(status, "conditions", ()), "Progressing")
    if going is not None and going.status == "False":
        return f"stuck: {going.reason}"
    return "complete" if updated >= wanted else "rolling out"


def pods(reader: Reader, query: Query) -> Html:
    """Pods, page by page; by namespace, beginning of a name, or status."""
    wanted, owner, words = query.get("namespace", ""), query.get("owner", ""), query.get("q", "").lower()
    found = [p for p in _pods(reader, wanted) if _fits(reader, p, owner, words)]
    page = number(query)
    rows = []
    for pod in found[page * PAGE : (page + 1) * PAGE]:
        said, meta = summary(pod), pod.metadata
        rows.append((
            meta.namespace, link(meta.name, "pods", meta.namespace, meta.name), f"{said.ready}/{said.total}",
            state(said.status), said.restarts_text(reader.now), pod.spec.node_name or "-", pod.status.pod_ip or "-",
            age(meta.creation_timestamp, reader.now),
        ))  # fmt: skip
    box = f'<input id="q" name="q" placeholder="name or status" aria-label="search" value="{text(words)}">'
    search = tag("form", Html(box), method="get", action="/pods")
    titles = ("Namespace", "Name", "Ready", "Status", "Restarts", "Host", "Address", "Age")
    return join([
        tag("h1", "Pods"), search, table(titles, rows, "no pods"),
        pages(page, len(found), "/pods", namespace=wanted, owner=owner, q=words),
    ])  # fmt: skip


def _fits(reader: Reader, pod: Pod, owner: str, words: str) -> bool:
    if owner and not any(o.name == owner or o.name.startswith(f"{owner}-") for o in pod.metadata.owner_references):
        return False
    return not words or words in pod.metadata.name.lower() or words in reader.pods.status(pod).lower()


def services(reader: Reader, query: Query) -> Html:
    """Services with their ready and other endpoints."""
    found = [s for s in reader.all("Service") if isinstance(s, Service)]
    page, rows = number(query), []
    for service in found[page * PAGE : (page + 1) * PAGE]:
        spec, meta = service.spec, service.metadata
        ends = endpoints_of(service, reader.view)
        ready = sum(e.ready for e in ends)
        ports = ", ".join(f"{p.port}/{p.protocol or 'TCP'}" for p in spec.ports)
        behind = join((_pod_link(e.pod) if e.pod else e.ip for e in ends[:5]), ", ")
        more = f" + {len(ends) - 5}" if len(ends) > 5 else ""
        rows.append((meta.namespace, meta.name, spec.type, spec.cluster_ip or spec.external_name, ports,
                     progress(ready, len(ends)), join([behind, more])))  # fmt: skip
    titles = ("Namespace", "Name", "Type", "Address", "Ports", "Ready", "Behind it")
    ingresses: list[Any] = reader.all("Ingress")
    doors = [
        (i.metadata.namespace, i.metadata.name, rule.host or "*", path.path or "/",
         f"{path.backend.service.name}:{path.backend.service.port.name or path.backend.service.port.number}",
         ", ".join(a.ip for a in i.status.load_balancer.ingress))
        for i in ingresses for rule in i.spec.rules for path in rule.http.paths
    ]  # fmt: skip
    return join([
        tag("h1", "Services"), table(titles, rows), pages(page, len(found), "/services"), tag("h2", "Ingress"),
        table(("Namespace", "Name", "Host", "Path", "Service", "Address"), doors[:PAGE]),
    ])  # fmt: skip


def _pod_link(name: str) -> Html:
    namespace, _, plain = name.partition("/")
    return link(plain, "pods", namespace, plain)


def secrets(reader: Reader, query: Query) -> Html:
    """Secrets by how far they are delivered; never a value."""
    using: dict[tuple[str, str], list[Pod]] = {}
    for pod in _pods(reader):
        for name in reader.pods.secrets(pod):
            using.setdefault((pod.metadata.namespace, name), []).append(pod)
    found, page, rows = reader.all("Secret"), number(query), []
    for secret in found[page * PAGE : (page + 1) * PAGE]:
        meta = secret.metadata
        users = using.get((meta.namespace, meta.name), [])
        fresh = sum(_has(reader, pod, meta.name, meta.resource_version) for pod in users)
        word = (
            state("delivered" if fresh == len(users) else "waiting") if users else tag("span", "unused", class_="dim")
        )
        rows.append((meta.namespace, meta.name, getattr(secret, "type", ""), word, progress(fresh, len(users)),
                     age(meta.creation_timestamp, reader.now)))  # fmt: skip
    titles = ("Namespace", "Name", "Type", "State", "Pods that have the newest", "Age")
    return join([tag("h1", "Secrets"), table(titles, rows), pages(page, len(found), "/secrets")])


def _has(reader: Reader, pod: Pod, name: str, revision: str) -> bool:
    said = [r for r in reader.receipts(pod.spec.node_name, pod.metadata.uid) if r.name == name]
    return bool(said) and all(r.revision == revision for r in said)


def events(reader: Reader, query: Query) -> Html:
    """Events, the newest first."""
    found, page = newest(reader), number(query)
    shown = _events(reader, found[page * PAGE : (page + 1) * PAGE])
    return join([tag("h1", "Events"), shown, pages(page, len(found), "/events")])


def newest(reader: Reader) -> list[Event]:
    """Events that the caller may see, the newest first."""
    return sorted(_all_events(reader), key=last_seen, reverse=True)


def _all_events(reader: Reader) -> Iterator[Event]:
    return (e for e in reader.all("Event") if isinstance(e, Event))


def last_seen(event: Event) -> float:
    """When it was seen last."""
    return max(seconds_of(event.last_timestamp), seconds_of(event.event_time), seconds_of(event.first_timestamp))


def _events(reader: Reader, found: Sequence[Event]) -> Html:
    rows = [
        (duration(reader.now - last_seen(e)), tag("span", e.type, class_="warn" if e.type == "Warning" else "dim"),
         e.reason, about(e), e.message, e.count or 1)
        for e in found
    ]  # fmt: skip
    return table(("Seen", "Type", "Reason", "About", "Message", "Count"), rows, "no events")


def about(event: Event) -> Html:
    """What an event is about."""
    obj = event.involved_object
    if obj.kind == "Pod":
        return link(f"Pod {obj.name}", "pods", obj.namespace, obj.name)
    return join([f"{obj.kind} {obj.name}"])


def _pods(reader: Reader, namespace: str = "") -> Iterator[Pod]:
    return (p for p in reader.all("Pod", namespace) if isinstance(p, Pod))


def number(query: Query) -> int:
    """Which page is asked for."""
    text = query.get("page", "0")
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 7 else 0


PAGES: Mapping[str, Page] = {
    "/": overview, "/hosts": hosts, "/workloads": workloads, "/pods": pods, "/services": services,
    "/secrets": secrets, "/events": events,
}  # fmt: skip
