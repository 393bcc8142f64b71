"""Manifests: what is read, what is refused and in which words, what is written."""

import textwrap

import pytest

from mesh.errors import Invalid
from mesh.model import manifest
from mesh.model.kinds import KINDS
from mesh.v1.core_pb2 import ConfigMap, Pod, Secret

POD = """
apiVersion: v1
kind: Pod
metadata: {name: web}
spec:
  containers:
  - name: web
    image: nginx:1.27
"""


def load(text: str, namespace: str = "") -> manifest.Loaded:
    return manifest.load(textwrap.dedent(text), "pod.yaml", default_namespace=namespace)


def refusal(text: str) -> Invalid:
    with pytest.raises(Invalid) as caught:
        load(text)
    return caught.value


def test_objects_come_in_order_with_their_document_numbers() -> None:
    loaded = load(f"{POD}\n---\n\n---\n{POD.replace('name: web', 'name: two', 1)}", "default")
    assert [(i.object.metadata.name, i.document) for i in loaded.items] == [("web", 1), ("two", 3)]
    assert all(o.metadata.namespace == "default" for o in loaded.objects)


def test_the_namespace_that_is_written_stays() -> None:
    (pod,) = load(POD.replace("{name: web}", "{name: web, namespace: prod}"), "default").objects
    assert pod.metadata.namespace == "prod"
    (node,) = load("{apiVersion: v1, kind: Node, metadata: {name: a}}", "default").objects
    assert not node.metadata.namespace


def test_lists_and_typed_lists_unfold() -> None:
    item = "{metadata: {name: %s}, data: {k: v}}"
    text = f"apiVersion: v1\nkind: ConfigMapList\nitems: [{item % 'a'}, {item % 'b'}]"
    assert [o.metadata.name for o in load(text).objects] == ["a", "b"]
    item = "{apiVersion: v1, kind: Secret, metadata: {name: s}}"
    text = f"apiVersion: v1\nkind: List\nmetadata: {{resourceVersion: ''}}\nitems:\n- {item}"
    assert isinstance(load(text).objects[0], Secret)
    assert load("apiVersion: v1\nkind: List\nitems: null").objects == ()


def test_every_violation_of_every_document_is_in_one_error() -> None:
    error = refusal(
        """
        apiVersion: v1
        kind: Pod
        metadata: {name: Web_1}
        spec:
          containers:
          - name: web
            imagee: nginx
            ports: [{containerPort: 0}, {containerPort: "80"}]
        ---
        apiVersion: v1
        kind: ConfigMap
        metadata: {name: c}
        data: {a: 5}
        """
    )
    assert [v.field for v in error.violations] == [
        "spec.containers[0].imagee",
        "spec.containers[0].ports[1].containerPort",
        "metadata.name",
        "spec.containers[0].ports[0].containerPort",
        "data.a",
    ]
    lines = str(error).splitlines()
    assert "pod.yaml, document 1: spec.containers[0].ports[0].containerPort: must be between 1 and 65535, is 0" in lines
    assert lines[-1].startswith("pod.yaml, document 2: data.a: must be a text, is the number 5")


