"""Which backend a new connection goes to, and what is remembered of backends: the choice as pure state.

Rules: pure; time (monotonic seconds) and chance (a draw from [0, 1)) are arguments. Uniformly random by default (X5).
A backend that could not be reached is passed over for a while, never when no other is left. Counters are sums since
the backend came.
"""

from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Iterator

from netproxy.routes import Backend, Route

LATENCY_BOUNDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 3.0)  # seconds; one more above
EJECTION, LONGEST_EJECTION = 1.0, 30.0  # seconds; doubled with each failure in a row
MOST_CLIENTS = 65536  # remembered by one affinity; then the ones longest unseen are forgotten


class Counts:
    """What has passed between one Service and one of its backends, and whether it can be reached."""

    __slots__ = (
        "backend", "bytes_in", "bytes_out", "ejected_until", "ejections", "failed", "failures", "latency",
        "latency_sum", "leaving", "open", "service", "since", "total",
    )  # fmt: skip

    def __init__(self, service: str, backend: Backend, since: float) -> None:
        self.service = service
        self.backend = backend
        self.since = since
        self.open = self.total = self.bytes_in = self.bytes_out = self.failed = self.ejections = self.failures = 0
        self.ejected_until = 0.0
        self.leaving = False  # serves no new connection any more
        self.latency = [0] * (len(LATENCY_BOUNDS) + 1)
        self.latency_sum = 0.0

    def connected(self, seconds: float) -> None:
        """A connection is there, `seconds` after it was begun."""
        self.latency[bisect_left(LATENCY_BOUNDS, seconds)] += 1
        self.latency_sum += seconds
        self.failures = 0
        self.ejected_until = 0.0

    def unreachable(self, now: float) -> None:
        """A connect failed: nothing new goes there for a while, twice as long each time in a row."""
        self.failed += 1
        if self.ejected_until <= now:
            self.ejections += 1
            self.ejected_until = now + min(EJECTION * 2.0 ** min(self.failures, 10), LONGEST_EJECTION)
            self.failures += 1


class Affinity:
    """Which backend a client had last, by its address (X7)."""

    def __init__(self) -> None:
        self._last: dict[str, tuple[Backend, float]] = {}  # oldest use first

    def backend_of(self, client: str, seconds: float, now: float) -> Backend | None:
        """Where `client` went within the last `seconds`."""
        last = self._last.get(client)
        return last[0] if last is not None and now - last[1] <= seconds else None

    def remember(self, client: str, backend: Backend, now: float) -> None:
        """`client` goes there now."""
        self._last.pop(client, None)
        self._last[client] = backend, now
        if len(self._last) > MOST_CLIENTS:
            del self._last[next(iter(self._last))]


