"""Which requests go where, over real HTTP through a real HAProxy: paths, hosts, classes, endpoints (H1 to H4, H6)."""

from collections import Counter

import pytest

from tests.harness.ingress import Mesh, ask
from tests.harness.ingresstexts import EXACT, PREFIX, default, ingress, path, rule

pytestmark = pytest.mark.asyncio(loop_scope="module")

# ---- paths: what is asked, and who answers; "" is nobody (H2)

PATHS = [
    ("exact is that path alone", [("/foo", EXACT, "foo")],
     {"/foo": "foo", "/foo/": "", "/foobar": "", "/FOO": "", "/bar": "", "/foo?q=1": "foo"}),
    ("exact with its last slash", [("/foo/", EXACT, "foo")], {"/foo/": "foo", "/foo": ""}),
    ("a prefix is of whole elements", [("/foo", PREFIX, "foo")],
     {"/foo": "foo", "/foo/": "foo", "/foo/bar": "foo", "/foobar": "", "/": ""}),
    ("a prefix's last slash is nothing", [("/foo/", PREFIX, "foo")], {"/foo": "foo", "/foo/x": "foo", "/foox": ""}),
    ("case matters", [("/Foo", PREFIX, "foo")], {"/Foo": "foo", "/foo": ""}),
    ("of two prefixes the longer one", [("/aaa", PREFIX, "aaa"), ("/aaa/bbb", PREFIX, "bar")],
     {"/aaa/bbb": "bar", "/aaa/bbb/ccc": "bar", "/aaa/ccc": "aaa", "/aaa/bbbxyz": "aaa"}),
    ("the root is everything", [("/", PREFIX, "any"), ("/aaa", PREFIX, "aaa")],
     {"/": "any", "/x/y": "any", "/aaa": "aaa", "/aaax": "any"}),
    ("exact beats prefix", [("/foo", PREFIX, "foo"), ("/foo", EXACT, "exact")],
     {"/foo": "exact", "/foo/": "foo", "/foo/x": "foo"}),
    ("a last star is all below", [("/foo/*", "ImplementationSpecific", "foo")], {"/foo/x": "foo", "/foox": ""}),
    ("as the engine likes it: a prefix", [("/foo", "ImplementationSpecific", "foo")], {"/foo/x": "foo", "/fo": ""}),
    ("no path is every path", [("", "ImplementationSpecific", "any")], {"/": "any", "/x": "any"}),
]  # fmt: skip


@pytest.mark.parametrize(("paths", "asked"), [p[1:] for p in PATHS], ids=[p[0] for p in PATHS])
async def test_paths(mesh: Mesh, paths: list[tuple[str, str, str]], asked: dict[str, str]) -> None:
    mesh.apply(ingress(rule("paths.test", *(path(*p) for p in paths))))
    await mesh.changed()
    for text, service in asked.items():
        answer = await mesh.get("paths.test", text)
        assert (answer.status, answer.pod) == ((200, f"{service}-0") if service else (404, "")), text


# ---- hosts (H1)


async def test_an_exact_host_beats_a_wildcard_which_is_one_label_and_beats_no_host(mesh: Mesh) -> None:
    every = path("/", PREFIX, "any")
    mesh.apply(ingress(rule("*.foo.test", path("/", PREFIX, "wild")), rule("a.foo.test", path("/", PREFIX, "exact")),
                       rule("", every)))  # fmt: skip
    await mesh.changed()
    wanted = {"a.foo.test": "exact", "b.foo.test": "wild", "A.FOO.test:80": "exact", "x.b.foo.test": "any",
              "foo.test": "any", "other": "any", ".foo.test": "any"}  # fmt: skip
    assert {host: (await mesh.get(host)).pod for host in wanted} == {h: f"{s}-0" for h, s in wanted.items()}


async def test_a_hosts_paths_are_its_own(mesh: Mesh) -> None:
    mesh.apply(ingress(rule("a.foo.test", path("/a", PREFIX, "exact")), rule("*.foo.test", path("/", PREFIX, "wild"))))
    await mesh.changed()
    assert (await mesh.get("a.foo.test", "/b")).status == 404


async def test_every_kind_of_host_has_exact_paths(mesh: Mesh) -> None:
    rules = [rule("a.foo.test", path("/x", EXACT, "exact")), rule("*.foo.test", path("/x", EXACT, "wild")),
             rule("", path("/x", EXACT, "any"), path("/x", PREFIX, "foo"))]  # fmt: skip
    mesh.apply(ingress(*rules))
    await mesh.changed()
    asked = [("a.foo.test", "/x"), ("b.foo.test", "/x"), ("other", "/x"), ("other", "/x/"), ("", "/x")]
    assert [(await mesh.get(*a)).pod for a in asked] == ["exact-0", "wild-0", "any-0", "foo-0", "any-0"]
    assert [(await mesh.get(f"{h}.foo.test", "/x/y")).status for h in "ab"] == [404, 404]


