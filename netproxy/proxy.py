"""The proxy of one host: takes orders, moves listeners, says what is held.

Rules: an order is carried out whole, at once, within the loop; only Services that changed are looked at. A listener
that cannot be opened is a problem that is told and tried again, never a reason to refuse the table.
"""

import asyncio
import itertools
import random
import secrets
import socket
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import structlog

from mesh.errors import Invalid
from mesh.model import protocol
from mesh.v1.node_pb2 import Flows, FlowsRequest, HostSide, ProxyHeld, ProxyOrder, ProxyService, ServiceTable
from netproxy import lastgood
from netproxy.addresses import Addresses
from netproxy.balance import Book
from netproxy.dataplane import Dataplane
from netproxy.diff import Claims
from netproxy.dns.server import NameServer
from netproxy.flows import Took, flows_of, join, tell_problems
from netproxy.handover import KINDS, place_of_words
from netproxy.hands import Hands, SharedEngine, number_of
from netproxy.health import HealthPorts, Standing
from netproxy.holding import Holding, Left, words_of
from netproxy.ingress.engine import Ingress
from netproxy.leaving import Leaving
from netproxy.listeners import Engines, Listeners
from netproxy.routes import (
    DNS,
    Backend,
    Listen,
    Place,
    Route,
    announced,
    dns_routes,
    health_of,
    host_port_routes,
    place_of,
    routes_of,
    serving,
)
from netproxy.tcp import Engine
from netproxy.tunnelling import allow
from netproxy.turns import Turns
from netproxy.udp import UdpEngine

log = structlog.get_logger()
INGRESS = "/ingress:"  # in names of entries that are Ingresses
HOST = "~host"  # who claims the ports of the host; sorts behind every Service


