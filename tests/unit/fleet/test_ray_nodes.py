"""Which actors the child of meshd holds, by what Ray's head says of nodes and actors; Ray itself is not there."""

from dataclasses import dataclass, field
from typing import Any

import pytest

from mesh.fleet import ray as child
from mesh.fleet.ray_names import HOST_RESOURCE, host_resource


@dataclass
class Head:
    """What Ray's head knows: of each node whether it lives, and where it thinks that the agent of host1 is."""

    nodes: dict[str, bool]
    home: str
    killed: list[str] = field(default_factory=list)
    made: int = 0
    knows_the_class: bool = True

    def told(self) -> list[dict[str, Any]]:
        resources = {HOST_RESOURCE: 1.0, host_resource("host1"): 1.0}
        return [{"NodeID": node, "NodeName": "host1", "Alive": alive, "Resources": resources}
                for node, alive in self.nodes.items()]  # fmt: skip

    def options(self, **_: Any) -> "Head":
        return self

    def actors_of(self, _: str) -> dict[str, str]:
        return {f"actor {self.made}": self.home} if self.made and f"actor {self.made}" not in self.killed else {}

    def remote(self) -> str:
        assert self.knows_the_class or not self.actors_of("")
        self.made += 1
        return f"actor {self.made}"


@pytest.fixture
def head(monkeypatch: pytest.MonkeyPatch) -> Head:
    """host1 has been started again; the head thinks that its agent is where it was before."""
    made = Head({"before": False, "now": True}, home="before")
    monkeypatch.setattr(child, "ray_nodes", made.told)
    monkeypatch.setattr(child, "actors_of", made.actors_of)
    monkeypatch.setattr(child, "end_actor", made.killed.append)
    return made


def test_an_actor_that_the_head_left_behind_is_made_anew(head: Head) -> None:
    nodes = child.Nodes(head)
    assert nodes.look() == {"host1"}
    nodes.doubt("host1")
    assert nodes.look() == {"host1"}
    assert head.killed == ["actor 1"]
    assert nodes.handles == {"host1": "actor 2"}
    assert [(told.node, "raylet that has ended" in told.why) for told in nodes.ended()] == [("host1", True)]
    assert nodes.ended() == []


def test_an_actor_whose_class_the_head_has_lost_is_made_anew(head: Head) -> None:
    head.made, head.knows_the_class = 1, False
    nodes = child.Nodes(head)
    assert nodes.look() == set()
    assert head.killed == ["actor 1"]
    assert ["lost its class" in told.why for told in nodes.ended()] == [True]
    assert nodes.look() == {"host1"}
    assert nodes.handles == {"host1": "actor 2"}


@pytest.mark.parametrize("home", ["now", ""])  # it only did not answer; it is being made
def test_an_actor_that_is_well_or_on_its_way_is_left_alone(head: Head, home: str) -> None:
    head.home = home
    nodes = child.Nodes(head)
    nodes.look()
    nodes.doubt("host1")
    nodes.look()
    assert (head.killed, nodes.handles) == ([], {"host1": "actor 1"})


def test_only_after_a_failure_is_the_head_asked(head: Head) -> None:
    nodes = child.Nodes(head)
    nodes.look()
    nodes.doubt("host1")
    head.home = "now"
    nodes.look()
    head.home = "before"
    nodes.look()
    assert head.killed == []
