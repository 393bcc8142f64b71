"""Claims and volumes (V17): who is bound to what, where a pod may go, what is kept and what is removed, and by whom."""

from typing import Any

import pytest

from mesh.admission import admit
from mesh.controllers.volumes import ALL, Volumes
from mesh.errors import Invalid
from mesh.fleet.needs import needs_of
from mesh.fleet.report import writes_for
from mesh.model import claims
from mesh.model.keys import Key
from mesh.model.kinds import Object, key_of
from mesh.model.times import SECOND
from mesh.scheduler.pipeline import place
from mesh.store.port import Event as Change
from mesh.store.port import Snapshot, Write
from mesh.v1.core_pb2 import Node, NodeCondition, PersistentVolume, PersistentVolumeClaim, Pod, Volume
from mesh.v1.node_pb2 import Observed
from mesh.view import View
from tests.harness import objects

NOW = 1_790_000_000 * SECOND
STAMP = admit.Stamp(NOW, "uid-data", "abcde")


class World:
    """A view that follows plans."""

    def __init__(self, *objs: Object) -> None:
        everything = [objects.namespace("default"), node("a"), node("b"), *objs]
        for i, obj in enumerate(everything, 1):
            obj.metadata.resource_version = str(i)
        self.view = View(Snapshot(100, everything))
        self.revision = 100

    def write(self, writes: list[Write]) -> None:
        self.revision += 1
        for write in writes:
            held = self.view.get(write.key)
            assert write.expect == (int(held.metadata.resource_version) if held else 0), write.key
            if write.object is not None:
                write.object.metadata.resource_version = str(self.revision)
        self.view.apply([Change(self.revision, w.key, w.object, self.view.get(w.key)) for w in writes])

    def put(self, obj: Object) -> None:
        held = self.view.get(key_of(obj))
        self.write([Write(key_of(obj), obj, int(held.metadata.resource_version) if held else 0)])

    def drop(self, key: Key) -> None:
        held = self.view.get(key)
        assert held is not None
        self.write([Write(key, None, int(held.metadata.resource_version))])

    def settle(self) -> None:
        """Until nothing is left to do; a plan that never ends fails."""
        for _ in range(10):
            plan = Volumes().reconcile(ALL, self.view, NOW)
            if not plan.writes:
                return
            self.write(list(plan.writes))
        raise AssertionError("it never comes to rest")

    def claim(self, name: str = "data") -> PersistentVolumeClaim:
        found = self.view.get(Key("PersistentVolumeClaim", "default", name))
        assert isinstance(found, PersistentVolumeClaim)
        return found

    def volumes(self) -> list[PersistentVolume]:
        return [v for v in self.view.of_kind("PersistentVolume") if isinstance(v, PersistentVolume)]

    def where(self, pod: str) -> tuple[str, str]:
        found = next(p for p in place(self.view) if p.pod.metadata.name == pod)
        return found.node, found.why_not

    def delete(self, name: str) -> None:
        marked = admit.delete(self.claim(name), None, self.view, STAMP).object
        assert marked is not None  # it is protected
        self.put(marked)


def node(name: str) -> Node:
    made = Node()
    made.metadata.name = name
    made.metadata.labels[claims.HOSTNAME] = name
    made.spec.pod_cidr = "10.244.0.0/24"
    made.status.conditions.append(NodeCondition(type="Ready", status="True"))
    made.status.allocatable.update({"cpu": "4", "memory": "8Gi", "pods": "110", "ephemeral-storage": "100Gi"})
    return made


def claim(name: str = "data", size: str = "1Gi", **spec: Any) -> PersistentVolumeClaim:
    made = PersistentVolumeClaim()
    made.metadata.name = name
    made.spec.access_modes.append(spec.pop("mode", "ReadWriteOnce"))
    made.spec.resources.requests["storage"] = size
    for field, value in spec.items():
        setattr(made.spec, field, value)
    view = View(Snapshot(1, [objects.namespace("default")]))
    admitted = admit.create(made, view, admit.Stamp(NOW, f"uid-{name}", "abcde")).object
    assert isinstance(admitted, PersistentVolumeClaim)
    return admitted


def volume(name: str, size: str, *modes: str) -> PersistentVolume:
    made = PersistentVolume()
    made.metadata.name = name
    made.spec.capacity["storage"] = size
    made.spec.access_modes.extend(modes or ("ReadWriteOnce",))
    made.spec.local.path = f"/srv/{name}"
    term = made.spec.node_affinity.required.node_selector_terms.add()
    term.match_expressions.add(key=claims.HOSTNAME, operator="In", values=["b"])
    admitted = admit.create(made, View(Snapshot(1, [])), admit.Stamp(NOW, f"uid-{name}", "abcde")).object
    assert isinstance(admitted, PersistentVolume)
    return admitted


