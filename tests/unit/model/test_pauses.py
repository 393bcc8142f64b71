"""Pauses between attempts."""

from mesh.model.pauses import Pauses


def test_pauses_double_up_to_the_longest_and_begin_anew_after_success() -> None:
    pauses = Pauses(0.1, 0.5)
    assert [pauses.next() for _ in range(5)] == [0.1, 0.2, 0.4, 0.5, 0.5]
    pauses.reset()
    assert [pauses.next(), pauses.next()] == [0.1, 0.2]
