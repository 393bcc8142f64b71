"""What everyone asks of an Ingress: its class, its options, how its hosts and paths read.

Rule: pure questions of one object. Options are annotations beyond Kubernetes; one that can't be read asks for nothing,
for admission has refused it.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields

from mesh.errors import Violation
from mesh.model import formats
from mesh.model.annotations import flag, one_of, whole
from mesh.model.services import RESERVATION
from mesh.v1.net_pb2 import Ingress, IngressBackend, IngressClass

CONTROLLER = "mesh/ingress"  # spec.controller of an IngressClass that is ours
LABEL = "mesh/ingress"  # of a Node: it serves Ingresses, unless the value is "false"
DEFAULT_CERTIFICATE = "kube-system", "ingress-default-certificate"  # the Secret of the mesh's own certificate
OLD_CLASS = "kubernetes.io/ingress.class"  # annotation, from before ingressClassName
DEFAULT_CLASS = "ingressclass.kubernetes.io/is-default-class"
PREFIX = "mesh/"
TLS_TYPE, CERTIFICATE, KEY = "kubernetes.io/tls", "tls.crt", "tls.key"
PASSWORDS = "auth"
_COOKIE = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
_PATH = re.compile(r"/[!-~]*", re.ASCII)  # printable ASCII without spaces
_BAD = ("//", "/./", "/../", "%2f", "%2F")
_BAD_ENDS = ("/..", "/.")
_FOREIGN = ("ingress.kubernetes.io", "haproxy.org", "haproxy-ingress.github.io", "konghq.com", "cert-manager.io",
            "traefik.io", "ingress.cilium.io")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Options:
    """What an Ingress asks for beyond Kubernetes. 0 and "": nothing."""

    redirect: bool = False  # plain HTTP is sent to HTTPS
    timeout: int = 0  # seconds until a backend must have answered
    body: int = 0  # bytes that a request's body may have
    cookie: str = ""  # its name; a client stays with the pod that it names
    rate: int = 0  # requests per second of one client address
    canary: str = ""  # another Service of the namespace, with the same ports
    weight: int = 0  # how many of a hundred requests it gets
    passwords: str = ""  # the Secret that says who may
    balance: str = "round-robin"


def _named(check: Callable[[str], str]) -> Callable[[str], str]:
    def read(text: str) -> str:
        if why := check(text):
            raise ValueError(why)
        return text

    return read


def _cookie(text: str) -> str:
    return "" if _COOKIE.fullmatch(text) else f'must be 1 to 64 letters, digits, "-" and "_", is "{text}"'


# Annotation -> field of Options, and how its text is read.
OPTIONS: Mapping[str, tuple[str, Callable[[str], str | int | bool]]] = {
    "mesh/redirect-to-https": ("redirect", flag),
    "mesh/timeout-seconds": ("timeout", whole(1, 86_400)),
    "mesh/max-body-bytes": ("body", whole(1, 1 << 40)),
    "mesh/session-cookie": ("cookie", _named(_cookie)),
    "mesh/requests-per-second": ("rate", whole(1, 1_000_000)),
    "mesh/canary-service": ("canary", _named(formats.dns_label)),
    "mesh/canary-percent": ("weight", whole(0, 100)),
    "mesh/basic-auth-secret": ("passwords", _named(formats.dns_subdomain)),
    "mesh/balance": ("balance", one_of("round-robin", "least-connections", "random")),
}


def options_of(annotations: Mapping[str, str]) -> Options:
    """What the annotations ask for."""
    found: dict[str, str | int | bool] = {}
    for name, (field, read) in OPTIONS.items():
        text = annotations.get(name)
        if text is None:
            continue
        try:
            found[field] = read(text)
        except ValueError:
            continue
    return Options(**{f.name: found[f.name] for f in fields(Options) if f.name in found})  # type: ignore[arg-type]  # by name


def check_annotations(ingress: Ingress, others: tuple[str, ...]) -> Iterator[Violation]:
    """What is wrong with the annotations that are the mesh's; `others` are known and no options."""
    said = ingress.metadata.annotations
    for name, text in sorted(said.items()):
        where = f'metadata.annotations["{name}"]'
        if not name.startswith(PREFIX) or name in (RESERVATION, *others):
            continue
        if name not in OPTIONS:
            yield Violation(where, f"is not known: {', '.join(sorted((*OPTIONS, RESERVATION)))} are")
            continue
        try:
            OPTIONS[name][1](text)
        except ValueError as error:
            yield Violation(where, str(error))
    if ("mesh/canary-service" in said) != ("mesh/canary-percent" in said):
        yield Violation("metadata.annotations", "mesh/canary-service and mesh/canary-percent go together")


