"""`mesh check`: every field foretold without a service, and nothing foretold that admission would not do."""

from pathlib import Path

import pytest

from mesh.cli.main import run
from mesh.model import manifest
from mesh.model.foretell import foretell

POD = """apiVersion: v1
kind: Pod
metadata: {name: web}
spec:
  dnsPolicy: ClusterFirst
  hostPID: false
  runtimeClassName: kata
  initContainers:
  - {name: side, image: a, restartPolicy: Always}
  containers:
  - name: app
    image: hello
    restartPolicy: Never
    ports: [{containerPort: 80, hostPort: 80}]
    livenessProbe: {exec: {command: [a]}, tcpSocket: {port: 1}}
"""
DEPLOYMENT = """apiVersion: apps/v1
kind: Deployment
metadata: {name: d}
spec:
  selector: {matchLabels: {a: b}}
  template:
    metadata: {labels: {a: b}}
    spec: {hostUsers: false, containers: [{name: a, image: b}]}
"""


def found(text: str) -> dict[str, tuple[str, str]]:
    return {f.field: (f.state, f.why) for f in foretell(manifest.load(text, "f").objects[0])}


def test_every_field_that_is_set_is_foretold() -> None:
    fields = found(POD)
    assert fields["kind"] == ("honoured", "")
    assert fields["spec.runtimeClassName"] == ("refused", "runtime classes are not part of this release")
    honoured = {f for f, (state, _) in fields.items() if state == "honoured"}
    assert honoured == {
        "kind", "spec.hostPID", "spec.initContainers[0].name", "spec.initContainers[0].image",
        "spec.initContainers[0].restartPolicy", "spec.containers[0].name", "spec.containers[0].image",
        "spec.containers[0].ports[0].containerPort", "spec.containers[0].livenessProbe.exec.command",
        "spec.containers[0].livenessProbe.tcpSocket.port", "spec.dnsPolicy",
        "spec.containers[0].ports[0].hostPort", "spec.containers[0].restartPolicy",
    }  # fmt: skip


def test_wrong_values_are_foretold_too() -> None:
    fields = found(POD)
    assert fields["spec.containers[0].livenessProbe"][0] == "refused"
    assert "exactly one" in fields["spec.containers[0].livenessProbe"][1]


def test_pods_within_others() -> None:
    fields = found(DEPLOYMENT)
    assert fields["kind"][0] == "honoured"
    assert fields["spec.template.spec.hostUsers"][0] == "refused"
    assert fields["spec.template.spec.containers[0].image"][0] == "honoured"


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "pod.yaml"
    file.write_text(POD)
    assert run(["check", "-f", str(file)]) == 1
    out = capsys.readouterr().out.splitlines()
    assert out[0] == f'Pod "web" ({file}, document 1): 13 honoured, 0 approximated, 2 refused'
    assert out[1].split() == ["FIELD", "BECOMES", "WHY"]
    assert len(out) == 1 + 1 + 2
    file.write_text("apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec: {containers: [{name: a, image: b}]}\n")
    assert run(["check", "-f", str(file), "--all"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0].endswith(": 3 honoured, 0 approximated, 0 refused")
    assert [line.split() for line in out[2:]] == [
        ["kind", "honoured"], ["spec.containers[0].name", "honoured"], ["spec.containers[0].image", "honoured"],
    ]  # fmt: skip


def test_what_cannot_be_read_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "pod.yaml"
    file.write_text(POD.replace("image: hello", "imagee: hello").replace("name: app", "name: App"))
    assert run(["check", "-f", str(file)]) == 1
    said = capsys.readouterr().err
    assert "spec.containers[0].imagee" in said
    assert "spec.containers[0].name" in said
