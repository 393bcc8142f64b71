"""What of the view is Ingress: which are ours, which hosts serve them, what these must be given, what status they have.

Rule: pure. An Ingress is ours when its class is, or when it names none and there is no default class that is another's.
"""

import hashlib
from collections.abc import Iterator

from mesh.model import ingress as model
from mesh.model.conditions import is_true
from mesh.model.ingressroutes import Routing, routing
from mesh.model.keys import Key
from mesh.model.services import RESERVATION
from mesh.v1.core_pb2 import Node
from mesh.v1.net_pb2 import Ingress, IngressClass
from mesh.v1.node_pb2 import ProxyIngress, ProxyService
from mesh.view import View

PORTS = (80, 443)
NAMED = "ingress:"  # before its name in the table of Services


def served(view: View) -> Iterator[Ingress]:
    """Every Ingress that is ours, sorted by key."""
    return (i for i in view.of_kind("Ingress") if isinstance(i, Ingress) and is_ours(i, view))


def is_ours(ingress: Ingress, view: View) -> bool:
    """Whether the mesh serves it (H6)."""
    name = model.class_of(ingress)
    if name:
        found = view.get(Key("IngressClass", "", name))
        return isinstance(found, IngressClass) and model.is_ours(found)
    default = model.default_class(view.of_kind("IngressClass"))
    return default is None or model.is_ours(default)


def serves(node: Node | None) -> bool:
    """Whether a host serves Ingresses."""
    return node is not None and node.metadata.labels.get(model.LABEL, "false") != "false"


def hosts(view: View) -> list[Node]:
    """The hosts that do and are ready."""
    return [n for n in view.nodes() if serves(n) and is_true(n.status.conditions, "Ready")]


def proxy_ingress(ingress: Ingress) -> ProxyIngress:
    """What the hosts are told of it."""
    meta = ingress.metadata
    told = ProxyIngress(uid=meta.uid, created=meta.creation_timestamp.seconds, spec=ingress.spec)
    for name, text in meta.annotations.items():
        if name in model.OPTIONS:
            told.options[name] = text
    return told


def entry(ingress: Ingress, view: View) -> ProxyService:
    """The same as an entry of the table."""
    meta = ingress.metadata
    made = ProxyService(namespace=meta.namespace, name=NAMED + meta.name, ingress=proxy_ingress(ingress))
    if address := reserved(ingress):
        made.load_balancer_ips.append(address)
        made.announcer = _announcer(address, view)
    made.digest = hashlib.sha256(made.SerializeToString(deterministic=True)).hexdigest()
    return made


def reserved(ingress: Ingress) -> str:
    """The address that it has by a reservation, "" for none."""
    if RESERVATION not in ingress.metadata.annotations:
        return ""
    return next((i.ip for i in ingress.status.load_balancer.ingress if i.ip), "")


def _announcer(address: str, view: View) -> str:
    weight = lambda name: hashlib.sha256(f"{address}@{name}".encode()).digest()  # noqa: E731 - as in announcing
    return max((n.metadata.name for n in hosts(view)), key=weight, default="")


def addresses(view: View) -> list[str]:
    """Where clients reach the hosts that serve Ingresses: the outer address of each, or the inner one."""
    found = []
    for node in hosts(view):
        by_type = {a.type: a.address for a in reversed(node.status.addresses)}
        found.append(by_type.get("ExternalIP") or by_type.get("InternalIP", ""))
    return sorted(filter(None, found))


def secrets(node: str, view: View) -> set[Key]:
    """The Secrets that a host must be given to serve Ingresses."""
    if not serves(view.node(node)):
        return set()
    found = {Key("Secret", *model.DEFAULT_CERTIFICATE)}
    return found | {Key("Secret", i.metadata.namespace, name) for i in served(view) for name in model.secrets_of(i)}


def routes(view: View) -> Routing:
    """The routes of all Ingresses that are ours."""
    return routing({f"{i.metadata.namespace}/{i.metadata.name}": proxy_ingress(i) for i in served(view)})
