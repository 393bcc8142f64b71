"""Calls over a real Ray: what crosses, and what becomes of calls and hosts while parts of Ray are killed."""

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mesh.fleet.ray_names import GCS_PORT, NODE_MANAGER_PORT
from mesh.supervision import ports, setup
from mesh.supervision.layout import Layout
from mesh.supervision.programs import Host
from mesh.supervision.ray_start import DASHBOARD_AGENT_PORTS, OBJECT_MANAGER_PORT, RUNTIME_ENV_AGENT_PORT
from tests.harness.hosts import FakeHost, machines, until

pytestmark = [pytest.mark.host, pytest.mark.timeout(400)]

REPOSITORY = Path(__file__).parent.parent.parent

START = """
from pathlib import Path
from dataclasses import replace
from mesh.supervision.layout import Layout
from mesh.supervision.programs import Host, programs
from mesh.supervision.runit import Runit
layout = Layout(Path("/run/mesh"))
host = Host(layout, "host1", "10.77.0.1", ("127.0.0.1:7443",))
(ray,) = [program for program in programs(host) if program.name == "mesh-ray"]
ray = replace(ray, environment={**ray.environment, "PYTHONPATH": REPOSITORY})
runit = Runit(layout)
runit.install(replace(host, python=Path("/bin/true")), [ray])
runit.start(["mesh-ray"])
"""


@pytest.fixture(scope="module")
def ray(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeHost]:
    """A host that runs Ray under its supervisor, and nothing else."""
    with machines(tmp_path_factory.mktemp("ray"), 1) as (host,):
        layout = Layout(host.state)
        for directory in layout.private_directories():
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        setup.token(layout)
        own = Host(layout, "host1", host.ip, ("127.0.0.1:7443",))
        setup.certificates(own, int(time.time()))
        setup.ray_certificate(own, int(time.time()))
        host.run(sys.executable, "-c", f"REPOSITORY = {str(REPOSITORY)!r}\n{START}")
        until(lambda: host.pids("ray::DashboardAgent"), 30, "Ray is up")
        yield host


def play(host: FakeHost, scenario: str) -> dict[str, Any]:
    """The last line that the scenario prints."""
    said = host.run("env", f"PYTHONPATH={REPOSITORY}", sys.executable, "-m", "tests.harness.ray_scenario", scenario)
    found: dict[str, Any] = json.loads(said.splitlines()[-1])
    return found


def test_calls_and_errors_cross_and_polls_block_nobody(ray: FakeHost) -> None:
    played = play(ray, "calls")
    assert played["state"] == "connected"
    assert played["older"] == ["Conflict", "epoch 1 is older than 2"]
    assert played["bug"][0] == "Unavailable"
    assert "ZeroDivisionError: a bug" in played["bug"][1]
    assert played["big"] == 1 << 20
    assert played["digest"] == "e"
    assert played["beside_polls"] < 10  # the polls take 60 s


@pytest.mark.parametrize("ended_by", ["kill_actor", "end_agent"])
def test_a_dead_agent_is_answered_for_soon(ray: FakeHost, ended_by: str) -> None:
    played = play(ray, ended_by)
    assert played["other"]
    assert played["lost"][0] == "Unavailable"
    assert played["known"] == ["host1"]


@pytest.mark.parametrize("killed", ["kill_raylet", "kill_head", "restart"])
def test_all_of_ray_comes_back_when_a_part_ends(ray: FakeHost, killed: str) -> None:
    played = play(ray, killed)
    assert played["other"]
    assert played["lost"][0] == "Unavailable"
    assert played["known"] == ["host1"]


def test_an_actor_whose_class_rays_head_has_lost_is_made_anew(ray: FakeHost) -> None:
    assert play(ray, "lost_class") == {"other": True, "known": ["host1"]}


def test_the_control_services_loop_never_waits_for_ray(ray: FakeHost) -> None:
    assert play(ray, "no_blocking")["longest"] < 3  # one call to a Ray that is away takes longer


def test_the_child_dies_with_the_control_service(ray: FakeHost) -> None:
    said = ray.run(
        "env", f"PYTHONPATH={REPOSITORY}", sys.executable, "-m", "tests.harness.ray_scenario", "orphan", check=False
    )
    assert json.loads(said.splitlines()[-1])["child"]
    until(lambda: not ray.pids("mesh.fleet.ray"), 5, "the child is gone")


def test_ray_runs_no_dashboard(ray: FakeHost) -> None:
    assert not ray.pids("dashboard.py")
    assert ray.pids("raylet/raylet")


def test_rays_ports_speak_to_none_but_the_meshs_own(ray: FakeHost) -> None:
    play(ray, "present")  # so that there is a worker
    http = {RUNTIME_ENV_AGENT_PORT, DASHBOARD_AGENT_PORTS[0]}
    grpc = sorted(listening(ray) - http)
    assert {GCS_PORT, NODE_MANAGER_PORT, OBJECT_MANAGER_PORT} < set(grpc)
    program = (sys.executable, "-m", "tests.harness.ray_ports", ray.ip, *map(str, grpc))
    said = json.loads(ray.run("env", f"PYTHONPATH={REPOSITORY}", *program))
    assert said == {str(port): [True, False, False, False] for port in grpc}


def test_who_has_a_certificate_and_no_token_is_not_let_in(ray: FakeHost) -> None:
    tls = Layout(Path("/run/mesh")).ray_tls
    names = {"CA_CERT": "ca.crt", "SERVER_CERT": "node.crt", "SERVER_KEY": "node.key"}
    told = [f"RAY_TLS_{name}={tls / file}" for name, file in names.items()]
    stranger = "import ray; ray.init('10.77.0.1:7430', _node_ip_address='10.77.0.1'); print('let in')"
    argv = ("env", "RAY_USE_TLS=1", *told, "RAY_AUTH_MODE=disabled", "timeout", "5", sys.executable, "-c", stranger)
    assert "let in" not in ray.run(*argv, check=False)


def test_nothing_listens_that_the_list_for_firewalls_does_not_name(ray: FakeHost) -> None:
    play(ray, "present")
    named = {number for port in ports.of_ray(head=True) for number in range(port.first, port.last + 1)}
    assert {GCS_PORT, NODE_MANAGER_PORT} <= listening(ray) <= named


def test_rays_files_are_roots_alone(ray: FakeHost) -> None:
    assert (ray.state / "ray").stat().st_mode & 0o777 == 0o700
    for path in (ray.state / "ray" / "token", *(ray.state / "ray" / "tls").iterdir()):
        assert path.stat().st_mode & 0o777 == 0o600, path


def listening(host: FakeHost) -> set[int]:
    """The TCP ports that others reach."""
    addresses = (line.split()[3].rpartition(":") for line in host.run("ss", "-Hltn").splitlines())
    return {int(port) for address, _, port in addresses if not address.strip("[]").startswith(("127.", "::1"))}


def test_workers_are_neither_nice_nor_the_first_to_be_killed_for_memory(ray: FakeHost) -> None:
    play(ray, "calls")
    (worker,) = ray.pids("ray::StubActor")
    assert Path(f"/proc/{worker}/oom_score_adj").read_text().strip() == "0"
    assert Path(f"/proc/{worker}/stat").read_text().rsplit(")", 1)[1].split()[16] == "0"
