"""What `mesh describe` tells, and how it lies on the page."""

from mesh.cli.details import describe
from mesh.cli.sheets import Sheet
from mesh.model import manifest
from mesh.model.kinds import Object
from mesh.v1.core_pb2 import Event, Pod

NOW = 1_800_000_000.0


def obj(text: str) -> Object:
    return manifest.load(text, "test", default_namespace="default").objects[0]


POD = """
apiVersion: v1
kind: Pod
metadata:
  name: web
  labels: {b: "2", a: "1"}
  annotations: {mesh/last-applied-configuration: "{}", mine: note}
  ownerReferences: [{apiVersion: apps/v1, kind: ReplicaSet, name: web-1, uid: u, controller: true}]
spec:
  nodeName: host1
  containers:
  - name: app
    image: hello:1
    ports: [{containerPort: 80, name: http, hostPort: 8080}, {containerPort: 90, protocol: UDP}]
    command: [sh, -c, "a\\nb"]
    env:
    - {name: A, value: b}
    - {name: S, valueFrom: {secretKeyRef: {name: login, key: password}}}
    - {name: NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
    livenessProbe: {httpGet: {path: /ok, port: http}, periodSeconds: 5}
    volumeMounts: [{name: data, mountPath: /data, readOnly: true}]
  volumes: [{name: data, hostPath: {path: /srv, type: Directory}}, {name: tmp, emptyDir: {}}]
  tolerations: [{key: a, operator: Exists, effect: NoExecute, tolerationSeconds: 300}]
status:
  phase: Running
  hostIP: 192.0.2.1
  podIP: 10.244.0.2
  podIPs: [{ip: 10.244.0.2}]
  qosClass: BestEffort
  conditions: [{type: Ready, status: "False", reason: ContainersNotReady, message: "not ready: app"}]
  containerStatuses:
  - name: app
    restartCount: 2
    state: {waiting: {reason: CrashLoopBackOff, message: back-off 20s}}
    lastState: {terminated: {exitCode: 3, reason: Error, finishedAt: "2027-01-15T07:59:00Z"}}
"""


def lines(text: str) -> list[str]:
    """The lines with single spaces, so that only words count."""
    return [" ".join(line.split()) for line in text.splitlines()]


def test_a_pod_is_told_whole() -> None:
    event = Event(type="Warning", reason="BackOff", message="back-off", count=3)
    event.last_timestamp.seconds, event.first_timestamp.seconds = int(NOW) - 10, int(NOW) - 100
    event.source.component, event.source.host = "agent", "host1"
    told = lines(describe(obj(POD), [event], [], NOW))
    for line in (
        "Node: host1/192.0.2.1", "Labels: a=1", "b=2", "Annotations: mine=note",
        "Status: Running (CrashLoopBackOff)", "Controlled By: ReplicaSet/web-1", "Ports: 80/TCP (http), 90/UDP",
        "Host Port: 8080/TCP", "Command: sh", "State: Waiting", "Reason: CrashLoopBackOff",
        "Message: back-off 20s", "Last State: Terminated", "Exit Code: 3", "Restart Count: 2",
        "S: <set to the key 'password' in secret 'login'> Optional: false", "NAME: (v1:metadata.name)",
        "Mounts: /data from data (ro)", "Type: HostPath", "Path: /srv", "Type: EmptyDir",
        "Liveness: http-get http://:http/ok delay=0s timeout=1s period=5s #success=1 #failure=3",
        "Ready False ContainersNotReady not ready: app", "Tolerations: a:NoExecute op=Exists for 300s",
        "Warning BackOff 10s (x3 over 100s) agent, host1 back-off",
    ):  # fmt: skip
        assert line in told, line
    assert not any("last-applied" in line for line in told)


def test_a_node_counts_what_its_pods_ask_for() -> None:
    node = obj("{apiVersion: v1, kind: Node, metadata: {name: host1}, spec: {taints: [{key: k, effect: NoSchedule}]}, "
               "status: {allocatable: {cpu: '2', memory: 1Gi}}}")  # fmt: skip
    asks = "{name: a, image: x, resources: {requests: {cpu: 500m, memory: 256Mi}}}"
    form = "{apiVersion: v1, kind: Pod, metadata: {name: p}, spec: {containers: [%s]}, status: {phase: %s}}"
    pods = [obj(form % (asks, phase)) for phase in ("Running", "Running", "Succeeded")]
    told = lines(describe(node, [], [p for p in pods if isinstance(p, Pod)], NOW))
    assert "Non-terminated Pods (2 in total):" in told
    assert "cpu 1 (50%) 0 (0%)" in told
    assert "memory 512Mi (50%) 0 (0%)" in told
    assert "Taints: k:NoSchedule" in told


def test_secrets_are_measured_not_shown() -> None:
    told = describe(obj("{apiVersion: v1, kind: Secret, metadata: {name: s}, data: {p: c2VjcmV0}}"), [], [], NOW)
    assert "p:  6 bytes" in told
    assert "secret" not in told
    assert "c2VjcmV0" not in told


def test_config_maps_show_their_texts() -> None:
    text = '{apiVersion: v1, kind: ConfigMap, metadata: {name: c}, data: {a.conf: "x\\ny\\n"}}'
    assert "  a.conf:  x\n           y\n" in describe(obj(text), [], [], NOW)


def test_a_kind_without_words_of_its_own_is_told_field_by_field() -> None:
    text = "{apiVersion: v1, kind: ServiceAccount, metadata: {name: a}, imagePullSecrets: [{name: s}]}"
    assert "Image Pull Secrets:" in describe(obj(text), [], [], NOW)


def test_sheets_align_their_values() -> None:
    sheet = Sheet().add("Name", "web").add("Status", "").many("Labels", ["a=1", "b=2"])
    sheet.below("Deep", Sheet().add("K", "v").add("Longer", "w")).below("None", Sheet()).columns("T", ("A",), [])
    assert sheet.render() == [
        "Name:    web",
        "Status:  <none>",
        "Labels:  a=1",
        "         b=2",
        "Deep:",
        "  K:       v",
        "  Longer:  w",
        "None:    <none>",
        "T:       <none>",
    ]
