"""What would happen: the answers on values, and that nothing of what was given is touched."""

from pathlib import Path

import pytest

from mesh.errors import Invalid, NotFound
from mesh.model.conditions import is_true
from mesh.model.fields import copy_of
from mesh.model.kinds import Object, key_of
from mesh.model.manifest import load
from mesh.model.pods import is_deleting
from mesh.simulate.hosts import Pace
from mesh.simulate.story import Line
from mesh.simulate.whatif import Answer, Standing, WhatIf
from mesh.v1.core_pb2 import Node
from tests.harness import bent_time
from tests.harness.fake_runtime import FakeRuntime
from tests.harness.workshop import START, World
from tests.sim.test_host_loss import begin, on, up
from tests.unit.controllers.test_budgets import budget
from tests.unit.controllers.test_jobs import job
from tests.unit.controllers.test_workloads import workload


def world(*texts: str, pods: int = 110, on: str = "abc") -> World:
    """Three hosts with room for so many pods, and workloads that are as they should be."""
    made = World(nodes=())
    for number, name in enumerate("abc"):
        node = Node(api_version="v1", kind="Node")
        node.metadata.name = name
        node.metadata.labels["kubernetes.io/hostname"] = name
        node.spec.pod_cidr = f"10.244.{number}.0/24"
        node.status.conditions.add(type="Ready", status="True")
        node.status.allocatable.update({"cpu": "4", "memory": "8Gi", "pods": str(pods)})
        made.put(node)
    for text in texts:
        made.apply(text)
    made.settle()
    for number, pod in enumerate(made.view.pods_on("")):
        bound = copy_of(pod)
        bound.spec.node_name = on[number % len(on)]
        made.put(bound)
    made.obey()
    return made


def asked(made: World) -> WhatIf:
    return WhatIf(made.view.objects(), START)


def said(answer: Answer, what: str) -> list[Line]:
    return [line for line in answer.lines if what in line.what]


def test_a_dead_host_is_silent_emptied_and_replaced_in_time() -> None:
    made = world(workload("Deployment", replicas=6))
    question = asked(made)
    question.host_dies("b")
    answer = question.answer()
    assert [(line.at, line.what) for line in answer.lines if line.who == "node/b"] == [
        (0.0, "dies"), (4.0, "is silent: Unknown"), (4.0, "drives its pods away (node.kubernetes.io/unreachable)"),
    ]  # fmt: skip
    [going] = said(answer, "is asked to go (DeletionByTaintManager)")
    assert (going.at, going.many) == (9.0, 2)
    assert sum(line.many for line in said(answer, "is ready")) == 2
    assert {line.at for line in said(answer, "is ready")} == {10.0}
    assert answer.end.pods == {"a": (2, 3), "b": (2, 0), "c": (2, 3)}
    assert (answer.end.short, answer.end.waits, answer.end.lost, answer.end.seconds) == ((), (), (), 10.0)
    assert [where for _, where in answer.end.stuck] == ["b", "b"]


def test_what_has_no_room_and_what_must_wait_is_told_with_the_reason() -> None:
    alone = "{apiVersion: v1, kind: Pod, metadata: {name: alone}, spec: {containers: [{name: c, image: 'x:1'}]}}"
    made = world(workload("Deployment", replicas=4), workload("StatefulSet", "db", replicas=1), alone, pods=2)
    lost = made.view.pod("default", "db-0")
    assert lost is not None
    question = asked(made)
    question.host_dies(lost.spec.node_name)
    answer = question.answer()
    short = {s.name: s for s in answer.end.short}
    assert short["statefulset/db"] == Standing("statefulset/db", 0, 1)
    assert ("pod/db-0", lost.spec.node_name) in answer.end.stuck
    waits = [why for _, why in answer.end.waits]
    assert all("Too many pods" in why for why in waits)
    home = made.view.pod("default", "alone")
    assert home is not None
    assert answer.end.lost == (() if home.spec.node_name != lost.spec.node_name else ("pod/alone",))


def test_a_pod_that_nobody_makes_again_is_lost() -> None:
    alone = "{apiVersion: v1, kind: Pod, metadata: {name: alone}, spec: {containers: [{name: c, image: 'x:1'}]}}"
    question = asked(world(alone, on="b"))
    question.drain("b")
    assert question.answer().end.lost == ("pod/alone",)


