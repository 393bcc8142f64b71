"""What the proxy serves is the newest table it was given, whole or not at all."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.errors import Conflict
from mesh.v1.node_pb2 import Fence, ProxyService, ServiceTable
from netproxy.dataplane import Dataplane


def table(revision: int, digest: str, *names: str, **more: object) -> ServiceTable:
    services = [ProxyService(namespace="n", name=name, digest=f"{name}{revision}") for name in names]
    said = {"fence": Fence(revision=revision), "digest": digest, "services": services, "last": True, **more}
    return ServiceTable(**said)


def test_nothing_is_held_before_the_first_table() -> None:
    assert Dataplane().held("b").digest == ""


def test_a_newer_table_replaces_the_older() -> None:
    plane = Dataplane().accept(table(3, "x", "a")).accept(table(5, "y", "b"))
    assert (plane.held("b").fence.revision, plane.digest, set(plane.services)) == (5, "y", {"n/b"})
    assert plane.changed == {"n/a", "n/b"}


def test_an_older_table_is_refused_and_changes_nothing() -> None:
    plane = Dataplane().accept(table(5, "y"))
    with pytest.raises(Conflict, match="table"):
        plane.accept(table(3, "x"))
    assert plane.digest == "y"


def test_a_change_of_another_table_is_refused() -> None:
    plane = Dataplane().accept(table(5, "y"))
    with pytest.raises(Conflict, match="y is held"):
        plane.accept(table(6, "z", base="w"))


def test_pieces_count_when_the_last_is_there() -> None:
    plane = Dataplane().accept(table(1, "x", "a", "b"))
    first = plane.accept(table(2, "y", "c", base="x", last=False))
    assert (first.digest, set(first.services)) == ("x", {"n/a", "n/b"})
    second = first.accept(table(2, "y", "a", base="x", piece=1, gone=["n/b"]))
    assert (second.digest, set(second.services), second.changed) == ("y", {"n/a", "n/c"}, {"n/a", "n/b", "n/c"})


def test_a_piece_out_of_order_is_refused() -> None:
    plane = Dataplane().accept(table(2, "y", "c", last=False))
    for wrong in (table(2, "y", piece=2), table(2, "other", piece=1)):
        with pytest.raises(Conflict, match="piece"):
            plane.accept(wrong)


def test_what_is_kept_for_the_next_start_is_accepted_there() -> None:
    plane = Dataplane().accept(table(5, "y", "a", "b"))
    assert Dataplane().accept(plane.table()).services == plane.services


def test_an_equal_service_has_not_changed() -> None:
    plane = Dataplane().accept(table(5, "y", "a"))
    assert plane.accept(table(5, "y", "a")).changed == frozenset()


@given(st.lists(st.tuples(st.sets(st.sampled_from("abcd")), st.sets(st.sampled_from("abcd"))), max_size=8))
def test_changes_add_up_to_the_table(steps: list[tuple[set[str], set[str]]]) -> None:
    plane, names = Dataplane().accept(table(1, "0")), set[str]()
    for number, (new, gone) in enumerate(steps, 1):
        order = table(number + 1, str(number), *new, base=str(number - 1), gone=[f"n/{name}" for name in gone])
        plane = plane.accept(order)
        names = (names - gone) | new
        assert set(plane.services) == {f"n/{name}" for name in names}
