"""How fast an agent reacts: from a container's end to what is decided about it, from the check that decides about
readiness to its being in Observed; on a real Podman.

`python benchmarks/reactions.py [--runs 50]`; needs root, Podman and busybox-static. Asked for are less than 20 ms and
less than 50 ms at the median.
"""

import argparse
import asyncio
import os
import signal
import statistics
import tempfile
import time
from pathlib import Path
from unittest import mock

from mesh.v1.core_pb2 import ExecAction, Pod, Probe, Volume
from nodeagent.pods import worker
from nodeagent.pods.actions import Decision, Facts
from nodeagent.probes.checks import RealChecks
from nodeagent.probes.state import Outcome
from nodeagent.probes.wanted import Check
from nodeagent.runtime.seen import SeenContainer, State
from tests.harness.podman import podman_host
from tests.harness.podman_node import Node, a_container, a_pod, is_ready

decide = worker.next_actions
perform = RealChecks.perform
DECIDED: dict[str, float] = {}  # by pod: when something was first to be done about an ended container
CHECKED: list[float] = []  # when each check had its answer


def noting(facts: Facts) -> Decision:
    """The plan, with the time of the first decision about an end."""
    decision = decide(facts)
    ended = facts.seen and any(c.state is State.EXITED for c in facts.seen.containers)
    if ended and decision.actions:
        DECIDED.setdefault(facts.pod.metadata.uid, time.perf_counter())
    return decision


async def checking(self: RealChecks, check: Check, container: SeenContainer, seconds: float | None) -> Outcome:
    """A check, with the time of its answer."""
    outcome = await perform(self, check, container, seconds)
    CHECKED.append(time.perf_counter())
    return outcome


async def ends(node: Node, runs: int) -> list[float]:
    """Milliseconds from a kill to the decision, one container at a time."""
    pods = [a_pod(n) for n in range(1, runs + 1)]
    await node.running(*pods)
    pids = await node.pids()
    took = []
    for pod in pods:
        uid = pod.metadata.uid
        began = time.perf_counter()
        os.kill(pids[uid, "main"], signal.SIGKILL)
        await node.until(lambda heard, uid=uid: heard[uid].status.container_statuses[0].restart_count == 1)  # type: ignore[misc]
        took.append((DECIDED[uid] - began) * 1000)
    return took


async def flips(node: Node, runs: int, shared: Path) -> list[float]:
    """Milliseconds from the answer that flips readiness to the news of it."""
    probe = Probe(
        exec=ExecAction(command=["test", "-e", "/shared/ready"]), period_milliseconds=100, failure_threshold=1
    )
    main = a_container("main", readiness_probe=probe)
    main.volume_mounts.add(name="shared", mount_path="/shared")
    pod: Pod = a_pod(9000, main, volumes=[Volume(name="shared")])
    pod.spec.volumes[0].host_path.path = str(shared)
    (shared / "ready").touch()
    await node.running(pod)
    took = []
    for number in range(runs):
        want = bool(number % 2)
        (shared / "ready").touch() if want else (shared / "ready").unlink()
        await node.until(lambda heard, want=want: is_ready(heard[pod.metadata.uid]) is want)  # type: ignore[misc]
        took.append((time.perf_counter() - CHECKED[-1]) * 1000)
    return took


def tell(what: str, took: list[float], target: float) -> None:
    """One line."""
    ordered = sorted(took)
    median, worst = statistics.median(ordered), ordered[int(len(ordered) * 0.99)]
    verdict = "ok" if median < target else "MISSED"
    print(f"{what:44}{median:9.1f}{worst:9.1f}   over {len(took)}; asked for: {target:g}  {verdict}")


async def main(runs: int) -> None:
    """Prints the table."""
    with (
        podman_host() as host, tempfile.TemporaryDirectory() as shared,
        mock.patch.object(worker, "next_actions", noting), mock.patch.object(RealChecks, "perform", checking),
    ):  # fmt: skip
        node = Node(host)
        await node.start()
        print(f"load of the machine: {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores")
        print(f"{'milliseconds':44}{'median':>9}{'p99':>9}")
        tell("a container's end to the decision", await ends(node, runs), 20)
        tell("the deciding check to Observed", await flips(node, runs, Path(shared)), 50)
        await node.assign()
        await node.agent.emptied()
        await node.kill()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=50)
    asyncio.run(main(parser.parse_args().runs))
