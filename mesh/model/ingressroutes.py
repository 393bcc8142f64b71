"""Several Ingresses as one set of routes: who has which host, path and certificate, and who lost what to whom.

Rule: pure; the same for every host. Of two that want the same, the older has it, then the first by name; the other is
told (`conflicts`). An exact host beats a wildcard, which stands for one label, and that beats none (H1); a host's
paths are its own: what none of them matches goes to the default backend, never to another host's paths.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from mesh.model.ingress import reading
from mesh.v1.net_pb2 import HTTPIngressPath, IngressBackend
from mesh.v1.node_pb2 import ProxyIngress


@dataclass(frozen=True, slots=True)
class Target:
    """Where requests of one Ingress go: a port of a Service, by number or by name."""

    owner: str  # "namespace/name" of the Ingress
    namespace: str
    service: str
    port: int = 0
    port_name: str = ""

    def __str__(self) -> str:
        return f"{self.service}:{self.port_name or self.port}"


@dataclass(slots=True)
class Site:
    """One host's paths. Prefixes are without their last "/"; `rest` takes what no path matches, None: nobody."""

    exact: dict[str, Target] = field(default_factory=dict)
    prefixes: dict[str, Target] = field(default_factory=dict)
    rest: Target | None = None


@dataclass(slots=True)
class Routing:
    """`sites` by host: a name, "*." and a name, "" for all others. `certificates` by host are "namespace/secret"; the
    one of "" is what clients without a known name get."""

    sites: dict[str, Site] = field(default_factory=dict)
    default: Target | None = None
    certificates: dict[str, str] = field(default_factory=dict)
    conflicts: dict[str, list[str]] = field(default_factory=dict)  # by the loser's "namespace/name"


def routing(ingresses: Mapping[str, ProxyIngress]) -> Routing:
    """The routes of all, by "namespace/name"."""
    made = Routing()
    certified: dict[str, str] = {}  # host -> whose certificate
    for owner in sorted(ingresses, key=lambda name: (ingresses[name].created, name)):
        _add(made, certified, owner, ingresses[owner])
    return made


def _add(made: Routing, certified: dict[str, str], owner: str, ingress: ProxyIngress) -> None:
    spec, namespace = ingress.spec, owner.partition("/")[0]
    default = _target(owner, namespace, spec.default_backend) if spec.HasField("default_backend") else None
    for rule in spec.rules:
        site = made.sites.setdefault(rule.host, Site())
        for path in rule.http.paths:
            _add_path(made, site, rule.host, owner, path)
        site.rest = site.rest or default
    if default is not None:
        if made.default is None:
            made.default = default
        elif not spec.rules:
            _lost(made, owner, f"the default backend is that of {made.default.owner}, which is older")
    for tls in spec.tls:
        if not tls.secret_name:
            continue
        secret = f"{namespace}/{tls.secret_name}"
        for host in tls.hosts or [""]:
            held = made.certificates.setdefault(host, secret)
            certified.setdefault(host, owner)
            if held != secret:
                what = f"the certificate of {host}" if host else "the default certificate"
                _lost(made, owner, f"{what} is that of {certified[host]}, which is older")


def _add_path(made: Routing, site: Site, host: str, owner: str, path: HTTPIngressPath) -> None:
    alone, text = reading(path.path, path.path_type)
    held = site.exact if alone else site.prefixes
    target = _target(owner, owner.partition("/")[0], path.backend)
    before = held.setdefault(text, target)
    if before != target:
        where = f"{host or '*'}{text or '/'} ({'Exact' if alone else 'Prefix'})"
        whose = "itself, further up" if before.owner == owner else f"{before.owner}, which is older"
        _lost(made, owner, f"{where} is that of {whose}")


def _lost(made: Routing, owner: str, what: str) -> None:
    made.conflicts.setdefault(owner, []).append(what)


def _target(owner: str, namespace: str, backend: IngressBackend) -> Target:
    service = backend.service
    return Target(owner, namespace, service.name, service.port.number, service.port.name)
