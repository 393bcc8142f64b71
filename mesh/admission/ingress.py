"""Admission of Ingresses and their classes: defaults, what must hold, what may change (H1 to H6).

Rule: pure. What another engine would understand is said to do nothing here; what can't be honoured is refused by name.
"""

import re
from collections.abc import Iterator

from mesh.admission.allocate import Ranges, held_by
from mesh.errors import Violation
from mesh.model import ingress as model
from mesh.model.digest import LAST_APPLIED
from mesh.model.keys import Key
from mesh.model.kinds import key_of
from mesh.model.services import RESERVATION, address_claim
from mesh.v1.net_pb2 import AddressReservation, Ingress, IngressClass
from mesh.view import View

_CONTROLLER = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?/[A-Za-z0-9/\-._~%!$&'()*+,;=:]+", re.ASCII)
_WHERE = f'metadata.annotations["{RESERVATION}"]'


def default(ingress: Ingress, view: View) -> None:
    """A new one without a class is of the default class, when there is one (H6)."""
    if not model.class_of(ingress) and (found := model.default_class(view.of_kind("IngressClass"))) is not None:
        ingress.spec.ingress_class_name = found.metadata.name


def check(obj: Ingress | IngressClass) -> Iterator[Violation]:
    """What is wrong with an Ingress or a class of them."""
    return _check(obj) if isinstance(obj, Ingress) else _check_class(obj)


def _check(ingress: Ingress) -> Iterator[Violation]:
    spec = ingress.spec
    if not spec.rules and not spec.HasField("default_backend"):
        yield Violation("spec", "rules or defaultBackend is required")
    for number, rule in enumerate(spec.rules):
        where = f"spec.rules[{number}]"
        if rule.host and (why := model.host_trouble(rule.host)):
            yield Violation(f"{where}.host", why)
        for index, path in enumerate(rule.http.paths):
            if why := model.path_trouble(path.path, path.path_type):
                yield Violation(f"{where}.http.paths[{index}].path", why)
    yield from _check_backends(ingress)
    for number, tls in enumerate(spec.tls):
        for index, host in enumerate(tls.hosts):
            if why := model.host_trouble(host):
                yield Violation(f"spec.tls[{number}].hosts[{index}]", why)
    if spec.ingress_class_name and model.OLD_CLASS in ingress.metadata.annotations:
        where = f'metadata.annotations["{model.OLD_CLASS}"]'
        yield Violation(where, "must be absent when spec.ingressClassName is there")
    yield from model.check_annotations(ingress, (LAST_APPLIED,))


def _check_backends(ingress: Ingress) -> Iterator[Violation]:
    for where, backend in model.backends_of(ingress):
        if backend.HasField("resource"):
            yield Violation(f"{where}.resource", "is not honoured: a backend is a Service")
        elif not backend.HasField("service"):
            yield Violation(f"{where}.service", "is required")
        elif bool(backend.service.port.name) == bool(backend.service.port.number):
            yield Violation(f"{where}.service.port", "must have either a name or a number")


def warnings(ingress: Ingress) -> list[str]:
    """What of it does nothing here."""
    return [f'metadata.annotations["{name}"] does nothing here' for name in model.foreign(ingress.metadata.annotations)]


def _check_class(class_: IngressClass) -> Iterator[Violation]:
    controller = class_.spec.controller
    if controller and (len(controller) > 250 or not _CONTROLLER.fullmatch(controller)):
        yield Violation("spec.controller", f'must be a name with a path such as {model.CONTROLLER}, is "{controller}"')
    if model.is_ours(class_) and class_.spec.HasField("parameters"):
        yield Violation("spec.parameters", f"is not honoured: {model.CONTROLLER} has none")


def check_class_change(new: IngressClass, old: IngressClass) -> Iterator[Violation]:
    """The engine of a class never changes."""
    if new.spec.controller != old.spec.controller:
        yield Violation("spec.controller", f"may not change from {old.spec.controller}")


def place(ingress: Ingress, view: View, ranges: Ranges) -> Iterator[Violation]:
    """Gives it the address that it has reserved, in place; one that it has no more is taken away."""
    name = ingress.metadata.annotations.get(RESERVATION, "")
    key = Key("AddressReservation", ingress.metadata.namespace, name)
    if not name:
        return
    found = view.get(key)
    if not isinstance(found, AddressReservation):
        yield Violation(_WHERE, f'there is no AddressReservation "{name}" in the namespace')
    elif found.spec.type != "LoadBalancer":
        yield Violation(_WHERE, f'"{name}" is no address of load balancers: its spec.type is {found.spec.type}')
    elif not ranges.in_pool(found.spec.address):
        yield Violation(_WHERE, f"{found.spec.address} is not in network.load_balancer_pool of meshd.toml")
    elif why := held_by(address_claim(found.spec.address), key_of(ingress), view, key):
        yield Violation(_WHERE, why)
    elif [i.ip for i in ingress.status.load_balancer.ingress] != [found.spec.address]:
        ingress.status.ClearField("load_balancer")
        entry = ingress.status.load_balancer.ingress.add(ip=found.spec.address)
        for port in (80, 443):
            entry.ports.add(port=port, protocol="TCP")