def test_a_long_list_of_violations_is_cut_in_words_only() -> None:
    error = refusal("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n" + "\n".join(f"x{n}: 1" for n in range(50)))
    assert len(error.violations) == 50
    assert str(error).splitlines()[-1] == "pod.yaml: and 20 more"


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("yes", 'is the boolean true (written yes): write it in quotes, "yes"'),
        ("true", 'is the boolean true: write it in quotes, "true"'),
        ("0600", 'is the number 384 (written 0600): write it in quotes, "0600"'),
        ("1.10", 'is the number 1.1 (written 1.10): write it in quotes, "1.10"'),
        ("80", 'is the number 80: write it in quotes, "80"'),
        ("[a]", "is a list"),
        ("{a: b}", "is a mapping"),
        ("null", "is null"),
    ],
)
def test_what_is_no_text_says_so_and_suggests_quotes(written: str, words: str) -> None:
    error = refusal(f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: a}}\ndata: {{k: {written}}}")
    assert error.violations[0].field == "data.k"
    assert words in error.violations[0].reason


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("hostNetwork", '"true"', "must be true or false, is the text \"true\": write true without quotes"),
        ("hostNetwork", "1", "must be true or false, is the number 1"),
        ("activeDeadlineSeconds", '"5"', "must be a whole number, is the text \"5\": remove the quotes"),
        ("activeDeadlineSeconds", "5.5", "must be a whole number, is the number 5.5"),
        ("activeDeadlineSeconds", "yes", "must be a whole number, is the boolean true (written yes)"),
        ("activeDeadlineSeconds", "99999999999999999999", "must be between"),
        ("priority", "2147483648", "must be between -2147483648 and 2147483647, is 2147483648"),
        ("containers", "{name: a}", "must be a list, is a mapping"),
        ("securityContext", "[]", "must be a mapping, is a list"),
        ("nodeSelector", "a", "must be a mapping, is the text"),
        ("hostAliases", "[null]", "is null: remove the empty element"),
    ],
)  # fmt: skip
def test_wrong_types(field: str, value: str, words: str) -> None:
    error = refusal(POD.replace("spec:", f"spec:\n  {field}: {value}") if field != "containers" else
                    f"apiVersion: v1\nkind: Pod\nmetadata: {{name: a}}\nspec: {{containers: {value}}}")  # fmt: skip
    assert error.violations[0].field.startswith(f"spec.{field}")
    assert words in error.violations[0].reason


def test_whole_numbers_may_be_written_as_floats() -> None:
    (pod,) = load(POD.replace("spec:", "spec:\n  activeDeadlineSeconds: 5.0")).objects
    assert isinstance(pod, Pod)
    assert pod.spec.active_deadline_seconds == 5


def test_null_is_as_absent() -> None:
    (pod,) = load(POD.replace("spec:", "spec:\n  hostname: null\n  volumes:\n  securityContext: ~")).objects
    assert isinstance(pod, Pod)
    assert not pod.spec.HasField("hostname") and not pod.spec.HasField("security_context")
    (stamped,) = load(POD.replace("{name: web}", "{name: web, creationTimestamp: null}")).objects
    assert not stamped.metadata.HasField("creation_timestamp")


def test_zero_and_empty_are_not_absent() -> None:
    (pod,) = load(
        POD.replace("spec:", "spec:\n  terminationGracePeriodSeconds: 0\n  volumes: [{name: v, emptyDir: {}}]")
    ).objects
    assert isinstance(pod, Pod)
    assert pod.spec.HasField("termination_grace_period_seconds")
    assert pod.spec.volumes[0].HasField("empty_dir")
    assert "emptyDir: {}" in manifest.to_yaml(pod)


@pytest.mark.parametrize(("cpu", "kept"), [("0.5", "0.5"), ("2", "2"), ("1e1", "10"), ('"100m"', "100m"), ("2.0", "2")])
def test_quantities_may_be_numbers(cpu: str, kept: str) -> None:
    (pod,) = load(POD + f"    resources: {{limits: {{cpu: {cpu}}}}}\n").objects
    assert isinstance(pod, Pod)
    assert pod.spec.containers[0].resources.limits["cpu"] == kept


def test_bytes_are_base64() -> None:
    (secret,) = load("apiVersion: v1\nkind: Secret\nmetadata: {name: s}\ndata: {k: aGVs\n  bG8=}").objects
    assert isinstance(secret, Secret)
    assert secret.data["k"] == b"hello"
    error = refusal("apiVersion: v1\nkind: Secret\nmetadata: {name: s}\ndata: {k: hello!}")
    assert "must be base64; plain text goes into stringData" in str(error)
    assert "hello!" not in str(error)
    for wrong in ("data: {k: 12345}", "stringData: {k: 12345}", "stringData: {a/b: 12345}"):
        error = refusal(f"apiVersion: v1\nkind: Secret\nmetadata: {{name: s}}\n{wrong}")
        assert "write it in quotes" in str(error)
        assert "12345" not in str(error)


def test_fields_that_others_print_are_left_out_with_a_warning() -> None:
    loaded = load(POD.replace("{name: web}", "{name: web, selfLink: /x, managedFields: [{manager: kubectl}]}"))
    assert [w.split(": ", 2)[1] for w in loaded.warnings] == ['Pod "web"', 'Pod "web"']
    assert all(w.startswith("pod.yaml, document 1: ") for w in loaded.warnings)


