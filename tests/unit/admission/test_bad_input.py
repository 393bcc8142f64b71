"""Bad input of every kind: refused with the field and the reason, before anything is stored."""

from collections.abc import Callable

import pytest

from mesh.admission import admit
from mesh.admission.admit import Stamp
from mesh.errors import Invalid, MeshError
from mesh.model import manifest
from mesh.model.kinds import Object
from mesh.view import View

POD = """apiVersion: v1
kind: Pod
metadata:
  name: web
spec:
  containers:
  - name: web
    image: nginx:1.27
"""


def container(more: str) -> str:
    return POD + "".join(f"    {line}\n" for line in more.splitlines())


def spec(more: str) -> str:
    return POD + "".join(f"  {line}\n" for line in more.splitlines())


def config_map(more: str) -> str:
    return f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: c}}\n{more}\n"


def secret(more: str) -> str:
    return f"apiVersion: v1\nkind: Secret\nmetadata: {{name: s}}\n{more}\n"


C = "spec.containers[0]"

BAD = {
    "malformed YAML": ("a: [1\n", "", "is not YAML"),
    "tabs": ("kind: Pod\nspec:\n\tcontainers: []\n", "", "indent with spaces, not tabs"),
    "a key twice": (container("image: b"), "", 'the key "image" is given twice (line 9)'),
    "aliases without end": (
        "a: &a [x]\nb: &b ["
        + "*a, " * 9
        + "*a]\n"
        + "".join(f"c{n}: &c{n} [" + ", ".join([f"*c{n - 1}" if n else "*b"] * 10) + "]\n" for n in range(12)),
        "",
        "aliases unfold to more than 1.5 MiB",
    ),
    "nested too deeply": ("a: " + "[" * 150 + "]" * 150, "", "is nested too deeply"),
    "no mapping": ("hello\n", "", "must be a mapping"),
    "no kind": ("apiVersion: v1\n", "kind", "is required"),
    "unknown kind": ("{apiVersion: v1, kind: Podd, metadata: {name: a}}", "kind", 'did you mean "Pod"?'),
    "wrong apiVersion": (
        "{apiVersion: apps/v1, kind: Pod, metadata: {name: a}}",
        "apiVersion",
        'has the apiVersion "v1"',
    ),
    "kind of a later release": (
        "{apiVersion: mesh/v1, kind: RangeAllocation, metadata: {name: a}}",
        "kind",
        "RangeAllocation is not honoured yet: it is written by the mesh alone",
    ),
    "a drain of more digits than a number has": (
        POD.replace("metadata:", f"metadata:\n  annotations: {{mesh/drain-seconds: '{'9' * 5000}'}}", 1),
        'metadata.annotations["mesh/drain-seconds"]',
        "must be a whole number of seconds",
    ),
    "a share of more digits than a number has": (
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d}\nspec: {selector: {matchLabels: {a: b}}, "
        "template: {metadata: {labels: {a: b}}, spec: {containers: [{name: c, image: i}]}}, "
        f"strategy: {{rollingUpdate: {{maxUnavailable: '{'9' * 5000}%'}}}}}}\n",
        "spec.strategy.rollingUpdate.maxUnavailable",
        "must be a number or per cent",
    ),
    "a budget of more digits than a number has": (
        "apiVersion: policy/v1\nkind: PodDisruptionBudget\nmetadata: {name: b}\n"
        f"spec: {{minAvailable: '{'9' * 5000}%'}}\n",
        "spec.minAvailable",
        "must be a number or a percentage",
    ),
    "drain that is no time": (
        POD.replace("metadata:", "metadata:\n  annotations: {mesh/drain-seconds: 5s}", 1),
        'metadata.annotations["mesh/drain-seconds"]',
        "must be a whole number of seconds",
    ),
    "unknown field": (container("imagePullPolici: Always"), f"{C}.imagePullPolici", 'did you mean "imagePullPolicy"?'),
    "field in the wrong place": (POD.replace("spec:", "spec:\n  image: a"), "spec.image", "unknown field"),
    "text for a number": (
        container('ports: [{containerPort: "http"}]'),
        f"{C}.ports[0].containerPort",
        "must be a whole number, is the text",
    ),
    "number for a text": (container("env: [{name: A, value: 5}]"), f"{C}.env[0].value", 'write it in quotes, "5"'),
    "boolean for a text": (container("env: [{name: A, value: no}]"), f"{C}.env[0].value", 'write it in quotes, "no"'),
    "list for a mapping": (spec("nodeSelector: [a]"), "spec.nodeSelector", "must be a mapping, is a list"),
    "number out of range": (spec("activeDeadlineSeconds: 1e30"), "spec.activeDeadlineSeconds", "must be between"),
    "no name": (POD.replace("name: web\nspec", "labels: {a: b}\nspec"), "metadata.name", "is required"),
    "bad name": (
        POD.replace("name: web\nspec", "name: Web_Server\nspec"),
        "metadata.name",
        "must be lower-case letters",
    ),
    "name too long": (POD.replace("name: web\nspec", f"name: {'a' * 254}\nspec"), "metadata.name", "no more than 253"),
    "bad container name": (
        POD.replace("- name: web", "- name: web.one"),
        f"{C}.name",
        'must be lower-case letters, digits and "-"',
    ),
    "bad label": (
        POD.replace("name: web\nspec", "name: web\n  labels: {a: 'b c'}\nspec"),
        "metadata.labels.a",
        "must be letters",
    ),
    "bad label key": (
        POD.replace("name: web\nspec", "name: web\n  labels: {-a: b}\nspec"),
        "metadata.labels",
        '"-a" must be',
    ),
    "too many annotations": (
        POD.replace("name: web\nspec", f"name: web\n  annotations: {{a: {'x' * 262145}}}\nspec"),
        "metadata.annotations",
        "no more than 256 KiB",
    ),
    "no containers": (
        "{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {containers: []}}",
        "spec.containers",
        "is required",
    ),
    "no spec": ("{apiVersion: v1, kind: Pod, metadata: {name: a}}", "spec.containers", "is required"),
    "no image": (POD.replace("    image: nginx:1.27\n", ""), f"{C}.image", "is required"),
    "port 0": (
        container("ports: [{containerPort: 0}]"),
        f"{C}.ports[0].containerPort",
        "must be between 1 and 65535, is 0",
    ),
    "port 65536": (
        container("ports: [{containerPort: 65536}]"),
        f"{C}.ports[0].containerPort",
        "must be between 1 and 65535",
    ),
    "duplicate port": (
        container("ports: [{containerPort: 80}, {containerPort: 80, protocol: TCP}]"),
        f"{C}.ports[1].containerPort",
        "80/TCP is ports[0] too",
    ),
    "duplicate port name": (
        container("ports: [{name: a, containerPort: 80}, {name: a, containerPort: 81}]"),
        f"{C}.ports[1].name",
        '"a" is the name of ports[0] too',
    ),
    "bad port name": (
        container("ports: [{name: this-name-is-too-long, containerPort: 80}]"),
        f"{C}.ports[0].name",
        "no more than 15 characters",
    ),
    "port name without a letter": (
        container("ports: [{name: '80', containerPort: 80}]"),
        f"{C}.ports[0].name",
        "at least one letter",
    ),
    "bad protocol": (
        container("ports: [{containerPort: 80, protocol: tcp}]"),
        f"{C}.ports[0].protocol",
        'did you mean "TCP"?',
    ),
    "two probe handlers": (
        container("livenessProbe: {exec: {command: [a]}, tcpSocket: {port: 80}}"),
        f"{C}.livenessProbe",
        "must have exactly one of exec, httpGet, tcpSocket and grpc, has exec and tcpSocket",
    ),
    "hook over TCP": (
        container("lifecycle: {preStop: {tcpSocket: {port: 80}}}"),
        f"{C}.lifecycle.preStop.tcpSocket",
        "do nothing in Kubernetes either",
    ),
    "absurd quantity": (container("resources: {limits: {memory: 1e40}}"), f"{C}.resources.limits.memory", "too large"),
    "bad quantity": (
        container("resources: {limits: {memory: 64MB}}"),
        f"{C}.resources.limits.memory",
        'did you mean "M"?',
    ),
    "negative quantity": (
        container("resources: {limits: {cpu: -1}}"),
        f"{C}.resources.limits.cpu",
        "must not be negative",
    ),
    "request above limit": (
        container("resources: {limits: {cpu: 1}, requests: {cpu: 2}}"),
        f"{C}.resources.requests.cpu",
        "must be at most the limit 1, is 2",
    ),
    "unknown resource": (
        container("resources: {limits: {mem: 1Gi}}"),
        f"{C}.resources.limits.mem",
        "other than cpu, memory and ephemeral-storage",
    ),
    "mount without volume": (
        container("volumeMounts: [{name: data, mountPath: /data}]"),
        f"{C}.volumeMounts[0].name",
        'there is no volume "data"',
    ),
    "relative mount path": (
        container("volumeMounts: [{name: v, mountPath: data}]") + "  volumes: [{name: v, emptyDir: {}}]\n",
        f"{C}.volumeMounts[0].mountPath",
        "must be an absolute path",
    ),
    "mount path twice": (
        container("volumeMounts: [{name: v, mountPath: /a}, {name: v, mountPath: /a}]")
        + "  volumes: [{name: v, emptyDir: {}}]\n",
        f"{C}.volumeMounts[1].mountPath",
        '"/a" is the path of',
    ),
    "two volume sources": (
        spec("volumes: [{name: v, emptyDir: {}, hostPath: {path: /a}}]"),
        "spec.volumes[0]",
        "must have exactly one source, has hostPath and emptyDir",
    ),
    "volume name twice": (
        spec("volumes: [{name: v, emptyDir: {}}, {name: v, emptyDir: {}}]"),
        "spec.volumes[1].name",
        '"v" is the name of volumes[0] too',
    ),
    "hostPath upwards": (
        spec("volumes: [{name: v, hostPath: {path: /a/../b}}]"),
        "spec.volumes[0].hostPath.path",
        '".." element',
    ),
    "an image volume of nothing": (
        spec("volumes: [{name: v, image: {pullPolicy: Always}}]"),
        "spec.volumes[0].image.reference",
        "is required",
    ),
    "bad hostPath type": (
        spec("volumes: [{name: v, hostPath: {path: /a, type: Folder}}]"),
        "spec.volumes[0].hostPath.type",
        'must be "", "DirectoryOrCreate"',
    ),
    "container name twice": (
        POD + "  - name: web\n    image: b\n",
        "spec.containers[1].name",
        "is the name of spec.containers[0] too",
    ),
    "init container named alike": (
        spec("initContainers: [{name: web, image: b}]"),
        "spec.containers[0].name",
        "is the name of spec.initContainers[0] too",
    ),
    "bad environment name": (container("env: [{name: 'A=B', value: x}]"), f"{C}.env[0].name", 'without "="'),
    "value and valueFrom": (
        container("env: [{name: A, value: x, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]"),
        f"{C}.env[0].valueFrom",
        "must be absent when value is given",
    ),
    "bad fieldRef": (
        container("env: [{name: A, valueFrom: {fieldRef: {fieldPath: spec.foo}}}]"),
        f"{C}.env[0].valueFrom.fieldRef.fieldPath",
        "cannot be referred to",
    ),
    "bad restartPolicy": (
        spec("restartPolicy: Sometimes"),
        "spec.restartPolicy",
        'must be "Always", "OnFailure" or "Never"',
    ),
    "negative grace": (
        spec("terminationGracePeriodSeconds: -1"),
        "spec.terminationGracePeriodSeconds",
        "at least 0, is -1",
    ),
    "bad toleration": (
        spec("tolerations: [{operator: Exists, value: x}]"),
        "spec.tolerations[0].value",
        "must be absent",
    ),
    "dnsPolicy None alone": (spec("dnsPolicy: None"), "spec.dnsConfig.nameservers", "is required with dnsPolicy None"),
    "missing namespace": (
        POD.replace("name: web\nspec", "name: web\n  namespace: nowhere\nspec"),
        "metadata.namespace",
        'there is no namespace "nowhere"',
    ),
    "namespace being deleted": (
        POD.replace("name: web\nspec", "name: web\n  namespace: leaving\nspec"),
        "metadata.namespace",
        'the namespace "leaving" is being deleted',
    ),
    "namespace of what has none": (
        "{apiVersion: v1, kind: Node, metadata: {name: a, namespace: b}}",
        "metadata.namespace",
        "a Node is in no namespace",
    ),
    "an object of 5 MB": (config_map(f"data: {{k: {'x' * 5_000_000}}}"), "", "is too large: 5000"),
    "a ConfigMap above 1 MiB": (
        config_map(f"data: {{k: {'x' * 1_048_576}}}"),
        "data",
        "no more than 1 MiB in all, has 1048577 bytes",
    ),
    "a key of both kinds": (config_map("data: {k: v}\nbinaryData: {k: aGk=}"), "binaryData.k", "is a key of data too"),
    "a bad key": (config_map("data: {'a/b': v}"), "data", 'is "a/b"'),
    "a key upwards": (config_map("data: {..a: v}"), "data", 'nor begin with ".."'),
    "no base64": (secret("data: {k: 'not base64!'}"), "data.k", "must be base64"),
    "a Secret of 1 MiB and more": (secret(f"stringData: {{k: {'x' * 1_048_577}}}"), "data", "no more than 1 MiB"),
    "a TLS Secret without key": (
        secret("type: kubernetes.io/tls\ndata: {tls.crt: aGk=}"),
        'data["tls.key"]',
        "is required",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_is_refused_by_field_and_in_words(name: str, view: View, stamp: Stamp, read: Callable[[str], Object]) -> None:
    text, field, words = BAD[name]
    with pytest.raises(Invalid) as caught:
        admit.apply(read(text), None, view, stamp)
    found = [v for v in caught.value.violations if v.field == field and words in v.reason]
    assert found, f"{field}: {words} is not in {caught.value.violations}"
    assert words in str(caught.value)
    assert field in str(caught.value)


def test_one_document_of_many_is_named_and_nothing_of_the_text_is_returned() -> None:
    text = f"{POD}---\n{POD.replace('containers:', 'container:')}"
    with pytest.raises(MeshError, match=r"pods\.yaml, document 2: spec\.container: unknown field; did you mean"):
        manifest.load(text, "pods.yaml")
