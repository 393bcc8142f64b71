"""A pod with a lease lives while it is renewed, by meshd's time alone, and no longer."""

import pytest

from mesh.controllers.leases import Leases
from mesh.errors import Invalid
from mesh.model import leases
from mesh.model.keys import Key
from mesh.model.pods import is_deleting
from mesh.v1.core_pb2 import Pod
from tests.harness.workshop import START, World, everyone

POD = (
    "{apiVersion: v1, kind: Pod, metadata: {name: p, annotations: {mesh/lease-seconds: 'SECONDS'RENEWED}},"
    " spec: {containers: [{name: c, image: i}]}}"
)


def manifest(seconds: str = "30", renewed: str = "") -> str:
    return POD.replace("SECONDS", seconds).replace("RENEWED", f", mesh/lease-renewed: '{renewed}'" if renewed else "")


def world_of(began: int = START) -> World:
    made = World()
    made.machine.controllers = (*everyone(), Leases(began))
    return made


def held(world: World) -> Pod | None:
    pod = world.view.get(Key("Pod", "default", "p"))
    return pod if isinstance(pod, Pod) and not is_deleting(pod) else None


def test_it_ends_with_the_last_renewal() -> None:
    world = world_of()
    world.apply(manifest())
    world.bind()
    for _ in range(5):
        world.pass_time(25)
        world.obey()
        assert held(world) is not None
        world.apply(manifest(renewed="now"))
    world.pass_time(29)
    world.obey()
    assert held(world) is not None
    world.pass_time(2)
    world.obey()
    assert held(world) is None
    assert "LeaseExpired" in world.events("Pod")


def test_now_is_meshds_time_and_stays_what_it_was() -> None:
    world = world_of()
    world.apply(manifest(renewed="now"))
    first = held(world)
    assert first is not None
    at = first.metadata.annotations[leases.RENEWED]
    assert at == "2027-01-15T08:00:00Z"
    world.pass_time(10)
    world.apply("{apiVersion: v1, kind: ConfigMap, metadata: {name: other}}")
    assert held(world) == first


def test_a_meshd_that_was_away_waits_for_a_renewal_first() -> None:
    world = world_of(began=START + 3600 * 10**9)
    world.apply(manifest())
    world.bind()
    world.pass_time(3600 + 29)
    world.obey()
    assert held(world) is not None
    world.pass_time(2)
    world.obey()
    assert held(world) is None


def test_without_a_lease_nothing_ends() -> None:
    world = world_of()
    world.apply("{apiVersion: v1, kind: Pod, metadata: {name: p}, spec: {containers: [{name: c, image: i}]}}")
    world.bind()
    world.pass_time(100_000)
    world.obey()
    assert held(world) is not None


@pytest.mark.parametrize("seconds", ["0", "-1", "1.5", "soon", "86401"])
def test_what_is_no_number_of_seconds_is_refused(seconds: str) -> None:
    with pytest.raises(Invalid, match=r"lease-seconds.*whole number"):
        world_of().apply(manifest(seconds))