class Proxy:
    """Owns the data plane; `news()` is called when there is something to tell besides answers to orders."""

    def __init__(
        self, turns: Turns, loop: asyncio.AbstractEventLoop, file: Path, holder: Path | None, tunnel: Path | None,
        most: int,
    ) -> None:  # fmt: skip
        self._loop = loop
        self._boot = secrets.token_hex(8)
        self._file = lastgood.LastGood(file)
        self._plane = self._served = Dataplane()  # what was ordered; what every process of ours carries out
        self._host = HostSide()
        self._claims = Claims()
        self._addresses = Addresses(loop)
        self._book = Book(random.random)
        self._leaving = Leaving(self._book, lambda: self.news())  # noqa: PLW0108 - as it is then
        self._tcp = Engine(turns, loop, self._leaving.drained, str(tunnel or ""), most)
        self._hands = Hands(turns, loop, (holder, tunnel))
        self._hands.news = lambda: self.news()  # noqa: PLW0108
        self._udp = UdpEngine(turns, loop, most)
        self._dns = NameServer(turns, loop)
        self._health = HealthPorts(loop)
        self._took = Took()
        self._unserved_since = 0.0  # since when a table is coming in and not served
        self._ingress: Ingress | None = None
        self.news: Callable[[], None] = lambda: None
        self._tunnel = tunnel
        self._holding = Holding(turns, loop, holder)
        engines = Engines(SharedEngine(self._tcp, self._hands), self._udp, self._dns)
        self._listeners = Listeners(loop, engines, self._book, self._claims, self._holding)
        self._listeners.reopened = self._reopened
        left = self._holding.begin()
        self._restore(lastgood.load(file))
        if self._plane.digest:
            self._let_go()
        for one in left:
            self._adopt(one)
        self._hands.flush()
        self._served = self._plane

    def _restore(self, orders: Iterable[ProxyOrder]) -> None:
        """Serves what the orders have led to, and nothing of what was in between: a listener that is closed on the way
        would end the connections that wait there."""
        plane, host = self._plane, self._host
        for order in orders:
            if order.HasField("host"):
                host = order.host
            elif order.HasField("table"):
                plane = plane.accept(order.table)
        self._take_host(host)
        self._plane = plane
        self._unserved_since = self._loop.time() if plane.staged else 0.0
        if plane.digest:
            self._program(plane.services)
            log.info("table_served", revision=plane.revision, services=len(plane.services))

    def begin_ingress(self, ingress: Ingress) -> None:
        """From now on this one is told what concerns Ingress."""
        self._ingress = ingress
        ingress.news = lambda: self.news()  # noqa: PLW0108 - whoever it is by then
        self._tell_ingress()

    # ---- orders

    async def carry_out(self, order: ProxyOrder) -> ProxyHeld:
        """Does one order, in every process, and keeps it for the next start; raises MeshError, OSError."""
        if order.HasField("flows"):
            flows = await self._flows(order.flows)
            held = self.held()
            held.flows.CopyFrom(flows)
            return held
        if order.HasField("ingress_secrets"):  # never on a disk
            if self._ingress is not None:
                self._ingress.secrets(order.ingress_secrets.secrets)
            return self.held()
        if order.HasField("host") and (skew := protocol.why_not("this host's agent", order.host.protocol)):
            raise Invalid(skew)
        began = time.perf_counter()
        if self._take(order) and not self._file.append([order]):
            self._file.rewrite(self._plane.table(), self._host)
        plane = self._plane
        if self._hands:
            await self._hands.settled()
        self._took.add(time.perf_counter() - began)
        if plane.order >= self._served.order:
            self._served = plane
        return self.held()

    async def _flows(self, request: FlowsRequest) -> Flows:
        flows = flows_of(request, self._book, self._tcp, self._udp, self._loop.time())
        flows.workers = 1 + len(self._hands)
        for others in await self._hands.flows(request):
            join(flows, others)
        tell_problems(flows, request, self._listeners.problems, self._claims.serving)
        flows.names.CopyFrom(self._dns.figures())
        flows.sync.extend(self._took.counts)
        flows.sync_sum = self._took.sum
        if self._ingress is not None and not request.service:
            figures = await self._ingress.figures()
            if figures is not None:
                flows.ingress.CopyFrom(figures)
        return flows

    def standing(self) -> Standing:
        """Whether what was ordered is served (X20)."""
        return Standing(bool(self._plane.digest), self._host.leaving, self._unserved_since, self._loop.time())

    def held(self, error: str = "") -> ProxyHeld:
        """What is served now."""
        held = self._served.held(self._boot, error)
        held.protocol.CopyFrom(protocol.ours())
        leaving = self._ingress.draining() if self._ingress is not None else {}
        for uid, number in (*self._leaving.told().items(), *self._hands.draining(), *leaving.items()):
            held.draining[uid] += number
        if self._ingress is not None and self._ingress.problem:
            held.problems.append(f"ingress: {self._ingress.problem}")
        held.problems.extend(f"{listen}: {why}" for listen, why in sorted(self._listeners.problems.items()))
        return held

    def stop(self) -> int:
        """The end: what is open is left for the next proxy, or ended when there is nobody who keeps it; returns how
        many connections of this process were left."""
        self._hands.leave()
        flows = [*self._tcp.hand_over(), *self._udp.hand_over()]
        if self._holding.leave(flows):
            self._tcp.let_go()
            self._udp.let_go()
            return len(flows)
        self._tcp.stop()
        self._udp.stop()
        return 0

    # ---- from one process to the next

    def _let_go(self) -> None:
        """Listeners of the process before that the table does not want."""
        for sock in self._holding.inherited.values():
            sock.close()
        self._holding.drop(list(self._holding.inherited))

    def _adopt(self, left: Left) -> None:
        flows, descriptors = words_of(left)
        sockets = iter([socket.SocketType(fileno=d) for d in descriptors])
        for words in flows:
            # Releases before this was said had these kinds alone.
            its = list(itertools.islice(sockets, words.get("sockets", 2 if words["kind"] == "tcp" else 1)))
            try:
                self._carry_on(words, its)
            except (KeyError, ValueError, TypeError, OSError) as error:
                log.error("flow_not_carried_on", error=repr(error))
        log.info("flows_carried_on", flows=len(flows))

    def _carry_on(self, words: dict[str, Any], sockets: list[socket.SocketType]) -> None:
        if words["kind"] not in KINDS:
            raise ValueError(f"a connection of kind {words['kind']} is none that this release knows")
        for sock in sockets:
            sock.setblocking(False)
        listen = Listen(*words["listen"])
        route = self._claims.serving.get(listen, Route("", ""))
        pool = self._book.pool_of(route, self._loop.time())
        if self._hands.adopt(words, sockets, route):
            self._note_leaving(words["service"], self._serving(words["service"]))
            return
        if words["kind"] == "new":
            self._tcp.adopt(words, sockets, pool, None)
            return
        service, backend, _ = place_of_words(words)
        counts = self._book.counts_of(service, backend, self._loop.time())
        if words["kind"] == "tcp":
            self._tcp.adopt(words, sockets, pool, counts)
        else:
            self._udp.adopt(words, socket.socket(fileno=sockets[0].detach()), listen, counts)
        self._note_leaving(service, self._serving(service))

    def _serving(self, name: str) -> set[Backend]:
        """Who serves it now: a Service, or a pod's host port."""
        ports = self._claims.by_owner.get(HOST, {}).values()
        here = {backend for route in ports if route.service == name for backend in route.backends}
        return here | serving(self._plane.services.get(name), self._place())

    def _place(self) -> Place:
        return place_of(self._host)

    def _take(self, order: ProxyOrder) -> bool:
        """Whether this changed anything."""
        if order.HasField("host"):
            return self._take_host(order.host)
        return order.HasField("table") and self._take_table(order.table)

    def _take_table(self, piece: ServiceTable) -> bool:
        before = self._plane
        self._plane = before.accept(piece)
        self._unserved_since = (self._unserved_since or self._loop.time()) if self._plane.staged else 0.0
        if self._plane.staged or self._plane == before:
            return bool(self._plane.staged)
        changed = self._plane.changed
        self._program({name: self._plane.services.get(name) for name in changed})
        if self._holding.inherited:
            self._let_go()
        if changed:
            log.info("table_served", revision=self._plane.revision, services=len(changed))
        return True

    def _take_host(self, host: HostSide) -> bool:
        if host == self._host:
            return False
        moved = place_of(host) != self._place()
        self._host = host
        if self._tunnel is not None:
            allow(self._tunnel, host)
        self._hands.want(number_of(host.workers))
        self._hold_addresses()
        self._dns.configure(host.dns_zone, host.upstreams, self._named())
        self._tell_ingress()
        touched = self._claims.claim(HOST, host_port_routes(host.host_ports))
        touched |= self._claims.claim(DNS, dns_routes(host.dns_address))
        self._listeners.make(self._claims.moves(touched))
        self._settle_host_ports()
        if moved:
            self._program(self._plane.services)
        return True

    # ---- from the table to sockets

    def _program(self, services: Mapping[str, ProxyService | None]) -> None:
        place = self._place()
        touched: set[Listen] = set()
        for name, service in services.items():
            touched |= self._claims.claim(name, routes_of(service, place) if service is not None else {})
            if INGRESS not in name:
                self._dns.set(name, service)
            self._health.want(name, health_of(service, place) if service is not None else {})
        if any(s is None or s.load_balancer_ips for s in services.values()):
            self._hold_addresses()
        self._listeners.make(self._claims.moves(touched))
        for name, service in services.items():
            self._settle(name, service)
        self._tell_ingress()
        self._listeners.try_again()

    def _named(self) -> dict[str, ProxyService]:
        return {name: service for name, service in self._plane.services.items() if INGRESS not in name}

    def _tell_ingress(self) -> None:
        if self._ingress is None:
            return
        found = {
            name.replace(INGRESS, "/"): service.ingress
            for name, service in self._plane.services.items()
            if INGRESS in name
        }
        self._ingress.program(found, self._named())
        self._ingress.place(self._host.ingress, {*self._host.node_addresses, *self._outer(found)})

    def _outer(self, ingresses: Iterable[str]) -> set[str]:
        """Addresses that Ingresses have reserved and this host answers for."""
        place = self._place()
        entries = (self._plane.services[name.replace("/", INGRESS, 1)] for name in ingresses)
        return {ip for entry in entries for ip in announced(entry, place)}

    def _hold_addresses(self) -> None:
        place = self._place()
        others = {ip for service in self._plane.services.values() for ip in announced(service, place)}
        self._addresses.hold(self._host.service_cidr, others, next(iter(self._host.node_addresses), ""))

    def _reopened(self) -> None:
        self._hands.flush()
        if not self._listeners.problems:
            self.news()

    # ---- who leaves

    def _settle(self, name: str, service: ProxyService | None) -> None:
        if service is None:
            self._book.forget(name)
        self._note_leaving(name, serving(service, self._place()))

    def _settle_host_ports(self) -> None:
        here: dict[str, set[Backend]] = {}
        for route in self._claims.by_owner.get(HOST, {}).values():
            here.setdefault(route.service, set()).update(route.backends)
        known = [name for name, _ in self._book.services() if name.startswith("hostPort:")]
        for name in {*known, *here}:
            if name not in here:
                self._book.forget(name)
            self._note_leaving(name, here.get(name, set()))

    def _note_leaving(self, name: str, serving: set[Backend]) -> None:
        used = {b for r in self._claims.by_owner.get(name, {}).values() for b in r.backends}
        self._leaving.note(name, serving, used, self._tcp)
        self._hands.settle(name, serving)
