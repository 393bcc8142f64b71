"""What a container's process is told: its environment, command and arguments (E1 to E3, E5).

Rule: pure; every value is resolved here, at the last moment before the container is created, and frozen then (E6).
"""

import re
from collections.abc import Mapping

from mesh.v1.core_pb2 import Container, EnvVar, Pod
from nodeagent.runtime.port import RuntimeFailure

_REFERENCE = re.compile(r"\$(?:\$|\(([^)]*)\))")
_SUBSCRIPT = re.compile(r"metadata\.(labels|annotations)\['([^']*)'\]")


def expand(text: str, values: Mapping[str, str]) -> str:
    """`$(NAME)` by its value; an unknown name stays as it is, `$$` is `$`, and so `$$(NAME)` is literal (E2)."""

    def replaced(match: re.Match[str]) -> str:
        if match[0] == "$$":
            return "$"
        return values.get(match[1], match[0])

    return _REFERENCE.sub(replaced, text)


def environment(pod: Pod, container: Container, fields: Mapping[str, str]) -> dict[str, str]:
    """The environment: later entries win, and see only earlier ones (E2, E3). `fields` are what fieldRef may name.

    Raises:
        RuntimeFailure: CreateContainerConfigError for a reference that can't be resolved.
    """
    if container.env_from:
        raise _refused(container, "envFrom is not honoured yet")
    values: dict[str, str] = {}
    for variable in container.env:
        if variable.HasField("value_from"):
            values[variable.name] = _referenced(pod, container, variable, fields)
        else:
            values[variable.name] = expand(variable.value, values)
    return values


def fields_of(pod: Pod, host_ip: str, pod_ip: str) -> dict[str, str]:
    """The pod's fields that fieldRef may name (E5), labels and annotations excepted."""
    return {
        "metadata.name": pod.metadata.name,
        "metadata.namespace": pod.metadata.namespace,
        "metadata.uid": pod.metadata.uid,
        "spec.nodeName": pod.spec.node_name,
        "spec.serviceAccountName": pod.spec.service_account_name or "default",
        "status.hostIP": host_ip,
        "status.hostIPs": host_ip,
        "status.podIP": pod_ip,
        "status.podIPs": pod_ip,
    }


def _referenced(pod: Pod, container: Container, variable: EnvVar, fields: Mapping[str, str]) -> str:
    source = variable.value_from
    if not source.HasField("field_ref"):
        kind = next((f.json_name for f, _ in source.ListFields()), "valueFrom")
        raise _refused(container, f"environment variable {variable.name}: {kind} is not honoured yet")
    path = source.field_ref.field_path
    subscript = _SUBSCRIPT.fullmatch(path)
    if subscript:
        table = pod.metadata.labels if subscript[1] == "labels" else pod.metadata.annotations
        return table.get(subscript[2], "")
    if path not in fields:
        raise _refused(container, f'environment variable {variable.name}: "{path}" is no field that can be referenced')
    return fields[path]


def _refused(container: Container, why: str) -> RuntimeFailure:
    return RuntimeFailure("CreateContainerConfigError", f"cannot create container {container.name}: {why}")
