"""How much one client may ask for."""

import pytest

from mesh.config import Limits
from mesh.errors import Unavailable
from mesh.rpc.limits import Meter


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_calls_in_a_second_and_a_burst() -> None:
    clock = Clock()
    meter = Meter(Limits(calls_per_second=10, burst=3), clock)
    for _ in range(3):
        meter.call("ada")
    with pytest.raises(Unavailable, match="at most 10 in a second"):
        meter.call("ada")
    meter.call("bob")  # has limits of his own
    clock.now = 0.1
    meter.call("ada")
    with pytest.raises(Unavailable):
        meter.call("ada")
    clock.now = 100
    for _ in range(3):
        meter.call("ada")
    with pytest.raises(Unavailable):
        meter.call("ada")


def test_strangers_have_little_all_together() -> None:
    meter = Meter(Limits(), Clock())
    for _ in range(20):
        meter.call("")
    with pytest.raises(Unavailable):
        meter.call("")
    meter.call("ada")


def test_streams_at_a_time() -> None:
    meter = Meter(Limits(streams=2), Clock())
    meter.open("ada")
    meter.open("ada")
    meter.open("bob")
    with pytest.raises(Unavailable, match="at most 2"):
        meter.open("ada")
    meter.close("ada")
    meter.open("ada")
