"""The names that Services have, looked up label by label (D1 to D7).

Rules: pure. The record forms are those of Kubernetes' DNS specification 1.1.0. Only Services that changed are looked
at. A name that exists without records of the type asked for is told apart from one that does not exist.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

from mesh.v1.node_pb2 import ProxyEndpoint, ProxyService

VERSION = "1.1.0"  # of the specification


class Srv(NamedTuple):
    """One SRV record; priority and weight are the same for all."""

    port: int
    target: str


@dataclass(frozen=True, slots=True)
class Found:
    """What a name has. `alias`: the name to ask for instead. Names are absolute, without the last dot."""

    addresses: tuple[str, ...] = ()
    services: tuple[Srv, ...] = ()
    texts: tuple[str, ...] = ()
    pointers: tuple[str, ...] = ()
    alias: str = ""
    glue: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # addresses of the targets of `services`


class Absent(Enum):
    """Why there is nothing to tell."""

    NAME = "no such name"
    OTHER = "not ours to say"


class Names:
    """The names of one zone, such as "cluster.local"."""

    def __init__(self, zone: str) -> None:
        self.zone = zone.rstrip(".").lower()
        self._services: dict[tuple[str, str], ProxyService] = {}  # by name and namespace
        self._namespaces: dict[str, int] = {}
        self._pointers: dict[str, dict[str, None]] = {}  # by address, in the order of coming

    def set(self, key: str, service: ProxyService | None) -> None:
        """The Service "namespace/name" is so from now on; None: there is none."""
        namespace, _, name = key.partition("/")
        before = self._services.pop((name, namespace), None)
        if before is not None:
            self._namespaces[namespace] -= 1
            if not self._namespaces[namespace]:
                del self._namespaces[namespace]
            for address, pointer in self._reverse(before):
                names = self._pointers.get(address, {})
                names.pop(pointer, None)
                if not names:
                    self._pointers.pop(address, None)
        if service is not None:
            self._services[name, namespace] = service
            self._namespaces[namespace] = self._namespaces.get(namespace, 0) + 1
            for address, pointer in self._reverse(service):
                self._pointers.setdefault(address, {})[pointer] = None

    def find(self, name: str) -> Found | Absent:
        """What `name` has; case does not matter, nor the last dot."""
        name = name.rstrip(".").lower()
        if name.endswith(".in-addr.arpa"):
            return self._pointing(name)
        if name == self.zone:
            return Found()
        if not name.endswith("." + self.zone):
            return Absent.OTHER
        labels = name[: -len(self.zone) - 1].split(".")
        if labels == ["dns-version"]:
            return Found(texts=(VERSION,))
        if labels[-1] == "svc":
            return self._below_svc(labels[:-1])
        if labels[-1] == "pod":
            return self._pod(labels[:-1])
        return Absent.NAME

    # ---- below svc

    def _below_svc(self, labels: list[str]) -> Found | Absent:
        if not labels:
            return Found()
        if labels[-1] not in self._namespaces:
            return Absent.NAME
        if len(labels) == 1:
            return Found()
        service = self._services.get((labels[-2], labels[-1]))
        if service is None:
            return Absent.NAME
        rest = labels[:-2]
        if service.external_name:
            return Found(alias=service.external_name.rstrip(".")) if not rest else Absent.NAME
        if is_headless(service):
            return self._headless(service, rest)
        if not rest:
            return Found(addresses=(service.cluster_ip,))
        return self._ports(service, rest)

    def _ports(self, service: ProxyService, rest: list[str]) -> Found | Absent:
        own = self.name_of(service)
        found = tuple(Srv(p.port, own) for p in service.ports if _asks_for(rest, p.name, p.protocol))
        if found:
            return Found(services=found, glue={own: (service.cluster_ip,)})
        return Found() if _is_protocol_of(rest, service) else Absent.NAME

    def _headless(self, service: ProxyService, rest: list[str]) -> Found | Absent:
        ready = [e for e in service.endpoints if e.ready]
        if not ready:
            return Absent.NAME
        if not rest:
            return Found(addresses=_addresses(ready))
        if len(rest) == 1 and not rest[0].startswith("_"):
            named = _addresses([e for e in ready if hostname_of(e) == rest[0]])
            return Found(addresses=named) if named else Absent.NAME
        own = self.name_of(service)
        found: dict[Srv, None] = {}
        glue: dict[str, tuple[str, ...]] = {}
        for index, port in enumerate(service.ports):
            for e in ready if _asks_for(rest, port.name, port.protocol) else ():
                if index < len(e.ports) and e.ports[index]:
                    target = f"{hostname_of(e)}.{own}"
                    found[Srv(e.ports[index], target)] = None
                    glue[target] = tuple(dict.fromkeys((*glue.get(target, ()), e.ip)))
        if found:
            return Found(services=tuple(found), glue=glue)
        return Found() if _is_protocol_of(rest, service) else Absent.NAME

    def name_of(self, service: ProxyService) -> str:
        """The Service's own name."""
        return f"{service.name}.{service.namespace}.svc.{self.zone}"

    # ---- below pod, and back from addresses

    def _pod(self, labels: list[str]) -> Found | Absent:
        """a-b-c-d.namespace: the address that the name spells."""
        if not labels or (len(labels) == 1 and labels[0] in self._namespaces):
            return Found()
        if len(labels) != 2 or labels[1] not in self._namespaces:
            return Absent.NAME
        address = labels[0].replace("-", ".")
        return Found(addresses=(address,)) if _is_address(address.split(".")) else Absent.NAME

    def _pointing(self, name: str) -> Found | Absent:
        parts = name.removesuffix(".in-addr.arpa").split(".")[::-1]
        pointers = self._pointers.get(".".join(parts)) if _is_address(parts) else None
        return Found(pointers=tuple(pointers)) if pointers else Absent.OTHER

    def _reverse(self, service: ProxyService) -> Iterator[tuple[str, str]]:
        own = self.name_of(service)
        if is_headless(service):
            for endpoint in service.endpoints:
                if endpoint.ready:
                    yield endpoint.ip, f"{hostname_of(endpoint)}.{own}"
        elif service.cluster_ip:
            yield service.cluster_ip, own


def is_headless(service: ProxyService) -> bool:
    """Whether its name stands for its endpoints."""
    return not service.external_name and service.cluster_ip in {"", "None"}


def hostname_of(endpoint: ProxyEndpoint) -> str:
    """The label of an endpoint below its Service: the pod's own, or its address spelt out (D5)."""
    return endpoint.hostname.lower() or endpoint.ip.replace(".", "-")


def _addresses(endpoints: list[ProxyEndpoint]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(e.ip for e in endpoints))


def _asks_for(rest: list[str], port: str, protocol: str) -> bool:
    return bool(port) and rest == [f"_{port.lower()}", f"_{(protocol or 'TCP').lower()}"]


def _is_protocol_of(rest: list[str], service: ProxyService) -> bool:
    """_tcp below a Service that has named TCP ports: it has no records, but names below it."""
    return any(p.name and rest == [f"_{(p.protocol or 'TCP').lower()}"] for p in service.ports)


def _is_address(parts: list[str]) -> bool:
    return len(parts) == 4 and all(p.isascii() and p.isdigit() and len(p) <= 3 and int(p) < 256 for p in parts)
