"""Digests: what a host must run, and what a container's process was made of.

Rule: deterministic and independent of field order, of status and of the store's revision; equal means nothing to do.
"""

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from mesh.model.writing import to_dict
from mesh.v1.core_pb2 import Container, Pod
from mesh.v1.node_pb2 import Assignment

LAST_APPLIED = "mesh/last-applied-configuration"

# What takes effect without a new process, or is no matter of the process at all (L5).
_LIVE_CONTAINER = (
    "imagePullPolicy", "livenessProbe", "readinessProbe", "startupProbe", "lifecycle", "resizePolicy",
    "resources", "restartPolicy", "restartPolicyRules", "terminationMessagePolicy",
)  # fmt: skip
_PROCESS_OF_POD = (
    "hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace", "securityContext", "hostname", "subdomain",
    "setHostnameAsFQDN", "hostUsers", "runtimeClassName",
)  # fmt: skip


def pod_spec_hash(container: Container, pod: Pod) -> str:
    """16 hexadecimal digits that change when, and only when, the container must be made anew (L5).

    Fields that are absent have no part in it, so a release that knows more fields restarts nothing.
    """
    made_of = {n: v for n, v in to_dict(container).items() if n not in _LIVE_CONTAINER}
    around = {n: v for n, v in to_dict(pod.spec).items() if n in _PROCESS_OF_POD}
    return _sha(["container", made_of, around])[:16]


def assignment_digest(assignment: Assignment, parts: Sequence[str] = ()) -> str:
    """The digest of all that an Assignment orders; not over its fence, its node or its own digest.

    Over each pod's uid, generation, deletion, labels and annotations (what fieldRef may show), each ConfigMap's uid and
    resourceVersion, and each Secret's uid, resourceVersion and the id of the key it is sealed to, whatever their order;
    never over what a Secret holds, sealed (no two boxes are alike) or not (it could be guessed). `parts` are digests
    of what many hosts are told alike, the service links and the other hosts, which are not looked at here.
    """
    pods = sorted((identity_of(pod) for pod in assignment.pods), key=json.dumps)
    configs = sorted([c.metadata.uid, c.metadata.resource_version] for c in assignment.config_maps)
    whole = ["assignment", assignment.pod_cidr, assignment.cluster_cidr, pods, configs]
    sealed = sorted([s.uid, s.revision, s.key_id] for s in assignment.sealed_secrets)
    withheld = sorted([w.namespace, w.name, w.reason] for w in assignment.withheld_secrets)
    if sealed or withheld:
        whole += [sealed, withheld]
    if assignment.revoked:
        whole.append(sorted([entry, at] for entry, at in assignment.revoked.items()))
    if assignment.ingress_secrets:
        whole.append(sorted(assignment.ingress_secrets))
    return _sha([*whole, *_network(assignment), sorted(parts)])


def _network(assignment: Assignment) -> list[Any]:
    held = sorted([h.uid, h.waits_for] for h in assignment.held)
    volumes = sorted([v.name, v.namespace, v.claim, v.path, v.retired, v.size] for v in assignment.volumes)
    found = [assignment.service_cidr, assignment.dns_address, assignment.cluster_domain, held]
    return [*found, volumes] if volumes else found


def identity_of(pod: Pod) -> list[Any]:
    """What of a pod has a part in the digest of its host's Assignment."""
    meta = pod.metadata
    deletion = None
    if meta.HasField("deletion_timestamp"):
        deletion = [meta.deletion_timestamp.seconds, meta.deletion_timestamp.nanos, meta.deletion_grace_period_seconds]
    annotations = {k: v for k, v in sorted(meta.annotations.items()) if k != LAST_APPLIED}
    return [meta.uid, meta.generation, deletion, dict(sorted(meta.labels.items())), annotations]


def _sha(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()
