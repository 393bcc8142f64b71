"""/metrics/applications: pods that are annotated prometheus.io/scrape: "true" are asked by their host, and told on.

Rule: a pod is asked at its own address only, all at once, for PATIENCE seconds and MOST_BYTES bytes; one that says more
is cut and named, one that does not answer is told as down, and none of them holds up the others.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import h11
import structlog

from mesh.exposition.text import Family, Page
from nodeagent.stats.foreign import Foreign, read
from nodeagent.stats.subjects import Subject

log = structlog.get_logger()

PATIENCE = 3.0
MOST_BYTES = 2 << 20
MOST_AT_ONCE = 16
_ANNOTATION = "prometheus.io/"
_UP = Family("mesh_application_up", "gauge", "1 when the pod told its figures.")
_TOOK = Family("mesh_application_scrape_seconds", "gauge", "How long it took to ask the pod.")
_SAMPLES = Family("mesh_application_samples", "gauge", "Samples taken of the pod.")
_DROPPED = Family("mesh_application_samples_dropped", "gauge", "Lines that are no samples, or named as ours.")
_CUT = Family("mesh_application_cut", "gauge", "1 when the pod tells more than is taken of one.")


@dataclass(frozen=True, slots=True)
class Target:
    """Where a pod tells its figures."""

    subject: Subject
    ip: str
    port: int
    path: str


@dataclass(frozen=True, slots=True)
class Told:
    """What came of asking; `figures` None: nothing."""

    target: Target
    seconds: float
    figures: Foreign | None


def targets(subjects: Sequence[Subject], node_ip: str) -> list[Target]:
    """The pods to ask: annotated, running, with an address and a port (the annotated one, else the first declared)."""
    found = []
    for subject in subjects:
        notes = subject.pod.metadata.annotations
        if notes.get(f"{_ANNOTATION}scrape", "") != "true" or not subject.containers:
            continue
        sandbox = subject.seen.sandbox if subject.seen else None
        ip = node_ip if subject.pod.spec.host_network else sandbox.ip if sandbox else ""
        declared = (p.container_port for c in subject.pod.spec.containers for p in c.ports)
        text = notes.get(f"{_ANNOTATION}port", "") or str(next(declared, ""))
        path = notes.get(f"{_ANNOTATION}path", "") or "/metrics"
        if ip and text.isdecimal() and 0 < int(text) < 65536 and path.startswith("/") and path.isprintable():
            found.append(Target(subject, ip, int(text), path.replace(" ", "%20")))
    return found


async def ask_all(wanted: Sequence[Target]) -> list[Told]:
    """Asks them."""
    room = asyncio.Semaphore(MOST_AT_ONCE)

    async def one(target: Target) -> Told:
        async with room:
            return await _ask(target)

    return list(await asyncio.gather(*(one(target) for target in wanted)))


def applications(page: Page, told: Sequence[Told]) -> None:
    """What they told, and how that went."""
    for one in told:
        if one.figures is not None:
            one.figures.show(page)
    page.put(_UP, [(t.target.subject.short, int(t.figures is not None)) for t in told])
    page.put(_TOOK, [(t.target.subject.short, t.seconds) for t in told])
    heard = [(t.target.subject.short, t.figures) for t in told if t.figures is not None]
    page.put(_SAMPLES, [(of, figures.samples) for of, figures in heard])
    page.put(_DROPPED, [(of, figures.dropped) for of, figures in heard])
    page.put(_CUT, [(of, int(figures.cut)) for of, figures in heard])


async def _ask(target: Target) -> Told:
    now = asyncio.get_running_loop().time
    began, figures = now(), None
    try:
        async with asyncio.timeout(PATIENCE):
            text, cut = await _fetch(target)
        figures = await asyncio.to_thread(read, text, target.subject.namespace, target.subject.name)
        if cut or figures.cut:
            figures.cut = True
            log.warning("application_figures_cut", pod=f"{target.subject.namespace}/{target.subject.name}",
                        samples=figures.samples)  # fmt: skip
    except (OSError, TimeoutError, h11.ProtocolError, UnicodeDecodeError) as error:
        log.debug("application_not_asked", pod=target.subject.name, why=str(error))
    return Told(target, now() - began, figures)


async def _fetch(target: Target) -> tuple[str, bool]:
    """What the pod says, and whether that was not all; raises OSError, ProtocolError."""
    reader, writer = await asyncio.open_connection(target.ip, target.port)
    try:
        connection = h11.Connection(h11.CLIENT)
        headers = [("Host", f"{target.ip}:{target.port}"), ("Accept", "text/plain;version=0.0.4"),
                   ("Connection", "close"), ("User-Agent", "mesh")]  # fmt: skip
        writer.write(connection.send(h11.Request(method="GET", target=target.path, headers=headers)) or b"")
        writer.write(connection.send(h11.EndOfMessage()) or b"")
        parts: list[bytes] = []
        size = 0
        while True:
            event = connection.next_event()
            if event is h11.NEED_DATA:
                connection.receive_data(await reader.read(1 << 16))
            elif isinstance(event, h11.Response):
                if event.status_code != 200:
                    raise ConnectionError(f"status {event.status_code}")
            elif isinstance(event, h11.Data):
                parts.append(bytes(event.data))
                size += len(parts[-1])
                if size > MOST_BYTES:
                    whole, _, _ = b"".join(parts)[:MOST_BYTES].rpartition(b"\n")  # no half line
                    return whole.decode(), True
            elif isinstance(event, h11.EndOfMessage | h11.ConnectionClosed):
                return b"".join(parts).decode(), False
    finally:
        writer.close()
