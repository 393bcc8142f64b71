"""What meshd is told at start: the text of meshd.toml, as values.

Rule: pure; the caller reads the file. An unknown key, a wrong type or an impossible value is refused by name.
"""

import ipaddress
import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, Field, dataclass, fields
from pathlib import Path
from typing import Any, get_type_hints

from mesh.errors import Invalid, Violation
from mesh.model import formats


@dataclass(frozen=True, slots=True)
class Pki:
    """Files: the authority's certificate, the server's certificate and key. PEM.

    `authority`: the directory of ca.crt, ca.key and of the certificates that meshd is to keep from expiring, with its
    own as meshd.crt; without it none are renewed and nobody enrols."""

    ca: Path
    certificate: Path
    key: Path
    authority: Path | None = None


@dataclass(frozen=True, slots=True)
class Network:
    """Pod addresses: each host gets a /`node_mask` of `cluster_cidr`. Services have theirs of `service_cidr`, ports of
    `node_ports` ("first-last"), and what is announced on the hosts' network of `load_balancer_pool` (addresses,
    "first-last", or ranges such as 10.0.0.64/28). `dns_address` empty: the tenth of `service_cidr`."""

    cluster_cidr: str = "10.244.0.0/16"
    node_mask: int = 24
    service_cidr: str = "10.96.0.0/16"
    node_ports: str = "30000-32767"
    load_balancer_pool: tuple[str, ...] = ()
    dns_address: str = ""
    cluster_domain: str = "cluster.local"


@dataclass(frozen=True, slots=True)
class Ray:
    """Where Ray's head is ("ip:port"; empty: no hosts over Ray), the address of this host's raylet, the file of Ray's
    token, a directory that is HOME to what speaks with Ray, and that of this host's certificate for Ray (node.crt,
    node.key, ca.crt). All of them or none."""

    address: str = ""
    node_ip: str = "127.0.0.1"
    token_file: Path | None = None
    home: Path | None = None
    tls_dir: Path | None = None


@dataclass(frozen=True, slots=True)
class Etcd:
    """The store in an etcd cluster, for several meshd: `endpoints` "host:port" (empty: the store is store.db), files of
    its authority and of the certificate and key that it lets in, under which prefix; for how many seconds a leader
    that died still leads. `name`: of this meshd among them; `advertise`: where clients reach it; `servers`: where they
    reach each of them, for what `mesh up` writes (meshd's certificate and the context)."""

    endpoints: tuple[str, ...] = ()
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    prefix: str = "/mesh/"
    lease_seconds: int = 5
    name: str = ""
    advertise: str = ""
    servers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Log:
    """`json` for one JSON object a line, else for people."""

    json: bool = True
    level: str = "info"


@dataclass(frozen=True, slots=True)
class Audit:
    """The audit log: `file` (absent: audit.log in the data directory) is set aside at `max_bytes`, `keep` times."""

    file: Path | None = None
    max_bytes: int = 64 << 20
    keep: int = 10


@dataclass(frozen=True, slots=True)
class Limits:
    """Of each client: calls in a second, how many of them at once after a pause, and streams at a time; for how many
    seconds the reader of a stream may take nothing. Of each host: how many bytes of Secrets' values it may hold."""

    calls_per_second: int = 1000
    burst: int = 2000
    streams: int = 500
    reader_seconds: int = 60
    secret_bytes_per_host: int = 64 << 20


@dataclass(frozen=True, slots=True)
class MeshdConfig:
    """The control service. `listen` are "host:port" addresses; `data_dir` holds store.db and is 0700."""

    data_dir: Path
    key_file: Path  # the key that encrypts Secrets in the store, see docs/secrets.md
    pki: Pki
    key_credential: str = ""  # the systemd credential that is the key file instead
    listen: tuple[str, ...] = ("127.0.0.1:7443",)
    listen_tokens: tuple[str, ...] = ()  # where clients come with a token instead of a certificate
    metrics_listen: tuple[str, ...] = ()  # where figures are read, "host:port"; empty: nowhere
    otlp_endpoint: str = ""  # where traces go, "http://host:port"; empty: as the environment says, or nowhere
    exemplars: bool = False  # ids of traces among the figures
    console_listen: str = ""  # where the console is served while somebody is signed in, "host:port"; empty: nowhere
    network: Network = Network()
    ray: Ray = Ray()
    etcd: Etcd = Etcd()
    log: Log = Log()
    audit: Audit = Audit()
    limits: Limits = Limits()
    node_silence_seconds: int = 4  # a host is Unknown after this long without an answer
    pod_eviction_seconds: int = 5  # and its pods are driven away so much later, unless they say otherwise (N3)
    silent_but_alive_seconds: int = 300  # but not yet, for so long, if the host itself answers; 0: all the same
    event_ttl_seconds: int = 3600  # S8
    autoscale_seconds: int = 15  # how often autoscalers look at their pods (C16)
    history_events: int = 10_000  # how many changes a watch may lie behind
    bookmark_seconds: int = 45  # idle watches get a bookmark this often

    @property
    def store_file(self) -> Path:
        """The SQLite database."""
        return self.data_dir / "store.db"

    @property
    def audit_file(self) -> Path:
        """The audit log."""
        return self.audit.file or self.data_dir / "audit.log"


