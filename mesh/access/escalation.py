"""Nobody grants what he has not: who writes a Role or a RoleBinding must have all that it gives.

Rule: pure, of one view. The verbs `escalate` (on roles) and `bind` (on the role that is bound) lift this, as in
Kubernetes; only cluster-admin has them. Taking away needs nothing. What lets in or keeps out (entry tokens, the list of
revoked certificates) is written only by who may do that.
"""

from collections.abc import Iterable, Iterator

from mesh.access import revoked, tokens
from mesh.access.decide import Grant, decide, grants_of, require, rules_of
from mesh.access.rules import SERVICE, Ask, Rule, group_of, of_policy
from mesh.access.who import Who
from mesh.errors import Forbidden
from mesh.model.keys import Key
from mesh.model.kinds import Object, key_of, kind_named, kind_of
from mesh.v1.auth_pb2 import Role, RoleBinding
from mesh.v1.core_pb2 import Secret
from mesh.view import View

_SHOWN = 3  # of what is lacking


def check(who: Who, new: Object, old: Object | None, view: View) -> None:
    """Raises Forbidden when writing `new` over `old` would give more than the writer has."""
    if isinstance(new, Role):
        _check_role(who, new, old, view)
    elif isinstance(new, RoleBinding):
        _check_binding(who, new, old, view)
    elif isinstance(new, Secret) and new.type == tokens.TYPE:
        require(who, [Ask("create", SERVICE, "tokens")], view)
    elif key_of(new) == revoked.LIST:
        require(who, [Ask("delete", SERVICE, "certificates")], view)


def _check_role(who: Who, new: Role, old: Object | None, view: View) -> None:
    if isinstance(old, Role) and list(old.rules) == list(new.rules):
        return
    namespace = new.metadata.namespace
    if decide(who, _ask("escalate", new, namespace, new.metadata.name), view).allowed:
        return
    _raise_if_lacking(who, [of_policy(p) for p in new.rules], namespace, view, f'Role "{new.metadata.name}"')


def _check_binding(who: Who, new: RoleBinding, old: Object | None, view: View) -> None:
    if isinstance(old, RoleBinding) and _subjects(new) <= _subjects(old) and new.role_ref == old.role_ref:
        return
    namespace, ref = new.metadata.namespace, new.role_ref
    bound = Ask("bind", group_of(kind_named("Role")), "clusterroles" if ref.kind == "ClusterRole" else "roles",
                namespace=namespace, name=ref.name)  # fmt: skip
    if decide(who, bound, view).allowed:
        return
    if ref.kind == "Role" and view.get(Key("Role", namespace, ref.name)) is None:
        # Whoever writes the role later would give what it says to people that he does not know of.
        raise Forbidden(f'"{who.name}" may not bind Role "{ref.name}" in namespace "{namespace}": it is not there yet')
    _raise_if_lacking(who, rules_of(new, view), namespace, view, f'the role "{ref.name}"')


def lacking(who: Who, rules: Iterable[Rule], namespace: str, view: View) -> Iterator[Ask]:
    """What of `rules` the caller does not have in `namespace`."""
    grants = list(grants_of(who, view, namespace))
    for rule in rules:
        for ask in rule.asks(namespace):
            if not any(_covers(grant, ask) for grant in grants):
                yield ask


def _raise_if_lacking(who: Who, rules: Iterable[Rule], namespace: str, view: View, what: str) -> None:
    missing: list[Ask] = []
    for ask in lacking(who, rules, namespace, view):
        missing.append(ask)
        if len(missing) > _SHOWN:
            break
    if missing:
        shown = ", ".join(str(ask) for ask in missing[:_SHOWN]) + (", …" if len(missing) > _SHOWN else "")
        raise Forbidden(f'"{who.name}" may not give {what}: nobody gives what he has not himself, here: {shown}')


def _covers(grant: Grant, ask: Ask) -> bool:
    """A `*` is covered by a `*` alone, and a rule for all names by one without names: so `allows` says it already."""
    return grant.namespace in ("", ask.namespace) and grant.rule.allows(ask)


def _ask(verb: str, obj: Object, namespace: str, name: str) -> Ask:
    kind = kind_of(obj)
    return Ask(verb, group_of(kind), kind.plural, namespace=namespace, name=name)


def _subjects(binding: RoleBinding) -> set[tuple[str, str, str]]:
    return {(s.kind, s.namespace, s.name) for s in binding.subjects}
