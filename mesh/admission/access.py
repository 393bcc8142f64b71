"""Admission of roles, bindings and service accounts.

Rule: pure questions of one object, or of a new and an old one. Whether its writer has what it gives is asked elsewhere
(mesh.access.escalation).
"""

from collections.abc import Iterator

from mesh.access import builtin
from mesh.access.rules import ANY, READ, SERVICE, WRITE, group_of, of_policy
from mesh.errors import Violation
from mesh.model.kinds import KINDS
from mesh.v1.auth_pb2 import PolicyRule, Role, RoleBinding
from mesh.v1.core_pb2 import ServiceAccount

API_GROUP = "rbac.authorization.k8s.io"
_COMBINATIONS = 10_000  # of verbs, groups, resources and names of a role
_PARTS = ("log", "exec", "attach", "portforward", "status", "eviction", "token", "scale", "finalizers")
_VERBS = (*READ, *WRITE, "deletecollection", "escalate", "bind", "impersonate", ANY)


def fill(binding: RoleBinding) -> None:
    """Completes it in place: the API group of what it refers to."""
    if not binding.role_ref.api_group:
        binding.role_ref.api_group = API_GROUP
    for subject in binding.subjects:
        if subject.kind in ("User", "Group") and not subject.api_group:
            subject.api_group = API_GROUP


def check_role(role: Role) -> Iterator[Violation]:
    """What a rule must have, and that it is of its namespace."""
    for i, policy in enumerate(role.rules):
        path = f"rules[{i}]"
        if policy.non_resource_urls:
            yield Violation(f"{path}.nonResourceURLs", "can't be in a Role: they lie in no namespace")
        for name, values in (("apiGroups", policy.api_groups), ("resources", policy.resources)):
            if not values:
                yield Violation(f"{path}.{name}", "is required")
    if (size := sum(of_policy(policy).size for policy in role.rules)) > _COMBINATIONS:
        yield Violation("rules", f"have {size} combinations of verbs, groups, resources and names: at most 10000")


def role_warnings(role: Role) -> Iterator[str]:
    """Words that name nothing here, which allow nothing."""
    for i, policy in enumerate(role.rules):
        yield from (f'rules[{i}].verbs: no call has the verb "{v}"' for v in policy.verbs if v not in _VERBS)
        yield from (f'rules[{i}].resources: there is no "{r}" here' for r in policy.resources if _unknown(r, policy))


def check_binding(binding: RoleBinding) -> Iterator[Violation]:
    """Subjects that can be, and a role that is a Role or one of the built-in ones."""
    for i, subject in enumerate(binding.subjects):
        path = f"subjects[{i}]"
        if subject.kind == "ServiceAccount" and not subject.namespace:
            yield Violation(f"{path}.namespace", "is required of a ServiceAccount")
        if subject.kind != "ServiceAccount" and subject.namespace:
            yield Violation(f"{path}.namespace", f"can't be given for a {subject.kind}")
        if subject.kind == "ServiceAccount" and subject.api_group:
            yield Violation(f"{path}.apiGroup", 'must be "" for a ServiceAccount')
    ref = binding.role_ref
    if ref.kind == "ClusterRole" and builtin.role(ref.name) is None:
        known = ", ".join(builtin.names())
        why = f'there is no ClusterRole "{ref.name}": the built-in ones are {known}; else make a Role'
        yield Violation("roleRef.name", why)


def check_account(account: ServiceAccount) -> Iterator[Violation]:
    """What is named is named: Secrets that pods may use, and those that images are pulled with."""
    named = [(f"secrets[{n}]", reference.name) for n, reference in enumerate(account.secrets)]
    named += [(f"imagePullSecrets[{n}]", reference.name) for n, reference in enumerate(account.image_pull_secrets)]
    yield from (Violation(f"{field}.name", "is required") for field, name in named if not name)


def check_change(new: RoleBinding, old: RoleBinding) -> Iterator[Violation]:
    """A binding keeps its role: who may write it was asked about that one."""
    if new.role_ref != old.role_ref:
        yield Violation("roleRef", "may not change; delete the RoleBinding and create it anew")


def _unknown(what: str, policy: PolicyRule) -> bool:
    resource, _, part = what.partition("/")
    if part and part not in _PARTS:
        return True
    if resource == ANY or ANY in policy.api_groups or SERVICE in policy.api_groups:
        return False
    return not any(kind.plural == resource and group_of(kind) in policy.api_groups for kind in KINDS)
