"""What each RPC asks for: the method and its request, as wishes that the authoriser knows.

Rule: pure; a method that is not in these tables is refused to everyone. What depends on the object as it will be
(Apply, Create, Update) is asked by the handler, when it is known.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from mesh.access.revoked import LIST as REVOKED
from mesh.access.rules import ANY, METRICS, SERVICE, WRITE, Ask, group_of
from mesh.model.keys import Key
from mesh.model.kinds import Kind, Object, key_of, kind_named
from mesh.model.selectors import parse_fields

# Methods for everyone who was recognised. Who asks about others is asked again by the handler.
OPEN = frozenset((
    "/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch", "/mesh.v1.Control/Kinds",
    "/mesh.v1.Access/WhoAmI", "/mesh.v1.Access/CanI", "/mesh.v1.Access/Grants", "/mesh.v1.Access/Renew",
    "/mesh.v1.Access/ReviewToken", "/mesh.v1.Control/OpenConsole",
))  # fmt: skip
# Methods for who has nothing but a token of its own, which the handler looks at.
STRANGERS = frozenset(("/mesh.v1.Access/Enrol",))
# Methods whose handler asks, of what it is about to write.
DEFERRED = frozenset(("/mesh.v1.Resources/Apply", "/mesh.v1.Resources/Create", "/mesh.v1.Resources/Update"))


def on_object(verb: str, obj: Object, subresource: str = "") -> Ask:
    """A verb on an object."""
    return on_key(verb, key_of(obj), subresource)


def on_key(verb: str, key: Key, subresource: str = "") -> Ask:
    """A verb on the object of a key."""
    kind = kind_named(key.kind)
    return Ask(verb, group_of(kind), kind.plural, subresource, key.namespace, key.name)


def on_service(verb: str, what: str, name: str = "") -> Ask:
    """A verb on what is no object: "images", "tokens", "metrics"."""
    return Ask(verb, SERVICE, what, name=name)


def written(obj: Object, previous: Object | None) -> tuple[Ask, ...]:
    """What applying an object asks for: it shows what was there before."""
    if previous is None:
        return (on_object("create", obj),)
    return on_object("get", obj), on_object("patch", obj)


def asks_of(method: str, request: Any) -> tuple[Ask, ...] | None:
    """What a call asks for; None when the method is none that anyone may call. Raises NotFound, Invalid."""
    if method in OPEN or method in DEFERRED or method in STRANGERS:
        return ()
    table = _TABLE.get(method)
    return None if table is None else table(request)


def _keyed(verb: str) -> Callable[[Any], tuple[Ask, ...]]:
    def asks(request: Any) -> tuple[Ask, ...]:
        key = request.key
        whole = _on(kind_named(key.kind), verb, key.namespace, key.name)
        part = request.subresource if verb == "patch" else ""
        asked = (replace(whole, subresource=part) if part else whole,)
        listed = Key(key.kind, key.namespace, key.name) == REVOKED and verb in WRITE
        return (*asked, on_service("delete", "certificates")) if listed else asked

    return asks


def _selected(verb: str) -> Callable[[Any], tuple[Ask, ...]]:
    def asks(request: Any) -> tuple[Ask, ...]:
        if not request.kind:
            return (Ask(verb, ANY, ANY, namespace=request.namespace),)
        kind = kind_named(request.kind)
        equal = {r.path: r.value for r in parse_fields(request.field_selector).requirements if r.equal}
        asked = _on(kind, verb, request.namespace, equal.get("metadata.name", ""))
        node = equal.get("spec.nodeName", "") if kind.name == "Pod" else ""
        return (Ask(verb, asked.group, asked.resource, "", asked.namespace, asked.name, node),)

    return asks


def _pod(verb: str, part: str, of: Callable[[Any], Any]) -> Callable[[Any], tuple[Ask, ...]]:
    def asks(request: Any) -> tuple[Ask, ...]:
        named = of(request)
        return (Ask(verb, "", "pods", part, named.namespace or "default", named.pod),)

    return asks


def _service(verb: str, what: str) -> Callable[[Any], tuple[Ask, ...]]:
    return lambda _: (on_service(verb, what),)


def _top(request: Any) -> tuple[Ask, ...]:
    if not request.pods:
        return (Ask("list", METRICS, "nodes"),)
    names = tuple(request.names) if request.namespace else ()
    return tuple(Ask("get", METRICS, "pods", "", request.namespace, name) for name in names) or (
        Ask("list", METRICS, "pods", "", request.namespace),
    )


def _raw(request: Any) -> tuple[Ask, ...]:
    host = Ask("get", "", "nodes", "metrics", name=request.host)
    return (host,) if request.host else (on_service("get", "metrics"),)


def _on(kind: Kind, verb: str, namespace: str, name: str) -> Ask:
    return Ask(verb, group_of(kind), kind.plural, "", namespace if kind.namespaced else "", name)


_TABLE: dict[str, Callable[[Any], tuple[Ask, ...]]] = {
    "/mesh.v1.Resources/Get": _keyed("get"),
    "/mesh.v1.Resources/Patch": _keyed("patch"),
    "/mesh.v1.Resources/Delete": _keyed("delete"),
    "/mesh.v1.Resources/Evict": _pod("create", "eviction", lambda request: request),
    "/mesh.v1.Resources/List": _selected("list"),
    "/mesh.v1.Resources/Watch": _selected("watch"),
    "/mesh.v1.Pods/Logs": _pod("get", "log", lambda request: request),
    "/mesh.v1.Pods/Exec": _pod("create", "exec", lambda request: request.start),
    "/mesh.v1.Pods/Attach": _pod("create", "attach", lambda request: request.attach),
    "/mesh.v1.Pods/PortForward": _pod("create", "portforward", lambda request: request.start),
    "/mesh.v1.Images/Load": _service("create", "images"),
    "/mesh.v1.Images/Remove": _service("delete", "images"),
    "/mesh.v1.Secrets/Delivery": lambda request: (
        Ask("get", "", "secrets", "", request.namespace or "default", request.name),
    ),
    "/mesh.v1.Measurements/Top": _top,
    "/mesh.v1.Measurements/Raw": _raw,
    "/mesh.v1.Secrets/RotateKeys": _service("update", "keys"),
    "/mesh.v1.Control/Status": _service("get", "status"),
    "/mesh.v1.Control/Flows": _service("get", "flows"),
    "/mesh.v1.Control/Backup": _service("create", "backups"),
    "/mesh.v1.Access/CreateToken": _service("create", "tokens"),
    "/mesh.v1.Access/ListTokens": _service("list", "tokens"),
    "/mesh.v1.Access/RevokeToken": _service("delete", "tokens"),
    "/mesh.v1.Access/RequestToken": lambda request: (
        Ask("create", "", "serviceaccounts", "token", request.namespace or "default", request.account),
    ),
    "/mesh.v1.Access/ListCertificates": _service("list", "certificates"),
    "/mesh.v1.Access/Revoke": _service("delete", "certificates"),
    "/mesh.v1.Access/RotateAuthority": _service("update", "certificates"),
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": _service("get", "reflection"),
}
