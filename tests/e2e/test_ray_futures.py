"""Pods as futures of a real Ray that is the user's own: results, failures, cancellation, what they hold meanwhile."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import IMAGE
from tests.harness.hosts import FakeHost, machines

REPOSITORY = Path(__file__).parent.parent.parent
pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory, archive: Path) -> Iterator[FakeHost]:
    with machines(tmp_path_factory.mktemp("futures"), 1) as (one,):
        one.up()
        one.import_image(archive, IMAGE)
        yield one


@pytest.fixture(scope="module")
def played(host: FakeHost) -> dict[str, Any]:
    """What the user's program saw; it was killed afterwards, while a pod of it ran."""
    program = f"env PYTHONPATH={REPOSITORY} {sys.executable} -m tests.harness.ray_user {host.ip}"
    said = host.run("sh", "-c", f"{program}; [ $? = 137 ]", timeout=240)
    found: dict[str, Any] = json.loads(said.splitlines()[-1])
    return found


def test_several_at_once_bring_their_logs_back(played: dict[str, Any]) -> None:
    assert played["futures"] == ["share", "share", "share"]


def test_a_failure_crosses_ray_as_it_is(played: dict[str, Any]) -> None:
    assert played["failure"] == {"code": 7, "output": "alas\n"}


def test_cancelling_the_future_deletes_the_pod(played: dict[str, Any]) -> None:
    assert played["cancelled"] == {"cancelled": True}


def test_ray_gives_what_a_pod_holds_to_nobody_until_it_ends(played: dict[str, Any]) -> None:
    held = played["held"]
    assert held["during"], "taken while it runs"
    assert held["waits"], "another task does not get it"
    assert held["after"], "given back"
    assert held["left"] == []


def test_a_killed_worker_costs_the_pod_nothing(played: dict[str, Any]) -> None:
    held = played["held"]
    assert held["again"]
    assert held["same"], "the pod was not made anew"
    assert held["output"] == "ended\n"


def test_the_pod_of_a_killed_driver_goes_with_its_lease(host: FakeHost, played: dict[str, Any]) -> None:
    assert played
    host.mesh("wait", "pod/orphan", "--for=delete", "--timeout=60s")
    assert host.containers() == {}
