"""Which address a sandbox gets."""

from nodeagent.runtime.addresses import QUARANTINE, choose, gateway

RANGE = "10.244.3.0/29"


def test_the_bridge_has_the_first_and_pods_the_lowest_free() -> None:
    assert gateway(RANGE) == "10.244.3.1"
    assert choose(RANGE, set(), {}, 0) == "10.244.3.2"
    assert choose(RANGE, {"10.244.3.2", "10.244.3.4"}, {}, 0) == "10.244.3.3"


def test_an_address_rests_before_it_is_given_again() -> None:
    released = {"10.244.3.2": 100.0}
    assert choose(RANGE, set(), released, 100 + QUARANTINE - 1) == "10.244.3.3"
    assert choose(RANGE, set(), released, 100 + QUARANTINE) == "10.244.3.2"


def test_when_nothing_else_is_free_the_longest_rested_is_taken() -> None:
    taken = {f"10.244.3.{n}" for n in (4, 5, 6)}
    assert choose(RANGE, taken, {"10.244.3.2": 5.0, "10.244.3.3": 4.0}, 6) == "10.244.3.3"


def test_a_full_range_has_none() -> None:
    assert choose(RANGE, {f"10.244.3.{n}" for n in range(2, 7)}, {}, 0) is None