def test_a_drain_waits_for_budgets_and_leaves_daemon_sets() -> None:
    made = world(workload("Deployment", replicas=3), workload("DaemonSet", "log"), budget("maxUnavailable: 1"), on="b")
    question = asked(made)
    question.drain("b")
    answer = question.answer()
    held = said(answer, 'has to wait: the disruption budget "pdb" needs 2 healthy pods')
    assert [(line.at, line.many) for line in held] == [(0.0, 1), (0.0, 1), (5.0, 1)]
    evicted = said(answer, "is asked to go (EvictionByEvictionAPI)")
    assert [line.at for line in evicted] == [0.0, 5.0, 10.0]
    assert answer.end.pods["b"] == (4, 1)
    assert answer.end.short == ()


def test_files_are_applied_as_they_would_be() -> None:
    made = world(workload("Deployment", replicas=2))
    question = asked(made)
    question.apply([*in_default(workload("Deployment", replicas=3, image="example:2"))])
    answer = question.answer()
    assert sum(answer.end.pods[n][1] for n in "abc") == 3
    assert answer.end.short == ()
    assert said(answer, "is made")
    assert {p.spec.containers[0].image for p in question.machine.view.pods()} == {"example:2"}
    with pytest.raises(Invalid):
        asked(made).apply([*in_default(workload("Deployment", replicas=-3))])


def test_jobs_end_after_their_time_and_time_ends_too() -> None:
    made = world()
    question = WhatIf(made.view.objects(), START, Pace(job=20))
    question.apply([*in_default(job(completions=4, parallelism=2))])
    answer = question.answer(30)
    assert sum(line.many for line in said(answer, "ends: Succeeded")) == 2
    again = WhatIf(made.view.objects(), START, Pace(job=20))
    again.apply([*in_default(job(completions=4, parallelism=2))])
    assert sum(line.many for line in said(again.answer(300), "ends: Succeeded")) == 4
    [held] = again.machine.view.of_kind("Job")
    assert is_true(held.status.conditions, "Complete")  # type: ignore[union-attr] # a Job


def test_a_host_that_is_not_there_is_named_and_nothing_given_is_touched() -> None:
    made = world(workload("Deployment", replicas=6))
    before = {key_of(o): o.SerializeToString(deterministic=True) for o in made.view.objects()}
    question = asked(made)
    with pytest.raises(NotFound, match='no Node "z"'):
        question.host_dies("z")
    question.host_dies("a")
    question.drain("b")
    question.answer()
    assert {key_of(o): o.SerializeToString(deterministic=True) for o in made.view.objects()} == before


def test_many_pods_of_one_owner_are_one_line() -> None:
    question = asked(world(workload("Deployment", replicas=30), on="b"))
    question.host_dies("b")
    [line] = said(question.answer(), "is asked to go")
    assert (line.many, line.who.startswith("30 pods of replicaset/web-")) == (30, True)


def test_what_is_foretold_comes_true(tmp_path: Path) -> None:
    """The same loss, foretold from the objects and then played on real agents over fake hosts."""
    bent_time.run(_foretold(tmp_path))


async def _foretold(root: Path) -> None:
    cluster = await begin(root, ("Deployment", "web", 6), ("StatefulSet", "db", 2))
    objects: list[Object] = list(cluster.view.objects())
    question = WhatIf(objects, FakeRuntime.now(), Pace(start=0.1))
    question.host_dies("host1")
    end = question.answer().end
    await cluster.hosts["host1"].power_off()
    await cluster.until(lambda: any(is_deleting(p) for p in cluster.view.pods()), 30)
    await cluster.until(lambda: len(up(cluster)) == sum(after for _, after in end.pods.values()), 30)
    there = {h: [n for n in on(cluster, h) if not is_deleting(cluster.view.pod("default", n))] for h in cluster.hosts}
    assert {h: len(names) for h, names in there.items()} == {h: after for h, (_, after) in end.pods.items()}
    assert {n for n, _ in end.stuck} == {f"pod/{p.metadata.name}" for p in cluster.view.pods() if is_deleting(p)}
    await cluster.stop()


def in_default(text: str) -> list[Object]:
    found = list(load(text, "test").objects)
    for obj in found:
        obj.metadata.namespace = "default"
    return found