async def test_who_matches_nothing_gets_the_default_backend(mesh: Mesh) -> None:
    mesh.apply(ingress(rule("foo.test", path("/foo", EXACT, "foo")), more=", " + default("fallback")))
    await mesh.changed()
    for host, text in (("foo.test", "/bar"), ("nobody.test", "/foo"), ("", "/")):
        assert (await mesh.get(host, text)).pod == "fallback-0", (host, text)
    assert (await mesh.get("foo.test", "/foo")).pod == "foo-0"


async def test_an_ingress_of_a_default_backend_alone(mesh: Mesh) -> None:
    mesh.apply(ingress().replace("rules: []", default("fallback")))
    await mesh.changed()
    answer = await mesh.get("whoever.test", "/what?so=ever")
    assert (answer.pod, answer.said["path"]) == ("fallback-0", "/what?so=ever")


# ---- several (H4), classes (H6)


async def test_several_are_merged_and_the_older_one_has_what_both_want(mesh: Mesh) -> None:
    mesh.apply(ingress(rule("foo.test", path("/foo", PREFIX, "foo")), name="z-older"))
    mesh.apply(ingress(rule("foo.test", path("/foo", PREFIX, "bar"), path("/bar", PREFIX, "bar")), name="a-younger"))
    await mesh.changed()
    assert [(await mesh.get("foo.test", p)).pod for p in ("/foo", "/bar")] == ["foo-0", "bar-0"]


async def test_ingresses_of_another_engines_class_are_left_alone(mesh: Mesh) -> None:
    for name, controller in (("ours", "mesh/ingress"), ("theirs", "example.com/other")):
        mesh.apply(f"{{apiVersion: networking.k8s.io/v1, kind: IngressClass, metadata: {{name: {name}}}, "
                   f"spec: {{controller: {controller}}}}}")  # fmt: skip
    for name, class_ in (("a", "ours"), ("b", "theirs"), ("c", "nobodys")):
        mesh.apply(ingress(rule(f"{name}.test", path("/", PREFIX, "foo")), name=name,
                           more=f", ingressClassName: {class_}"))  # fmt: skip
    old = "{kubernetes.io/ingress.class: ours}"
    mesh.apply(ingress(rule("d.test", path("/", PREFIX, "foo")), name="d", annotations=old))
    await mesh.changed()
    assert [(await mesh.get(f"{h}.test")).status for h in "abcd"] == [200, 404, 404, 200]


async def test_a_service_that_is_not_there_or_has_no_pods_is_503(mesh: Mesh) -> None:
    await mesh.service("empty")
    mesh.apply(ingress(rule("foo.test", path("/none", PREFIX, "nobody"), path("/empty", PREFIX, "empty"))))
    await mesh.changed()
    assert [(await mesh.get("foo.test", p)).status for p in ("/none", "/empty")] == [503, 503]


# ---- load balancing, endpoints


async def test_requests_are_spread_and_pods_come_and_go_without_a_reload(mesh: Mesh) -> None:
    await mesh.service("spread", *(f"spread-{n}" for n in range(4)))
    mesh.apply(ingress(rule("spread.test", path("/", PREFIX, "spread"))))
    await mesh.changed()
    before = await mesh.engine.master.workers()

    def evenly(found: Counter[str], *numbers: int) -> None:
        assert set(found) == {f"spread-{n}" for n in numbers}
        assert max(found.values()) - min(found.values()) <= 4

    async def spread() -> Counter[str]:
        return Counter([(await mesh.get("spread.test")).pod for _ in range(40)])

    evenly(await spread(), 0, 1, 2, 3)
    mesh.unready("spread-1")
    await mesh.pod("spread-4", "spread")
    await mesh.changed()
    evenly(await spread(), 0, 2, 3, 4)
    assert (await mesh.engine.master.workers()).current == before.current


async def test_a_connection_kept_open_lives_through_reloads(mesh: Mesh) -> None:
    mesh.apply(ingress(rule("keep.test", path("/", PREFIX, "foo"))))
    await mesh.changed()
    reader, writer = await mesh.connect()
    assert (await ask(reader, writer, "keep.test")).pod == "foo-0"
    mesh.apply(ingress(rule("more.test", path("/", PREFIX, "bar")), name="more"))
    await mesh.changed()
    answer = await ask(reader, writer, "keep.test")  # the old worker still answers, and asks to come again
    assert (answer.pod, answer.headers.get("connection")) == ("foo-0", "close")
    writer.close()
