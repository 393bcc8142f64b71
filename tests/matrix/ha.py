"""Rows: the store is in etcd, a member on each host, and two hosts have a meshd: who leads ends, or etcd does.

Rule: the stage is made so by what docs/ha.md says, before the first of these rows; they are the last that are played.
In each of them a pod is ordered of a host, so that it is seen who gives orders.
"""

import json
import signal
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

from tests.harness.etcd import EtcdOnHosts, etcd_on
from tests.harness.hosts import ROOT, Failed, FakeHost, until
from tests.harness.pythonpod import IMAGE
from tests.matrix.network import LATE, pause
from tests.matrix.row import Row
from tests.matrix.stage import Stage

MESHD = str(ROOT / "sv" / "meshd")
_ETCD: WeakKeyDictionary[Stage, EtcdOnHosts] = WeakKeyDictionary()
_CONFIG = """
[etcd]
endpoints = [{endpoints}]
ca = "{files}/etcd-ca.pem"
certificate = "{files}/etcd-certificate.pem"
key = "{files}/etcd-key.pem"
servers = ["{first.ip}:7443", "{second.ip}:7443"]
"""


def _begin(stage: Stage) -> None:
    """From a store in a file to one in etcd, and from one meshd to two."""
    if stage in _ETCD:
        return
    first, second, _ = stage.hosts
    directory, files = stage.directory / "etcd", ROOT / "etcd"
    directory.mkdir(mode=0o700)
    etcd = stage.keep(etcd_on(stage.hosts, directory))
    first.run("mkdir", "-m", "700", str(files))
    etcd.write_pki(first.path(files))
    endpoints = ", ".join(f'"{client}"' for client in etcd.clients)
    told = _CONFIG.format(endpoints=endpoints, files=files, first=first, second=second)
    first.mesh("control", "etcd", "-", text=told, timeout=180)
    second.mesh("control", "add", "-", text=first.mesh("control", "pack", "-"), timeout=180)
    stage.watch(first, second)
    _ETCD[stage] = etcd


def _status(host: FakeHost) -> dict[str, Any]:
    """What `mesh status` says there; nothing while nobody answers."""
    told: dict[str, Any] = json.loads(host.mesh("status", "-o", "json", check=False) or "{}")
    return told


def _leader(stage: Stage, asked: FakeHost) -> FakeHost | None:
    """The host whose meshd leads, as is said on `asked`."""
    names = [member["name"] for member in _status(asked).get("controlMembers", ()) if member.get("leads")]
    return next((host for host in stage.hosts if host.name in names), None)


def _places(stage: Stage) -> tuple[FakeHost, FakeHost]:
    """The hosts of who leads, and of who follows."""
    one, other, _ = stage.hosts
    leader = until(lambda: _leader(stage, one), 30, "somebody leads")
    return (one, other) if leader is one else (other, one)


def _ordered(asked: FakeHost, where: FakeHost) -> None:
    """A host takes an order of who leads: a pod runs there, and is gone again."""
    container = {"name": "main", "image": IMAGE, "command": ["sleep", "1000"]}
    spec = {"nodeName": where.name, "containers": [container], "terminationGracePeriodSeconds": 0}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "ordered"}, "spec": spec}
    _said(asked, "apply", "-f", "-", text=json.dumps(pod))
    _said(asked, "wait", "pod/ordered", "--for=condition=Ready", "--timeout=60s")
    _said(asked, "delete", "pod", "ordered", "--ignore-not-found", "--timeout=60s")


def _said(host: FakeHost, *words: str, text: str | None = None) -> None:
    """A command that users say again while nobody leads."""
    refused = ""

    def answered() -> bool:
        nonlocal refused
        try:
            host.mesh(*words, text=text)
        except Failed as failure:
            refused = str(failure)
            return "ithin" in refused  # it was taken, and did not come about
        refused = ""
        return True

    try:
        until(answered, 30, f"`mesh {words[0]}` is taken")
    except Failed as late:
        raise Failed(f"{late}; the last it said: {refused}") from None
    if refused:
        raise Failed(refused)


