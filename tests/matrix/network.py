"""Rows: hosts lose power or their network, or have a bad one."""

import threading
from collections.abc import Callable
from typing import Any

from tests.harness.hosts import FakeHost, until
from tests.matrix.row import Row
from tests.matrix.stage import WORKERS, Stage, load
from tests.matrix.workloads import REPLICAS

SLOW = ("tbf", "rate", "128kbit", "burst", "8kb", "latency", "300ms")
LATE = 3 * WORKERS  # requests that may be under way to a host when it goes


def pause(seconds: float) -> None:
    """That is how long a row's misfortune lasts; nothing ends it sooner."""
    threading.Event().wait(seconds)


def cut_off(seconds: float) -> Callable[[Stage], None]:
    """The last host's cable is out for so long. Meanwhile it runs its pods on; once the cable is in, those that were
    replaced are stopped before another host has asked one of them."""

    def strike(stage: Stage) -> None:
        third = stage.hosts[2]
        told: list[dict[str, Any]] = []
        stage.cable(third, plugged=False)
        try:
            stage.first.mesh("wait", f"node/{third.name}", "--for=condition=Ready=Unknown", "--timeout=60s")
            pause(seconds)
            replaced = _replaced(stage, third)
            assert replaced, "no pod of the host that is cut off was replaced"
            assert replaced.keys() <= stage.running(third), "a host that is cut off has stopped pods"
            with load(stage.first, told):
                stage.cable(third, plugged=True)
                until(lambda: not replaced.keys() & stage.running(third), 60, "what was replaced is stopped")
        finally:
            stage.cable(third, plugged=True)
        assert not told[0]["names"].keys() & set(replaced.values()), "a pod that was replaced was asked"
        stage.first.mesh("wait", f"node/{third.name}", "--for=condition=Ready", "--timeout=120s", timeout=150)

    return strike


def _replaced(stage: Stage, host: FakeHost) -> dict[str, str]:
    """Names by uid of the Service's pods there that are to go: others are in their place."""
    pods = stage.first.mesh_json("get", "pods", "-l", "app=web")["items"]
    going = [pod["metadata"] for pod in pods
             if pod["spec"].get("nodeName") == host.name and pod["metadata"].get("deletionTimestamp")]  # fmt: skip
    return {meta["uid"]: meta["name"] for meta in going}


def _power_off(stage: Stage) -> None:
    """For longer than pods are waited for; then it is back, so that the next row has three hosts."""
    third = stage.hosts[2]
    third.power_off()
    stage.first.mesh("wait", f"node/{third.name}", "--for=condition=Ready=Unknown", "--timeout=60s")
    until(lambda: elsewhere(stage, third.name) == REPLICAS, 60, "all pods of the Service are ready on the others")
    stage.power_on(third)


def elsewhere(stage: Stage, lost: str) -> int:
    """How many pods of the Service are ready on other hosts."""
    pods = stage.first.mesh_json("get", "pods", "-l", "app=web")["items"]
    conditions = [c for pod in pods if pod["spec"].get("nodeName") != lost for c in pod["status"].get("conditions", ())]
    return sum((c["type"], c["status"]) == ("Ready", "True") for c in conditions)


def rebooted(number: int) -> Callable[[Stage], None]:
    """All its programs and containers are gone at once, then all are started again."""

    def strike(stage: Stage) -> None:
        stage.hosts[number].power_off()
        stage.power_on(stage.hosts[number])

    return strike


def _slow_link(stage: Stage) -> None:
    third = stage.hosts[2]
    third.run("tc", "qdisc", "add", "dev", "eth0", "root", *SLOW)
    try:
        pause(20)
    finally:
        third.run("tc", "qdisc", "del", "dev", "eth0", "root")


ROWS = (
    Row("power of a host off until its pods run elsewhere, and back",
        "its node NotReady, its pods elsewhere; those of StatefulSets wait for it", _power_off,
        failed=LATE, replaced=4, flips=None, asking=(0, 1)),
    Row("host rebooted", "its node NotReady; its pods again, or elsewhere when the boot takes long", rebooted(2),
        failed=LATE, replaced=4, restarts=4, flips=None, asking=(0, 1)),
    Row("control host rebooted", "no `mesh` meanwhile; its pods again, those of other hosts run on", rebooted(0),
        failed=LATE, replaced=4, restarts=4, flips=None, asking=(1, 2)),
    Row("host cut off for 30 s, and back", "its node NotReady, its pods elsewhere; those of StatefulSets wait for it",
        cut_off(30), failed=LATE, replaced=4, flips=None, asking=(0, 1)),
    Row("host cut off for 5 min, and back", "its node NotReady, its pods elsewhere; those of StatefulSets wait for it",
        cut_off(300),
        failed=LATE, replaced=4, flips=None, asking=(0, 1)),
    Row("slow link of a host (128 kbit/s for 20 s)", "answers from that host come late", _slow_link, flips=None),
)  # fmt: skip
