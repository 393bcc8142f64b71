"""Configuration of pods: what may be referred to, and how (E4, E5, V4, V14, V15). It need not be there yet."""

import pytest

from mesh.model import manifest, podchecks, poddefaults
from mesh.model.references import config_maps_of, secrets_of
from mesh.v1.core_pb2 import Pod

TEXT = """apiVersion: v1
kind: Pod
metadata: {name: p}
spec:
  containers: [{name: a, image: i, %s}]
  volumes: [{name: v, %s}]
"""


def wrong(container: str = "stdin: false", volume: str = "emptyDir: {}") -> list[str]:
    pod = manifest.load(TEXT % (container, volume), "f").objects[0]
    assert isinstance(pod, Pod)
    poddefaults.fill(pod.spec)
    return [v.field.removeprefix("spec.") for v in podchecks.check(pod.spec, "spec")]


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("envFrom: [{configMapRef: {name: c}}, {prefix: P, configMapRef: {name: c, optional: true}}]", ""),
        ("envFrom: [{prefix: P}]", "envFrom[0]"),
        ("envFrom: [{configMapRef: {name: c}, secretRef: {name: s}}]", "envFrom[0]"),
        ("envFrom: [{configMapRef: {}}]", "envFrom[0].configMapRef.name"),
        ("envFrom: [{prefix: 'a=b', configMapRef: {name: c}}]", "envFrom[0].prefix"),
        ("env: [{name: E, valueFrom: {configMapKeyRef: {name: c, key: k}}}]", ""),
        ("env: [{name: E, valueFrom: {configMapKeyRef: {key: k}}}]", "env[0].valueFrom.configMapKeyRef.name"),
        ("env: [{name: E, valueFrom: {resourceFieldRef: {resource: requests.memory, divisor: 1Mi}}}]", ""),
        (
            "env: [{name: E, valueFrom: {resourceFieldRef: {resource: limits.gpu}}}]",
            "env[0].valueFrom.resourceFieldRef.resource",
        ),
        (
            "env: [{name: E, valueFrom: {resourceFieldRef: {resource: limits.cpu, divisor: 1Mi}}}]",
            "env[0].valueFrom.resourceFieldRef.divisor",
        ),
        (
            "env: [{name: E, valueFrom: {resourceFieldRef: {resource: limits.cpu, containerName: z}}}]",
            "env[0].valueFrom.resourceFieldRef.containerName",
        ),
        (
            "env: [{name: E, valueFrom: {fieldRef: {fieldPath: metadata.labels}}}]",
            "env[0].valueFrom.fieldRef.fieldPath",
        ),
        (
            "env: [{name: E, valueFrom: {fileKeyRef: {volumeName: none, path: a, key: k}}}]",
            "env[0].valueFrom.fileKeyRef.volumeName",
        ),
        ("volumeMounts: [{name: v, mountPath: /a, mountPropagation: HostToContainer}]", ""),
        ("volumeMounts: [{name: v, mountPath: /a, readOnly: true, recursiveReadOnly: IfPossible}]", ""),
        (
            "volumeMounts: [{name: v, mountPath: /a, recursiveReadOnly: IfPossible}]",
            "volumeMounts[0].recursiveReadOnly",
        ),
        (
            "volumeMounts: [{name: v, mountPath: /a, readOnly: true, recursiveReadOnly: IfPossible, "
            "mountPropagation: HostToContainer}]",
            "volumeMounts[0].recursiveReadOnly",
        ),
        (
            "volumeMounts: [{name: v, mountPath: /a, mountPropagation: Bidirectional}]",
            "volumeMounts[0].mountPropagation",
        ),
        (
            "volumeMounts: [{name: v, mountPath: /a, mountPropagation: Bidirectional}], "
            "securityContext: {privileged: true}",
            "",
        ),
        ("volumeMounts: [{name: v, mountPath: /a, subPath: a, subPathExpr: b}]", "volumeMounts[0].subPathExpr"),
    ],
)
def test_containers(text: str, field: str) -> None:
    assert wrong(text) == ([f"containers[0].{field}"] if field else [])


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("configMap: {name: c, items: [{key: k, path: a/b, mode: 0400}]}", ""),
        ("configMap: {}", "configMap.name"),
        ("configMap: {name: c, items: [{key: k, path: ..data}]}", "configMap.items[0].path"),
        ("downwardAPI: {items: [{path: a, fieldRef: {fieldPath: metadata.annotations}}]}", ""),
        (
            "downwardAPI: {items: [{path: a, fieldRef: {fieldPath: status.podIP}}]}",
            "downwardAPI.items[0].fieldRef.fieldPath",
        ),
        ("downwardAPI: {items: [{path: a}]}", "downwardAPI.items[0]"),
        (
            "downwardAPI: {items: [{path: a, resourceFieldRef: {resource: limits.cpu}}]}",
            "downwardAPI.items[0].resourceFieldRef.containerName",
        ),
        ("downwardAPI: {items: [{path: a, resourceFieldRef: {resource: limits.cpu, containerName: a}}]}", ""),
        ("projected: {sources: [{configMap: {name: c}}, {configMap: {name: c}}]}", ""),  # the later one wins
        ("projected: {sources: [{}]}", "projected.sources[0]"),
        ("projected: {sources: [{configMap: {}}]}", "projected.sources[0].configMap.name"),
        (
            "projected: {sources: [{configMap: {name: c, items: [{key: k, path: p}]}}, "
            "{downwardAPI: {items: [{path: p, fieldRef: {fieldPath: metadata.name}}]}}]}",
            "projected.sources[1].downwardAPI.items[0].path",
        ),
    ],
)
def test_volumes(text: str, field: str) -> None:
    assert wrong(volume=text) == ([f"volumes[0].{field}"] if field else [])


def test_what_a_pod_refers_to() -> None:
    text = TEXT % (
        "envFrom: [{configMapRef: {name: a}}, {secretRef: {name: s}}], "
        "env: [{name: E, valueFrom: {configMapKeyRef: {name: b, key: k, optional: true}}}]",
        "projected: {sources: [{configMap: {name: c}}, {secret: {name: t}}]}",
    )
    pod = manifest.load(text, "f").objects[0]
    assert isinstance(pod, Pod)
    pod.spec.volumes.add(name="w").config_map.name = "d"
    assert config_maps_of(pod.spec) == {"a", "b", "c", "d"}
    assert secrets_of(pod.spec) == {"s", "t"}