def user(name: str, host: str = "", name_of_claim: str = "data") -> Pod:
    mounted = Volume(name="v")
    mounted.persistent_volume_claim.claim_name = name_of_claim
    made = objects.pod(name, volumes=[mounted], node_name=host)
    made.metadata.uid = f"uid-{name}"
    return made


# ---- a directory for the first pod


def test_a_claim_waits_for_its_first_pod_and_other_pods_follow_it() -> None:
    world = World(claim(), user("one"))
    world.settle()
    assert (world.claim().status.phase, world.volumes()) == ("Pending", [])
    assert world.where("one")[0] in ("a", "b")
    world.put(user("one", "b"))
    world.settle()
    made = world.volumes()[0]
    assert world.claim().status.phase == "Bound"
    assert world.claim().spec.volume_name == made.metadata.name
    assert dict(world.claim().status.capacity) == {"storage": "1Gi"}
    assert (made.status.phase, made.spec.persistent_volume_reclaim_policy) == ("Bound", "Delete")
    world.put(user("two"))
    assert world.where("two") == ("b", "")
    cordoned = node("b")
    cordoned.spec.unschedulable = True
    world.put(cordoned)
    assert world.where("two") == (
        "", "0/2 nodes are available: 1 node(s) had volume node affinity conflict, 1 node(s) were unschedulable.",
    )  # fmt: skip


def test_a_host_is_told_what_its_pods_claims_are_and_nobody_else() -> None:
    world = World(claim(), user("one", "b"))
    before = needs_of("b", world.view, "10.244.0.0/16", 1)
    world.settle()
    needs = needs_of("b", world.view, "10.244.0.0/16", 1)
    assert before is not None and needs is not None and before.digest != needs.digest
    assert [(v.name, v.namespace, v.claim, v.path, v.retired) for v in needs.volumes] == [
        ("pvc-uid-data", "default", "data", "", False)
    ]
    others = needs_of("a", world.view, "10.244.0.0/16", 1)
    assert others is not None and not others.volumes


def test_a_pod_says_what_it_waits_for() -> None:
    assert World(user("one")).where("one")[1] == (
        '0/2 nodes are available: persistentvolumeclaim "data" not found.'
    )  # fmt: skip
    assert (
        World(claim(storage_class_name=""), user("one"))
        .where("one")[1]
        .endswith("pod has unbound immediate PersistentVolumeClaims.")
    )
    assert (
        World(claim(size="101Gi"), user("one")).where("one")[1].endswith("2 node(s) did not have enough free storage.")
    )
    alone = World(claim(mode="ReadWriteOncePod"), user("one", "a"), user("two"))
    assert "is for one pod (ReadWriteOncePod), and another one has it" in alone.where("two")[1]


# ---- the end


def test_what_is_in_use_stays_and_then_the_host_removes_it_first() -> None:
    world = World(claim(), user("one", "b"))
    world.settle()
    world.delete("data")
    world.settle()
    assert world.claim().status.phase == "Bound"  # its pod is there
    world.write(
        [Write(Key("Pod", "default", "one"), None, int(world.view.pod("default", "one").metadata.resource_version))]
    )  # type: ignore[union-attr]
    world.settle()
    assert world.view.get(Key("PersistentVolumeClaim", "default", "data")) is None
    needs = needs_of("b", world.view, "10.244.0.0/16", 1)
    assert needs is not None
    assert [(v.name, v.retired) for v in needs.volumes] == [("pvc-uid-data", True)]
    for host in ("a", "b"):
        said = Observed(node=host)
        said.report.status.CopyFrom(world.view.node(host).status)  # type: ignore[union-attr]
        said.report.removed_volumes.append("pvc-uid-data")
        world.write(writes_for(said, world.view, NOW, ""))
        assert bool(world.volumes()) == (host == "a")  # the word of another host means nothing


def test_a_volume_somebody_made_is_released_and_kept() -> None:
    world = World(claim(storage_class_name=""), volume("old", "5Gi"))
    world.settle()
    assert world.claim().spec.volume_name == "old"
    world.delete("data")
    world.settle()
    kept = world.volumes()[0]
    assert (kept.status.phase, kept.metadata.HasField("deletion_timestamp")) == ("Released", False)
    world.put(claim("next", storage_class_name=""))
    world.settle()
    assert world.claim("next").status.phase == "Pending"  # it is still the old one's


