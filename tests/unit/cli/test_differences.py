"""What a dry run says would change."""

from mesh.cli.differences import differences
from mesh.model import manifest
from mesh.model.kinds import Object


def obj(text: str) -> Object:
    return manifest.load(text, "test").objects[0]


def pod(spec: str, meta: str = "name: web") -> Object:
    return obj(f"{{apiVersion: v1, kind: Pod, metadata: {{{meta}}}, spec: {{{spec}}}}}")


def test_fields_that_came_went_and_changed() -> None:
    before = pod("containers: [{name: a, image: x:1}, {name: b, image: w}], restartPolicy: Never")
    after = pod("containers: [{name: a, image: x:2, tty: true}, {name: c, image: z}]", "name: web, labels: {k: v}")
    assert differences(before, after) == [
        "+ metadata.labels: {\"k\": \"v\"}",
        "~ spec.containers[a].image: x:1 -> x:2",
        "+ spec.containers[a].tty: true",
        '- spec.containers[b]: {"name": "b", "image": "w"}',
        '+ spec.containers[c]: {"name": "c", "image": "z"}',
        "- spec.restartPolicy: Never",
    ]  # fmt: skip


def test_what_the_service_keeps_is_no_difference() -> None:
    notes = "annotations: {mesh/last-applied-configuration: '%s', mine: a}"
    before = pod("hostname: a", f"name: web, resourceVersion: '1', generation: 1, {notes % 'x'}")
    after = pod("hostname: a", f"name: web, resourceVersion: '2', generation: 2, {notes % 'y'}")
    assert differences(before, after) == []


def test_lists_of_words_and_long_texts_are_shown_short() -> None:
    (line,) = differences(pod("hostname: a"), pod("hostname: a, subdomain: " + "x" * 63))
    assert line.endswith("x…")
    before, after = (pod(f"containers: [{{name: a, args: [{w}]}}]") for w in ("a", "a, b"))
    assert differences(before, after) == ['~ spec.containers[a].args: ["a"] -> ["a", "b"]']


def test_secrets_are_not_shown() -> None:
    before, after = (
        obj(f"{{apiVersion: v1, kind: Secret, metadata: {{name: s}}, data: {{password: {value}}}}}")
        for value in ("c2VjcmV0", "b3RoZXI=")
    )
    assert differences(before, after) == ["~ data.password: *** -> ***"]


def test_keys_with_dots_are_quoted() -> None:
    before, after = (
        obj(f"{{apiVersion: v1, kind: ConfigMap, metadata: {{name: s}}, data: {{a.conf: {v}}}}}") for v in ("x", "w")
    )
    assert differences(before, after) == ['~ data["a.conf"]: x -> w']
