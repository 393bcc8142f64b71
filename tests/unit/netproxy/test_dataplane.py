"""What the proxy serves is the newest table it was given."""

import pytest

from mesh.errors import Conflict
from mesh.v1.node_pb2 import Fence, ServiceTable
from netproxy.dataplane import Dataplane


def test_nothing_is_held_before_the_first_table() -> None:
    assert Dataplane().held("b").digest == ""


def test_a_newer_table_replaces_the_older() -> None:
    plane = (
        Dataplane()
        .accept(ServiceTable(fence=Fence(revision=3), digest="x"))
        .accept(ServiceTable(fence=Fence(revision=5), digest="y"))
    )
    assert (plane.held("b").fence.revision, plane.held("b").digest) == (5, "y")


def test_an_older_table_is_refused_and_changes_nothing() -> None:
    plane = Dataplane().accept(ServiceTable(fence=Fence(revision=5), digest="y"))
    with pytest.raises(Conflict, match="table"):
        plane.accept(ServiceTable(fence=Fence(revision=3), digest="x"))
    assert plane.digest == "y"


def test_what_is_kept_for_the_next_start_is_accepted_there() -> None:
    plane = Dataplane().accept(ServiceTable(fence=Fence(revision=5), digest="y"))
    assert Dataplane().accept(plane.table()) == plane
