"""The roles that every mesh has: admin, edit, view of a namespace, cluster-admin; and the groups that hold everywhere.

Rule: pure; made from the registry of kinds, so that a new kind is in them at once. `view` never shows Secrets, nor who
may do what; `edit` writes neither; `admin` gives roles within its namespace.
"""

from collections.abc import Iterable
from functools import cache

from mesh.access.rules import ANY, METRICS, READ, SERVICE, WRITE, Rule, group_of, rule
from mesh.model.kinds import KINDS, Kind
from mesh.pki import ADMINS, MONITORS

EDITORS = "mesh:editors"  # edit in every namespace
VIEWERS = "mesh:viewers"  # view in every namespace
EVERYWHERE = (MONITORS, VIEWERS, EDITORS, ADMINS)  # the smallest first
AUTHENTICATED = "system:authenticated"  # everyone who was recognised, as Kubernetes names it
CLUSTER_ADMIN = "cluster-admin"

_GRANTING = ("Role", "RoleBinding")
_PARTS = ("pods/log", "pods/status")
_INTO = ("pods/exec", "pods/attach", "pods/portforward")


@cache
def role(name: str) -> tuple[Rule, ...] | None:
    """The rules of a built-in role; None when there is none of this name."""
    makers = {"view": _view, "edit": _edit, "admin": _admin, CLUSTER_ADMIN: _all}
    return makers[name]() if name in makers else None


def names() -> tuple[str, ...]:
    """The built-in roles, the smallest first."""
    return ("view", "edit", "admin", CLUSTER_ADMIN)


@cache
def everywhere(group: str) -> tuple[Rule, ...]:
    """What a group may do in all namespaces and outside of them; nothing for most."""
    if group == ADMINS:
        return _all()
    if group == EDITORS:
        return (*_edit(), *_around())
    if group == VIEWERS:
        return (*_view(), *_around())
    if group == MONITORS:
        return _figures()
    return ()


def _all() -> tuple[Rule, ...]:
    return (rule((ANY,), (ANY,), (ANY,)),)


def _view() -> tuple[Rule, ...]:
    shown = [k for k in KINDS if k.namespaced and k.name not in ("Secret", *_GRANTING)]
    namespace = rule(READ, ("",), ("namespaces",))
    return (*_on(shown, READ), rule(READ, ("",), _PARTS), rule(READ, (METRICS,), ("pods",)), namespace)


def _edit() -> tuple[Rule, ...]:
    written = [k for k in KINDS if k.namespaced and k.name not in ("Event", *_GRANTING)]
    into = rule(("get", "create"), ("",), (*_INTO, "pods/eviction"))
    tokens = rule(("create",), ("",), ("serviceaccounts/token",))
    return (*_view(), *_on(written, (*READ, *WRITE)), into, tokens)


def _admin() -> tuple[Rule, ...]:
    return (*_edit(), *_on([k for k in KINDS if k.name in _GRANTING], (*READ, *WRITE)))


def _around() -> tuple[Rule, ...]:
    """What lies outside of namespaces and is no secret."""
    kinds = [k for k in KINDS if not k.namespaced]
    return (*_on(kinds, READ), rule(READ, (SERVICE,), ("status", "flows")), *_figures())


def _figures() -> tuple[Rule, ...]:
    """What a monitor reads, and nothing else."""
    own = rule(READ, (SERVICE,), ("metrics",))
    return (own, rule(READ, (METRICS,), ("nodes", "pods")), rule(("get",), ("",), ("nodes/metrics",)))


def _on(kinds: Iterable[Kind], verbs: Iterable[str]) -> tuple[Rule, ...]:
    by_group: dict[str, list[str]] = {}
    for kind in kinds:
        by_group.setdefault(group_of(kind), []).append(kind.plural)
    return tuple(rule(verbs, (group,), plurals) for group, plurals in by_group.items())
