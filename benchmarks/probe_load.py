"""Probes under load: a full host, each pod asked over HTTP and by a command every second, while some pods crash-loop.

`python benchmarks/probe_load.py [--pods 110] [--crashing 20] [--seconds 300]`; needs root, Podman and busybox-static.
Late is what lies between the sending of two checks of one probe beyond its period; missed are whole periods without
one. Asked for are less than 200 ms late at the 99th percentile, nothing missed, at most 12 ms of CPU for a command. CPU
of commands is that of the OCI runtime and of the command, by rusage of ended children; the rest of the agent's, HTTP
probes included, is told for each probe. What others took of the machine meanwhile is told too.
"""

import argparse
import asyncio
import contextlib
import os
import resource
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from mesh.v1.core_pb2 import ExecAction, Pod, Probe
from mesh.v1.meta_pb2 import IntOrString
from nodeagent.probes.checks import RealChecks
from nodeagent.probes.state import Outcome
from nodeagent.probes.wanted import Check, ExecCheck
from nodeagent.runtime.seen import SeenContainer
from tests.harness.podman import podman_host
from tests.harness.podman_node import Node, a_container, a_pod, is_ready

SERVER = "mkdir -p /tmp/w; echo ok >/tmp/w/index.html; exec httpd -f -p 8080 -h /tmp/w"
CRASH = "sleep 3; exit 1"
PERIOD = 1.0
TARGET = 0.2


@dataclass
class Watched(RealChecks):
    """Notes when each check was sent, how long it took and what it found."""

    inner: RealChecks
    sent: dict[tuple[str, str], list[float]] = field(default_factory=lambda: defaultdict(list))
    took: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    results: dict[tuple[str, str], int] = field(default_factory=lambda: defaultdict(int))

    async def perform(self, check: Check, container: SeenContainer, seconds: float | None) -> Outcome:
        """See `Checks`."""
        kind = "exec" if isinstance(check, ExecCheck) else "http"
        self.sent[container.id, kind].append(time.monotonic())
        outcome = await self.inner.perform(check, container, seconds)
        self.took[kind].append(outcome.seconds)
        self.results[kind, str(outcome.result)] += 1
        return outcome

    def lateness(self, kind: str, since: float) -> tuple[list[float], int]:
        """Seconds beyond the period, of all checks; and how many periods went by without one."""
        late, missed = [], 0
        for (_, of), times in self.sent.items():
            if of == kind:
                gaps = [b - a for a, b in pairwise(times) if a >= since]
                late += [max(0.0, gap - PERIOD) for gap in gaps]
                missed += sum(max(0, round(gap / PERIOD) - 1) for gap in gaps)
        return sorted(late), missed


