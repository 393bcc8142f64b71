"""kubectl's JSONPath: what templates yield."""

import pytest

from mesh.errors import Invalid
from mesh.sdk.jsonpath import find, parse, render

VALUE = {
    "kind": "List",
    "items": [
        {"metadata": {"name": "web", "labels": {"app.kubernetes.io/name": "w", "tier": "front"}}, "n": 3, "ok": True},
        {"metadata": {"name": "db", "labels": {"tier": "back"}}, "n": 12, "ok": False},
        {"metadata": {"name": "job"}, "n": 1},
    ],
    "empty": [],
}


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{.kind}", "List"),
        ("kind", "List"),
        (".kind", "List"),
        ("{$.kind}", "List"),
        ("{.nothing}", ""),
        ("{.nothing.below[0]}", ""),
        ("{.items[0].metadata.name}", "web"),
        ("{.items[-1].metadata.name}", "job"),
        ("{.items[9].metadata.name}", ""),
        ("{.items[*].metadata.name}", "web db job"),
        ("{.items[0:2].metadata.name}", "web db"),
        ("{.items[1:].metadata.name}", "db job"),
        ("{.items[0,2].metadata.name}", "web job"),
        ("{.items[0].metadata['name']}", "web"),
        ("{.items[0].metadata.labels.app\\.kubernetes\\.io/name}", "w"),
        ("{.items[0].metadata.labels['app.kubernetes.io/name']}", "w"),
        ("{.items[0].metadata.labels['tier','app.kubernetes.io/name']}", "front w"),
        ('{.items[?(@.metadata.name=="db")].n}', "12"),
        ("{.items[?(@.metadata.name == 'db')].n}", "12"),
        ("{.items[?(@.n>2)].metadata.name}", "web db"),
        ("{.items[?(@.n<=3)].metadata.name}", "web job"),
        ('{.items[?(@.metadata.name!="db")].n}', "3 1"),
        ("{.items[?(@.metadata.labels)].n}", "3 12"),
        ("{.items[?(@.ok==true)].n}", "3"),
        ('{.items[?(@.n=="x")].n}', ""),
        ("{..name}", "web db job"),
        ("{.items[*].metadata.labels.*}", "w front back"),
        ("{.items[0].ok}", "true"),
        ("{.items[0].metadata.labels}", '{"app.kubernetes.io/name":"w","tier":"front"}'),
        ("{.empty}", "[]"),
        ('{.kind}{"\\n"}', "List\n"),
        ("name: {.kind}!", "name: List!"),
        ('{range .items[*]}{.metadata.name}={.n}{"\\n"}{end}', "web=3\ndb=12\njob=1\n"),
        ("{range .items[*]}[{range .metadata.labels.*}{@}{','}{end}]{end}", "[w,front,][back,][]"),
    ],
)
def test_templates_are_filled_in(template: str, text: str) -> None:
    assert render(parse(template), VALUE) == text


def test_find_yields_values() -> None:
    assert find(parse("{.items[*].n}"), VALUE) == [3, 12, 1]
    assert find(parse("{range .items[*]}{.n}{end}"), VALUE) == [3, 12, 1]


@pytest.mark.parametrize(
    "template",
    ["{.a", "{.a[0}", "{range .a}{.b}", "{.a}{end}", "{.a[x]}", "{.a[?(b)]}", "{.a[?(@.b==c)]}", "{.a b}", '{"a}'],
)
def test_what_can_not_be_read_is_refused(template: str) -> None:
    with pytest.raises(Invalid, match="JSONPath"):
        parse(template)