_TABLES: dict[str, type] = {
    "pki": Pki, "network": Network, "ray": Ray, "etcd": Etcd, "log": Log, "audit": Audit, "limits": Limits,
}  # fmt: skip
_LEVELS = ("debug", "info", "warning", "error")


def parse(text: str) -> MeshdConfig:
    """The configuration in TOML `text`; raises Invalid naming each key that is unknown, missing or wrong."""
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise Invalid(f"cannot read meshd's configuration: {error}") from error
    wrong: list[Violation] = []
    values = _values(MeshdConfig, table, "", wrong)
    if not wrong:
        config = MeshdConfig(**values)
        wrong = [*_listen(config), *_network(config.network), *_ray(config.ray), *_etcd(config.etcd),
                 *_numbers(config)]  # fmt: skip
        if not wrong:
            return config
    raise Invalid.of("meshd.toml", wrong)


def _values(of: type, table: Mapping[str, Any], path: str, wrong: list[Violation]) -> dict[str, Any]:
    hints = get_type_hints(of)
    known: dict[str, Field[Any]] = {f.name: f for f in fields(of)}
    wrong += [Violation(path + name, "is not a key of meshd.toml") for name in table if name not in known]
    required = [n for n, f in known.items() if f.default is MISSING and f.default_factory is MISSING]
    wrong += [Violation(path + name, "is required") for name in required if name not in table]
    values: dict[str, Any] = {}
    for name in known.keys() & table.keys():
        if name in _TABLES and path == "":
            if isinstance(table[name], dict):
                before = len(wrong)
                inner = _values(_TABLES[name], table[name], f"{name}.", wrong)
                if len(wrong) == before:
                    values[name] = _TABLES[name](**inner)
            else:
                wrong.append(Violation(name, "must be a table"))
            continue
        try:
            values[name] = _value(table[name], hints[name])
        except ValueError as error:
            wrong.append(Violation(path + name, str(error)))
    return values


def _value(value: Any, hint: Any) -> Any:
    if hint is bool:
        if not isinstance(value, bool):
            raise ValueError("must be true or false")
        return value
    if hint is int:
        if not isinstance(value, int) or isinstance(value, bool):
            raise ValueError("must be a whole number")
        return value
    if hint == tuple[str, ...]:
        if not isinstance(value, list) or not value or not all(isinstance(v, str) for v in value):
            raise ValueError("must be a list of texts, not empty")
        return tuple(value)
    if not isinstance(value, str):
        raise ValueError("must be a text")  # noqa: TRY004 - all of them become Violations above
    if hint is str:
        return value
    if not Path(value).is_absolute():
        raise ValueError(f'must be an absolute path, not "{value}"')
    return Path(value)


def _listen(config: MeshdConfig) -> list[Violation]:
    told = {"listen": config.listen, "listen_tokens": config.listen_tokens, "metrics_listen": config.metrics_listen}
    wrong = [(f"{n}[{i}]", a) for n, addresses in told.items() for i, a in enumerate(addresses) if not _is_address(a)]
    if config.console_listen and not _is_address(config.console_listen):
        wrong.append(("console_listen", config.console_listen))
    found = [Violation(field, f'"{address}" is not host:port') for field, address in wrong]
    if config.otlp_endpoint and not config.otlp_endpoint.startswith(("http://", "https://")):
        found.append(
            Violation("otlp_endpoint", f'"{config.otlp_endpoint}" is not http://host:port or https://host:port')
        )
    return found


def _ray(ray: Ray) -> list[Violation]:
    if not ray.address:
        return []
    wrong = [] if _is_address(ray.address) else [Violation("ray.address", f'"{ray.address}" is not ip:port')]
    missing = [name for name in ("token_file", "home", "tls_dir") if getattr(ray, name) is None]
    return wrong + [Violation(f"ray.{name}", "is required with ray.address") for name in missing]


