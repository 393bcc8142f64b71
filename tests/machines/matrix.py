"""`make test-matrix`: what a user sees when parts of the mesh end, on three hosts that systemd has booted, under load.

    python -m tests.machines.matrix DIRECTORY BUNDLE [--keep] [--only WORD] [--write]

Rule: in every row each host asks a Service all the time, and what failed, what was restarted, whose readiness flipped
and how long it took until everything was well again is measured, never assumed. `--write` puts the table into
docs/reliability.md. Exit code 1 when a row sees what it must not see.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.machines.lab import Failed, Lab
from tests.machines.provision import HOSTS, ROOT, asked, play, web

FIRST, SECOND, THIRD = HOSTS
PAGE = ROOT / "docs" / "reliability.md"
BEGIN, END = "<!-- matrix -->\n", "<!-- end of matrix -->\n"
PATIENCE = 300.0
RAY = "ray::|raylet/raylet|gcs_server|ray_watch|ray.scripts|ray/dashboard|runtime_env"


@dataclass(frozen=True, slots=True)
class Row:
    """One misfortune. `spares`: whatever else, no request may fail and no container be restarted; `asking`: the hosts
    that ask meanwhile."""

    name: str
    strike: Callable[[Lab], None]
    spares: bool = True
    asking: Sequence[str] = HOSTS


def killed(host: str, words: str) -> Callable[[Lab], None]:
    """kill -9 of every process on a host whose command line matches."""
    return lambda lab: _kill(lab, host, words)


def _kill(lab: Lab, host: str, words: str) -> None:
    # The pattern must not match the shell that looks for it.
    lab.ssh(host, f"pkill -9 -f -- '{words[:-1]}[{words[-1]}]'", check=False)


def _all_of_ray(lab: Lab) -> None:
    for host in HOSTS:
        for words in RAY.split("|"):
            _kill(lab, host, words)


def _without_ray(lab: Lab) -> None:
    """The head is gone, and so is Ray on another host, which goes on by itself; then the head is back."""
    lab.ssh(FIRST, "systemctl", "stop", "mesh-ray")
    for words in RAY.split("|"):
        _kill(lab, SECOND, words)
    until(lambda: "ray_is_away" in lab.ssh(SECOND, "journalctl", "-u", "mesh-standby", "-o", "cat"))
    lab.ssh(FIRST, "systemctl", "start", "mesh-ray")


def _roll(lab: Lab) -> None:
    lab.ssh(FIRST, "mesh", "set", "env", "deployment/web", f"ROUND={time.time_ns()}")
    _kill(lab, FIRST, "mesh.app")
    until(lambda: "successfully" in lab.ssh(FIRST, "mesh rollout status deployment/web --timeout=120s", check=False))


def _cut_off(lab: Lab) -> None:
    with lab.unplugged(THIRD):
        time.sleep(30)  # that is how long it is cut off


def _without_power(lab: Lab) -> None:
    lab.power_off(THIRD)
    time.sleep(30)  # that is how long it is off
    lab.power_on(THIRD)


ROWS = (
    Row("node agent (Ray actor)", killed(SECOND, "ray::NodeActor")),
    Row("raylet of a host", killed(SECOND, "raylet/raylet")),
    Row("Ray's head (GCS)", killed(FIRST, "gcs_server")),
    Row("every process of Ray on every host", _all_of_ray),
    Row("Ray's head, gone until a host without Ray goes on alone", _without_ray),
    Row("meshd", killed(FIRST, "mesh.app")),
    Row("meshd, during a rollout", _roll, spares=False),
    Row("Podman service", killed(SECOND, "system service")),
    Row("monitor (conmon) of a container", killed(SECOND, "conmon --api-version"), spares=False),
    Row("netproxy, restarted (its upgrade)", lambda lab: print(end=lab.ssh(SECOND, "systemctl restart mesh-netproxy"))),
    Row("netproxy, killed", killed(SECOND, "-m netproxy --socket"), spares=False),
    Row("network of a host, cut off for 30 s", _cut_off, spares=False, asking=(FIRST, SECOND)),
    Row("power of a host, off for 30 s", _without_power, spares=False, asking=(FIRST, SECOND)),
)


@dataclass(frozen=True, slots=True)
class Seen:
    """What a row looked like."""

    asked: int
    failed: int
    slowest: float
    restarts: int
    replaced: int
    flips: int
    seconds: float
    first_failure: str

    def line(self, row: Row) -> str:
        """Of the table."""
        counts = (self.asked, self.failed, f"{self.slowest:.2f} s", self.restarts, self.replaced, self.flips)
        return f"| {row.name} | {' | '.join(map(str, counts))} | {self.seconds:.0f} s |"


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path, help="where the hosts' image and disks are kept")
    parser.add_argument("bundle", type=Path, help="what `make bundle` wrote")
    parser.add_argument("--keep", action="store_true", help="leave the hosts running")
    parser.add_argument("--only", default="", help="the rows whose name has this in it")
    parser.add_argument("--write", action="store_true", help="put the table into docs/reliability.md")
    told = parser.parse_args()
    lab = Lab(told.directory.absolute(), HOSTS)
    try:
        lab.__enter__()
        play(lab.inventory(told.bundle.absolute()), "site")
        web(lab)
        lab.ssh(FIRST, "mesh", "scale", "deployment/web", "--replicas=6")
        lab.ssh(FIRST, "mesh", "delete", "cronjob", "look")  # its pods come and go by themselves
        converged(lab)
        rows = [row for row in ROWS if told.only in row.name]
        return report([(row, measured(lab, row)) for row in rows], told.write)
    finally:
        if not told.keep:
            lab.close()


def measured(lab: Lab, row: Row) -> Seen:
    """Strikes, waits until everything is well, and says what was seen."""
    before = pods(lab)
    with asked(lab, row.asking) as answers:
        began = time.monotonic()
        row.strike(lab)
        converged(lab)
        seconds = time.monotonic() - began
    after = pods(lab)
    both = before.keys() & after.keys()
    failures = [f"{name}: {why}" for name, said in answers.items() for why in said["failures"]]
    seen = Seen(
        sum(said["asked"] for said in answers.values()), len(failures),
        max(said["slowest"] for said in answers.values()),
        sum(after[uid][0] - before[uid][0] for uid in both), len(before.keys() - after.keys()),
        sum(after[uid][1] != before[uid][1] for uid in both), seconds, failures[0] if failures else "",
    )  # fmt: skip
    print(seen.line(row), seen.first_failure, flush=True)
    return seen


def pods(lab: Lab) -> dict[str, tuple[int, str]]:
    """Of each pod, by uid: restarts, and since when it has been ready."""
    items = json.loads(lab.ssh(FIRST, "mesh", "get", "pods", "-o", "json"))["items"]
    return {item["metadata"]["uid"]: _of(item["status"]) for item in items}


def _of(status: dict[str, Any]) -> tuple[int, str]:
    restarts = sum(c["restartCount"] for c in status.get("containerStatuses", ()))
    since = [c["lastTransitionTime"] for c in status["conditions"] if c["type"] == "Ready"]
    return restarts, str(since)


def converged(lab: Lab) -> None:
    """Returns once every host answers and holds its orders, and the example is as large as it should be and ready."""
    until(lambda: _settled(lab))


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
        d["status"].get("readyReplicas") == d["spec"]["replicas"] for d in deployments
    )


def until(true: Callable[[], bool]) -> None:
    """Asks again and again: what is waited for is on another host."""
    end = time.monotonic() + PATIENCE
    while not true():
        if time.monotonic() > end:
            raise Failed(f"not within {PATIENCE:.0f} s")
        time.sleep(0.3)


def report(found: Sequence[tuple[Row, Seen]], write: bool) -> int:
    """Writes the table; 1 when a row saw what it must not."""
    head = "| What ends | Asked | Failed | Slowest | Restarts | Pods replaced | Readiness flips | All well after |\n"
    table = head + "|---|---|---|---|---|---|---|---|\n" + "".join(f"{seen.line(row)}\n" for row, seen in found)
    if write:
        text = PAGE.read_text()
        before, after = text.partition(BEGIN)[0], text.partition(END)[2]
        PAGE.write_text(before + BEGIN + table + END + after)
    wrong = [row.name for row, seen in found if row.spares and (seen.failed or seen.restarts or seen.replaced)]
    print(table if not wrong else f"not spared by the end of: {', '.join(wrong)}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
