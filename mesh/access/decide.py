"""The authoriser: whether somebody may do something, and why; deny by default.

Rule: pure, of one view. Grants come from groups that hold everywhere and from RoleBindings; a host gets what its pods
need and nothing by bindings. A role that is not there grants nothing.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from mesh.access import builtin, nodes
from mesh.access.rules import Ask, Rule, group_of, of_policy
from mesh.access.who import Who, is_meant
from mesh.errors import Forbidden
from mesh.model.keys import Key
from mesh.model.kinds import KINDS
from mesh.v1.auth_pb2 import Role, RoleBinding
from mesh.view import View


@dataclass(frozen=True, slots=True)
class Grant:
    """One rule that somebody has; `namespace` empty: everywhere. `source` says by what."""

    rule: Rule
    namespace: str
    source: str

    def allows(self, ask: Ask) -> bool:
        """Whether the wish is within it; what holds in one namespace holds nowhere else."""
        return (not self.namespace or self.namespace == _place(ask)) and self.rule.allows(ask)


@dataclass(frozen=True, slots=True)
class Decision:
    """`why`: what allows it, or what would have to be there."""

    allowed: bool
    why: str


def decide(who: Who, ask: Ask, view: View) -> Decision:
    """Whether `who` may do it."""
    if who.host:
        return Decision(*nodes.may(who.host, ask, view))
    for grant in grants_of(who, view, _place(ask)):
        if grant.allows(ask):
            return Decision(True, grant.source)
    return Decision(False, _lacking(ask))


def require(who: Who, asks: Iterable[Ask], view: View) -> None:
    """Raises Forbidden, saying who lacks what and where to get it."""
    for ask in asks:
        decision = decide(who, ask, view)
        if not decision.allowed:
            raise Forbidden(refusal(who, ask, decision))


def refusal(who: Who, ask: Ask, decision: Decision) -> str:
    """The sentence of a refusal."""
    subject = f'host "{who.host}"' if who.host else f'"{who.name}"'
    return f"{subject} may not {ask}: {decision.why}"


def grants_of(who: Who, view: View, namespace: str = "") -> Iterator[Grant]:
    """What `who` has everywhere, and in `namespace` (every namespace when it is empty and `who` asks for all)."""
    for group in who.groups:
        for held in builtin.everywhere(group):
            yield Grant(held, "", f"the group {group}")
    if namespace:
        yield from bound_in(who, view, namespace)


def bound_in(who: Who, view: View, namespace: str) -> Iterator[Grant]:
    """What the RoleBindings of a namespace (of all when it is empty) give."""
    for binding in view.of_kind("RoleBinding", namespace):
        if isinstance(binding, RoleBinding) and any(is_meant(subject, who) for subject in binding.subjects):
            where = binding.metadata.namespace
            for held in rules_of(binding, view):
                yield Grant(held, where, f'RoleBinding "{binding.metadata.name}" in namespace "{where}"')


def rules_of(binding: RoleBinding, view: View) -> tuple[Rule, ...]:
    """The rules of the role that a binding refers to; none when it is not there."""
    if binding.role_ref.kind == "ClusterRole":
        return builtin.role(binding.role_ref.name) or ()
    found = view.get(Key("Role", binding.metadata.namespace, binding.role_ref.name))
    return tuple(of_policy(policy) for policy in found.rules) if isinstance(found, Role) else ()


def _place(ask: Ask) -> str:
    """Where a wish lies; a namespace lies in itself, so that a role in it may show it."""
    return ask.name if ask.resource == "namespaces" and not ask.group else ask.namespace


def _lacking(ask: Ask) -> str:
    place = _place(ask)
    fitting = next((n for n in builtin.names() if any(r.allows(ask) for r in builtin.role(n) or ())), "")
    if place and fitting in ("view", "edit", "admin"):
        return (
            f'no role allows it; an administrator of "{place}" gives one with `mesh create rolebinding NAME '
            f"--clusterrole={fitting} --user=NAME -n {place}`"
        )
    groups = [g for g in builtin.EVERYWHERE if any(r.allows(ask) for r in builtin.everywhere(g))]
    narrower = " or a namespace, named with -n" if fitting != builtin.CLUSTER_ADMIN and _namespaced(ask) else ""
    return f"no role allows it everywhere; it needs the group {' or '.join(groups)}{narrower}"


def _namespaced(ask: Ask) -> bool:
    return any(kind.plural == ask.resource and group_of(kind) == ask.group and kind.namespaced for kind in KINDS)
