"""Digests: what makes a container anew, what a host must be told (L5)."""

from collections.abc import Callable

import pytest

from mesh.model.digest import LAST_APPLIED, assignment_digest, pod_spec_hash
from mesh.model.fields import copy_of
from mesh.v1.core_pb2 import Container, Pod
from mesh.v1.node_pb2 import Assignment

POD = Pod(
    metadata={"name": "web", "uid": "u1", "generation": 1, "labels": {"a": "b", "c": "d"}},
    spec={"containers": [{"name": "a", "image": "nginx:1", "env": [{"name": "A", "value": "x"}]}]},
)


def test_the_hash_of_a_container_is_stable_across_releases() -> None:
    assert pod_spec_hash(POD.spec.containers[0], POD) == "27e59641e6800682"


@pytest.mark.parametrize(
    ("edit", "anew"),
    [
        (lambda c, _: setattr(c, "image", "nginx:2"), True),
        (lambda c, _: c.command.append("x"), True),
        (lambda c, _: setattr(c.env[0], "value", "y"), True),
        (lambda _, p: setattr(p.spec, "host_network", True), True),
        (lambda c, _: setattr(c.security_context, "run_as_user", 1), True),
        (lambda c, _: setattr(c, "image_pull_policy", "Always"), False),
        (lambda c, _: c.liveness_probe.SetInParent(), False),
        (lambda _, p: p.metadata.labels.update({"x": "y"}), False),
        (lambda _, p: setattr(p.spec, "active_deadline_seconds", 5), False),
        (lambda _, p: p.spec.tolerations.add(operator="Exists"), False),
        (lambda _, p: setattr(p.status, "phase", "Running"), False),
        (lambda _, p: p.spec.containers.add(name="b"), False),
    ],
)
def test_what_makes_a_container_anew(edit: Callable[[Container, Pod], object], anew: bool) -> None:
    changed = copy_of(POD)
    edit(changed.spec.containers[0], changed)
    before, after = pod_spec_hash(POD.spec.containers[0], POD), pod_spec_hash(changed.spec.containers[0], changed)
    assert (before != after) is anew


def assignment(*pods: Pod, **more: str) -> Assignment:
    return Assignment(node="n1", pods=pods, **{"pod_cidr": "10.244.0.0/24", "cluster_cidr": "10.244.0.0/16", **more})


def test_the_digest_does_not_depend_on_order_fence_or_status() -> None:
    other = copy_of(POD)
    other.metadata.uid = "u2"
    digest = assignment_digest(assignment(POD, other))
    assert assignment_digest(assignment(other, POD)) == digest
    fenced = assignment(POD, other)
    fenced.fence.epoch, fenced.digest, fenced.node = 7, "x", "n2"
    assert assignment_digest(fenced) == digest
    shown = copy_of(POD)
    shown.status.phase, shown.metadata.resource_version = "Running", "99"
    shown.metadata.annotations[LAST_APPLIED] = "{}"
    assert assignment_digest(assignment(shown, other)) == digest


@pytest.mark.parametrize(
    "edit",
    [
        lambda p: setattr(p.metadata, "uid", "u9"),
        lambda p: setattr(p.metadata, "generation", 2),
        lambda p: setattr(p.metadata.deletion_timestamp, "seconds", 5),
        lambda p: p.metadata.labels.update({"x": "y"}),
        lambda p: p.metadata.annotations.update({"x": "y"}),
    ],
)
def test_what_a_host_must_be_told(edit: Callable[[Pod], object]) -> None:
    changed = copy_of(POD)
    edit(changed)
    assert assignment_digest(assignment(changed)) != assignment_digest(assignment(POD))


def test_a_shorter_grace_and_other_ranges_are_told() -> None:
    leaving, sooner = copy_of(POD), copy_of(POD)
    for pod, grace in ((leaving, 30), (sooner, 5)):
        pod.metadata.deletion_timestamp.seconds = 100
        pod.metadata.deletion_grace_period_seconds = grace
    digests = {
        assignment_digest(a)
        for a in (assignment(), assignment(POD), assignment(leaving), assignment(sooner),
                  assignment(POD, pod_cidr="10.244.1.0/24"), assignment(POD, cluster_cidr="10.0.0.0/8"))
    }  # fmt: skip
    assert len(digests) == 6
