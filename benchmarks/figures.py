"""What it costs a host to tell the figures of many pods: CPU of one scrape, and of one sample of the history.

    python benchmarks/figures.py [--pods 110]

Control groups are real ones, made below /sys/fs/cgroup and removed again (root); their pods are made up.
"""

import argparse
import asyncio
import contextlib
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from mesh.v1.core_pb2 import Container, Pod, PodSpec
from nodeagent.config import AgentConfig
from nodeagent.pods.worker import Worker
from nodeagent.probes.counts import Count
from nodeagent.probes.state import Kind, Outcome, Result
from nodeagent.runtime import cgroups
from nodeagent.runtime.seen import Role, SeenContainer, SeenPod, SeenSandbox, State
from nodeagent.stats.history import STEP, History
from nodeagent.stats.meter import Meter
from nodeagent.stats.operations import Operations
from nodeagent.stats.reading import Reader
from nodeagent.stats.subjects import Subject, subject_of
from nodeagent.volumes.tree import Tree

SCRAPE = 15.0  # seconds between two
TIMES = 10
PROBED = (Kind.READINESS, Kind.LIVENESS)


def probed() -> Count:
    """What became of a probe that ran a while."""
    count = Count()
    for _ in range(10):
        count.add(Outcome(Result.SUCCESS, seconds=0.003), 0.001)
    return count


def subjects(count: int) -> list[Subject]:
    """Pods of one container each, that is probed for readiness and liveness."""
    found = []
    for i in range(count):
        uid = f"bench-{i:04}"
        pod = Pod(
            metadata={"name": f"pod-{i}", "namespace": "default", "uid": uid},
            spec=PodSpec(containers=[Container(name="main")]),
        )
        container = SeenContainer(
            f"{i:064x}", uid, "main", 0, Role.APP, State.RUNNING, "h", "localhost/image:1", "i", started_at=1
        )
        seen = SeenPod(uid, "default", f"pod-{i}", SeenSandbox(uid, "default", f"pod-{i}", "10.0.0.1", 1), (container,))
        found.append(subject_of(pod, pod.status, seen, {("main", kind): probed() for kind in PROBED}))
    return found


@contextlib.contextmanager
def groups(every: list[Subject]) -> Iterator[None]:
    """Their control groups, empty ones."""
    made = [h / path.lstrip("/") for h in cgroups.hierarchies() for s in every for path in s.groups()]
    for path in made:
        path.mkdir(parents=True, exist_ok=True)
    try:
        yield
    finally:
        for path in reversed(made):
            path.rmdir()


class Bench(Meter):
    """A meter of made-up pods."""

    def __init__(self, config: AgentConfig, every: list[Subject]) -> None:
        nobody: list[Worker] = []
        tree = Tree(config.state_dir, config.log_dir, config.memory_dir)
        super().__init__(config, tree, lambda: nobody, Operations(), time.time_ns)
        self.every = every

    def subjects(self) -> list[Subject]:
        """The made-up ones."""
        return self.every


async def measure(count: int) -> None:
    """Prints the figures."""
    every = subjects(count)
    with tempfile.TemporaryDirectory() as root, groups(every):
        meter = Bench(AgentConfig("bench", "127.0.0.1", Path(root)), every)
        history = History(Reader(), meter.subjects, time.time_ns)
        size = len((await meter.answer("/metrics")).body)
        began = time.process_time()
        for _ in range(TIMES):
            await meter.answer("/metrics")
        scrape = (time.process_time() - began) / TIMES
        began = time.process_time()
        for _ in range(TIMES):
            await history.sample()
        sample = (time.process_time() - began) / TIMES
    share, of_history = scrape / SCRAPE, sample / STEP
    print(f"{count} pods: a scrape is {size / 1e6:.2f} MB, {scrape * 1000:.1f} ms of CPU ({share:.2%} of a core)")
    print(f"{count} pods: a sample of the history is {sample * 1000:.1f} ms of CPU ({of_history:.2%} of a core)")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--pods", type=int, default=110)
    asyncio.run(measure(parser.parse_args().pods))


if __name__ == "__main__":
    main()