@pytest.mark.parametrize(
    ("given", "field", "words"),
    [
        ("[]", "", "must be a mapping with apiVersion, kind and metadata"),
        ("just text", "", "must be a mapping with apiVersion"),
        ("kind: Pod", "apiVersion", "is required"),
        ("{apiVersion: 1, kind: Pod}", "apiVersion", 'a Pod has the apiVersion "v1", is "1"'),
        ("{apiVersion: v1, kind: yes}", "kind", 'there is no kind "True"'),
        ("apiVersion: v1", "kind", "is required"),
        ("{apiVersion: v1, kind: Pood}", "kind", 'there is no kind "Pood"; did you mean "Pod"?'),
        ("{apiVersion: v1, kind: pod}", "kind", 'did you mean "Pod"?'),
        (
            "{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy}",
            "kind",
            '"NetworkPolicy": policies are not honoured',
        ),
        ("{apiVersion: monitoring.coreos.com/v1, kind: ServiceMonitor}", "kind", "prometheus.io/scrape"),
        ("{apiVersion: example.com/v1, kind: Zebra}", "kind", "`mesh api-resources` lists the kinds"),
        ("{apiVersion: v1, kind: Deployment}", "apiVersion", 'a Deployment has the apiVersion "apps/v1", is "v1"'),
        ("{apiVersion: apps/v1, kind: Pod}", "apiVersion", 'a Pod has the apiVersion "v1", is "apps/v1"'),
        ("{apiVersion: v1, kind: List, items: [{apiVersion: v1, kind: Pood}]}", "items[0].kind", "no kind"),
        ("{apiVersion: v1, kind: List, item: [], items: []}", "item", "unknown field"),
        ("{apiVersion: v1, kind: List, items: {}}", "items", "must be a list"),
        ("{apiVersion: v1, kind: [Pod], metadata: {}}", "kind", "there is no kind"),
    ],
)
def test_what_an_object_must_say_it_is(given: str, field: str, words: str) -> None:
    error = refusal(given)
    assert error.violations[0].field == field
    assert words in error.violations[0].reason


def test_unknown_fields_name_the_nearest() -> None:
    for wrong, near in (("image_pull_policy", "imagePullPolicy"), ("enviroment", ""), ("Image", "image")):
        error = refusal(POD + f"    {wrong}: x\n")
        reason = next(v.reason for v in error.violations if v.field.endswith(wrong))
        assert reason.startswith("unknown field") and (f'did you mean "{near}"?' in reason or not near)


def test_an_object_beyond_1_5_mib_is_refused() -> None:
    error = refusal("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: big}\ndata: {k: " + "x" * 5_000_000 + "}")
    assert "ConfigMap is too large: 5000" in str(error)
    assert "at most 1572864 (1.5 MiB)" in str(error)


def test_output_is_in_kubernetes_order() -> None:
    text = manifest.to_yaml(
        ConfigMap(api_version="v1", kind="ConfigMap", data={"b": "1", "a": "2"}, metadata={"name": "c"})
    )
    assert [line for line in text.splitlines() if not line.startswith(" ")] == [
        "apiVersion: v1", "kind: ConfigMap", "metadata:", "data:",
    ]  # fmt: skip
    assert text.index("  a:") < text.index("  b:")


def test_from_dict_reads_one_object_and_names_the_source() -> None:
    made = manifest.from_dict({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}}, "the patch")
    assert isinstance(made, ConfigMap)
    with pytest.raises(Invalid, match=r"^the patch: dat: unknown field; did you mean \"data\"\?$"):
        manifest.from_dict({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "dat": {}}, "the patch")


def test_every_kind_can_be_named() -> None:
    for kind in KINDS:
        error_or_loaded = None
        try:
            error_or_loaded = load(f"{{apiVersion: {kind.api_version}, kind: {kind.name}, metadata: {{name: a}}}}")
        except Invalid as error:
            assert all(v.reason == "is required" for v in error.violations), (kind.name, str(error))
        if error_or_loaded:
            assert error_or_loaded.objects[0].kind == kind.name
