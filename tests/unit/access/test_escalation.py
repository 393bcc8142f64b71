"""Nobody gives what he has not."""

import pytest

from mesh.access import escalation
from mesh.access.who import named
from mesh.errors import Forbidden
from mesh.model.kinds import Object
from mesh.store.port import Snapshot
from mesh.v1.auth_pb2 import Role, RoleBinding
from mesh.view import View

ADA = named("ada")


def role(name: str, *verbs: str, resources: tuple[str, ...] = ("pods",), names: tuple[str, ...] = ()) -> Role:
    made = Role(metadata={"name": name, "namespace": "team"})
    made.rules.add(verbs=verbs, api_groups=[""], resources=resources, resource_names=names)
    return made


def binding(ref: str, *users: str, kind: str = "Role", namespace: str = "team") -> RoleBinding:
    made = RoleBinding(metadata={"name": "b", "namespace": namespace})
    made.role_ref.kind, made.role_ref.name = kind, ref
    for user in users:
        made.subjects.add(kind="User", name=user)
    return made


def check(new: Object, old: Object | None, *held: Object) -> None:
    escalation.check(ADA, new, old, View(Snapshot(1, held)))


IS_ADMIN = binding("admin", "ada", kind="ClusterRole")


def test_what_one_has_one_may_give() -> None:
    check(role("r", "get", "create"), None, IS_ADMIN)
    check(role("r", "get", resources=("pods/log", "secrets"), names=("a", "b")), None, IS_ADMIN)
    check(binding("admin", "eve", kind="ClusterRole"), None, IS_ADMIN)
    check(binding("view", "eve", kind="ClusterRole"), None, IS_ADMIN)
    check(binding("r", "eve"), None, IS_ADMIN, role("r", "get"))


@pytest.mark.parametrize(
    "new",
    [
        role("r", "*"),
        role("r", "get", resources=("*",)),
        role("r", "get", resources=("nodes",)),
        role("r", "escalate", resources=("roles",)),
        role("r", "get", resources=("*/log",)),
        binding("cluster-admin", "ada", kind="ClusterRole"),
        binding("cluster-admin", "eve", kind="ClusterRole"),
    ],
)
def test_what_one_has_not_one_may_not_give(new: Object) -> None:
    with pytest.raises(Forbidden, match="nobody gives what he has not himself"):
        check(new, None, IS_ADMIN)


def test_power_in_one_namespace_is_none_in_another() -> None:
    with pytest.raises(Forbidden):
        check(binding("view", "eve", kind="ClusterRole", namespace="other"), None, IS_ADMIN)


def test_a_rule_for_some_names_does_not_give_all() -> None:
    some = (role("some", "get", names=("web",)), binding("some", "ada"))
    check(role("r", "get", names=("web",)), None, *some)
    with pytest.raises(Forbidden):
        check(role("r", "get"), None, *some)
    with pytest.raises(Forbidden):
        check(role("r", "get", names=("web", "db")), None, *some)


def test_a_role_that_is_not_there_is_not_bound() -> None:
    with pytest.raises(Forbidden, match="not there yet"):
        check(binding("later", "eve"), None, IS_ADMIN)


def test_taking_away_and_leaving_as_it_is_need_nothing() -> None:
    held = binding("cluster-admin", "eve", "ada", kind="ClusterRole")
    fewer = binding("cluster-admin", "eve", kind="ClusterRole")
    assert check(fewer, held) is None  # type: ignore[func-returns-value]
    labelled = role("r", "*")
    labelled.metadata.labels["a"] = "b"
    assert check(labelled, role("r", "*")) is None  # type: ignore[func-returns-value]
    with pytest.raises(Forbidden):
        check(held, fewer)
    with pytest.raises(Forbidden):
        check(role("r", "*"), role("r", "get"))


def test_escalate_and_bind_lift_it() -> None:
    rbac = Role(metadata={"name": "rbac", "namespace": "team"})
    rbac.rules.add(verbs=["escalate"], api_groups=["rbac.authorization.k8s.io"], resources=["roles"])
    rbac.rules.add(
        verbs=["bind"], api_groups=["rbac.authorization.k8s.io"], resources=["clusterroles"], resource_names=["view"]
    )
    held = (rbac, binding("rbac", "ada"))
    check(role("r", "*"), None, *held)
    check(binding("view", "eve", kind="ClusterRole"), None, *held)
    with pytest.raises(Forbidden):
        check(binding("edit", "eve", kind="ClusterRole"), None, *held)
