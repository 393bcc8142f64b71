"""Patches as kubectl writes them, on plain values."""

from typing import Any

import pytest

from mesh.errors import Invalid
from mesh.model.changes import merge_patch
from mesh.model.patches import difference, json_patch, strategic
from mesh.v1.core_pb2 import Pod

POD: dict[str, Any] = {
    "spec": {
        "containers": [
            {"name": "a", "image": "a:1", "args": ["x", "y"], "ports": [{"containerPort": 80}]},
            {"name": "b", "image": "b:1", "env": [{"name": "K", "value": "1"}, {"name": "L", "value": "2"}]},
        ],
        "nodeSelector": {"disk": "fast", "zone": "1"},
    },
}


def patched(spec: dict[str, Any]) -> Any:
    return strategic(POD, {"spec": spec}, Pod.DESCRIPTOR)["spec"]


def test_elements_are_known_by_their_names() -> None:
    changed = patched({"containers": [{"name": "b", "image": "b:2", "env": [{"name": "L", "value": "3"}]}]})
    first, second = changed["containers"]
    assert first == POD["spec"]["containers"][0]
    assert second == {
        "name": "b", "image": "b:2", "env": [{"name": "K", "value": "1"}, {"name": "L", "value": "3"}],
    }  # fmt: skip
    assert [c["name"] for c in patched({"containers": [{"name": "c", "image": "c:1"}]})["containers"]] == [
        "a",
        "b",
        "c",
    ]


def test_lists_of_plain_values_are_replaced_and_maps_merged() -> None:
    assert patched({"containers": [{"name": "a", "args": ["z"]}]})["containers"][0]["args"] == ["z"]
    assert patched({"nodeSelector": {"zone": None, "gpu": "yes"}})["nodeSelector"] == {"disk": "fast", "gpu": "yes"}


def test_directives() -> None:
    assert [c["name"] for c in patched({"containers": [{"name": "a", "$patch": "delete"}]})["containers"]] == ["b"]
    assert patched({"nodeSelector": {"$patch": "replace", "gpu": "yes"}})["nodeSelector"] == {"gpu": "yes"}
    alone = patched({"containers": [{"$patch": "replace"}, {"name": "c", "image": "c:1"}]})["containers"]
    assert alone == [{"name": "c", "image": "c:1"}]


def test_a_mapping_goes_or_keeps_what_is_named() -> None:
    assert "nodeSelector" not in patched({"nodeSelector": {"$patch": "delete"}})
    kept = patched({"nodeSelector": {"$retainKeys": ["zone", "gpu"], "gpu": "yes"}})
    assert kept["nodeSelector"] == {"zone": "1", "gpu": "yes"}
    ordered = patched({"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}], "containers": [{"name": "b"}]})
    assert ordered == POD["spec"]


def test_values_of_a_plain_list_go() -> None:
    held = {"metadata": {"finalizers": ["a", "b"]}}
    left = strategic(held, {"metadata": {"$deleteFromPrimitiveList/finalizers": ["a", "x"]}}, Pod.DESCRIPTOR)
    assert left == {"metadata": {"finalizers": ["b"]}}
    assert held == {"metadata": {"finalizers": ["a", "b"]}}


@pytest.mark.parametrize(
    "spec", [{"$patch": "remove"}, {"$retainKeys": "a"}, {"$deleteFrom/containers": []}, {"nodeSelector": {"$x": "y"}}]
)
def test_directives_that_are_none(spec: dict[str, Any]) -> None:
    with pytest.raises(Invalid, match=r"it may say \$patch"):
        patched(spec)


@pytest.mark.parametrize(
    ("operation", "expected"),
    [
        ({"op": "add", "path": "/a/-", "value": 3}, {"a": [1, 2, 3], "b/c": {"d": 1}}),
        ({"op": "add", "path": "/a/0", "value": 0}, {"a": [0, 1, 2], "b/c": {"d": 1}}),
        ({"op": "remove", "path": "/a/0"}, {"a": [2], "b/c": {"d": 1}}),
        ({"op": "replace", "path": "/b~1c/d", "value": 2}, {"a": [1, 2], "b/c": {"d": 2}}),
        ({"op": "move", "from": "/b~1c/d", "path": "/e"}, {"a": [1, 2], "b/c": {}, "e": 1}),
        ({"op": "copy", "from": "/a", "path": "/e"}, {"a": [1, 2], "b/c": {"d": 1}, "e": [1, 2]}),
        ({"op": "test", "path": "/a/1", "value": 2}, {"a": [1, 2], "b/c": {"d": 1}}),
    ],
)
def test_operations(operation: dict[str, Any], expected: Any) -> None:
    target = {"a": [1, 2], "b/c": {"d": 1}}
    assert json_patch(target, [operation]) == expected
    assert target == {"a": [1, 2], "b/c": {"d": 1}}


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "test", "path": "/a/0", "value": 2}, {"op": "remove", "path": "/z"}, {"op": "replace", "path": "/z",
         "value": 1}, {"op": "add", "path": "/a/9", "value": 1}, {"op": "add", "path": "a", "value": 1},
        {"op": "add", "path": "/a/0"}, {"op": "jump", "path": "/a"}, {"op": "add", "path": "/z/y", "value": 1}, "add",
        {"op": "copy", "path": "/b"}, {"op": "move", "path": "/b"}, {"op": "copy", "path": "/b", "from": None},
        {"op": "copy", "path": "/b", "from": 5}, {"op": "move", "path": "/b", "from": "a"},
        {"op": "move", "path": "/b", "from": ""}, {"op": "move", "path": "/a/0", "from": "/a"},
        {"op": "remove", "path": ""}, {"op": "replace", "path": "", "value": [1]},
        {"op": "remove", "path": "/a/\u00b2"}, {"op": "add", "path": "/a/" + "1" * 5000, "value": 1},
    ],
)  # fmt: skip
def test_operations_that_do_not_fit(operation: Any) -> None:
    with pytest.raises(Invalid):
        json_patch({"a": [1, 2]}, [operation])


def test_a_difference_makes_the_one_of_the_other() -> None:
    after = json_patch(POD, [{"op": "remove", "path": "/spec/nodeSelector/disk"},
                             {"op": "add", "path": "/spec/containers/0/args/-", "value": "z"}])  # fmt: skip
    change = difference(POD, after)
    assert change["spec"]["nodeSelector"] == {"disk": None}
    assert merge_patch(POD, change) == after
