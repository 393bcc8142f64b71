"""The table of a pod's fields: complete, and asked of every pod."""

import re

import pytest
from google.protobuf.descriptor import Descriptor

from mesh.model import manifest, support
from mesh.model.fields import fields_of
from mesh.v1.core_pb2 import Pod, PodSpec


def _honoured(descriptor: Descriptor, seen: set[str]) -> dict[str, Descriptor]:
    """Message types that a pod can hold where the table lets it."""
    found = {descriptor.name: descriptor}
    seen.add(descriptor.name)
    for name, field in fields_of(descriptor).items():
        entry = support.TABLE.get(descriptor.name, {}).get(name)
        if entry and entry.state != "refused" and field.type is not None and field.type.name not in seen:
            found.update(_honoured(field.type, seen))
    return found


def test_every_field_is_in_the_table_and_nothing_else() -> None:
    types = _honoured(PodSpec.DESCRIPTOR, set())
    for name, descriptor in types.items():
        assert set(support.TABLE.get(name, {})) == set(fields_of(descriptor)), name
    assert set(support.TABLE) == set(types)


def test_refusals_and_approximations_say_why() -> None:
    for fields in support.TABLE.values():
        for name, entry in fields.items():
            assert entry.state in ("honoured", "approximated", "refused"), name
            assert bool(entry.why) is (entry.state != "honoured"), name
            assert not entry.why or re.fullmatch(r"[^.].*[^.]", entry.why), name


def spec(text: str) -> PodSpec:
    text = "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec:\n" + "\n".join(
        "  " + line for line in text.splitlines()
    )
    pod = manifest.load(text, "f").objects[0]
    assert isinstance(pod, Pod)
    return pod.spec


@pytest.mark.parametrize(
    ("text", "field", "words"),
    [
        (
            "containers: [{name: a, lifecycle: {preStop: {tcpSocket: {port: 80}}}}]",
            "containers[0].lifecycle.preStop.tcpSocket",
            "hooks over TCP do nothing in Kubernetes either",
        ),
        (
            "containers: [{name: a, securityContext: {procMount: Unmasked}}]",
            "containers[0].securityContext.procMount",
            "needs user namespaces",
        ),
        (
            "containers: [{name: a, restartPolicyRules: [{action: RestartAllContainers}]}]",
            "containers[0].restartPolicyRules[0].action",
            "all containers of a pod",
        ),
        (
            "volumes: [{name: v, ephemeral: {}}]",
            "volumes[0].ephemeral",
            "use persistentVolumeClaim",
        ),
        (
            "volumes: [{name: v, nfs: {server: a, path: /b}}]",
            "volumes[0].nfs",
            "hostPath, persistentVolumeClaim and image are",
        ),
        ("hostUsers: false", "hostUsers", "user namespaces"),
        ("schedulerName: other", "schedulerName", 'the only scheduler is "default-scheduler"'),
        ("runtimeClassName: kata", "runtimeClassName", "runtime classes"),
    ],
)
def test_refuses_by_name(text: str, field: str, words: str) -> None:
    wrong, _ = support.check(spec(text), "spec")
    assert [v.field for v in wrong] == [f"spec.{field}"]
    assert words in wrong[0].reason


@pytest.mark.parametrize(
    "text",
    [
        "hostPID: true\nhostIPC: true\nserviceAccountName: default\nautomountServiceAccountToken: false",
        "schedulerName: default-scheduler\npriority: 0\nenableServiceLinks: true\ndnsPolicy: Default",
        "containers: [{name: a, livenessProbe: {exec: {command: [a]}, periodMilliseconds: 100}, lifecycle: "
        "{postStart: {sleep: {seconds: 1}}, preStop: {httpGet: {port: web}}}, startupProbe: {grpc: {port: 1}}, "
        "readinessProbe: {httpGet: {port: 80, httpHeaders: [{name: a, value: b}]}}}]",
        "initContainers: [{name: a, restartPolicy: Always}]",
        "volumes: [{name: v, image: {reference: a/b:1, pullPolicy: Never}}]",
        "hostNetwork: true\ncontainers: [{name: a, ports: [{containerPort: 80, hostPort: 80}]}]",
        "containers: [{name: a, ports: [{containerPort: 80, hostPort: 8080, hostIP: 10.0.0.1}]}]",
        "subdomain: a\nsetHostnameAsFQDN: true\ndnsPolicy: ClusterFirstWithHostNet",
        "containers: [{name: a, terminationMessagePath: /dev/termination-log, "
        "terminationMessagePolicy: File, stdin: true, tty: true}]",
        "containers: [{name: a, env: [{name: b, valueFrom: {fieldRef: {fieldPath: status.podIP}}}]}]",
        "volumes: [{name: a, emptyDir: {medium: Memory, sizeLimit: 1Mi}}, "
        "{name: b, hostPath: {path: /a, type: Directory}}]",
        "readinessGates: [{conditionType: a/b}]\nhostAliases: [{ip: 10.0.0.1, hostnames: [a]}]\nhostname: a",
        "tolerations: [{operator: Exists}]\nactiveDeadlineSeconds: 5\ndnsConfig: {nameservers: [10.0.0.1]}",
        "securityContext: {runAsUser: 1, runAsGroup: 2, supplementalGroups: [3], fsGroup: 4, runAsNonRoot: true}",
        "containers: [{name: a, terminationMessagePath: /x, terminationMessagePolicy: FallbackToLogsOnError}]",
        "containers: [{name: a, envFrom: [{prefix: p, configMapRef: {name: c, optional: true}}], env: [{name: b, "
        "valueFrom: {configMapKeyRef: {name: c, key: k}}}, {name: d, valueFrom: {resourceFieldRef: "
        "{resource: limits.cpu, divisor: 1m}}}]}]",
        "containers: [{name: a, volumeMounts: [{name: v, mountPath: /a, subPath: b}, {name: v, mountPath: /b, "
        "subPathExpr: $(X), mountPropagation: HostToContainer}]}]",
        "volumes: [{name: a, configMap: {name: c, defaultMode: 0400, items: [{key: k, path: p, mode: 0600}]}}, "
        "{name: b, downwardAPI: {items: [{path: p, fieldRef: {fieldPath: metadata.labels}}]}}, "
        "{name: c, projected: {sources: [{configMap: {name: c, optional: true}}, {downwardAPI: {items: []}}]}}]",
        "affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: "
        "{nodeSelectorTerms: [{matchExpressions: [{key: a, operator: Exists}]}]}}}",
    ],
)
def test_honours(text: str) -> None:
    assert support.check(spec(text), "spec") == ([], [])


def test_approximations_are_warnings(monkeypatch: pytest.MonkeyPatch) -> None:
    table = {**support.TABLE["PodSpec"], "dnsPolicy": support.Support("approximated", "and how")}
    monkeypatch.setitem(support.TABLE, "PodSpec", table)
    wrong, warnings = support.check(spec("dnsPolicy: ClusterFirst"), "spec")
    assert wrong == []
    assert warnings == ["spec.dnsPolicy: and how"]
