"""Who may do what: roles, bindings, groups, hosts; everything else is refused, in words that help."""

import pytest

from mesh import pki
from mesh.access import builtin
from mesh.access.decide import decide, require
from mesh.access.rules import Ask, rule
from mesh.access.who import Who, account, named, of_certificate
from mesh.errors import Forbidden
from mesh.model.kinds import KINDS, Object
from mesh.pki import Identity
from mesh.store.port import Snapshot
from mesh.v1.auth_pb2 import Role, RoleBinding
from mesh.view import View
from tests.harness.objects import config_map, pod


def role(name: str, namespace: str = "team", **policy: list[str]) -> Role:
    made = Role(metadata={"name": name, "namespace": namespace})
    made.rules.add(**policy)
    return made


def binding(ref: str, user: str = "eve", namespace: str = "team", kind: str = "Role", of: str = "User") -> RoleBinding:
    made = RoleBinding(metadata={"name": f"{user}-{ref}", "namespace": namespace})
    made.role_ref.kind, made.role_ref.name = kind, ref
    made.subjects.add(kind=of, name=user, namespace="pods" if of == "ServiceAccount" else None)
    return made


def view(*objects: Object) -> View:
    return View(Snapshot(1, objects))


EVE = named("eve")
PODS = Ask("get", "", "pods", namespace="team", name="web")


def may(who: Who, ask: Ask, *objects: Object) -> bool:
    return decide(who, ask, view(*objects)).allowed


def test_nothing_is_allowed_without_a_role() -> None:
    for ask in (PODS, Ask("list", "", "pods"), Ask("get", "mesh", "status"), Ask("*", "*", "*")):
        assert not may(EVE, ask)


@pytest.mark.parametrize(
    ("policy", "ask", "allowed"),
    [
        (rule(["get"], [""], ["pods"]), PODS, True),
        (rule(["*"], ["*"], ["*"]), PODS, True),
        (rule(["list"], [""], ["pods"]), PODS, False),
        (rule(["get"], ["apps"], ["pods"]), PODS, False),
        (rule(["get"], [""], ["pods/log"]), PODS, False),
        (rule(["get"], [""], ["pods"], ["web"]), PODS, True),
        (rule(["get"], [""], ["pods"], ["db"]), PODS, False),
        (rule(["list"], [""], ["pods"], ["web"]), Ask("list", "", "pods", namespace="team"), False),
        (rule(["get"], [""], ["pods"]), Ask("get", "", "pods", "log", "team", "web"), False),
        (rule(["get"], [""], ["pods/log"]), Ask("get", "", "pods", "log", "team", "web"), True),
        (rule(["get"], [""], ["*/log"]), Ask("get", "", "pods", "log", "team", "web"), True),
        (rule(["get"], [""], ["*/log"]), Ask("get", "", "pods", "exec", "team", "web"), False),
        (rule(["get"], [""], ["*/log"]), PODS, False),
        (rule([], [], []), PODS, False),
    ],
)
def test_a_rule_allows_what_it_says(policy: object, ask: Ask, allowed: bool) -> None:
    assert policy.allows(ask) is allowed  # type: ignore[attr-defined]


def test_a_binding_holds_in_its_namespace_alone() -> None:
    held = (role("r", verbs=["get", "list"], api_groups=[""], resources=["pods"]), binding("r"))
    assert may(EVE, PODS, *held)
    assert not may(EVE, Ask("get", "", "pods", namespace="other", name="web"), *held)
    assert not may(EVE, Ask("list", "", "pods"), *held)  # everywhere
    assert not may(named("eva"), PODS, *held)
    assert not may(EVE, PODS, role("r", "other", verbs=["*"], api_groups=["*"], resources=["*"]), binding("r"))
    assert not may(EVE, PODS, binding("r"))  # the role is not there


