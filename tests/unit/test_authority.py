"""The mesh's authority as it goes from the meshd that replaced it to the others."""

import pytest

from mesh import authority
from mesh.authority import Authority
from mesh.errors import Unavailable

NOW = 1_800_000_000


def test_a_new_authority_and_the_end_of_the_old_one_are_taken_and_nothing_older_is() -> None:
    first = authority.made("mesh", NOW)
    both = first.rotated("mesh", NOW + 1, 31)
    only = both.finished()
    assert both.replaces(first)
    assert only.replaces(both)
    assert only.replaces(first)
    for held in (both, only):
        assert not both.replaces(held)  # who has ended the trust by himself does not begin with it again
    assert not Authority(first.bundle, first.key).replaces(first)


def test_it_is_read_as_it_was_written_and_nothing_else_is_one() -> None:
    both = authority.made("mesh", NOW).rotated("mesh", NOW + 1, 31)
    assert Authority.decode(both.encode()) == both
    for text in (b"", b"[]", b"{}", b"\xff"):
        with pytest.raises(Unavailable, match="damaged"):
            Authority.decode(text)
