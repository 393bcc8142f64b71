"""A workload is rolled when a Secret that its pods use changes, and at no other time."""

import pytest

from mesh.controllers.rolls import Rolls
from mesh.errors import Invalid
from mesh.model.workloads import template_hash
from mesh.v1.apps_pb2 import DaemonSet, Deployment, StatefulSet
from tests.harness.workshop import World, everyone

SECRET = "{apiVersion: v1, kind: Secret, metadata: {name: NAME}, stringData: {password: VALUE}}"
WAYS = {
    "volume": "volumes: [{name: v, secret: {secretName: login}}]\n",
    "environment": "",
    "projection": "volumes: [{name: v, projected: {sources: [{secret: {name: login}}]}}]\n",
}


def workload(kind: str, way: str = "volume", annotation: str = "roll", version: str = "apps/v1") -> str:
    env = "env: [{name: A, valueFrom: {secretKeyRef: {name: login, key: password}}}]" if way == "environment" else ""
    return (
        f"apiVersion: {version}\nkind: {kind}\nmetadata: {{name: web}}\nspec:\n"
        "  selector: {matchLabels: {app: web}}\n  template:\n"
        f"    metadata: {{labels: {{app: web}}, annotations: {{mesh/on-secret-change: {annotation}}}}}\n"
        f"    spec:\n      containers:\n      - name: c\n        image: example:1\n        {env}\n      {WAYS[way]}"
    )


def secret(value: str, name: str = "login") -> str:
    return SECRET.replace("VALUE", value).replace("NAME", name)


@pytest.fixture
def world() -> World:
    made = World()
    made.machine.controllers = (*everyone(), Rolls())
    return made


def template(world: World, kind: str) -> str:
    held = world.get(kind, "web")
    assert isinstance(held, Deployment | StatefulSet | DaemonSet)
    return template_hash(held.spec.template)


@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet", "DaemonSet"])
@pytest.mark.parametrize("way", sorted(WAYS))
def test_all_pods_are_replaced_once_for_each_change(world: World, kind: str, way: str) -> None:
    world.apply(secret("one"))
    world.apply(workload(kind, way))
    world.obey()
    first, before = template(world, kind), {p.metadata.uid for p in world.pods()}
    assert before
    world.apply(secret("one"))  # nothing changes
    world.obey()
    assert template(world, kind) == first
    world.apply(secret("two"))
    world.obey()
    second, after = template(world, kind), {p.metadata.uid for p in world.pods()}
    assert second != first
    assert not before & after
    assert len(after) == len(before)
    assert "SecretChanged" in world.events(kind)
    world.obey()
    assert {p.metadata.uid for p in world.pods()} == after


def test_a_secret_that_is_away_is_waited_for_and_foreign_ones_change_nothing(world: World) -> None:
    world.apply(secret("one"))
    world.apply(workload("Deployment"))
    world.obey()
    first = template(world, "Deployment")
    world.apply(secret("else", "another"))
    world.apply(secret("new", "another"))
    world.delete(world.get("Secret", "login"))
    world.obey()
    assert template(world, "Deployment") == first
    world.apply(secret("one"))  # another object of this name
    world.obey()
    assert template(world, "Deployment") != first


def test_without_the_annotation_nothing_is_rolled(world: World) -> None:
    world.apply(secret("one"))
    world.apply(workload("Deployment", annotation="signal HUP"))
    world.obey()
    first = template(world, "Deployment")
    world.apply(secret("two"))
    world.obey()
    assert template(world, "Deployment") == first


@pytest.mark.parametrize("kind", ["ReplicaSet"])
def test_what_nobody_rolls_may_not_ask_for_it(world: World, kind: str) -> None:
    with pytest.raises(Invalid, match=r"spec.template.metadata.annotations.*nobody rolls it"):
        world.apply(workload(kind))
    with pytest.raises(Invalid, match=r"metadata.annotations.*nobody rolls it"):
        world.apply("{apiVersion: v1, kind: Pod, metadata: {name: p, annotations: {mesh/on-secret-change: roll}},"
                    " spec: {containers: [{name: c, image: i}]}}")  # fmt: skip
