"""Rows: a program of the mesh ends without warning, and its supervisor starts it again."""

import signal
import time
from collections.abc import Callable

from tests.harness.hosts import ROOT, FakeHost, until
from tests.matrix.row import Row
from tests.matrix.stage import WORKERS, Stage, back

NETPROXY = "-m netproxy --socket"
RAY = ("ray_watch", "gcs_server", "raylet/raylet", "ray::")


def killed(number: int, words: str) -> Callable[[Stage], None]:
    """kill -9 of a host's processes with the words; over when there is another."""
    return lambda stage: back(stage.hosts[number], (words,), lambda host: host.kill(words))


def _all_of_ray(stage: Stage) -> None:
    gone = {host.name: {pid for word in RAY for pid in host.pids(word)} for host in stage.hosts}
    for host in stage.hosts:
        _kill_ray(host)
    for host in stage.hosts:
        until(lambda h=host: set(h.pids("ray::NodeActor")) - gone[h.name], 60, f"Ray is back on {host.name}")  # type: ignore[misc]


def _kill_ray(host: FakeHost) -> None:
    for word in RAY:
        if host.pids(word):
            host.kill(word)


def _restarted(stage: Stage) -> None:
    """As `mesh up` does when Ray is told something new, and it waits for the agent as `mesh up` does."""
    first = stage.first
    restart = ("sv", "-w", "20", "force-restart", str(ROOT / "sv" / "mesh-ray"))
    back(first, ("ray::NodeActor",), lambda host: host.run(*restart))
    first.up()


def _head_away(stage: Stage) -> None:
    """Ray's head is gone, and so is Ray on another host, which goes on by itself; then the head is back."""
    first, second, _ = stage.hosts
    services = ROOT / "sv"
    first.run("sv", "-w", "30", "force-stop", str(services / "mesh-ray"), check=False)
    _kill_ray(second)
    log = second.path(ROOT / "log" / "mesh-standby" / "current")
    until(lambda: "ray_is_away" in log.read_text(), 60, "the host goes on without Ray")
    back(second, ("ray::NodeActor",), lambda _: first.run("sv", "up", str(services / "mesh-ray")))


def _while_rolling(stage: Stage) -> None:
    first = stage.first
    first.mesh("set", "env", "deployment/web", f"ROUND={time.time_ns()}")
    killed(0, "mesh.app")(stage)
    told = ("rollout", "status", "deployment/web", "--timeout=60s")
    until(lambda: "successfully" in first.mesh(*told, check=False), 120, "the rollout is over")


def _a_monitor(stage: Stage) -> None:
    """Of one container of the Service."""
    host = stage.hosts[1]
    host.kill("conmon", "--api-version", "/pods/default_web")


def _upgraded(stage: Stage) -> None:
    """A new netproxy is given what the old one had; so does `mesh up` of a newer release."""
    for host in stage.hosts:
        back(host, (NETPROXY,), lambda h: h.kill(NETPROXY, number=signal.SIGTERM))


ROWS = (
    Row("node agent (Ray actor) killed", "nothing", killed(1, "ray::NodeActor")),
    Row("raylet of a host killed", "nothing", killed(1, "raylet/raylet")),
    Row("Ray's head (GCS) killed, and back", "nothing", killed(0, "gcs_server")),
    Row("Ray of the control host restarted, as by an upgrade", "nothing", _restarted),
    Row("every process of Ray on every host killed", "`mesh status`: hosts away for seconds", _all_of_ray),
    Row("Ray's head away until a host without Ray goes on alone", "that host NotReady, its pods as they were",
        _head_away),
    Row("meshd killed", "`mesh` waits for seconds; watches go on", killed(0, "mesh.app")),
    Row("meshd killed during a rolling update", "the rollout goes on", _while_rolling, replaced=6),
    Row("Podman service killed", "nothing; changes wait for seconds", killed(1, "system service")),
    Row("monitors (conmon) of a host's servers killed", "nothing", _a_monitor),
    Row("netproxy of every host upgraded", "nothing", _upgraded),
    Row("netproxy killed", "connections that it carried end", killed(1, NETPROXY), failed=3 * WORKERS),
)  # fmt: skip