def _etcd(etcd: Etcd) -> list[Violation]:
    if not etcd.endpoints:
        return []
    lists = {"endpoints": etcd.endpoints, "servers": etcd.servers}
    wrong = [
        Violation(f"etcd.{name}[{i}]", f'"{address}" is not host:port')
        for name, addresses in lists.items()
        for i, address in enumerate(addresses)
        if not _is_address(address)
    ]
    missing = [name for name in ("ca", "certificate", "key", "name", "advertise") if not getattr(etcd, name)]
    wrong += [Violation(f"etcd.{name}", "is required with etcd.endpoints") for name in missing]
    if etcd.advertise and not _is_address(etcd.advertise):
        wrong.append(Violation("etcd.advertise", f'"{etcd.advertise}" is not host:port'))
    if etcd.name and (why := formats.dns_subdomain(etcd.name)):
        wrong.append(Violation("etcd.name", why))
    if not (etcd.prefix.startswith("/") and etcd.prefix.endswith("/")):
        wrong.append(Violation("etcd.prefix", 'must begin and end with "/"'))
    if not 2 <= etcd.lease_seconds <= 60:
        wrong.append(Violation("etcd.lease_seconds", "must be between 2 and 60"))
    return wrong


def _is_address(text: str) -> bool:
    host, _, port = text.rpartition(":")
    return bool(host) and port.isdecimal() and int(port) <= 65535


def _network(network: Network) -> list[Violation]:
    try:
        cluster = ipaddress.IPv4Network(network.cluster_cidr)
    except ValueError as error:
        return [Violation("network.cluster_cidr", f"is not an IPv4 range: {error}")]
    if not cluster.prefixlen <= network.node_mask <= 29:
        return [Violation("network.node_mask", f"must be between {cluster.prefixlen} and 29")]
    return _services(network, cluster)


def _services(network: Network, cluster: ipaddress.IPv4Network) -> list[Violation]:
    try:
        services = ipaddress.IPv4Network(network.service_cidr)
    except ValueError as error:
        return [Violation("network.service_cidr", f"is not an IPv4 range: {error}")]
    wrong = []
    if not 12 <= services.prefixlen <= 28:
        wrong.append(Violation("network.service_cidr", "must be a range between /12 and /28"))
    if services.overlaps(cluster):
        wrong.append(Violation("network.service_cidr", f"must not overlap with the pods' {network.cluster_cidr}"))
    for name, check in (
        ("node_ports", lambda: ports_of(network.node_ports)),
        ("load_balancer_pool", lambda: pool_of(network.load_balancer_pool)),
        ("dns_address", lambda: _within(services, network.dns_address)),
    ):
        try:
            check()
        except ValueError as error:
            wrong.append(Violation(f"network.{name}", str(error)))
    if why := formats.dns_subdomain(network.cluster_domain):
        wrong.append(Violation("network.cluster_domain", why))
    return wrong


def _within(services: ipaddress.IPv4Network, address: str) -> None:
    if address and ipaddress.IPv4Address(address) not in services:
        raise ValueError(f"must be one of network.service_cidr, {services}")


def ports_of(text: str) -> range:
    """The ports of "first-last"; raises ValueError."""
    first, _, last = text.partition("-")
    if not (first.isdecimal() and last.isdecimal() and 1 <= int(first) <= int(last) <= 65535):
        raise ValueError(f'must be first-last, both of 1 to 65535, is "{text}"')
    return range(int(first), int(last) + 1)


def pool_of(texts: tuple[str, ...]) -> tuple[tuple[int, int], ...]:
    """First and last address of each part, as numbers; raises ValueError."""
    parts = []
    for text in texts:
        first, dash, last = text.partition("-")
        if dash:
            part = int(ipaddress.IPv4Address(first.strip())), int(ipaddress.IPv4Address(last.strip()))
        else:
            network = ipaddress.IPv4Network(text)
            part = int(network.network_address), int(network.broadcast_address)
        if part[0] > part[1]:
            raise ValueError(f'"{text}" ends before it begins')
        parts.append(part)
    return tuple(parts)


def _numbers(config: MeshdConfig) -> list[Violation]:
    least = {
        "node_silence_seconds": 2, "pod_eviction_seconds": 0, "silent_but_alive_seconds": 0, "event_ttl_seconds": 1,
        "autoscale_seconds": 1, "history_events": 100, "bookmark_seconds": 1,
    }  # fmt: skip
    wrong = [
        Violation(name, f"must be at least {minimum}")
        for name, minimum in least.items()
        if getattr(config, name) < minimum
    ]
    if config.audit.max_bytes < 4096:
        wrong.append(Violation("audit.max_bytes", "must be at least 4096"))
    lowest = {"calls_per_second": 1, "burst": 1, "streams": 1, "reader_seconds": 1, "secret_bytes_per_host": 1 << 20}
    wrong += [
        Violation(f"limits.{name}", f"must be at least {least}")
        for name, least in lowest.items()
        if getattr(config.limits, name) < least
    ]
    if config.audit.keep < 1:
        wrong.append(Violation("audit.keep", "must be at least 1"))
    if config.log.level not in _LEVELS:
        wrong.append(Violation("log.level", f"must be one of {', '.join(_LEVELS)}"))
    return wrong
