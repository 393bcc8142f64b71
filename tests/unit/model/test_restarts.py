"""Restart policies of single containers, their rules, and a pod's own back-off (L1 to L4)."""

import pytest

from mesh.model import manifest, podchecks
from mesh.model.poddefaults import fill
from mesh.model.restarts import INITIAL, LONGEST, Backoff, again, backoff_of, check_annotations
from mesh.v1.core_pb2 import Pod


def pod(text: str) -> Pod:
    read = manifest.load(f"apiVersion: v1\nkind: Pod\nmetadata: {{name: a}}\nspec: {text}", "f").objects[0]
    assert isinstance(read, Pod)
    fill(read.spec)
    return read


IN = "restartPolicyRules: [{action: Restart, exitCodes: {operator: In, values: [3, 4]}}]"
NOT_IN = "restartPolicyRules: [{action: Restart, exitCodes: {operator: NotIn, values: [3, 4]}}]"


@pytest.mark.parametrize(
    ("of_pod", "of_container", "started_again"),
    [
        ("Always", "", [0, 1, 3, 5]), ("OnFailure", "", [1, 3, 5]), ("Never", "", []),
        ("Never", "restartPolicy: Always", [0, 1, 3, 5]), ("Always", "restartPolicy: Never", []),
        ("Always", "restartPolicy: OnFailure", [1, 3, 5]), ("Always", f"restartPolicy: Never, {IN}", [3]),
        ("Never", f"restartPolicy: OnFailure, {IN}", [1, 3, 5]),
        ("Always", f"restartPolicy: Never, {NOT_IN}", [0, 1, 5]),
    ],
)  # fmt: skip
def test_who_is_started_again(of_pod: str, of_container: str, started_again: list[int]) -> None:  # L1
    spec = pod(f"{{restartPolicy: {of_pod}, containers: [{{name: c, image: i, {of_container}}}]}}").spec
    assert [code for code in (0, 1, 3, 5) if again(spec, spec.containers[0], code)] == started_again


@pytest.mark.parametrize(
    ("text", "field"),
    [
        (f"restartPolicy: Never, {IN}", ""),
        (IN, "restartPolicy"),
        ("restartPolicy: Never, restartPolicyRules: [{action: Restart}]", "restartPolicyRules[0].exitCodes"),
        (
            "restartPolicy: Never, restartPolicyRules: [{action: Restart, exitCodes: {operator: In}}]",
            "restartPolicyRules[0].exitCodes.values",
        ),
    ],
)
def test_rules_that_say_nothing_are_refused(text: str, field: str) -> None:
    spec = pod(f"{{containers: [{{name: c, image: i, {text}}}]}}").spec
    found = [v.field for v in podchecks.check(spec, "spec")]
    assert found == ([f"spec.containers[0].{field}"] if field else [])


@pytest.mark.parametrize(
    ("annotations", "on_host", "expected"),
    [
        ({}, 300, (10, 300)), ({INITIAL: "1"}, 300, (1, 300)), ({INITIAL: "1", LONGEST: "4"}, 300, (1, 4)),
        ({LONGEST: "4"}, 300, (4, 4)), ({LONGEST: "60"}, 20, (10, 20)), ({}, 5, (5, 5)),
        ({INITIAL: "soon", LONGEST: "0"}, 300, (10, 300)),
    ],
)  # fmt: skip
def test_back_off_of_a_pods_own(annotations: dict[str, str], on_host: int, expected: tuple[int, int]) -> None:
    assert backoff_of(annotations, on_host) == Backoff(*expected)


def test_a_wish_that_is_no_number_of_seconds_is_refused() -> None:
    good = {INITIAL: "1", LONGEST: "300", "other": "x"}
    assert list(check_annotations(good, "metadata")) == []
    for bad in ("0", "301", "-1", "1s", "", "1.5", "¹"):
        (wrong,) = check_annotations({INITIAL: bad}, "metadata")
        assert wrong.field == 'metadata.annotations["mesh/crash-loop-initial-seconds"]'
