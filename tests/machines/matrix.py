"""The rows of the failure matrix that need hosts that systemd has booted; part of `make test-matrix`.

    python -m tests.machines.matrix DIRECTORY BUNDLE [--suite trixie] [--keep] [--only WORD] [--write]

Rule: what namespaced hosts can show is shown there (tests/matrix); here stands what systemd does: programs of ours as
units, and a boot that brings everything back without a hand. Exit code 1 when a row sees what it must not see.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.machines import ha
from tests.machines.ha import FIRST, LATE, THIRD, until
from tests.machines.lab import SUITE, Lab, ask_for_lab, played
from tests.machines.provision import HOSTS, asked, expect, play, web
from tests.matrix.row import Row, Seen
from tests.matrix.table import told

RAY = "ray::|raylet/raylet|gcs_server|ray_watch|ray.scripts|ray/dashboard|runtime_env"
KEPT = "nodes,deployments,services,configmaps,secrets,namespaces"


def _kill(lab: Lab, host: str, words: str) -> None:
    # The pattern must not match the shell that looks for it.
    lab.ssh(host, f"pkill -9 -f -- '{words[:-1]}[{words[-1]}]'", check=False)


def _all_of_ray(lab: Lab) -> None:
    for host in HOSTS:
        for words in RAY.split("|"):
            _kill(lab, host, words)


def _every_program(lab: Lab) -> None:
    for words in ("mesh.app", "system service", "-m netproxy --socket"):
        _kill(lab, FIRST, words)


def _cut_off(lab: Lab) -> None:
    with lab.unplugged(THIRD):
        time.sleep(30)  # that is how long it is cut off


def _rebooted(lab: Lab) -> None:
    lab.power_off(THIRD)
    lab.power_on(THIRD)


def _without_power(lab: Lab) -> None:
    lab.power_off(THIRD)
    time.sleep(30)  # that is how long it is off
    lab.power_on(THIRD)


def _upgraded(lab: Lab) -> None:
    for host in HOSTS:
        lab.ssh(host, "systemctl", "restart", "mesh-netproxy")


ROWS: tuple[Row[Lab], ...] = (
    Row("systemd: every process of Ray on every host killed", "`mesh status`: hosts away for seconds", _all_of_ray),
    Row("systemd: meshd, Podman service and netproxy of the control host killed at once",
        "connections that netproxy carried end", _every_program, failed=LATE),
    Row("systemd: netproxy of every host upgraded", "nothing", _upgraded),
    Row("systemd: host cut off for 30 s, and back", "its node NotReady, its pods elsewhere", _cut_off,
        failed=LATE, replaced=2, flips=None, asking=(0, 1)),
    Row("systemd: host rebooted", "its pods again, or elsewhere when the boot takes long", _rebooted,
        failed=LATE, replaced=2, restarts=2, flips=None, asking=(0, 1)),
    Row("systemd: power of a host off for 30 s, and back", "its node NotReady, its pods elsewhere", _without_power,
        failed=LATE, replaced=2, restarts=2, flips=None, asking=(0, 1)),
)  # fmt: skip


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask_for_lab(parser)
    parser.add_argument("--only", default="", help="the rows whose name has this in it")
    parser.add_argument("--write", action="store_true", help="put the rows into docs/reliability.md")
    wished = parser.parse_args()
    lab = Lab(wished.directory.absolute(), HOSTS, wished.suite, wished.mirror)
    rows = [row for row in (*ROWS, *ha.ROWS) if wished.only in row.name]
    return played(lambda: story(lab, wished.bundle.absolute(), rows, write=wished.write), lab, keep=wished.keep)


def story(lab: Lab, bundle: Path, rows: Sequence[Row[Lab]], *, write: bool) -> None:
    """Every row, whatever one of them sees; raises Failed at the end when one saw what it must not see."""
    lab.boot()
    play(lab.inventory(bundle), "site")
    web(lab)
    lab.ssh(FIRST, "mesh", "delete", "cronjob", "look")  # its pods come and go by themselves
    codes = [told(on_suite(row, lab.suite), measured(lab, row), write=write) for row in rows]
    expect(not any(codes), "a row sees what it must not see")


def on_suite(row: Row[Lab], suite: str) -> Row[Lab]:
    """Under a name of its own when the hosts are of another distribution than Debian 12: it has a line of its own."""
    return row if suite == SUITE else replace(row, name=row.name.replace("systemd:", f"systemd of {suite}:"))


def measured(lab: Lab, row: Row[Lab]) -> Seen:
    """Strikes, waits until everything is well, and says what was seen."""
    if row.before:
        row.before(lab)
    spread(lab)
    before, objects = pods(lab), lab.ssh(FIRST, "mesh", "get", KEPT, "-o", "name").split()
    with asked(lab, [HOSTS[number] for number in row.asking]) as answers:
        began = time.monotonic()
        row.strike(lab)
        converged(lab)
        seconds = time.monotonic() - began
    after, left = pods(lab), lab.ssh(FIRST, "mesh", "get", KEPT, "-o", "name").split()
    both = before.keys() & after.keys()
    failures = [f"{name}: {why}" for name, said in answers.items() for why in said["failures"]]
    return Seen(
        asked=sum(said["asked"] for said in answers.values()), failed=len(failures),
        slowest=max(said["slowest"] for said in answers.values()),
        restarts=sum(after[uid][0] - before[uid][0] for uid in both), replaced=len(before.keys() - after.keys()),
        flips=sum(after[uid][1] != before[uid][1] for uid in both), seconds=seconds, load=os.getloadavg()[0],
        lost=sorted(set(objects) - set(left)), why=failures[0] if failures else "",
    )  # fmt: skip


def spread(lab: Lab) -> None:
    """Makes the example anew on all hosts: one that was away has no pod of it when it is back."""
    for replicas in (0, 2 * len(HOSTS)):
        lab.ssh(FIRST, "mesh", "scale", "deployment/web", f"--replicas={replicas}")
        converged(lab)
        until(lambda: len(_pods(lab)) == replicas, "the example is as large as told")  # noqa: B023 - called in this round
    expect({pod["spec"]["nodeName"] for pod in _pods(lab)} == set(HOSTS), "every host has pods of the example")


def pods(lab: Lab) -> dict[str, tuple[int, str]]:
    """Of each pod, by uid: restarts, and since when it has been ready."""
    return {pod["metadata"]["uid"]: _of(pod["status"]) for pod in _pods(lab)}


def _pods(lab: Lab) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(lab.ssh(FIRST, "mesh", "get", "pods", "-o", "json"))["items"]
    return found


def _of(status: dict[str, Any]) -> tuple[int, str]:
    restarts = sum(c["restartCount"] for c in status.get("containerStatuses", ()))
    since = [c["lastTransitionTime"] for c in status["conditions"] if c["type"] == "Ready"]
    return restarts, str(since)


def converged(lab: Lab) -> None:
    """Returns once every host answers and holds its orders, and the example is as large as it should be and ready."""
    until(lambda: _settled(lab), "every host is well")


def _settled(lab: Lab) -> bool:
    text = lab.ssh(FIRST, "mesh", "status", "-o", "json", check=False, seconds=60)
    hosts = json.loads(text).get("hosts", []) if text.startswith("{") else []
    if len(hosts) != len(HOSTS) or not all(h.get("connected") and h.get("assignmentHeld") for h in hosts):
        return False
    answers = [lab.ssh(FIRST, "mesh", "get", what, "-o", "json", check=False) for what in ("nodes", "deployments")]
    if not all(answer.startswith("{") for answer in answers):
        return False
    nodes, deployments = (json.loads(answer)["items"] for answer in answers)
    conditions = [{c["type"]: c["status"] for c in node["status"].get("conditions", ())} for node in nodes]
    return all(c.get("Ready") == "True" for c in conditions) and all(
        d["status"].get("readyReplicas", 0) == d["spec"]["replicas"] for d in deployments
    )


if __name__ == "__main__":
    sys.exit(main())
