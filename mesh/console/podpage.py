"""One pod's page: containers, probes and what became of them, conditions, events, the end of its log.

Rule: pure; the log is given.
"""

from mesh.console.html import Html, join, link, spark, state, table, tag
from mesh.console.pages import last_seen
from mesh.console.reader import Reader
from mesh.model import pods
from mesh.sdk.words import age, duration, summary
from mesh.v1.core_pb2 import Container, ContainerStatus, Event, Pod, Probe

PROBES = ("Unhealthy", "ProbeWarning", "Killing", "BackOff", "Started")  # reasons of events that tell of probes


def page(reader: Reader, pod: Pod, log: str, container: str) -> Html:
    """The page."""
    meta, said = pod.metadata, summary(pod)
    facts = [
        ("Status", state(said.status)), ("Host", pod.spec.node_name or "-"), ("Address", pod.status.pod_ip or "-"),
        ("Restarts", said.restarts_text(reader.now)), ("Age", age(meta.creation_timestamp, reader.now)),
        ("CPU, an hour", _line(reader, pod, "cpu")), ("Memory", _line(reader, pod, "memory")),
        ("Owner", ", ".join(f"{o.kind} {o.name}" for o in meta.owner_references) or "-"),
    ]  # fmt: skip
    theirs = (e for e in reader.all("Event", meta.namespace) if isinstance(e, Event))
    mine = [e for e in theirs if e.involved_object.uid in ("", meta.uid) and _named(e.involved_object, pod)]
    mine.sort(key=last_seen, reverse=True)
    told = [
        (duration(reader.now - last_seen(e)), e.reason, e.message, e.count or 1) for e in mine[:30]
    ]  # fmt: skip
    probed = [row for row, e in zip(told, mine, strict=False) if e.reason in PROBES]
    conditions = [
        (c.type, state(c.status), c.reason, c.message, age(c.last_transition_time, reader.now))
        for c in pod.status.conditions
    ]
    return join([
        tag("h1", f"Pod {meta.namespace}/{meta.name}"),
        table(("", ""), facts, narrow=True),
        tag("h2", "Containers"),
        table(("Name", "Image", "State", "Ready", "Restarts", "Probes"), [_container(c, pod) for c in _all(pod)]),
        tag("h2", "Probe history"),
        table(("Seen", "Reason", "Message", "Count"), probed, "no check has failed"),
        tag("h2", "Conditions"),
        table(("Type", "Status", "Reason", "Message", "Since"), conditions),
        tag("h2", "Events"),
        table(("Seen", "Reason", "Message", "Count"), told, "no events"),
        tag("h2", f"Log of {container}"),
        join((link(c.name, "pods", meta.namespace, meta.name, container=c.name) for c in _all(pod)), " "),
        tag("pre", log or "nothing", id="log"),
    ])  # fmt: skip


def _line(reader: Reader, pod: Pod, what: str) -> Html:
    """How it went, as the pod's host remembers."""
    history, meta = reader.history.get(pod.spec.node_name), pod.metadata
    series = history.series if history is not None else ()
    found = (s.values for s in series if (s.namespace, s.pod, s.name) == (meta.namespace, meta.name, what))
    return spark(next(found, ()), what)


def _named(reference: object, pod: Pod) -> bool:
    return (
        getattr(reference, "name", ""), getattr(reference, "namespace", "")
    ) == (pod.metadata.name, pod.metadata.namespace)  # fmt: skip


def _all(pod: Pod) -> list[Container]:
    return list(pods.containers(pod.spec))


def _container(container: Container, pod: Pod) -> tuple[object, ...]:
    statuses = (*pod.status.init_container_statuses, *pod.status.container_statuses)
    status = pods.status_named(statuses, container.name) or ContainerStatus()
    word = "waiting"
    if status.state.HasField("running"):
        word = "Running"
    elif status.state.HasField("terminated"):
        word = status.state.terminated.reason or f"exit {status.state.terminated.exit_code}"
    elif status.state.waiting.reason:
        word = status.state.waiting.reason
    probes = [
        f"{name}: {_probe(probe)}"
        for name, probe in (("startup", container.startup_probe), ("live", container.liveness_probe),
                            ("ready", container.readiness_probe))
        if probe.ListFields()
    ]  # fmt: skip
    ready = "yes" if status.ready else "no"
    return container.name, container.image, state(word), ready, status.restart_count, "; ".join(probes) or "-"


def _probe(probe: Probe) -> str:
    kind = next((n for n in ("http_get", "tcp_socket", "grpc", "exec") if probe.HasField(n)), "")
    where = {"http_get": probe.http_get.path, "exec": " ".join(probe.exec.command)}.get(kind, "")
    return f"{kind.replace('_', ' ')} {where} every {probe.period_seconds or 10} s".replace("  ", " ")
