"""Bad input through `mesh apply`: one clear message that names the field, exit code 1, nothing changed."""

from pathlib import Path

import pytest

from tests.harness.cli import Cli

HEAD = "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\n"
GOOD = HEAD + "spec: {containers: [{name: app, image: hello}]}\n"


def pod(containers: str, more: str = "") -> str:
    return f"{HEAD}spec:\n  containers: [{containers}]\n{more}"


BAD: dict[str, tuple[str, str]] = {
    "malformed YAML": ("kind: [Pod\n", "standard input, document 1"),
    "a tab": ("kind:\tPod\n\tmetadata: {}\n", "document 1"),
    "not a mapping": ("- a\n- b\n", "must be a mapping"),
    "an empty file": ("", "there are no objects in -"),
    "no kind": ("apiVersion: v1\nmetadata: {name: x}\n", "kind: is required"),
    "an unknown kind": (GOOD.replace("Pod", "Pot"), 'there is no kind "Pot"'),
    "another version": (GOOD.replace("v1", "v2"), "apiVersion"),
    "a kind that is not served": (
        "apiVersion: mesh/v1\nkind: RangeAllocation\nmetadata: {name: d}\n",
        "RangeAllocation",
    ),
    "an unknown field": (pod("{name: app, image: hello, imagee: x}"), "spec.containers[0].imagee"),
    "a wrong type": (pod("{name: app, image: [hello]}"), "spec.containers[0].image"),
    "a word for a number": (pod("{name: app, image: x, ports: [{containerPort: many}]}"), "ports[0].containerPort"),
    "a bad name": (GOOD.replace("name: web", "name: Web_1"), "metadata.name"),
    "no name": (GOOD.replace("{name: web}", "{}"), "metadata.name"),
    "a bad label": (GOOD.replace("{name: web}", "{name: web, labels: {a: 'b c'}}"), "metadata.labels"),
    "a bad container name": (pod("{name: App, image: x}"), "spec.containers[0].name"),
    "no containers": (HEAD + "spec: {containers: []}\n", "spec.containers"),
    "no image": (pod("{name: app}"), "spec.containers[0].image"),
    "two containers of a name": (pod("{name: a, image: x}, {name: a, image: x}"), "spec.containers[1].name"),
    "port 0": (pod("{name: app, image: x, ports: [{containerPort: 0}]}"), "spec.containers[0].ports[0].containerPort"),
    "port 65536": (pod("{name: app, image: x, ports: [{containerPort: 65536}]}"), "containerPort"),
    "two ports of a name": (
        pod("{name: app, image: x, ports: [{name: a, containerPort: 1}, {name: a, containerPort: 2}]}"),
        "spec.containers[0].ports[1].name",
    ),
    "an absurd quantity": (
        pod("{name: app, image: x, resources: {limits: {memory: lots}}}"),
        "spec.containers[0].resources.limits.memory",
    ),
    "a request above its limit": (
        pod("{name: app, image: x, resources: {limits: {cpu: 1}, requests: {cpu: 2}}}"),
        "spec.containers[0].resources.requests",
    ),
    "a word that is not allowed": (GOOD.replace("spec: {", "spec: {restartPolicy: Sometimes, "), "spec.restartPolicy"),
    "two probe handlers": (
        pod("{name: app, image: x, livenessProbe: {exec: {command: [a]}, tcpSocket: {port: 1}}}"),
        "spec.containers[0].livenessProbe",
    ),
    "a mount without its volume": (
        pod("{name: app, image: x, volumeMounts: [{name: data, mountPath: /d}]}"),
        "spec.containers[0].volumeMounts[0].name",
    ),
    "a variable without a name": (pod("{name: app, image: x, env: [{value: x}]}"), "spec.containers[0].env[0].name"),
    "a missing namespace": (GOOD.replace("{name: web}", "{name: web, namespace: nowhere}"), '"nowhere"'),
    "the same object twice": (GOOD + "---\n" + GOOD, "twice"),
    "a bad base64": ("apiVersion: v1\nkind: Secret\nmetadata: {name: s}\ndata: {a: '%%'}\n", "data.a"),
    "a bad key": ("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: s}\ndata: {'a/b': x}\n", "data"),
}


