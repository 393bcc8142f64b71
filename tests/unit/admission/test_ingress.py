"""Admission of Ingresses and their classes: what is refused, filled in and said (H1 to H6)."""

from collections.abc import Callable

import pytest

from mesh.admission import admit
from mesh.admission.admit import Admitted, Stamp
from mesh.admission.allocate import Ranges
from mesh.config import pool_of
from mesh.errors import Invalid
from mesh.model.kinds import Object, key_of
from mesh.store.port import Event
from mesh.v1.net_pb2 import Ingress
from mesh.view import View

Read = Callable[[str], Object]
RANGES = Ranges(pool=pool_of(("10.77.0.200-10.77.0.202",)))
BACKEND = "backend: {service: {name: web, port: {number: 80}}}"


class Mesh:
    """Applies manifests one after another."""

    def __init__(self, view: View, read: Read) -> None:
        self.view, self._read, self._number = view, read, 0

    def apply(self, text: str) -> Admitted:
        self._number += 1
        obj = self._read(text)
        stamp = Stamp(self._number * 10**9, f"uid-{self._number}", "abcde", RANGES)
        old = self.view.get(key_of(obj))
        made = admit.apply(obj, old, self.view, stamp)
        made.object.metadata.resource_version = str(100 + self._number)
        self.view.apply([Event(100 + self._number, key_of(made.object), made.object, old)])
        return made

    def ingress(self, spec: str, annotations: str = "{}", name: str = "a") -> Ingress:
        made = self.apply(ingress(spec, annotations, name)).object
        assert isinstance(made, Ingress)
        return made


@pytest.fixture
def mesh(view: View, read: Read) -> Mesh:
    return Mesh(view, read)


def ingress(spec: str, annotations: str = "{}", name: str = "a") -> str:
    return f"""
    apiVersion: networking.k8s.io/v1
    kind: Ingress
    metadata: {{name: {name}, annotations: {annotations}}}
    spec: {{{spec}}}
    """


def path(text: str, kind: str = "Prefix", backend: str = BACKEND) -> str:
    return f"rules: [{{http: {{paths: [{{path: '{text}', pathType: {kind}, {backend}}}]}}}}]"


def host(text: str) -> str:
    return f"rules: [{{host: '{text}', http: {{paths: [{{path: /, pathType: Prefix, {BACKEND}}}]}}}}]"


