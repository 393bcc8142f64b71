"""What passes through the proxy, told on request.

Rule: reads only; what is open still is added to what is over.
"""

from bisect import bisect_left
from collections.abc import Iterator, Mapping
from itertools import chain

from mesh.v1.node_pb2 import BackendFlows, Flow, Flows, FlowsRequest, ServiceFlows
from netproxy.balance import LATENCY_BOUNDS, Book, Counts
from netproxy.routes import Listen, Route
from netproxy.tcp import Engine
from netproxy.udp import UdpEngine

_One = tuple[Counts, Flow]


class Took:
    """How long orders took, by the same bounds as connects."""

    def __init__(self) -> None:
        self.counts = [0] * (len(LATENCY_BOUNDS) + 1)
        self.sum = 0.0

    def add(self, seconds: float) -> None:
        """One more."""
        self.counts[bisect_left(LATENCY_BOUNDS, seconds)] += 1
        self.sum += seconds


def join(flows: Flows, other: Flows) -> None:
    """Adds what another process carries."""
    by_name = {service.service: service for service in flows.services}
    for service in other.services:
        mine = by_name.get(service.service)
        if mine is None:
            by_name[service.service] = flows.services.add()
            by_name[service.service].CopyFrom(service)
            continue
        mine.rejected += service.rejected
        mine.connections.extend(service.connections)
        backends = {(b.ip, b.port, b.pod): b for b in mine.backends}
        for backend in service.backends:
            same = backends.get((backend.ip, backend.port, backend.pod))
            if same is None:
                mine.backends.append(backend)
            else:
                _add(same, backend)


def _add(one: BackendFlows, other: BackendFlows) -> None:
    for name in ("open", "total", "bytes_in", "bytes_out", "failed", "ejections", "latency_sum"):
        setattr(one, name, getattr(one, name) + getattr(other, name))
    one.ejected = one.ejected or other.ejected
    one.latency[:] = [a + b for a, b in zip(one.latency, other.latency, strict=True)]


def tell_problems(
    flows: Flows, request: FlowsRequest, problems: Mapping[Listen, str], serving: Mapping[Listen, Route]
) -> None:
    """Says of each Service that is asked for which of its addresses nobody can reach here, and why."""
    told = {service.service: service for service in flows.services}
    for listen, why in sorted(problems.items()):
        service = serving[listen].service if listen in serving else ""
        if _asked(request, service):
            if service not in told:
                told[service] = flows.services.add(service=service)
            told[service].problems.append(f"{listen}: {why}")


def flows_of(request: FlowsRequest, book: Book, tcp: Engine, udp: UdpEngine, now: float) -> Flows:
    """Sums by Service and backend; every open connection too, when asked for."""
    open_now = [one for one in chain(_tcp_flows(tcp, now), _udp_flows(udp, now)) if _asked(request, one[0].service)]
    moving: dict[int, list[Flow]] = {}
    for counts, flow in open_now:
        moving.setdefault(id(counts), []).append(flow)
    rejected: dict[str, int] = {}
    for pool in book.pools():
        rejected[pool.route.service] = rejected.get(pool.route.service, 0) + pool.rejected
    found = Flows()
    for service, all_counts in sorted(book.services()):
        if _asked(request, service):
            told = ServiceFlows(service=service, rejected=rejected.get(service, 0))
            for counts in all_counts:
                flows = moving.get(id(counts), [])
                told.backends.append(_backend(counts, flows, now))
                if request.connections:
                    told.connections.extend(flows)
            found.services.append(told)
    return found


def _asked(request: FlowsRequest, service: str) -> bool:
    return request.service in {"", service}


def _backend(counts: Counts, flows: list[Flow], now: float) -> BackendFlows:
    backend = counts.backend
    return BackendFlows(
        ip=backend.ip,
        port=backend.port,
        pod=backend.pod,
        open=counts.open,
        total=counts.total,
        bytes_in=counts.bytes_in + sum(f.bytes_in for f in flows),
        bytes_out=counts.bytes_out + sum(f.bytes_out for f in flows),
        failed=counts.failed,
        ejections=counts.ejections,
        ejected=counts.ejected_until > now,
        latency=counts.latency,
        latency_sum=counts.latency_sum,
    )


def _tcp_flows(tcp: Engine, now: float) -> Iterator[_One]:
    for link in tcp.links():
        if link.counts is not None:
            yield (
                link.counts,
                Flow(
                    protocol="TCP",
                    client="{}:{}".format(*link.peername),
                    service_address="{}:{}".format(*link.client.sock.getsockname()),
                    backend=f"{link.counts.backend.ip}:{link.counts.backend.port}",
                    bytes_in=link.client.count,
                    bytes_out=link.server.count,
                    seconds=now - link.begun,
                ),
            )


def _udp_flows(udp: UdpEngine, now: float) -> Iterator[_One]:
    for session in udp.sessions:
        yield (
            session.counts,
            Flow(
                protocol="UDP",
                client="{}:{}".format(*session.flow.client),
                service_address=f"{session.flow.asked}:{session.flow.listen.port}",
                backend=f"{session.counts.backend.ip}:{session.counts.backend.port}",
                bytes_in=session.bytes_in,
                bytes_out=session.bytes_out,
                seconds=now - session.begun,
            ),
        )
