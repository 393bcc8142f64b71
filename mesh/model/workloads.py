"""What everyone asks of a workload: its selector and template, what a share of it is, which pods count for it.

Rule: pure questions of one workload and its pods; numbers are Kubernetes' (C1-C11).
"""

import hashlib
import json
import math
from collections.abc import Iterable

from mesh.model import conditions, selectors
from mesh.model.kinds import Object, kind_of
from mesh.model.pods import is_deleting, is_ready, is_terminal
from mesh.model.times import SECOND, from_timestamp
from mesh.model.writing import to_dict
from mesh.v1.apps_pb2 import DaemonSet, Deployment, ReplicaSet, ReplicationController, StatefulSet
from mesh.v1.batch_pb2 import CronJob, Job
from mesh.v1.core_pb2 import Pod, PodTemplateSpec
from mesh.v1.meta_pb2 import IntOrString, LabelSelector, ObjectMeta, OwnerReference

Workload = ReplicationController | ReplicaSet | Deployment | DaemonSet | StatefulSet | Job
WORKLOADS = (ReplicationController, ReplicaSet, Deployment, DaemonSet, StatefulSet, Job)

TEMPLATE_HASH = "pod-template-hash"
REVISION_HASH = "controller-revision-hash"
REVISION = "deployment.kubernetes.io/revision"
RESTARTED_AT = "kubectl.kubernetes.io/restartedAt"
CHANGE_CAUSE = "kubernetes.io/change-cause"

_DIGITS = "bcdfghjklmnpqrstvwxz2456789"  # no vowels: no words


def template_of(workload: Workload | CronJob) -> PodTemplateSpec:
    """The pods' template."""
    return workload.spec.job_template.spec.template if isinstance(workload, CronJob) else workload.spec.template


def claimed_volumes(workload: Workload | CronJob) -> list[str]:
    """The volumes that its pods get beyond those of the template: a StatefulSet's claims (C8)."""
    templates = workload.spec.volume_claim_templates if isinstance(workload, StatefulSet) else ()
    return [template.metadata.name for template in templates]


def selector_of(workload: Workload) -> LabelSelector:
    """Which pods are the workload's to count or adopt."""
    if isinstance(workload, ReplicationController):
        return LabelSelector(match_labels=workload.spec.selector)
    return workload.spec.selector


def selects(workload: Workload, pod: Pod) -> bool:
    """Whether the pod carries what the workload selects; an empty selector selects nothing here."""
    selector = selector_of(workload)
    if not selector.match_labels and not selector.match_expressions:
        return False
    return selectors.matches(selector, pod.metadata.labels)


def controller_of(meta: ObjectMeta) -> OwnerReference | None:
    """The owner that decides about the object, if it has one."""
    return next((ref for ref in meta.owner_references if ref.controller), None)


def is_controlled_by(obj: Object, owner: Object) -> bool:
    """Whether `owner`, and no namesake of it, decides about the object."""
    ref = controller_of(obj.metadata)
    return ref is not None and ref.uid == owner.metadata.uid


def owner_reference(owner: Object) -> OwnerReference:
    """The reference that makes `owner` the controller of what carries it."""
    kind = kind_of(owner)
    return OwnerReference(
        api_version=kind.api_version,
        kind=kind.name,
        name=owner.metadata.name,
        uid=owner.metadata.uid,
        controller=True,
        block_owner_deletion=True,
    )


def digits(text: str, count: int) -> str:
    """So many characters, fit for a name, that a text amounts to."""
    number = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=16).digest())
    out = []
    for _ in range(count):
        number, digit = divmod(number, len(_DIGITS))
        out.append(_DIGITS[digit])
    return "".join(out)


def template_hash(template: PodTemplateSpec, collisions: int = 0) -> str:
    """Ten characters that change when the template does; labels that controllers add have no part in it (C5)."""
    plain = to_dict(template)
    labels = plain.get("metadata", {}).get("labels", {})
    for added in (TEMPLATE_HASH, REVISION_HASH):
        labels.pop(added, None)
    return digits(json.dumps([plain, collisions], sort_keys=True), 10)


def same_template(one: PodTemplateSpec, other: PodTemplateSpec) -> bool:
    """Whether two templates make the same pods."""
    return template_hash(one) == template_hash(other)


def share(value: IntOrString, total: int, *, up: bool) -> int:
    """A count given as a number or as per cent of `total`, rounded up or down (C3)."""
    if value.WhichOneof("kind") != "string_value":
        return value.int_value
    exact = int(value.string_value.removesuffix("%")) * total / 100
    return math.ceil(exact) if up else math.floor(exact)


# ---- pods ---------------------------------------------------------------------------------------------------------


def is_active(pod: Pod) -> bool:
    """Whether the pod counts for its workload: it has not ended and is not asked to go."""
    return not is_terminal(pod) and not is_deleting(pod)


def ready_since(pod: Pod) -> int:
    """When the pod became ready, in nanoseconds since the epoch; 0 when it is not."""
    condition = conditions.find(pod.status.conditions, "Ready")
    if condition is None or condition.status != "True":
        return 0
    return from_timestamp(condition.last_transition_time)


def is_available(pod: Pod, min_ready_seconds: int, now: int) -> bool:
    """Whether the pod has been ready for long enough; one that is asked to go is not available."""
    if not is_ready(pod) or is_deleting(pod):
        return False
    return not min_ready_seconds or ready_since(pod) + min_ready_seconds * SECOND <= now


def available_in(pods: Iterable[Pod], min_ready_seconds: int, now: int) -> float | None:
    """In how many seconds the next of the pods becomes available by time alone; None when none will."""
    if not min_ready_seconds:
        return None
    waits = [
        (ready_since(pod) + min_ready_seconds * SECOND - now) / SECOND
        for pod in pods
        if is_ready(pod) and not is_deleting(pod)
    ]
    return min((wait for wait in waits if wait > 0), default=None)