@dataclass(frozen=True)
class Spent:
    """CPU seconds so far: of this process, of its ended children, of the machine."""

    own: float
    children: float
    machine: float

    @staticmethod
    def now() -> "Spent":
        """Until now."""
        own, children = (resource.getrusage(w) for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        ticks = [int(n) for n in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
        busy = sum(ticks) - ticks[3] - ticks[4]  # but idle and iowait
        return Spent(
            own.ru_utime + own.ru_stime, children.ru_utime + children.ru_stime, busy / os.sysconf("SC_CLK_TCK")
        )


def probed(number: int, script: str) -> Pod:
    """One pod with both probes, every second."""
    ready = Probe(period_seconds=1, timeout_seconds=1)
    ready.http_get.port.CopyFrom(IntOrString(int_value=8080))
    live = Probe(exec=ExecAction(command=["true"]), period_seconds=1, timeout_seconds=1)
    main = a_container("main", command=["sh", "-c", script], readiness_probe=ready, liveness_probe=live)
    return a_pod(number, main)


def at(ordered: list[float], share: float) -> float:
    """A percentile, in milliseconds."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1000 if ordered else 0.0


@contextlib.contextmanager
def watched() -> Iterator[list[Watched]]:
    """Agents made from now on have their checks watched."""
    from nodeagent import agent  # noqa: PLC0415 - the one name that is replaced

    made: list[Watched] = []
    real = agent.RealChecks

    def make(runtime: object) -> Watched:
        made.append(Watched(real(runtime)))  # type: ignore[arg-type] # the agent's own
        return made[-1]

    agent.RealChecks = make  # type: ignore[assignment,misc] # stands in for the class
    try:
        yield made
    finally:
        agent.RealChecks = real  # type: ignore[misc] # as it was


async def main(pods: int, crashing: int, seconds: float) -> None:
    """Prints the table."""
    with podman_host() as host, watched() as made:
        node = Node(host)
        await node.start()
        steady = [probed(n, SERVER) for n in range(1, pods - crashing + 1)]
        falling = [probed(n, CRASH) for n in range(pods - crashing + 1, pods + 1)]
        began = time.monotonic()
        await node.assign(*steady, *falling)
        await node.until(lambda heard: all(is_ready(heard.get(p.metadata.uid)) for p in steady), 600)
        print(f"{pods} pods, {len(steady)} of them ready after {time.monotonic() - began:.1f} s", flush=True)
        checks, since, before = made[0], time.monotonic(), Spent.now()
        runs = {kind: len(took) for kind, took in checks.took.items()}
        with contextlib.suppress(TimeoutError):
            await node.until(lambda _: False, seconds)
        spent, lasted = Spent.now(), time.monotonic() - since
        report(checks, runs, since, (before, spent, lasted))
        unready = [p.metadata.name for p in steady if not is_ready(node.heard[p.metadata.uid])]
        restarts = sum(s.restart_count for p in steady for s in node.heard[p.metadata.uid].status.container_statuses)
        print(f"pods that should be ready and are not: {len(unready)}; restarts of pods that are well: {restarts}")
        await node.assign()
        await node.agent.emptied()
        await node.kill()


def report(checks: Watched, runs: dict[str, int], since: float, spent: tuple[Spent, Spent, float]) -> None:
    """The table."""
    before, after, lasted = spent
    done = {kind: len(took) - runs.get(kind, 0) for kind, took in checks.took.items()}
    print(f"{'':6}{'':9}{'':8}{'late, ms':^27}{'answered in, ms':^18}")
    print(f"{'kind':6}{'checks':>9}{'missed':>8}{'p50':>9}{'p99':>9}{'max':>9}{'p50':>9}{'p99':>9}")
    for kind in ("http", "exec"):
        late, missed = checks.lateness(kind, since)
        took = sorted(checks.took[kind][runs.get(kind, 0) :])
        verdict = "ok" if at(late, 0.99) <= TARGET * 1000 and not missed else "MISSED"
        figures = (at(late, 0.5), at(late, 0.99), at(late, 1.0), at(took, 0.5), at(took, 0.99))
        print(f"{kind:6}{done[kind]:9}{missed:8}{''.join(f'{f:9.1f}' for f in figures)}  {verdict}")
    own, children = after.own - before.own, after.children - before.children
    whole = after.machine - before.machine
    each, rest = children * 1000 / max(done["exec"], 1), own * 1000 / max(sum(done.values()), 1)
    print(f"CPU: {each:.1f} ms for each command; the agent itself {rest:.1f} ms for each probe,", end=" ")
    print(f"{100 * own / lasted:.0f} % of a core")
    print(f"the machine meanwhile: {100 * whole / lasted:.0f} % of a core,", end=" ")
    print(f"{100 * (whole - own - children) / lasted:.0f} % not for agent and commands; {os.cpu_count()} cores")
    print("results: " + ", ".join(f"{kind} {result} {n}" for (kind, result), n in sorted(checks.results.items())))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pods", type=int, default=110)
    parser.add_argument("--crashing", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=300)
    options = parser.parse_args()
    asyncio.run(main(options.pods, options.crashing, options.seconds))
