"""Tables: kubectl's columns per kind, and how they lie on the screen."""

import pytest

from mesh.cli import tables
from mesh.cli.printers import Look, Table, event_age, node_status, table, tone
from mesh.model import manifest
from mesh.model.kinds import Object, kind_of
from mesh.v1.core_pb2 import Event, Node

NOW = 1_800_000_000.0  # 2027-01-15T08:00:00Z
SOON = "creationTimestamp: '2027-01-15T07:55:00Z'"


def obj(text: str) -> Object:
    return manifest.load(text, "test", default_namespace="default").objects[0]


POD = obj(
    f"{{apiVersion: v1, kind: Pod, metadata: {{name: web, labels: {{tier: front, app: web}}, {SOON}}}, "
    "spec: {nodeName: host1, containers: [{name: app, image: x}], readinessGates: [{conditionType: a/b}]}, "
    "status: {phase: Running, podIP: 10.244.0.2, conditions: [{type: a/b, status: 'True'}], "
    "containerStatuses: [{name: app, ready: true, restartCount: 1, state: {running: {}}, "
    "lastState: {terminated: {exitCode: 1, finishedAt: '2027-01-15T07:59:30Z'}}}]}}"
)
NODE = obj(
    f"{{apiVersion: v1, kind: Node, metadata: {{name: host1, {SOON}, "
    "labels: {node-role.kubernetes.io/control-plane: '', node-role.kubernetes.io/worker: ''}}, "
    "spec: {unschedulable: true}, status: {conditions: [{type: Ready, status: 'True'}], "
    "addresses: [{type: InternalIP, address: 192.0.2.1}], nodeInfo: {kubeletVersion: 0.1.0, osImage: Some OS, "
    "kernelVersion: '6.1', containerRuntimeVersion: podman://4.3.1}}}"
)
EVENT = obj(
    "{apiVersion: v1, kind: Event, metadata: {name: web.1}, type: Warning, reason: BackOff, count: 4, "
    "message: \"back-off\\n  restarting\", involvedObject: {kind: Pod, name: web, fieldPath: 'spec.containers{app}'}, "
    "source: {component: agent, host: host1}, firstTimestamp: '2027-01-15T07:50:00Z', "
    "lastTimestamp: '2027-01-15T07:59:00Z'}"
)
CASES: dict[str, tuple[Object, Look, dict[str, str]]] = {
    "pod": (POD, Look(), {
        "NAME": "web", "READY": "1/1", "STATUS": "Running", "RESTARTS": "1 (30s ago)", "AGE": "5m"}),
    "pod, wide": (POD, Look(wide=True), {
        "NAME": "web", "READY": "1/1", "STATUS": "Running", "RESTARTS": "1 (30s ago)", "AGE": "5m", "IP": "10.244.0.2",
        "NODE": "host1", "NOMINATED NODE": "<none>", "READINESS GATES": "1/1"}),
    "pod, everything": (POD, Look(namespaces=True, labels=True, prefix="pod/"), {
        "NAMESPACE": "default", "NAME": "pod/web", "READY": "1/1", "STATUS": "Running", "RESTARTS": "1 (30s ago)",
        "AGE": "5m", "LABELS": "app=web,tier=front"}),
    "pod, columns of labels": (POD, Look(label_columns=("app", "example.com/zone")), {
        "NAME": "web", "READY": "1/1", "STATUS": "Running", "RESTARTS": "1 (30s ago)", "AGE": "5m", "APP": "web",
        "ZONE": ""}),
    "node": (NODE, Look(), {
        "NAME": "host1", "STATUS": "Ready,SchedulingDisabled", "ROLES": "control-plane,worker", "AGE": "5m",
        "VERSION": "0.1.0"}),
    "node, wide": (NODE, Look(wide=True), {
        "NAME": "host1", "STATUS": "Ready,SchedulingDisabled", "ROLES": "control-plane,worker", "AGE": "5m",
        "VERSION": "0.1.0", "INTERNAL-IP": "192.0.2.1", "EXTERNAL-IP": "<none>", "OS-IMAGE": "Some OS",
        "KERNEL-VERSION": "6.1", "CONTAINER-RUNTIME": "podman://4.3.1"}),
    "namespace": (obj(f"{{apiVersion: v1, kind: Namespace, metadata: {{name: shop, {SOON}}}, "
                      "status: {phase: Terminating}}"), Look(),
                  {"NAME": "shop", "STATUS": "Terminating", "AGE": "5m"}),
    "event": (EVENT, Look(), {
        "LAST SEEN": "60s", "TYPE": "Warning", "REASON": "BackOff", "OBJECT": "pod/web",
        "MESSAGE": "back-off restarting"}),
    "event, wide": (EVENT, Look(wide=True), {
        "LAST SEEN": "60s", "TYPE": "Warning", "REASON": "BackOff", "OBJECT": "pod/web",
        "SUBOBJECT": "spec.containers{app}", "SOURCE": "agent, host1", "MESSAGE": "back-off restarting",
        "FIRST SEEN": "10m", "COUNT": "4", "NAME": "web.1"}),
    "config map": (obj(f"{{apiVersion: v1, kind: ConfigMap, metadata: {{name: c, {SOON}}}, data: {{a: b}}, "
                       "binaryData: {c: ZA==}}"), Look(), {"NAME": "c", "DATA": "2", "AGE": "5m"}),
    "secret": (obj(f"{{apiVersion: v1, kind: Secret, metadata: {{name: s, {SOON}}}, data: {{a: ZA==}}}}"), Look(),
               {"NAME": "s", "TYPE": "Opaque", "DATA": "1", "AGE": "5m"}),
    "a kind without columns of its own": (
        obj(f"{{apiVersion: v1, kind: ServiceAccount, metadata: {{name: a, {SOON}}}}}"), Look(),
        {"NAME": "a", "AGE": "5m"}),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_columns_are_kubectls(case: str) -> None:
    shown, look, expected = CASES[case]
    found = table(kind_of(shown), [shown], NOW, look)
    assert dict(zip(found.titles, found.rows[0], strict=True)) == expected
    assert found.titles == tuple(expected)


@pytest.mark.parametrize(
    ("conditions", "word"),
    [("[{type: Ready, status: 'True'}]", "Ready"), ("[{type: Ready, status: 'False'}]", "NotReady"),
     ("[{type: Ready, status: Unknown}]", "NotReady"), ("[]", "Unknown")],
)  # fmt: skip
def test_a_nodes_status(conditions: str, word: str) -> None:
    node = obj(f"{{apiVersion: v1, kind: Node, metadata: {{name: a}}, status: {{conditions: {conditions}}}}}")
    assert isinstance(node, Node)
    assert node_status(node) == word


def test_an_events_age_tells_its_count() -> None:
    assert isinstance(EVENT, Event)
    assert event_age(EVENT, NOW) == "60s (x4 over 10m)"
    assert event_age(Event(), NOW) == "<unknown>"


@pytest.mark.parametrize(
    ("title", "cell", "expected"),
    [
        ("STATUS", "Running", "good"), ("STATUS", "Completed", "good"), ("STATUS", "Pending", "busy"),
        ("STATUS", "Init:0/1", "busy"), ("STATUS", "Init:Error", "bad"), ("STATUS", "CrashLoopBackOff", "bad"),
        ("STATUS", "", ""), ("READY", "0/1", "busy"), ("READY", "1/1", ""), ("TYPE", "Warning", "busy"),
        ("TYPE", "Opaque", ""), ("NAME", "Running", ""),
    ],
)  # fmt: skip
def test_tones(title: str, cell: str, expected: str) -> None:
    assert tone(title, cell) == expected


def test_plain_tables_are_aligned_without_spaces_at_line_ends() -> None:
    shown = Table(("NAME", "A"), (("a-long-name", ""), ("b", "x")))
    assert tables.lines_of(shown, tables.widths_of(shown)) == ["NAME          A", "a-long-name", "b             x"]
    assert tables.lines_of(shown, (11, 1), titles=False)[0] == "a-long-name"


def test_rows_that_come_later_keep_the_columns() -> None:
    first = tables.widths_of(Table(("NAME", "A"), (("a-long-name", "x"),)))
    assert tables.widths_of(Table(("NAME", "A"), (("b", "yy"),)), first) == [11, 2]


def test_colour_does_not_move_columns() -> None:
    shown = Table(("STATUS", "AGE"), (("Running", "5m"),))
    (line,) = tables.lines_of(shown, (7, 3), titles=False, color=True)
    assert line == "\x1b[32mRunning\x1b[0m   5m"


def test_on_a_narrow_terminal_only_sentences_wrap(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "dumb")
    name = "a-name-that-is-far-too-long-for-it-but-must-not-be-cut-" * 2
    tables.show(Table(("NAME", "STATUS"), ((name, "Running"),)), color=True)
    assert f"{name}   Running" in capsys.readouterr().out
    tables.show(Table(("REASON", "MESSAGE"), (("Failed", "word " * 40),)), color=True)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) > 3
    assert all(len(line.rstrip()) <= 80 for line in lines)