def _killed(stage: Stage) -> None:
    """And it is not started again before the other one leads."""
    leader, follower = _places(stage)
    leader.run("sv", "once", MESHD)
    leader.kill("mesh.app")
    until(lambda: _leader(stage, leader) is follower, 60, "the follower leads")
    _ordered(leader, stage.hosts[2])  # by the list of addresses there
    leader.run("sv", "up", MESHD)


def _paused(stage: Stage) -> None:
    """It believes that it leads when it goes on; it meets the fence of the store, and the epoch at the hosts."""
    leader, follower = _places(stage)
    before = leader.pids("mesh.app")
    leader.kill("mesh.app", number=signal.SIGSTOP)
    try:
        until(lambda: _leader(stage, follower) is follower, 60, "the follower leads")
        _ordered(follower, stage.hosts[2])
    finally:
        leader.kill("mesh.app", number=signal.SIGCONT)
    until(lambda: leader.pids("mesh.app") not in ([], before), 60, "who led begins anew, as a follower")
    _ordered(follower, stage.hosts[2])


def _member(stage: Stage) -> None:
    """The one that leads etcd."""
    etcd, (leader, _) = _ETCD[stage], _places(stage)
    states = {member["address"]: member["state"] for member in _status(leader)["storeMembers"]}
    number = etcd.clients.index(next(address for address, state in states.items() if state == "leads"))
    etcd.kill(number)
    _ordered(leader, stage.hosts[2])
    etcd.start(number)


def _majority(stage: Stage) -> None:
    etcd, (leader, _) = _ETCD[stage], _places(stage)
    etcd.kill(1, 2)
    until(lambda: "lost its majority" in _refusal(leader), 60, "changes are refused")
    leader.mesh("get", "pods")
    pause(10)
    etcd.start(1, 2)
    _ordered(leader, stage.hosts[2])


def _refusal(host: FakeHost) -> str:
    """What is said to who changes something; empty: it is kept."""
    try:
        host.mesh("annotate", "deployment/web", "asked=yes", "--overwrite")
    except Failed as failure:
        return str(failure)
    return ""


def _host_lost(stage: Stage) -> None:
    """With who leads go Ray's head, a member of etcd and a third of the pods; then the second host has the head, and
    the first one finds that out by itself when it is back."""
    first, second, third = stage.hosts
    _led_by(stage, first)
    first.power_off()
    until(lambda: _leader(stage, second) is second, 60, "the follower leads")
    for host in (second, third):
        host.mesh("control", "head", second.ip, timeout=180)
    _ordered(second, third)
    second.mesh("wait", f"node/{first.name}", "--for=condition=Ready=Unknown", "--timeout=60s")
    second.mesh("rollout", "status", "deployment/web", "--timeout=120s", timeout=150)
    first.boot()
    stage.plug(first)
    _ETCD[stage].start(0)
    first.up()


def _led_by(stage: Stage, wanted: FakeHost) -> None:
    """The other one is stopped in order, for as long as it takes."""
    leader, _ = _places(stage)
    if leader is not wanted:
        leader.run("sv", "-w", "30", "force-stop", MESHD)
        until(lambda: _leader(stage, wanted) is wanted, 60, f"{wanted.name} leads")
        leader.run("sv", "up", MESHD)


def _row(name: str, sees: str, strike: Callable[[Stage], None], **costs: Any) -> Row[Stage]:
    return Row(name, sees, strike, before=_begin, **costs)


ROWS = (
    _row("meshd that leads killed in HA, until the other leads", "`mesh` waits for seconds; watches go on", _killed),
    _row("meshd that leads paused in HA, until the other leads", "`mesh` waits for seconds; watches go on", _paused),
    _row("member of etcd killed that leads etcd, and back", "nothing; a change may wait for seconds", _member),
    _row("majority of etcd lost, and back", "changes are refused with the reason; all else goes on", _majority),
    _row("host of the meshd that leads and of Ray's head lost in HA, and back",
        "as for a host without power; changes of pods wait until Ray has another head", _host_lost,
        failed=LATE, replaced=4, flips=None, asking=(1, 2)),
)  # fmt: skip
