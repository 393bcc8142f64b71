"""Several control hosts on hosts that systemd has booted: their inventory, who leads, Ray's head elsewhere; and rows.

Rule: in each row the store is in etcd, a member on each host, and two hosts have a meshd; the mesh of the rows before
is made so by `site`, while its pods go on.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.machines.lab import Failed, Lab
from tests.machines.provision import HOSTS, play
from tests.matrix.row import Row

FIRST, SECOND, THIRD = HOSTS
CONTROL = (FIRST, SECOND)
PATIENCE = 300.0
LATE = 4  # requests that may be under way to a host when it goes


def inventory(lab: Lab, bundle: Path, names: Sequence[str] = HOSTS, *, etcd: bool, **values: object) -> Path:
    """An inventory of these hosts with a meshd on two, and with a member of etcd on each where `etcd` says so."""
    path = lab.inventory(bundle, names, **values)
    groups = json.loads(path.read_text())
    groups["mesh_control"] = {"hosts": {name: {} for name in CONTROL}}
    if etcd:
        groups["mesh_etcd"] = {"hosts": {name: {} for name in names}}
    path.write_text(json.dumps(groups, indent=2))
    return path


def until(true: Callable[[], bool], what: str) -> None:
    """Asks again and again: what is waited for is on another host."""
    end = time.monotonic() + PATIENCE
    while not true():
        if time.monotonic() > end:
            raise Failed(f"not within {PATIENCE:.0f} s: {what}")
        time.sleep(0.3)


def leader(lab: Lab, asked: str) -> str:
    """The host whose meshd leads, as is said on `asked`; empty: nobody's."""
    text = lab.ssh(asked, "mesh", "status", "-o", "json", check=False, seconds=60)
    told: Mapping[str, Any] = json.loads(text) if text.startswith("{") else {}
    return next((str(m["name"]) for m in told.get("controlMembers", ()) if m.get("leads")), "")


def led_by(lab: Lab, wanted: str) -> None:
    """The other meshd is stopped in order, for as long as it takes."""
    until(lambda: leader(lab, wanted) in CONTROL, "somebody leads")
    (other,) = (name for name in CONTROL if name != wanted)
    if leader(lab, wanted) == wanted:
        return
    lab.ssh(other, "systemctl", "stop", "meshd")
    try:
        until(lambda: leader(lab, wanted) == wanted, f"{wanted} leads")
    finally:
        lab.ssh(other, "systemctl", "start", "meshd")


def moved(lab: Lab, name: str, head: str = SECOND) -> str:
    """Says on a host that Ray's head is at another one now; returns what the command said."""
    return lab.ssh(name, "mesh", "control", "head", lab.addresses[head])


# ---- rows


def _begin(lab: Lab) -> None:
    bundle = Path(json.loads((lab.directory / "inventory.json").read_text())["mesh"]["vars"]["mesh_bundle"])
    play(inventory(lab, bundle, etcd=True), "site")
    led_by(lab, FIRST)


def _killed(lab: Lab) -> None:
    """It is not started again before the other one leads: that is what a kill alone would show."""
    lab.ssh(FIRST, "systemctl", "kill", "--signal=SIGKILL", "meshd")
    until(lambda: leader(lab, SECOND) in CONTROL, "somebody leads")


def _without_power(lab: Lab) -> None:
    """With who leads go Ray's head, a member of etcd and a third of the pods; then the second host has the head, and
    the first one finds that out by itself when it boots."""
    lab.power_off(FIRST)
    until(lambda: leader(lab, SECOND) == SECOND, "the follower leads")
    for name in (SECOND, THIRD):
        moved(lab, name)
    lab.ssh(SECOND, "mesh", "rollout", "status", "deployment/web", "--timeout=120s")
    lab.power_on(FIRST)


ROWS: tuple[Row[Lab], ...] = (
    Row("systemd: meshd that leads killed in HA", "`mesh` waits for seconds; watches go on", _killed, before=_begin),
    Row("systemd: power of the host of the meshd that leads and of Ray's head off in HA, and back",
        "as for a host without power; changes of pods wait until Ray has another head", _without_power,
        failed=LATE, replaced=4, restarts=4, flips=None, asking=(1, 2), before=_begin),
)  # fmt: skip
