"""Static pods: what an agent runs from its manifest directory without being told by the control service (G10).

Rule: held to the same rules as any pod; who the pod is follows from its content and its host alone.
"""

import hashlib

from mesh.errors import Invalid, Violation
from mesh.model import podchecks, poddefaults, rules, support
from mesh.model.fields import copy_of
from mesh.model.pods import MIRROR
from mesh.v1.core_pb2 import Pod, PodSpec

SOURCE = "kubernetes.io/config.source"


def static_pod(manifest: Pod, node: str) -> Pod:
    """The pod that a manifest means on this host: named `<name>-<node>`, bound, completed, with a uid of its content.

    Raises Invalid with everything that is wrong; what needs other objects (ConfigMaps, Secrets) is refused.
    """
    pod = copy_of(manifest)
    pod.ClearField("status")
    subject = f'static Pod "{pod.metadata.name}"'
    wrong, _ = support.check(pod.spec, "spec")
    wrong += references(pod.spec)
    if not pod.metadata.name:
        wrong.append(Violation("metadata.name", "is required"))
    if pod.spec.node_name not in ("", node):
        wrong.append(Violation("spec.nodeName", f'must be absent or "{node}", is "{pod.spec.node_name}"'))
    pod.metadata.namespace = pod.metadata.namespace or "default"
    pod.metadata.name = f"{pod.metadata.name}-{node}"
    pod.metadata.generation = 1
    pod.spec.node_name = node
    poddefaults.fill(pod.spec)
    wrong += [*rules.check_object(pod), *podchecks.check(pod.spec, "spec")]
    if wrong:
        raise Invalid.of(subject, list(dict.fromkeys(wrong)))
    pod.metadata.uid = _uid(pod, node)
    pod.metadata.annotations[MIRROR] = pod.metadata.uid
    pod.metadata.annotations[SOURCE] = "file"
    return pod


def references(spec: PodSpec) -> list[Violation]:
    """What of the pod needs objects of the control service: ConfigMaps, Secrets, claims, ServiceAccounts (G10)."""
    why = "a static pod can't refer to other objects"
    own = ("name", "empty_dir", "host_path", "image", "nfs", "downward_api", "projected")
    wrong = [
        Violation(f"spec.volumes[{index}]", why)
        for index, volume in enumerate(spec.volumes)
        if any(field.name not in own for field, _ in volume.ListFields())
        or any(field.name != "downward_api" for source in volume.projected.sources for field, _ in source.ListFields())
    ]
    placed = [("initContainers", i, c) for i, c in enumerate(spec.init_containers)]
    placed += [("containers", i, c) for i, c in enumerate(spec.containers)]
    for group, place, container in placed:
        path = f"spec.{group}[{place}]"
        wrong += [
            Violation(f"{path}.env[{index}].valueFrom", why)
            for index, variable in enumerate(container.env)
            if variable.value_from.HasField("config_map_key_ref") or variable.value_from.HasField("secret_key_ref")
        ]
        if container.env_from:
            wrong.append(Violation(f"{path}.envFrom", why))
    for name, account in (("serviceAccountName", spec.service_account_name), ("serviceAccount", spec.service_account)):
        if account not in ("", "default"):
            wrong.append(Violation(f"spec.{name}", why))
    if spec.automount_service_account_token:
        wrong.append(Violation("spec.automountServiceAccountToken", why))
    if spec.image_pull_secrets:
        wrong.append(Violation("spec.imagePullSecrets", why))
    return wrong


def _uid(pod: Pod, node: str) -> str:
    content = f"{node}\n".encode() + pod.SerializeToString(deterministic=True)
    digits = hashlib.sha256(content).hexdigest()[:32]
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