def test_a_volume_kept_for_a_claim_that_is_still_to_come_waits_for_it() -> None:
    kept = volume("kept", "5Gi")
    kept.spec.claim_ref.namespace, kept.spec.claim_ref.name = "default", "later"
    world = World(claim("other", storage_class_name=""), kept)
    world.settle()
    assert (world.volumes()[0].status.phase, world.claim("other").status.phase) == ("Available", "Pending")
    world.put(claim("later", storage_class_name=""))
    world.settle()
    assert (world.volumes()[0].status.phase, world.claim("later").spec.volume_name) == ("Bound", "kept")


def test_the_smallest_that_fits_is_taken_and_never_twice() -> None:
    world = World(
        claim("one", "2Gi", storage_class_name=""), claim("two", "2Gi", storage_class_name=""),
        volume("big", "9Gi"), volume("small", "1Gi"), volume("right", "3Gi"),
        volume("reading", "2Gi", "ReadOnlyMany"),
    )  # fmt: skip
    world.settle()
    assert [world.claim(n).spec.volume_name for n in ("one", "two")] == ["right", "big"]
    assert {v.metadata.name: v.status.phase for v in world.volumes()} == {
        "big": "Bound", "small": "Available", "right": "Bound", "reading": "Available",
    }  # fmt: skip


def test_a_claim_whose_volume_is_gone_has_lost_it() -> None:
    world = World(claim(), user("one", "b"))
    world.settle()
    world.write(
        [Write(Key("PersistentVolume", "", "pvc-uid-data"), None, int(world.volumes()[0].metadata.resource_version))]
    )
    world.settle()
    assert world.claim().status.phase == "Lost"


# ---- admission


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ({"storage_class_name": "gold"}, 'there is no storage class "gold"'),
        ({"mode": "ReadWriteMany"}, "its directories are on one host each"),
        ({"size": "0"}, "must be more than 0"),
        ({"volume_mode": "Block"}, "Filesystem is"),
    ],
)
def test_claims_that_can_never_be_met_are_refused(spec: dict[str, Any], why: str) -> None:
    with pytest.raises(Invalid, match=why):
        claim(**spec)


def changed(old: PersistentVolumeClaim, size: str, **spec: Any) -> PersistentVolumeClaim:
    new = PersistentVolumeClaim()
    new.CopyFrom(old)
    new.spec.resources.requests["storage"] = size
    for field, value in spec.items():
        setattr(new.spec, field, value)
    made = admit.update(new, old, View(Snapshot(1, [])), STAMP).object
    assert isinstance(made, PersistentVolumeClaim)
    return made


def test_a_claim_never_changes_but_for_its_size() -> None:
    with pytest.raises(Invalid, match="only in a bound claim"):
        changed(claim(), "2Gi")
    world = World(claim(), user("one", "b"))
    world.settle()
    bound = world.claim()
    with pytest.raises(Invalid, match="must not become less than 1Gi"):
        changed(bound, "512Mi")
    with pytest.raises(Invalid, match="spec: may not change"):
        changed(bound, "2Gi", volume_name="other")
    assert changed(bound, "2Gi").spec.resources.requests["storage"] == "2Gi"


def test_a_bound_claim_grows_and_its_host_is_told() -> None:
    world = World(claim(), user("one", "b"))
    world.settle()
    told = needs_of("b", world.view, "10.244.0.0/16", 1)
    assert told is not None
    assert [v.size for v in told.volumes] == [1 << 30]
    world.put(changed(world.claim(), "3Gi"))
    world.settle()
    assert world.claim().status.capacity["storage"] == "3Gi"
    assert world.volumes()[0].spec.capacity["storage"] == "3Gi"
    bigger = needs_of("b", world.view, "10.244.0.0/16", 1)
    assert bigger is not None
    assert [v.size for v in bigger.volumes] == [3 << 30]
    assert bigger.digest != told.digest


def test_what_somebody_else_made_is_not_counted_and_does_not_grow() -> None:
    world = World(claim(storage_class_name=""), volume("disk", "5Gi"), user("one", "b"))
    world.settle()
    told = needs_of("b", world.view, "10.244.0.0/16", 1)
    assert told is not None
    assert [(v.name, v.size) for v in told.volumes] == [("disk", 0)]
    with pytest.raises(Invalid, match='of class "local"'):
        changed(world.claim(), "6Gi")