P, H = "spec.rules[0].http.paths[0]", "spec.rules[0].host"
RIGHT = path("/")
BAD = {
    "nothing": ("ingressClassName: a", "{}", "spec", "rules or defaultBackend"),
    "address as host": (host("10.0.0.1"), "{}", H, "must be a name"),
    "two stars": (host("*.*.foo"), "{}", H, "lower-case"),
    "star in the middle": (host("*foo.com"), "{}", H, 'a wildcard is "*." and a name'),
    "capitals": (host("Foo.com"), "{}", H, "lower-case"),
    "relative path": (path("foo"), "{}", f"{P}.path", "absolute path"),
    "path with a space": (path("/a b"), "{}", f"{P}.path", "without spaces"),
    "two slashes": (path("/a//b"), "{}", f"{P}.path", '"//"'),
    "dot": (path("/a/./b", "Exact"), "{}", f"{P}.path", '"/./"'),
    "dots": (path("/a/../b"), "{}", f"{P}.path", '"/../"'),
    "slash in disguise": (path("/a%2Fb"), "{}", f"{P}.path", '"%2F"'),
    "dots at the end": (path("/a/.."), "{}", f"{P}.path", 'end with "/.."'),
    "no path": (path("", "Exact"), "{}", f"{P}.path", "required with pathType Exact"),
    "no pathType": (path("/").replace("pathType: Prefix, ", ""), "{}", f"{P}.pathType", "required"),
    "no backend": (path("/", backend="backend: {}"), "{}", f"{P}.backend.service", "required"),
    "resource": (path("/", backend="backend: {resource: {kind: A, name: b}}"), "{}", f"{P}.backend.resource",
                 "a backend is a Service"),
    "two ports": (path("/", backend="backend: {service: {name: a, port: {number: 1, name: http}}}"), "{}",
                  f"{P}.backend.service.port", "either a name or a number"),
    "host of tls": (f"{RIGHT}, tls: [{{hosts: ['*']}}]", "{}", "spec.tls[0].hosts[0]", "wildcard"),
    "two classes": (f"{RIGHT}, ingressClassName: a", "{kubernetes.io/ingress.class: b}",
                    'metadata.annotations["kubernetes.io/ingress.class"]', "must be absent"),
    "unknown option": (RIGHT, "{mesh/redirect: 'true'}", 'metadata.annotations["mesh/redirect"]', "is not known"),
    "option that is no number": (RIGHT, "{mesh/timeout-seconds: 5s}", 'metadata.annotations["mesh/timeout-seconds"]',
                                 "whole number"),
    "cookie": (RIGHT, "{mesh/session-cookie: 'a; b'}", 'metadata.annotations["mesh/session-cookie"]', "64 letters"),
    "half a canary": (RIGHT, "{mesh/canary-service: b}", "metadata.annotations", "go together"),
    "no such reservation": (RIGHT, "{mesh/address-reservation: b}", 'metadata.annotations["mesh/address-reservation"]',
                            'there is no AddressReservation "b"'),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_is_refused_by_field_and_in_words(name: str, mesh: Mesh) -> None:
    spec, annotations, field, words = BAD[name]
    with pytest.raises(Invalid) as caught:
        mesh.ingress(spec, annotations)
    found = [v for v in caught.value.violations if v.field == field and words in v.reason]
    assert found, f"{field}: {words} is not in {caught.value.violations}"


def test_annotations_of_other_engines_are_said_to_do_nothing(mesh: Mesh) -> None:
    other = "nginx.ingress.kubernetes.io/ssl-redirect"
    made = mesh.apply(ingress(RIGHT, f"{{{other}: 'true', team: web}}"))
    assert made.warnings == (f'Ingress "a": metadata.annotations["{other}"] does nothing here',)


def a_class(name: str, controller: str = "mesh/ingress", default: str = "true") -> str:
    return f"""
    apiVersion: networking.k8s.io/v1
    kind: IngressClass
    metadata: {{name: {name}, annotations: {{ingressclass.kubernetes.io/is-default-class: '{default}'}}}}
    spec: {{controller: {controller}}}
    """


def test_a_new_one_without_a_class_is_of_the_newest_default_class(mesh: Mesh) -> None:
    assert mesh.ingress(RIGHT, name="before").spec.ingress_class_name == ""
    for name, default in (("old", "true"), ("new", "true"), ("newest", "false")):
        mesh.apply(a_class(name, default=default))
    assert mesh.ingress(RIGHT).spec.ingress_class_name == "new"
    assert mesh.ingress(f"{RIGHT}, ingressClassName: x", name="b").spec.ingress_class_name == "x"


def test_the_controller_of_a_class_never_changes(mesh: Mesh) -> None:
    mesh.apply(a_class("a"))
    with pytest.raises(Invalid, match=r"spec.controller: may not change from mesh/ingress"):
        mesh.apply(a_class("a", "example.com/x"))
    with pytest.raises(Invalid, match=r"spec.controller: must be a name with a path"):
        mesh.apply(a_class("b", "nopath"))


def test_a_reserved_address_is_claimed_by_one_alone(mesh: Mesh) -> None:
    mesh.apply("{apiVersion: mesh/v1, kind: AddressReservation, metadata: {name: front}, spec: {type: LoadBalancer}}")
    mesh.apply("{apiVersion: mesh/v1, kind: AddressReservation, metadata: {name: inner}}")
    made = mesh.ingress(RIGHT, "{mesh/address-reservation: front}")
    (entry,) = made.status.load_balancer.ingress
    assert (entry.ip, [p.port for p in entry.ports]) == ("10.77.0.200", [80, 443])
    with pytest.raises(Invalid, match=r"10.77.0.200 is held by the Ingress default/a"):
        mesh.ingress(RIGHT, "{mesh/address-reservation: front}", name="b")
    with pytest.raises(Invalid, match=r"is no address of load balancers"):
        mesh.ingress(RIGHT, "{mesh/address-reservation: inner}", name="c")
    balanced = """
    apiVersion: v1
    kind: Service
    metadata: {name: s, annotations: {mesh/address-reservation: front}}
    spec: {type: LoadBalancer, ports: [{port: 80}], selector: {app: web}}
    """
    with pytest.raises(Invalid, match=r"held by the Ingress"):
        mesh.apply(balanced)
