"""Rows: a host runs full: its disk, its memory, or a pod's."""

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.harness.hosts import ROOT, Failed, FakeHost, until
from tests.harness.pythonpod import python_pod
from tests.matrix.network import LATE, elsewhere, pause
from tests.matrix.row import Row
from tests.matrix.stage import Stage, back
from tests.matrix.workloads import REPLICAS

HUNGRY = 200  # MiB
LITTLE = 150 << 20  # bytes: 5 % of the disk
FILLER = ROOT / "filler"


@contextmanager
def full(host: FakeHost, left: int = 0) -> Iterator[None]:
    """The host's disk has no byte left meanwhile, or so many."""
    with host.path(FILLER).open("wb") as file:
        for piece in (64 << 20, 1 << 20, 4096):
            with suppress(OSError):
                while True:
                    os.posix_fallocate(file.fileno(), os.fstat(file.fileno()).st_size, piece)
        os.truncate(file.fileno(), os.fstat(file.fileno()).st_size - left)
    try:
        yield
    finally:
        host.path(FILLER).unlink()


def _host_short(stage: Stage) -> None:
    """Below the thresholds: what takes the room is no pod's, so all of them go, one after the other."""
    third = stage.hosts[2]
    with full(third, left=LITTLE):
        stage.first.mesh("wait", f"node/{third.name}", "--for=condition=DiskPressure", "--timeout=60s")
        until(lambda: elsewhere(stage, third.name) == REPLICAS, 90, "all pods of the Service are ready on the others")
    _relieved(stage, third)


def _host_full(stage: Stage) -> None:
    """Ray goes on, and comes back when it is killed: it needs no byte of that disk."""
    third = stage.hosts[2]
    with full(third):
        stage.first.mesh("wait", f"node/{third.name}", "--for=condition=DiskPressure", "--timeout=60s")
        pause(10)
        back(third, ("ray::NodeActor",), lambda host: host.kill("raylet/raylet"))
        pause(10)
    _relieved(stage, third)


def _relieved(stage: Stage, host: FakeHost) -> None:
    """And its failed pods are put away, as a person does."""
    stage.first.mesh("wait", f"node/{host.name}", "--for=condition=DiskPressure=False", "--timeout=90s")
    failed = stage.first.mesh("get", "pods", "--field-selector=status.phase=Failed", "-o", "name").split()
    if failed:
        stage.first.mesh("delete", *failed)


def _control_disk(stage: Stage) -> None:
    first = stage.first
    with full(first):
        refused = until(lambda: _refusal(first), 60, "what can't be kept is refused")
        assert "disk" in refused, refused
        first.mesh("get", "pods")
        pause(10)
    until(lambda: not _refusal(first), 60, "what is wished is kept again")
    _relieved(stage, first)
    first.mesh("delete", "configmap", "late")


def _refusal(host: FakeHost) -> str:
    """What is said to somebody who wishes something; empty: it is kept."""
    data = {"text": "x" * 100_000, "at": str(time.time_ns())}
    wish = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "late"}, "data": data}
    try:
        host.mesh("apply", "-f", "-", text=json.dumps(wish))
    except Failed as failure:
        return str(failure)
    return ""


def _hungry_pod(stage: Stage) -> None:
    _eat(stage.first, limit="64Mi")
    stage.first.mesh(
        "wait", "pod/hungry", "--for=jsonpath={.status.containerStatuses[0].lastState.terminated.reason}=OOMKilled",
        "--timeout=60s",
    )  # fmt: skip
    stage.first.mesh("delete", "pod", "hungry", "--now")


def _hungry_host(stage: Stage) -> None:
    """As far as the host can tell: its kernel is this machine's, whose memory is not to be used up."""
    first, second, _ = stage.hosts
    _eat(first, limit="")
    first.mesh("wait", "pod/hungry", "--for=condition=Ready", "--timeout=60s")
    told = stage.directory / "meminfo"
    lines = Path("/proc/meminfo").read_text().splitlines()
    told.write_text("".join(f"{'MemAvailable: 50000 kB' if 'MemAvailable' in line else line}\n" for line in lines))
    second.run("mount", "--bind", str(told), "/proc/meminfo")
    try:
        first.mesh("wait", "pod/hungry", "--for=jsonpath={.status.reason}=Evicted", "--timeout=60s")
    finally:
        second.run("umount", "/proc/meminfo")
    first.mesh("wait", f"node/{second.name}", "--for=condition=MemoryPressure=False", "--timeout=90s")
    first.mesh("delete", "pod", "hungry", "--now")


def _eat(first: FakeHost, limit: str) -> None:
    """A pod on the second host that takes memory."""
    pod = json.loads(python_pod("hungry", "eater.py", str(HUNGRY), node="host2"))
    if limit:
        pod["spec"]["containers"][0]["resources"] = {"limits": {"memory": limit}}
    first.mesh("apply", "-f", "-", text=json.dumps(pod))


ROWS = (
    Row("disk of a host below its thresholds", "its node under DiskPressure, its pods elsewhere until there is room",
        _host_short, failed=LATE, replaced=4, flips=None, before=Stage.configure),
    Row("disk of a host full to the last byte",
        "its node under DiskPressure, and Ready; its pods elsewhere until there is room", _host_full,
        failed=LATE, replaced=4, flips=None, before=Stage.configure),
    Row("disk of the control host full", "what would change anything is refused with the reason; all else goes on",
        _control_disk, failed=LATE, replaced=4, flips=None, before=Stage.configure),
    Row("memory of a pod exhausted", "its container OOMKilled and started again", _hungry_pod),
    Row("memory of a host exhausted", "its node under MemoryPressure, the pod with the most beyond its request evicted",
        _hungry_host, before=Stage.configure),
)  # fmt: skip