@pytest.mark.parametrize("name", BAD)
async def test_bad_input_is_refused_by_name(cli: Cli, name: str) -> None:
    text, said = BAD[name]
    result = await cli("apply", "-f", "-", stdin=text)
    assert result.code == 1
    assert said in result.err, result.err
    assert "Traceback" not in result.err
    assert "did not expect" not in result.err
    assert result.out == ""
    await _nothing_changed(cli)


async def test_an_object_of_five_megabytes_is_refused(cli: Cli, tmp_path: Path) -> None:
    big = tmp_path / "big.yaml"
    big.write_text(f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: big}}\ndata: {{a: {'x' * 5_000_000}}}\n")
    result = await cli("apply", "-f", str(big))
    assert (result.code, "too large" in result.err) == (1, True), result.err[:300]
    assert len(result.err) < 500
    await _nothing_changed(cli)


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("apply",), "say which files"),
        (("apply", "-k", "overlays/a"), "kustomize build overlays/a | mesh apply -f -"),
        (("apply", "-f", "/nope.yaml"), "cannot read /nope.yaml: No such file or directory"),
        (("apply", "-f", "https://example.com/x.yaml"), "URLs are not fetched"),
        (("apply", "-f", "x", "--dry-run=client"), "--dry-run"),
        (("apply", "-f", "x", "--timeout", "soon"), "is no duration such as 30s"),
        (("get",), "KIND"),
        (("get", "pots"), 'there is no kind "pots"; did you mean "pods"?'),
        (("get", "netpol"), 'there is no kind "netpol": policies are not honoured yet'),
        (("get", "pod/a", "web"), "should read KIND/NAME"),
        (("get", "pod", "web", "-l", "a=b"), "can't be combined"),
        (("get", "pods", "-o", "table"), 'no output format "table"'),
        (("get", "pods", "-o", "jsonpath={.a"), "JSONPath"),
        (("get", "rangeallocations"), "RangeAllocation"),
        (("get", "pods", "--request-timeout", "x"), "--request-timeout"),
        (("get", "pods", "--context", "other"), 'there is no context "other"'),
        (("delete",), "say what to delete"),
        (("delete", "pod", "web", "--grace-period", "-5"), "--grace-period"),
        (("delete", "pod", "web", "--now", "--grace-period", "3"), "can't be combined"),
        (("create",), "say what"),
        (("create", "pot", "x"), 'did you mean "pod"?'),
        (("create", "pdb", "x"), "poddisruptionbudgets are made from a file"),
        (("create", "clusterrole", "x"), "view, edit, admin and cluster-admin are built in"),
        (("create", "service", "clusterip", "x"), "`mesh expose`"),
        (("config", "set-context"), "--current --namespace=NAME"),
        (("create", "cm", "c", "--from-literal", "novalue"), "KEY=VALUE"),
        (("explain", "pod.spec.contaners"), 'did you mean "containers"?'),
        (("aply", "-f", "x"), 'unknown command "aply". Did you mean "apply"?'),
        (("replace", "-f", "x"), "`mesh apply -f FILE`"),
        (("wait", "pod/web"), "--for"),
        (("backup", "/nope/file"), "cannot write"),
    ],
)
async def test_bad_words_are_refused_in_a_sentence(cli: Cli, args: tuple[str, ...], said: str) -> None:
    result = await cli(*args)
    assert result.code == 1
    assert said in result.err, result.err
    assert "Traceback" not in result.err
    assert "did not expect" not in result.err


async def test_a_change_of_what_can_not_change_names_the_field(cli: Cli) -> None:
    assert (await cli("apply", "-f", "-", stdin=GOOD)).code == 0
    result = await cli("apply", "-f", "-", stdin=GOOD.replace("spec: {", "spec: {hostNetwork: true, "))
    assert (result.code, "spec" in result.err) == (1, True)
    assert result.err.startswith('Error from server (Invalid): standard input, document 1: Pod "web" is invalid: ')


async def _nothing_changed(cli: Cli) -> None:
    assert (await cli("get", "pods,cm,secrets", "-A", "-o", "name")).out == ""
