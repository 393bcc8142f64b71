"""Roles, bindings and service accounts: what is filled in, what is refused by name, what may not change."""

from collections.abc import Callable

import pytest

from mesh.admission import admit
from mesh.admission.admit import Stamp
from mesh.errors import Invalid
from mesh.model.kinds import Object
from mesh.v1.auth_pb2 import RoleBinding
from mesh.view import View

Read = Callable[[str], Object]
RBAC = "apiVersion: rbac.authorization.k8s.io/v1"
BINDING = f"{{{RBAC}, kind: RoleBinding, metadata: {{name: b}}, roleRef: {{kind: ClusterRole, name: view}}, SUBJECTS}}"
ACCOUNT = "{apiVersion: v1, kind: ServiceAccount, metadata: {name: s}, MORE: [{name: x}]}"
NAMES = [f"n{i}" for i in range(10_001)]
ROLE = f"{{{RBAC}, kind: Role, metadata: {{name: r}}, rules: [RULE]}}"


def test_api_groups_are_filled_in(view: View, stamp: Stamp, read: Read) -> None:
    subjects = "subjects: [{kind: User, name: a}, {kind: ServiceAccount, name: s, namespace: pods}]"
    made = admit.create(read(BINDING.replace("SUBJECTS", subjects)), view, stamp).object
    assert isinstance(made, RoleBinding)
    assert made.role_ref.api_group == "rbac.authorization.k8s.io"
    assert [s.api_group for s in made.subjects] == ["rbac.authorization.k8s.io", ""]


@pytest.mark.parametrize(
    ("text", "field"),
    [
        (BINDING.replace("SUBJECTS", "subjects: [{kind: ServiceAccount, name: s}]"), "subjects[0].namespace"),
        (BINDING.replace("SUBJECTS", "subjects: [{kind: User, name: s, namespace: pods}]"), "subjects[0].namespace"),
        (BINDING.replace("view", "owner").replace(", SUBJECTS", ""), "roleRef.name"),
        (ROLE.replace("RULE", "{verbs: [get], resources: [pods]}"), "rules[0].apiGroups"),
        (ROLE.replace("RULE", "{verbs: [get], apiGroups: ['']}"), "rules[0].resources"),
        (ROLE.replace("RULE", "{verbs: [get], nonResourceURLs: [/healthz]}"), "rules[0].nonResourceURLs"),
        (ROLE.replace("RULE", f"{{verbs: [a], apiGroups: [''], resources: [a], resourceNames: {NAMES}}}"), "rules"),
        (ACCOUNT.replace("MORE: [{name: x}]", "imagePullSecrets: [{}]"), "imagePullSecrets[0].name"),
        (ACCOUNT.replace("MORE: [{name: x}]", "secrets: [{}]"), "secrets[0].name"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(view: View, stamp: Stamp, read: Read, text: str, field: str) -> None:
    with pytest.raises(Invalid) as caught:
        admit.create(read(text), view, stamp)
    assert field in [v.field for v in caught.value.violations]


def test_words_that_allow_nothing_are_warned_of(view: View, stamp: Stamp, read: Read) -> None:
    rule = "{verbs: [get, fetch], apiGroups: [''], resources: [pods, podz, pods/log, pods/soul, '*']}"
    admitted = admit.create(read(ROLE.replace("RULE", rule)), view, stamp)
    assert admitted.warnings == (
        'Role "r": rules[0].verbs: no call has the verb "fetch"',
        'Role "r": rules[0].resources: there is no "podz" here',
        'Role "r": rules[0].resources: there is no "pods/soul" here',
    )


def test_a_binding_keeps_its_role(view: View, stamp: Stamp, read: Read) -> None:
    text = BINDING.replace("SUBJECTS", "subjects: []")
    old = admit.create(read(text), view, stamp).object
    with pytest.raises(Invalid, match="roleRef"):
        admit.update(read(text.replace("view", "edit")), old, view, stamp)