class Pool:
    """The backends of one route in order; shared by all its addresses."""

    def __init__(self, affinity: Affinity, draw: Callable[[], float]) -> None:
        self._draw = draw
        self._affinity = affinity
        self._turn = 0
        self._warm_at = 0.0
        self.route = Route("", "")
        self.counts: list[Counts] = []
        self.rejected = 0
        self.limit = 0
        self._plain = True

    def set(self, route: Route, counts: Iterable[Counts]) -> None:
        """Takes a changed route; `counts` in the order of its backends."""
        self.route = route
        self.counts = list(counts)
        self.limit = route.tuning.max_connections
        slow = route.tuning.slow_start
        self._warm_at = max((c.since + slow for c in self.counts), default=0.0) if slow else 0.0
        self._plain = route.tuning.balance == "random" and not slow and not route.affinity

    def choose(self, client: str, now: float, tried: Collection[Counts] = ()) -> Counts | None:
        """Where a connection of `client` (an address) goes; None when all were tried."""
        counts = self.counts
        if self._plain and not tried and counts:
            drawn = counts[int(self._draw() * len(counts))]
            if not drawn.ejected_until:
                return drawn
        able = [c for c in counts if c not in tried]
        able = [c for c in able if c.ejected_until <= now] or able
        if not able:
            return None
        seconds = self.route.affinity
        if not seconds:
            return self._balanced(able, now)
        last = self._affinity.backend_of(client, seconds, now)
        chosen = next((c for c in able if c.backend == last), None) or self._balanced(able, now)
        self._affinity.remember(client, chosen.backend, now)
        return chosen

    def full(self) -> bool:
        """Whether the Service has as many open connections as it may."""
        return bool(self.limit) and sum(c.open for c in self.counts) >= self.limit

    def _balanced(self, able: list[Counts], now: float) -> Counts:
        tuning = self.route.tuning
        if tuning.balance == "round-robin":
            return self._next(able)
        weights = [self._warmth(c, now) for c in able] if now < self._warm_at else None
        if tuning.balance == "least-connections":
            loads = [(c.open + 1) / (weights[i] if weights else 1.0) for i, c in enumerate(able)]
            least = min(loads)
            able = [c for c, load in zip(able, loads, strict=True) if load == least]
        elif weights:
            return self._weighted(able, weights)
        return able[int(self._draw() * len(able))]

    def _next(self, able: list[Counts]) -> Counts:
        places = {id(c): place for place, c in enumerate(self.counts)}
        size = len(self.counts)
        chosen = min(able, key=lambda c: (places[id(c)] - self._turn) % size)
        self._turn = (places[id(chosen)] + 1) % size
        return chosen

    def _warmth(self, counts: Counts, now: float) -> float:
        """From 0.1 for a backend that has just come to 1 after the slow start."""
        return min(1.0, max(0.1, (now - counts.since) / self.route.tuning.slow_start))

    def _weighted(self, able: list[Counts], weights: list[float]) -> Counts:
        left = self._draw() * sum(weights)
        for counts, weight in zip(able, weights, strict=True):
            left -= weight
            if left < 0:
                return counts
        return able[-1]


class Book:
    """All pools and counts of the proxy, so that what is remembered outlives a changed route."""

    def __init__(self, draw: Callable[[], float]) -> None:
        self._draw = draw
        self._pools: dict[tuple[str, str, bool], Pool] = {}
        self._affinities: dict[tuple[str, str], Affinity] = {}
        self._counts: dict[str, dict[Backend, Counts]] = {}

    def pool_of(self, route: Route, now: float) -> Pool:
        """The pool of a route, with the route's backends from now on."""
        key = route.service, route.port, route.external
        pool = self._pools.get(key)
        if pool is None:
            affinity = self._affinities.setdefault(key[:2], Affinity())
            pool = self._pools[key] = Pool(affinity, self._draw)
        if pool.route is not route:
            pool.set(route, [self.counts_of(route.service, b, now) for b in route.backends])
        return pool

    def counts_of(self, service: str, backend: Backend, now: float) -> Counts:
        """The counts of one backend; another pod at the same address is another backend."""
        known = self._counts.setdefault(service, {})
        counts = known.get(backend)
        if counts is None:
            counts = known[backend] = Counts(service, backend, now)
        return counts

    def settle(self, service: str, serving: Collection[Backend], used: Collection[Backend]) -> list[Counts]:
        """After a change of `service`: marks who does not serve, forgets who has left and is not `used` by a route;
        returns those that have begun to leave with connections open."""
        known = self._counts.get(service, {})
        begun = []
        for backend, counts in list(known.items()):
            leaving = backend not in serving
            if leaving and not counts.open and backend not in used:
                del known[backend]
            elif leaving and not counts.leaving and counts.open:
                begun.append(counts)
            counts.leaving = leaving
        if not known:
            self._counts.pop(service, None)
        return begun

    def forget(self, service: str) -> None:
        """The Service is gone: what balancing remembers goes; connections that are open are counted still."""
        for key in [k for k in self._pools if k[0] == service]:
            del self._pools[key]
        for pair in [k for k in self._affinities if k[0] == service]:
            del self._affinities[pair]

    def pools(self) -> Iterator[Pool]:
        """Every pool."""
        return iter(self._pools.values())

    def services(self) -> Iterator[tuple[str, Collection[Counts]]]:
        """What is counted, by Service."""
        for service, known in self._counts.items():
            yield service, known.values()
