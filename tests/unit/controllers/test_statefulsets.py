"""StatefulSets in a world that does as the test says: their order, their updates (C8, C9)."""

import pytest

from mesh.model.conditions import find
from mesh.v1.apps_pb2 import StatefulSet
from tests.harness.workshop import World
from tests.unit.controllers.test_workloads import images, names, workload


def test_a_stateful_set_begins_in_order_and_ends_in_reverse() -> None:
    world = World()
    world.apply(workload("StatefulSet", "db", replicas=3))
    for expected in (["db-0"], ["db-0", "db-1"], ["db-0", "db-1", "db-2"]):
        world.settle()
        world.bind()
        assert names(world) == expected
        for pod in world.pods():
            if not find(pod.status.conditions, "Ready"):
                world.ready(pod)
    world.settle()
    [first, *_] = world.pods()
    assert first.spec.hostname == "db-0"
    assert first.metadata.labels["apps.kubernetes.io/pod-index"] == "0"
    world.apply(workload("StatefulSet", "db", replicas=1))
    world.settle()
    assert names(world) == ["db-0", "db-1"]  # db-2 is going: db-1 waits
    world.obey()
    assert names(world) == ["db-0"]


def test_a_pod_of_a_stateful_set_is_never_there_twice() -> None:
    world = World()
    world.apply(workload("StatefulSet", "db", replicas=2))
    world.obey()
    world.delete(world.pods()[0])
    world.settle()
    assert names(world) == ["db-1"]  # not made again before the host says that it is gone
    world.obey()
    assert names(world) == ["db-0", "db-1"]


def test_a_stateful_set_rolls_from_the_top_down_to_its_partition() -> None:
    world = World()
    world.apply(workload("StatefulSet", "db", replicas=3))
    world.obey()
    rolling = "{rollingUpdate: {partition: 1}}"
    world.apply(workload("StatefulSet", "db", image="example:2", replicas=3, updateStrategy=rolling))
    world.settle()
    assert names(world) == ["db-0", "db-1"]
    world.obey()
    assert images(world) == ["example:1", "example:2", "example:2"]
    held = world.get("StatefulSet", "db")
    assert isinstance(held, StatefulSet)
    assert held.status.current_revision != held.status.update_revision
    world.delete(world.pods()[0])
    world.obey()
    assert images(world)[0] == "example:1"  # below the partition: as it was
    world.apply(workload("StatefulSet", "db", image="example:2", replicas=3))
    world.obey()
    held = world.get("StatefulSet", "db")
    assert isinstance(held, StatefulSet)
    assert held.status.current_revision == held.status.update_revision
    assert images(world) == ["example:2"] * 3


@pytest.mark.parametrize(("replicas", "share", "at_once"), [(5, "50%", 2), (4, "50%", 2), (3, "10%", 1), (3, "2", 2)])
def test_a_stateful_set_that_rolls_gives_up_no_more_than_its_share_rounded_down(
    replicas: int, share: str, at_once: int
) -> None:
    world = World()
    world.apply(workload("StatefulSet", "db", replicas=replicas))
    world.obey()
    rolling = f"{{rollingUpdate: {{maxUnavailable: {share}}}}}"
    world.apply(workload("StatefulSet", "db", image="example:2", replicas=replicas, updateStrategy=rolling))
    world.settle()
    assert len(names(world)) == replicas - at_once


def test_a_broken_template_can_be_mended_by_a_better_one() -> None:
    world = World()
    world.apply(workload("StatefulSet", "db", replicas=2))
    world.obey()
    world.apply(workload("StatefulSet", "db", image="broken:1", replicas=2))
    world.settle()
    for pod in world.view.pods():
        if pod.metadata.HasField("deletion_timestamp"):
            world.gone(pod)
    world.settle()
    world.bind()
    assert images(world) == ["example:1", "broken:1"]
    world.apply(workload("StatefulSet", "db", image="example:3", replicas=2))
    world.obey()
    assert images(world) == ["example:3", "example:3"]
