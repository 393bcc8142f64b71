"""Three-way merge and JSON merge patch (RFC 7386)."""

from typing import Any

import pytest

from mesh.model.changes import merge_patch, three_way
from mesh.v1.core_pb2 import Pod


@pytest.mark.parametrize(
    ("target", "patch", "result"),
    [  # the table of RFC 7386, appendix A
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        (["a", "b"], ["c", "d"], ["c", "d"]),
        ({"a": "b"}, ["c"], ["c"]),
        ({"a": "foo"}, None, None),
        ({"a": "foo"}, "bar", "bar"),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_merge_patch(target: Any, patch: Any, result: Any) -> None:
    assert merge_patch(target, patch) == result


def merge(last: dict[str, Any], live: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """Merges what lies below `spec` of a Pod."""
    return three_way({"spec": last}, {"spec": live}, {"spec": new}, Pod.DESCRIPTOR)["spec"]  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("last", "live", "new", "result"),
    [
        ({}, {"hostname": "a"}, {"nodeName": "n"}, {"hostname": "a", "nodeName": "n"}),
        ({"hostname": "a"}, {"hostname": "a"}, {}, {}),
        ({"hostname": "a"}, {"hostname": "b"}, {"hostname": "a"}, {"hostname": "a"}),
        ({"hostname": "a"}, {}, {}, {}),
        ({}, {"hostNetwork": True}, {"hostNetwork": False}, {"hostNetwork": False}),
        # maps by key
        (
            {"nodeSelector": {"a": "1", "b": "1"}},
            {"nodeSelector": {"a": "1", "b": "1", "c": "1"}},
            {"nodeSelector": {"a": "2"}},
            {"nodeSelector": {"a": "2", "c": "1"}},
        ),
        # messages by field
        (
            {"securityContext": {"runAsUser": 1}},
            {"securityContext": {"runAsUser": 1, "runAsGroup": 2}},
            {"securityContext": {}},
            {"securityContext": {"runAsGroup": 2}},
        ),
        # lists of messages with a merge key: in the order of the new, then what only others have
        (
            {},
            {"volumes": [{"name": "x"}, {"name": "a", "emptyDir": {}}]},
            {"volumes": [{"name": "b"}, {"name": "a"}]},
            {"volumes": [{"name": "b"}, {"name": "a", "emptyDir": {}}, {"name": "x"}]},
        ),
        (
            {"volumes": [{"name": "x"}]},
            {"volumes": [{"name": "x"}, {"name": "y"}]},
            {"volumes": [{"name": "z"}]},
            {"volumes": [{"name": "z"}, {"name": "y"}]},
        ),
        # another kind of source is another source
        (
            {"volumes": [{"name": "v", "emptyDir": {}}]},
            {"volumes": [{"name": "v", "emptyDir": {}}]},
            {"volumes": [{"name": "v", "hostPath": {"path": "/a"}}]},
            {"volumes": [{"name": "v", "hostPath": {"path": "/a"}}]},
        ),
        # lists without a merge key are replaced whole
        (
            {"tolerations": [{"key": "a"}]},
            {"tolerations": [{"key": "a"}, {"key": "b"}]},
            {"tolerations": [{"key": "c"}]},
            {"tolerations": [{"key": "c"}]},
        ),
    ],
)
def test_three_ways(last: dict[str, Any], live: dict[str, Any], new: dict[str, Any], result: dict[str, Any]) -> None:
    kept = (repr(last), repr(live), repr(new))
    assert merge(last, live, new) == result
    assert (repr(last), repr(live), repr(new)) == kept


def container(**fields: Any) -> dict[str, Any]:
    return {"containers": [{"name": "a", **fields}]}


def test_a_port_without_protocol_is_the_tcp_port() -> None:
    live = container(ports=[{"containerPort": 80, "protocol": "TCP", "name": "x"}])
    merged = merge(container(ports=[{"containerPort": 80}]), live, container(ports=[{"containerPort": 80}]))
    assert merged == live
    both = container(ports=[{"containerPort": 53}, {"containerPort": 53, "protocol": "UDP"}])
    assert merge({}, live, both)["containers"][0]["ports"][:2] == both["containers"][0]["ports"]


def test_an_environment_variable_given_twice_is_kept_twice() -> None:
    twice = container(env=[{"name": "A", "value": "1"}, {"name": "A", "value": "2"}])
    assert merge(twice, twice, twice) == twice
    assert merge({}, container(env=[{"name": "A", "value": "0"}]), twice) == twice
    assert merge(twice, twice, container(env=[{"name": "A", "value": "3"}])) == container(
        env=[{"name": "A", "value": "3"}]
    )


def test_command_and_args_are_replaced_whole() -> None:
    assert merge(container(command=["a", "b"]), container(command=["a", "b"]), container(command=["c"])) == container(
        command=["c"]
    )


def test_without_memory_everything_there_stays() -> None:
    assert three_way(None, {"metadata": {"labels": {"a": "b"}}}, {"metadata": {"name": "x"}}, Pod.DESCRIPTOR) == {
        "metadata": {"labels": {"a": "b"}, "name": "x"}
    }