def foreign(annotations: Mapping[str, str]) -> Iterator[str]:
    """Annotations for other engines, which do nothing here."""
    for name in sorted(annotations):
        prefix = name.rpartition("/")[0]
        if name != OLD_CLASS and any(prefix == f or prefix.endswith(f".{f}") for f in _FOREIGN):
            yield name


def class_of(ingress: Ingress) -> str:
    """The name of its class, "" for none."""
    return ingress.spec.ingress_class_name or ingress.metadata.annotations.get(OLD_CLASS, "")


def is_ours(class_: IngressClass) -> bool:
    """Whether the mesh serves Ingresses of this class."""
    return class_.spec.controller == CONTROLLER


def default_class(classes: Iterable[object]) -> IngressClass | None:
    """The class of those that name none; of several the newest."""
    marked = [c for c in classes if isinstance(c, IngressClass) and c.metadata.annotations.get(DEFAULT_CLASS) == "true"]
    return max(marked, key=lambda c: (c.metadata.creation_timestamp.ToNanoseconds(), c.metadata.name), default=None)


def backends_of(ingress: Ingress) -> Iterator[tuple[str, IngressBackend]]:
    """All its backends, each with its place."""
    if ingress.spec.HasField("default_backend"):
        yield "spec.defaultBackend", ingress.spec.default_backend
    for number, rule in enumerate(ingress.spec.rules):
        for index, path in enumerate(rule.http.paths):
            yield f"spec.rules[{number}].http.paths[{index}].backend", path.backend


def secrets_of(ingress: Ingress) -> set[str]:
    """The Secrets that serving it takes: certificates and passwords."""
    found = {tls.secret_name for tls in ingress.spec.tls if tls.secret_name}
    passwords = options_of(ingress.metadata.annotations).passwords
    return found | ({passwords} if passwords else set())


def host_trouble(host: str) -> str:
    """What is wrong with a host, exact or "*." and a name (H1)."""
    name = host.removeprefix("*.")
    if not formats.ip(host):
        return f"must be a name, is the address {host}"
    if host.startswith("*") and not host.startswith("*."):
        return f'a wildcard is "*." and a name, is "{host}"'
    return formats.dns_subdomain(name)


def path_trouble(path: str, kind: str) -> str:
    """What is wrong with a path of this type (H3)."""
    if not path:
        return "" if kind == "ImplementationSpecific" else f"is required with pathType {kind}"
    if not _PATH.fullmatch(path):
        return f"must begin with / and be printable ASCII without spaces, is {path!r}"
    if kind == "ImplementationSpecific":
        return ""
    for bad in _BAD:
        if bad in path:
            return f'must not contain "{bad}", is "{path}"'
    return next((f'must not end with "{bad}", is "{path}"' for bad in _BAD_ENDS if path.endswith(bad)), "")


def reading(path: str, kind: str) -> tuple[bool, str]:
    """Whether it is one path alone, and the path; of a prefix without its last "/", and without a last "*" that stands
    for all below. ImplementationSpecific is a prefix here."""
    if kind == "Exact":
        return True, path
    return False, path.removesuffix("*").rstrip("/") if path.endswith("/*") else path.rstrip("/")
