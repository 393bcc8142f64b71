"""Deleting: what is removed at once, what is marked and waits, and how long (L9, L11)."""

from collections.abc import Callable

import pytest

from mesh.admission import admit
from mesh.admission.admit import Stamp
from mesh.errors import Conflict, Forbidden, Invalid
from mesh.model.fields import copy_of
from mesh.model.kinds import Object
from mesh.model.pods import MIRROR
from mesh.model.times import SECOND, from_timestamp
from mesh.v1.core_pb2 import Namespace, Pod
from mesh.view import View

Read = Callable[[str], Object]


@pytest.fixture
def pod(view: View, stamp: Stamp, read: Read) -> Pod:
    """A pod on a node, with a grace period of 20 s."""
    text = (
        "{apiVersion: v1, kind: Pod, metadata: {name: web}, "
        "spec: {terminationGracePeriodSeconds: 20, containers: [{name: a, image: b}]}}"
    )
    made = admit.create(read(text), view, stamp).object
    assert isinstance(made, Pod)
    return admit.bind(made, "n1")


def marked(deletion: admit.Deletion) -> Pod:
    assert isinstance(deletion.object, Pod)
    return deletion.object


def at(seconds: int, stamp: Stamp) -> Stamp:
    return Stamp(stamp.now + seconds * SECOND, stamp.uid, stamp.suffix)


def due(pod: Pod, stamp: Stamp) -> int:
    """Seconds from the stamp to the end of the pod's grace."""
    return from_timestamp(pod.metadata.deletion_timestamp) // SECOND - stamp.now // SECOND


@pytest.mark.parametrize(("grace", "seconds"), [(None, 20), (5, 5), (60, 60)])
def test_a_pod_on_a_node_is_marked(pod: Pod, view: View, stamp: Stamp, grace: int | None, seconds: int) -> None:
    before = copy_of(pod)
    made = marked(admit.delete(pod, grace, view, stamp))
    assert pod == before
    assert made.metadata.deletion_grace_period_seconds == seconds
    assert due(made, stamp) == seconds
    assert made.metadata.generation == 2
    assert not admit.is_gone(made)


def test_a_grace_period_only_shrinks_and_counts_from_the_first_request(pod: Pod, view: View, stamp: Stamp) -> None:
    first = marked(admit.delete(pod, 20, view, stamp))
    assert admit.delete(first, None, view, at(3, stamp)).object is first
    assert admit.delete(first, 30, view, at(3, stamp)).object is first
    assert admit.delete(first, 20, view, at(3, stamp)).object is first
    second = marked(admit.delete(first, 5, view, at(3, stamp)))
    assert (second.metadata.deletion_grace_period_seconds, due(second, stamp)) == (5, 5)
    assert second.metadata.generation == 3
    assert admit.delete(second, 0, view, at(3, stamp)).object is None


def test_what_runs_nowhere_is_removed_at_once(pod: Pod, view: View, stamp: Stamp) -> None:
    assert admit.delete(pod, 0, view, stamp).object is None
    pending = copy_of(pod)
    pending.spec.node_name = ""
    assert admit.delete(pending, None, view, stamp).object is None
    over = copy_of(pod)
    over.status.phase = "Succeeded"
    assert admit.delete(over, None, view, stamp).object is not None  # its host has something to tidy
    mirror = copy_of(pod)
    mirror.metadata.annotations[MIRROR] = "x"
    assert admit.delete(mirror, None, view, stamp).object is None


def test_finalizers_are_waited_for(pod: Pod, view: View, stamp: Stamp, read: Read) -> None:
    held = copy_of(pod)
    held.metadata.finalizers.append("example.com/wait")
    made = marked(admit.delete(held, 0, view, stamp))
    assert made.metadata.deletion_grace_period_seconds == 0
    assert not admit.is_gone(made)
    freed = copy_of(made)
    del freed.metadata.finalizers[:]
    assert admit.is_gone(admit.update(freed, made, view, stamp).object)
    config = read("{apiVersion: v1, kind: ConfigMap, metadata: {name: c, finalizers: [a/b]}}")
    waiting = admit.delete(config, None, view, stamp).object
    assert waiting is not None and waiting.metadata.HasField("deletion_timestamp")
    assert admit.delete(waiting, None, view, stamp).object is waiting
    assert (
        admit.delete(read("{apiVersion: v1, kind: ConfigMap, metadata: {name: c}}"), None, view, stamp).object is None
    )


def test_a_namespace_is_marked_and_its_end_is_someone_elses(view: View, stamp: Stamp, read: Read) -> None:
    held = admit.create(read("{apiVersion: v1, kind: Namespace, metadata: {name: prod}}"), view, stamp).object
    made = admit.delete(held, None, view, stamp).object
    assert isinstance(made, Namespace)
    assert made.status.phase == "Terminating"
    assert not admit.is_gone(made)
    assert admit.delete(made, None, view, stamp).object is made


@pytest.mark.parametrize("name", ["default", "kube-system", "kube-public", "kube-node-lease"])
def test_the_mesh_keeps_its_own_namespaces(view: View, stamp: Stamp, name: str) -> None:
    held = view.namespace(name)
    assert held is not None
    with pytest.raises(Forbidden, match=f'cannot delete Namespace "{name}"'):
        admit.delete(held, None, view, stamp)


def test_negative_grace_is_refused(pod: Pod, view: View, stamp: Stamp) -> None:
    with pytest.raises(Invalid, match="gracePeriodSeconds: must be at least 0, is -1"):
        admit.delete(pod, -1, view, stamp)


def test_binding_is_once(pod: Pod, stamp: Stamp) -> None:
    assert admit.bind(pod, "n1").spec.node_name == "n1"
    with pytest.raises(Conflict, match="it is on n1 already"):
        admit.bind(pod, "n2")
    free = copy_of(pod)
    free.spec.node_name = ""
    bound = admit.bind(free, "n2", stamp.now)
    assert [(c.type, c.status) for c in bound.status.conditions] == [("PodScheduled", "True")]
    assert free.spec.node_name == ""
