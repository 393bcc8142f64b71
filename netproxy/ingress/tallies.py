"""What HAProxy's workers have counted, as figures of Ingresses that only ever grow.

Rule: pure. Every worker counts from nought: what one that has ended had counted is kept. Told are the pools that there
are, no more than `MOST` by name and the rest as one, so that figures stay few however many routes there are.
"""

import csv
from collections.abc import Iterator, Mapping
from itertools import islice

from mesh.v1.node_pb2 import IngressFigures, IngressPool, IngressRoute, IngressTraffic
from netproxy.ingress.routes import Plan

DOOR = "ingress"  # the name of the frontend; pools have colons in theirs
OTHERS = "(others)"
MOST = 500  # pools told one by one
MOST_ROUTES = 1000  # hosts and paths told in all
_COUNTED = {
    "requests": "req_tot", "sessions": "stot", "bytes_in": "bin", "bytes_out": "bout", "denied": "dreq",
    "retries": "wretr", "connect_errors": "econ", "response_errors": "eresp",
}  # fmt: skip
_RESPONSES = ("hrsp_1xx", "hrsp_2xx", "hrsp_3xx", "hrsp_4xx", "hrsp_5xx", "hrsp_other")
_MEANS = {"queue_time": "qtime", "connect_time": "ctime", "response_time": "rtime", "total_time": "ttime"}

Rows = Mapping[str, tuple[IngressTraffic, int]]  # by frontend or pool; with how many backends take something new


def read(text: str) -> Rows:
    """The frontends and backends of a worker's `show stat`."""
    lines = text.lstrip("# \n").splitlines()
    return {row["pxname"]: (_traffic(row), _number(row, "act")) for row in csv.DictReader(lines) if row.get("svname")}


def _traffic(row: Mapping[str, str | None]) -> IngressTraffic:
    made = IngressTraffic(open=_number(row, "scur"), responses=[_number(row, name) for name in _RESPONSES])
    for field, name in _COUNTED.items():
        setattr(made, field, _number(row, name))
    for field, name in _MEANS.items():
        setattr(made, field, _number(row, name) / 1000)
    return made


def _number(row: Mapping[str, str | None], name: str) -> int:
    text = row.get(name) or ""
    return int(text) if text.isdecimal() else 0


class Tallies:
    """Of one host."""

    def __init__(self) -> None:
        self.reloads = 0
        self._live: dict[int, Rows] = {}
        self._ended: dict[str, IngressTraffic] = {}

    def take(self, said: Mapping[int, str]) -> None:
        """What every worker that there is said, by pid; one that said nothing has what it had."""
        for pid in set(self._live) - set(said):
            for name, (traffic, _) in self._live.pop(pid).items():
                _count(self._ended.setdefault(name, IngressTraffic()), traffic)
        for pid, text in said.items():
            if rows := read(text):
                self._live[pid] = rows

    def told(self, plan: Plan, current: int) -> IngressFigures:
        """All of it; `current` is the worker that takes connections, 0: none does."""
        self._ended = {name: t for name, t in self._ended.items() if name == DOOR or name in plan.pools}
        ending = len(self._live.keys() - {current})
        made = IngressFigures(up=current > 0, door=self._sum(DOOR, current), ending=ending, reloads=self.reloads)
        routes = routes_of(plan)
        for name in sorted(plan.pools)[:MOST]:
            made.pools.append(self._pool(name, current, routes.get(name, [])))
        if rest := sorted(plan.pools)[MOST:]:
            others = IngressPool(ingress=OTHERS, traffic=IngressTraffic())
            for name in rest:
                traffic = self._sum(name, current)
                _count(others.traffic, traffic)
                others.traffic.open += traffic.open
            made.pools.append(others)
        return made

    def _pool(self, name: str, current: int, routes: list[IngressRoute]) -> IngressPool:
        namespace, ingress, service, port = name.split(":")
        _, backends = self._live.get(current, {}).get(name, (None, 0))
        return IngressPool(
            namespace=namespace, ingress=ingress, service=service, port=port, backends=backends,
            traffic=self._sum(name, current), routes=routes,
        )  # fmt: skip

    def _sum(self, name: str, current: int) -> IngressTraffic:
        made = IngressTraffic()
        made.CopyFrom(self._ended.get(name, made))
        for pid, rows in self._live.items():
            if name in rows:
                traffic, _ = rows[name]
                _count(made, traffic)
                made.open += traffic.open
                if pid == current:
                    for field in _MEANS:
                        setattr(made, field, getattr(traffic, field))
        return made


def _count(into: IngressTraffic, more: IngressTraffic) -> None:
    for field in _COUNTED:
        setattr(into, field, getattr(into, field) + getattr(more, field))
    before = into.responses or [0] * len(_RESPONSES)
    into.responses[:] = [a + b for a, b in zip(before, more.responses or [0] * len(_RESPONSES), strict=True)]


def routes_of(plan: Plan) -> dict[str, list[IngressRoute]]:
    """The hosts and paths that lead to each pool."""
    found: dict[str, list[IngressRoute]] = {}
    for pool, route in islice(_routes(plan), MOST_ROUTES):
        found.setdefault(pool, []).append(route)
    return found


def _routes(plan: Plan) -> Iterator[tuple[str, IngressRoute]]:
    hosts = {short: host for host, short in plan.hosts.items()}
    for (site, path), pool in plan.exact.items():
        yield pool, IngressRoute(host=hosts[site], path=path, type="Exact")
    for (site, path), pool in plan.prefixes.items():
        yield pool, IngressRoute(host=hosts[site], path=path or "/", type="Prefix")
    for site, pool in plan.rest.items():
        yield pool, IngressRoute(host=hosts[site])
    if plan.default:
        yield plan.default, IngressRoute()