def test_groups_and_service_accounts_are_subjects_too() -> None:
    view_role = ("view", "ClusterRole")
    assert may(named("x", ("devs",)), PODS, binding("view", "devs", kind="ClusterRole", of="Group"))
    assert not may(named("devs"), PODS, binding("view", "devs", kind="ClusterRole", of="Group"))
    robot = binding(view_role[0], "robot", kind=view_role[1], of="ServiceAccount")
    assert may(account("pods", "robot"), PODS, robot)
    assert not may(account("team", "robot"), PODS, robot)
    assert may(account("a", "b"), PODS, binding("view", "system:serviceaccounts:a", kind="ClusterRole", of="Group"))
    assert may(EVE, PODS, binding("view", "system:authenticated", kind="ClusterRole", of="Group"))


@pytest.mark.parametrize(
    ("ask", "smallest"),
    [
        (Ask("list", "", "pods", namespace="team"), "view"),
        (Ask("get", "", "pods", "log", "team", "web"), "view"),
        (Ask("get", "", "configmaps", namespace="team", name="c"), "view"),
        (Ask("get", "", "namespaces", name="team"), "view"),
        (Ask("watch", "apps", "deployments", namespace="team"), "view"),
        (Ask("create", "", "pods", namespace="team"), "edit"),
        (Ask("create", "", "pods", "exec", "team", "web"), "edit"),
        (Ask("create", "", "pods", "portforward", "team", "web"), "edit"),
        (Ask("get", "", "secrets", namespace="team", name="s"), "edit"),
        (Ask("create", "", "serviceaccounts", namespace="team"), "edit"),
        (Ask("create", "rbac.authorization.k8s.io", "roles", namespace="team"), "admin"),
        (Ask("delete", "rbac.authorization.k8s.io", "rolebindings", namespace="team", name="b"), "admin"),
        (Ask("delete", "", "namespaces", name="team"), "cluster-admin"),
        (Ask("escalate", "rbac.authorization.k8s.io", "roles", namespace="team"), "cluster-admin"),
        (Ask("create", "", "events", namespace="team"), "cluster-admin"),
        (Ask("get", "", "nodes", name="a"), "cluster-admin"),
        (Ask("create", "mesh", "backups"), "cluster-admin"),
        (Ask("impersonate", "", "users", name="ada"), "cluster-admin"),
    ],
)
def test_the_built_in_roles_grow(ask: Ask, smallest: str) -> None:
    allowing = [name for name in builtin.names() if any(r.allows(ask) for r in builtin.role(name) or ())]
    assert allowing == list(builtin.names()[builtin.names().index(smallest) :])


def test_every_kind_of_a_namespace_is_in_some_role() -> None:
    for kind in (k for k in KINDS if k.namespaced):
        ask = Ask("get", kind.api_version.rpartition("/")[0], kind.plural, namespace="team", name="x")
        assert any(r.allows(ask) for r in builtin.role("admin") or ()), kind.name


def test_groups_hold_everywhere() -> None:
    everywhere = Ask("list", "", "pods")
    for group, allowed in (("mesh:viewers", True), ("mesh:editors", True), ("mesh:admins", True), ("admins", False)):
        assert may(named("x", (group,)), everywhere) is allowed
    assert may(named("x", ("mesh:viewers",)), Ask("list", "", "nodes"))
    assert not may(named("x", ("mesh:viewers",)), Ask("list", "", "secrets"))
    assert may(named("x", ("mesh:editors",)), Ask("list", "", "secrets"))
    assert not may(named("x", ("mesh:editors",)), Ask("delete", "", "nodes", name="a"))
    assert may(named("x", ("mesh:admins",)), Ask("anything", "at", "all"))


