"""Names and labels that tie what is on the host to pods: identity lives there, and needs no memory (L18).

Rule: pure; deterministic, so that making a thing twice meets the first instead of making a twin.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from nodeagent.runtime.port import ContainerSpec

MANAGED = "io.mesh.managed"
POD_UID = "io.mesh.pod.uid"
POD_NAMESPACE = "io.mesh.pod.namespace"
POD_NAME = "io.mesh.pod.name"
CONTAINER_NAME = "io.mesh.container.name"
CONTAINER_ATTEMPT = "io.mesh.container.attempt"
CONTAINER_ROLE = "io.mesh.container.role"
SPEC_HASH = "io.mesh.container.spec.hash"
IMAGE = "io.mesh.container.image"
LOG_PATH = "io.mesh.container.log"
GROUPS_ALONE = "io.mesh.container.groups.alone"  # only where it is so
SECRETS = "io.mesh.container.secrets"  # revisions by name, JSON; only where there are some


def container_name(spec: ContainerSpec) -> str:
    """The runtime's name of one attempt."""
    return f"{spec.name}-{spec.attempt}-{spec.pod_uid}"


def log_path(log_dir: Path, spec: ContainerSpec) -> Path:
    """Where one attempt's output goes (G1)."""
    return log_dir / f"{spec.namespace}_{spec.pod_name}_{spec.pod_uid}" / spec.name / f"{spec.attempt}.log"


def labels(spec: ContainerSpec, log: Path) -> dict[str, str]:
    """Everything that a restarted agent must know of a container."""
    return {
        MANAGED: "1",
        POD_UID: spec.pod_uid,
        POD_NAMESPACE: spec.namespace,
        POD_NAME: spec.pod_name,
        CONTAINER_NAME: spec.name,
        CONTAINER_ATTEMPT: str(spec.attempt),
        CONTAINER_ROLE: spec.role.value,
        SPEC_HASH: spec.spec_hash,
        IMAGE: spec.image,
        LOG_PATH: str(log),
        **({GROUPS_ALONE: "1"} if spec.security.groups_alone else {}),
        **({SECRETS: json.dumps(dict(spec.secret_revisions))} if spec.secret_revisions else {}),
    }


def is_ours(of: Mapping[str, str]) -> bool:
    """Whether labels say that a container belongs to a pod of ours, completely."""
    return of.get(MANAGED) == "1" and all(key in of for key in (POD_UID, CONTAINER_NAME, CONTAINER_ATTEMPT))


def pod_cgroup(pod_uid: str) -> str:
    """The pod's own control group, parent of its containers' ones, unless the agent says another."""
    return f"/mesh/pod{pod_uid}"


def container_cgroup(parent: str, container_id: str) -> str:
    """Podman's cgroup of a container, with the cgroupfs manager."""
    return f"{parent}/libpod-{container_id}"


def host_link(pod_uid: str) -> str:
    """The host's end of a pod's veth pair: at most 15 characters, from a digest because uids may share a beginning."""
    return "v" + hashlib.blake2s(pod_uid.encode(), digest_size=7).hexdigest()
