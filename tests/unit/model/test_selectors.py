"""Selectors of labels and fields: read, asked, refused (A5)."""

import pytest

from mesh.errors import Invalid
from mesh.model import selectors
from mesh.model.kinds import kind_named
from mesh.v1.core_pb2 import Event, NodeSelectorRequirement, Pod
from mesh.v1.meta_pb2 import LabelSelector

LABELS = {"app": "web", "tier": "front", "n": "5", "example.com/x": "y"}


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        ("", True),
        ("  ", True),
        ("app=web", True),
        ("app==web", True),
        (" app = web ", True),
        ("app=db", False),
        ("app!=db", True),
        ("app!=web", False),
        ("none!=web", True),  # what is absent is not equal
        ("app=web,tier=front", True),
        ("app=web,tier=back", False),
        ("app in (web, db)", True),
        ("app in (db)", False),
        ("app notin (db,x)", True),
        ("app notin (web)", False),
        ("none notin (a)", True),
        ("app", True),
        ("!app", False),
        ("none", False),
        ("!none", True),
        ("! none", True),
        ("app in (web,db),!none,tier!=back,n=5", True),
        ("example.com/x=y", True),
        ("none=", False),
        ("in", False),
        ("notin notin (a)", True),
    ],
)
def test_texts(text: str, matches: bool) -> None:
    assert selectors.matches(selectors.parse_labels(text), LABELS) is matches


@pytest.mark.parametrize(
    "text", ["a=b=c", "a in b", "a in (b", "=a", ",", "a,,b", "a=b,", "-a=b", "a=b c", "a>(5)", "a=-b", "(a)"]
)
def test_texts_that_are_none(text: str) -> None:
    with pytest.raises(Invalid, match="cannot read the label selector"):
        selectors.parse_labels(text)


def test_texts_are_written_back() -> None:
    text = "a in (b,c),d notin (e),f,!g"
    selector = selectors.parse_labels(text)
    assert selectors.format_labels(selector) == text
    assert selectors.format_labels(LabelSelector(match_labels={"b": "2", "a": "1"})) == "a=1,b=2"
    assert selectors.format_labels(LabelSelector()) == "<none>"


def test_an_empty_selector_is_everything_and_none_is_nothing() -> None:
    assert selectors.matches(LabelSelector(), {})
    assert not selectors.matches(None, {})


@pytest.mark.parametrize(
    ("operator", "values", "label", "met"),
    [("Gt", ["4"], "n", True), ("Gt", ["5"], "n", False), ("Lt", ["6"], "n", True), ("Lt", ["5"], "n", False),
     ("Gt", ["4"], "none", False), ("Gt", [], "n", False), ("Gt", ["x"], "n", False), ("Gt", ["4"], "app", False)],
)  # fmt: skip
def test_numbers_of_nodes(operator: str, values: list[str], label: str, met: bool) -> None:
    requirement = NodeSelectorRequirement(key=label, operator=operator, values=values)
    labels = Pod(metadata={"labels": LABELS}).metadata.labels
    assert selectors.requirement_met(requirement, labels) is met
    assert dict(labels) == LABELS  # asking inserts nothing


def test_what_is_wrong_with_a_selector() -> None:
    selector = LabelSelector()
    selector.match_expressions.add(key="a", operator="In")
    selector.match_expressions.add(key="a", operator="Exists", values=["x"])
    selector.match_expressions.add(key="a", operator="NotIn", values=["-"])
    assert [v.field for v in selectors.check(selector, "s")] == [
        "s.matchExpressions[0].values", "s.matchExpressions[1].values", "s.matchExpressions[2].values[0]",
    ]  # fmt: skip


POD = Pod(
    metadata={"name": "web", "namespace": "prod", "generation": 3},
    spec={"node_name": "n1", "host_network": True},
    status={"phase": "Running", "pod_ip": "10.0.0.1"},
)


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        ("", True),
        ("metadata.name=web", True),
        ("metadata.name!=web", False),
        ("metadata.namespace=prod,status.phase=Running", True),
        ("spec.nodeName=n1", True),
        ("spec.nodeName=", False),
        ("status.podIP=10.0.0.1", True),
        ("status.reason=", True),
        ("spec.hostNetwork=true", True),
        ("metadata.generation==3", True),
    ],
)
def test_fields(text: str, matches: bool) -> None:
    assert selectors.parse_fields(text, kind_named("Pod")).matches(POD) is matches


def test_fields_of_events() -> None:
    event = Event(involved_object={"kind": "Pod", "name": "web", "uid": "u"}, reason="Started", type="Normal")
    selector = selectors.parse_fields(
        "involvedObject.kind=Pod,involvedObject.name=web,type!=Warning", kind_named("Event")
    )
    assert selector.matches(event)


@pytest.mark.parametrize(
    "text", ["spec.nodename=a", "spec=a", "spec.containers=a", "metadata.labels.a=b", "a", "a in (b)", "x.y=1"]
)
def test_fields_that_are_none(text: str) -> None:
    with pytest.raises(Invalid, match="cannot read the field selector"):
        selectors.parse_fields(text, kind_named("Pod"))


def test_a_selector_that_is_too_long_is_refused_before_it_is_read() -> None:
    for read in (selectors.parse_labels, selectors.parse_fields):
        with pytest.raises(Invalid, match="at most 8192"):
            read("a=b," * 5000)