def test_no_user_passes_for_a_host_or_an_account() -> None:
    for name in ("mesh:node:a", "system:serviceaccount:pods:robot"):
        with pytest.raises(Forbidden, match="not for users"):
            of_certificate(Identity(name, ("mesh:admins",)))
    eve = of_certificate(Identity("eve", ("mesh:nodes", "system:serviceaccounts", "mesh:viewers", "devs")))
    assert eve.groups == ("mesh:viewers", "devs", "system:authenticated")
    assert not eve.host
    host = of_certificate(Identity("a", ("mesh:admins",), "node"))
    assert (host.host, "mesh:admins" in host.groups) == ("a", False)


def test_a_host_reads_its_pods_and_what_they_refer_to() -> None:
    mine, theirs, ended = pod("mine"), pod("theirs"), pod("ended")
    for each, node in ((mine, "a"), (theirs, "b"), (ended, "a")):
        each.spec.node_name = node
        each.spec.volumes.add(name="v").secret.secret_name = f"of-{each.metadata.name}"
        each.spec.volumes.add(name="c").config_map.name = f"of-{each.metadata.name}"
    ended.status.phase = "Succeeded"
    held = (mine, theirs, ended, config_map("of-mine"), binding("cluster-admin", "mesh:node:a", "default"))
    host = of_certificate(Identity("a", (), "node"))

    def get(resource: str, name: str, namespace: str = "default") -> bool:
        return may(host, Ask("get", "", resource, namespace=namespace, name=name), *held)

    assert get("secrets", "of-mine")
    assert get("configmaps", "of-mine")
    assert get("pods", "mine")
    assert may(host, Ask("get", "", "nodes", name="a"), *held)
    assert may(host, Ask("watch", "", "pods", node="a"), *held)
    assert may(host, Ask("get", "", "serviceaccounts", namespace="default", name="default"), *held)
    assert not get("secrets", "of-theirs")
    assert not get("secrets", "of-ended")
    assert not get("secrets", "of-mine", "other")
    assert not get("secrets", "")
    assert not get("pods", "theirs")
    for ask in (
        Ask("get", "", "nodes", name="b"), Ask("list", "", "pods"), Ask("list", "", "pods", node="b"),
        Ask("list", "", "secrets", namespace="default"), Ask("delete", "", "pods", namespace="default", name="mine"),
        Ask("create", "", "pods", "exec", "default", "mine"), Ask("get", "mesh", "status"),
    ):  # fmt: skip
        assert not may(host, ask, *held), ask


def test_a_refusal_says_who_what_and_whom_to_ask() -> None:
    with pytest.raises(Forbidden) as caught:
        require(EVE, [Ask("create", "", "pods", "exec", "team", "web")], view())
    assert caught.value.message == (
        '"eve" may not create pods/exec "web" in namespace "team": no role allows it; an administrator of "team" gives '
        "one with `mesh create rolebinding NAME --clusterrole=edit --user=NAME -n team`"
    )
    with pytest.raises(Forbidden, match="needs the group mesh:viewers or mesh:editors or mesh:admins or a namespace"):
        require(EVE, [Ask("list", "", "pods")], view())
    with pytest.raises(Forbidden, match=r"needs the group mesh:admins$"):
        require(EVE, [Ask("delete", "", "nodes", name="a")], view())


def test_a_monitor_reads_figures_and_nothing_else() -> None:
    monitor = of_certificate(Identity("prometheus", (pki.MONITORS,)))
    for ask in (Ask("get", "mesh", "metrics"), Ask("list", "metrics.k8s.io", "pods"),
                Ask("get", "", "nodes", "metrics", name="h")):  # fmt: skip
        assert may(monitor, ask)
    for ask in (PODS, Ask("list", "", "nodes"), Ask("get", "mesh", "status"), Ask("get", "", "nodes", "", name="h")):
        assert not may(monitor, ask)


def test_who_may_see_pods_may_see_what_they_use() -> None:
    top = Ask("list", "metrics.k8s.io", "pods", namespace="team")
    bound = binding("view", kind="ClusterRole")
    assert may(EVE, top, bound)
    assert not may(EVE, Ask("list", "metrics.k8s.io", "pods"), bound)
