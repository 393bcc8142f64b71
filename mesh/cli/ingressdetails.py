"""What `mesh get` and `mesh describe` tell of Ingresses: kubectl's columns and words, with the backends resolved.

Rule: pure; Services and EndpointSlices of the namespace are given.
"""

from mesh.cli.columns import AGE, NAME, NONE, Column
from mesh.cli.servicedetails import ServiceFacts
from mesh.cli.sheets import Sheet
from mesh.model.ingress import class_of
from mesh.model.services import SERVICE_LABEL
from mesh.v1.net_pb2 import Ingress, IngressBackend, ServicePort

_MOST = 3  # addresses of a backend in words


def addresses(ingress: Ingress) -> str:
    """Where clients reach it."""
    return ",".join(i.ip or i.hostname for i in ingress.status.load_balancer.ingress)


def _hosts(ingress: Ingress) -> str:
    found = list(dict.fromkeys(rule.host or "*" for rule in ingress.spec.rules)) or ["*"]
    more = f" + {len(found) - _MOST} more..." if len(found) > _MOST else ""
    return ",".join(found[:_MOST]) + more


INGRESSES = {
    "Ingress": (
        NAME,
        Column("CLASS", lambda o, _: class_of(o) or NONE),
        Column("HOSTS", lambda o, _: _hosts(o)),
        Column("ADDRESS", lambda o, _: addresses(o)),
        Column("PORTS", lambda _o, _: "80, 443"),
        AGE,
    ),
    "IngressClass": (
        NAME,
        Column("CONTROLLER", lambda o, _: o.spec.controller),
        Column("PARAMETERS", lambda o, _: o.spec.parameters.name or NONE),
        AGE,
    ),
}


def describe_ingress(sheet: Sheet, ingress: Ingress, facts: ServiceFacts) -> None:
    """Everything but its names, labels and events."""
    spec = ingress.spec
    sheet.add("Ingress Class", class_of(ingress))
    sheet.add("Address", addresses(ingress))
    sheet.add("Default backend", _backend(spec.default_backend, facts) if spec.HasField("default_backend") else NONE)
    tls = [f"{t.secret_name or 'the default certificate'} terminates {','.join(t.hosts) or 'all other names'}"
           for t in spec.tls]  # fmt: skip
    if tls:
        sheet.many("TLS", tls)
    rows = [
        (rule.host or "*", path.path or "/", path.path_type, _backend(path.backend, facts))
        for rule in spec.rules
        for path in rule.http.paths
    ]
    sheet.columns("Rules", ("Host", "Path", "Type", "Backends"), rows)


def _backend(backend: IngressBackend, facts: ServiceFacts) -> str:
    service = backend.service
    said = f"{service.name}:{service.port.name or service.port.number}"
    found = next((s for s in facts.services if s.metadata.name == service.name), None)
    if found is None:
        return f"{said} (there is no such Service)"
    port = next((p for p in found.spec.ports if _is(p, backend)), None)
    if port is None:
        return f"{said} (the Service has no such port)"
    ready = [
        f"{endpoint.addresses[0]}:{p.port}"
        for slice_ in facts.slices
        if slice_.metadata.labels.get(SERVICE_LABEL) == service.name
        for p in slice_.ports
        if p.name == port.name
        for endpoint in slice_.endpoints
        if endpoint.conditions.ready
    ]
    more = f" + {len(ready) - _MOST} more..." if len(ready) > _MOST else ""
    return f"{said} ({','.join(ready[:_MOST]) + more or NONE})"


def _is(port: ServicePort, backend: IngressBackend) -> bool:
    wanted = backend.service.port
    return port.name == wanted.name if wanted.name else port.port == wanted.number
