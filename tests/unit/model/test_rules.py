"""The rules of rules.proto, asked of messages that never were manifests (A1-A4, V8)."""

import pytest

from mesh.model import formats, rules
from mesh.v1 import rules_pb2
from mesh.v1.apps_pb2 import Deployment
from mesh.v1.batch_pb2 import CronJob
from mesh.v1.core_pb2 import ConfigMap, Container, KeyToPath, Namespace, Node, Pod
from mesh.v1.net_pb2 import Service

GOOD: dict[str, list[str]] = {
    "dns_label": ["a", "a1", "1a", "a-b", "a" * 63],
    "dns_subdomain": ["a", "a.b", "a-b.c1", "1.2", ".".join(["a" * 63] * 3)],
    "label_key": ["a", "A_b.C-1", "example.com/a", "a.b-c/D", "x" * 63, f"{'a.' * 126}a/x"],
    "label_value": ["", "a", "A_b.C-1", "x" * 63],
    "env_name": ["A", "a.b-c", "with space", "1A", "{", "A" * 1000],
    "port_name": ["http", "a-b", "1a", "a" * 15, "p8080"],
    "config_key": ["a", ".a", "a..b", "A_b-c.d", "x" * 253, "..."[:1] + "x"],
    "absolute_path": ["/", "/a/b", "/a/../b"],
    "relative_path": ["a", "a/b", "a..b", "..a", "./a"],
    "ip": ["10.0.0.1", "::1", "2001:db8::1"],
    "resource_quantity": ["1", "64Mi"],
}
BAD: dict[str, list[str]] = {
    "dns_label": ["", "A", "-a", "a-", "a.b", "a_b", "a" * 64, "ä", "a\n", "a "],
    "dns_subdomain": ["", ".a", "a.", "a..b", "A", "a_b", "-a", "a.-b", "a" * 254, "a\n"],
    "label_key": [f"{'ab.' * 84}ab/x", "", "/a", "a/", "a/b/c", "-a", "a-", "A.com/a", "x" * 64, "a b", "_a"],
    "label_value": ["-a", "a-", "a b", "x" * 64, "a/b", "ä"],
    "env_name": ["", "A=B", "ä", "a\tb", "\x7f"],
    "port_name": ["", "80", "a--b", "-a", "a-", "HTTP", "a" * 16, "a_b"],
    "config_key": ["", ".", "..", "..a", "a/b", "a b", "x" * 254, "ä"],
    "absolute_path": ["", "a", "./a", "/a\0"],
    "relative_path": ["/a", "..", "a/..", "../a", "a/../b"],
    "ip": ["", "a", "10.0.0", "10.0.0.256", "10.0.0.1/8", "fe80::1%eth0", "010.0.0.1"],
    "resource_quantity": ["", "1x"],
}


@pytest.mark.parametrize(("form", "text"), [(f, t) for f, texts in GOOD.items() for t in texts])
def test_forms_accept(form: str, text: str) -> None:
    assert getattr(formats, form)(text) == ""


@pytest.mark.parametrize(("form", "text"), [(f, t) for f, texts in BAD.items() for t in texts])
def test_forms_refuse(form: str, text: str) -> None:
    assert getattr(formats, form)(text)


def test_every_format_of_the_proto_is_checked() -> None:
    maps = {rules_pb2.LABELS, rules_pb2.ANNOTATIONS, rules_pb2.CONFIG_KEYS}
    known = {*formats.TEXTS, *maps, rules_pb2.OCTAL_MODE, rules_pb2.FORMAT_UNSPECIFIED}
    assert known == set(rules_pb2.Format.values())


def paths(message: object) -> dict[str, str]:
    return {v.field: v.reason for v in rules.check(message)}  # type: ignore[arg-type] # any message


def test_paths_are_as_in_a_manifest() -> None:
    pod = Pod()
    pod.spec.containers.add(name="a", ports=[{"container_port": 80}, {}])
    pod.spec.node_selector["x/y"] = "-"
    pod.spec.volumes.add(name="v").config_map.items.add(key="k", path="/p")
    found = paths(pod)
    assert found["spec.containers[0].ports[1].containerPort"] == "is required"
    assert found['spec.nodeSelector["x/y"]'].startswith("must be letters")
    assert found["spec.volumes[0].configMap.items[0].path"].startswith("must be a relative path")


def test_zero_is_present_and_empty_is_absent() -> None:
    assert paths(Container(name="")) == {"name": "is required"}
    assert "containerPort" in next(iter(paths(Container(name="a", ports=[{"container_port": 0}]))))


@pytest.mark.parametrize(
    ("mode", "fine"), [(0, True), (0o644, True), (0o777, True), (0o1000, False), (644, False), (-1, False)]
)
def test_modes(mode: int, fine: bool) -> None:
    assert (paths(KeyToPath(key="a", path="b", mode=mode)) == {}) is fine


@pytest.mark.parametrize(("value", "fine"), [(-1, False), (0, True), (2**31 - 1, True)])
def test_replicas(value: int, fine: bool) -> None:
    deployment = Deployment()
    deployment.spec.replicas = value
    assert ("spec.replicas" not in paths(deployment)) is fine


def identity(obj: object) -> dict[str, str]:
    return {v.field: v.reason for v in rules.check_object(obj) if v.field.startswith("metadata")}  # type: ignore[arg-type]


def test_names_by_kind() -> None:
    assert identity(Pod(metadata={"name": "a.b"})) == {}
    assert identity(ConfigMap(metadata={"name": "a" * 253})) == {}
    assert "metadata.name" in identity(Namespace(metadata={"name": "a.b"}))
    assert "no more than 63" in identity(Namespace(metadata={"name": "a" * 64}))["metadata.name"]
    assert identity(Service(metadata={"name": "1a"})) == {}  # relaxed in 1.36
    assert "metadata.name" in identity(Service(metadata={"name": "a.b"}))
    assert "metadata.name" in identity(CronJob(metadata={"name": "a" * 53}))
    assert identity(CronJob(metadata={"name": "a" * 52})) == {}
    assert identity(Pod()) == {"metadata.name": "is required"}
    assert identity(Pod(metadata={"generate_name": "a-"})) == {}
    assert "metadata.generateName" in identity(Pod(metadata={"generate_name": "A-"}))
    assert "metadata.namespace" in identity(Node(metadata={"name": "a", "namespace": "b"}))


def test_annotations_are_bounded_in_all() -> None:
    fits = {"a": "x" * (256 * 1024 - 1)}
    assert identity(Pod(metadata={"name": "a", "annotations": fits})) == {}
    assert "metadata.annotations" in identity(Pod(metadata={"name": "a", "annotations": {**fits, "b": ""}}))
