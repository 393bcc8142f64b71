"""Rows: a host runs full: its disk, its memory, or a pod's."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.harness.hosts import ROOT, Failed, FakeHost, until
from tests.harness.pythonpod import python_pod
from tests.matrix.network import LATE, pause
from tests.matrix.row import Row
from tests.matrix.stage import Stage

HUNGRY = 200  # MiB
FILLER = ROOT / "filler"


@contextmanager
def full(host: FakeHost) -> Iterator[None]:
    """The host's disk has no byte left meanwhile."""
    with host.path(FILLER).open("wb") as file:
        for piece in (64 << 20, 1 << 20, 4096):
            with suppress(OSError):
                while True:
                    os.posix_fallocate(file.fileno(), os.fstat(file.fileno()).st_size, piece)
    try:
        yield
    finally:
        host.path(FILLER).unlink()


def _host_disk(stage: Stage) -> None:
    third = stage.hosts[2]
    with full(third):
        stage.first.mesh("wait", f"node/{third.name}", "--for=condition=DiskPressure", "--timeout=60s")
        pause(15)
    stage.first.mesh("wait", f"node/{third.name}", "--for=condition=DiskPressure=False", "--timeout=90s")


def _control_disk(stage: Stage) -> None:
    first = stage.first
    with full(first):
        refused = until(lambda: _refusal(first), 60, "what can't be kept is refused")
        assert "disk" in refused, refused
        first.mesh("get", "pods")
        pause(10)
    until(lambda: not _refusal(first), 60, "what is wished is kept again")
    first.mesh("wait", f"node/{first.name}", "--for=condition=DiskPressure=False", "--timeout=90s")
    first.mesh("delete", "configmap", "late", "--ignore-not-found")


def _refusal(host: FakeHost) -> str:
    """What is said to somebody who wishes something; empty: it is kept."""
    try:
        host.mesh("create", "configmap", "late", f"--from-literal=text={'x' * 100_000}")
        host.mesh("delete", "configmap", "late")
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
    Row("disk of a host full", "its node under DiskPressure, its pods elsewhere until there is room", _host_disk,
        failed=LATE, replaced=3, flips=None, before=Stage.configure),
    Row("disk of the control host full", "what would change anything is refused with the reason; all else goes on",
        _control_disk, failed=LATE, replaced=3, flips=None, before=Stage.configure),
    Row("memory of a pod exhausted", "its container OOMKilled and started again", _hungry_pod),
    Row("memory of a host exhausted", "its node under MemoryPressure, the pod with the most beyond its request evicted",
        _hungry_host, before=Stage.configure),
)  # fmt: skip
