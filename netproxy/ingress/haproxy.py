"""A plan as HAProxy's configuration: its text, its maps, its list of certificates, and the commands that move slots.

Rule: pure. `skeleton` is the configuration without who has which slot: as long as it is the same, commands will do.
Nothing that a user wrote gets into the text unchecked: names, hosts and paths have been through admission, and what
would end a line or a word is left out all the same.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from netproxy.ingress.routes import Plan, Pool, Slot
from netproxy.ingress.tallies import DOOR

_SAFE = re.compile(r"[!-~]+", re.ASCII)
_USER = re.compile(r"[A-Za-z0-9_.@+-]{1,64}", re.ASCII)
_HASH = re.compile(r"\$(1|5|6|2[aby]|y)\$[./A-Za-z0-9$=,]{8,200}", re.ASCII)
_CONNECT, _ANSWER, _IDLE, _TUNNEL = 3, 60, 60, 3600  # seconds
NOBODY = "nobody"  # the backend of requests that no route is for
# How a request looks in each level's maps, in the order in which they are asked: "host|path" and an end.
_LEVELS = {
    "hosts": "var(txn.host),concat(|,txn.path{end})",
    "wildcards": "var(txn.host),field(2,.,0),concat(|,txn.path{end})",  # without the first label
    "anyone": "str(|),concat(,txn.path{end})",
}
_TLS = "ssl-min-ver TLSv1.2 no-tls-tickets"
LOG = (
    '{"event":"ingress_request","time":%Ts.%ms,"client":"%ci","host":"%[var(txn.host),json(utf8s)]",'
    '"method":"%HM","path":"%[var(txn.path),json(utf8s)]","status":%ST,"bytes":%B,'
    '"milliseconds":%Ta,"route":"%b","backend":"%si:%sp","retries":"%rc","tls":"%sslv",'
    '"protocol":"%HV"}'
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where things are on this host: `directory` in memory; the ports; whom HAProxy becomes, "" for nobody else."""

    directory: str
    http: int = 80
    https: int = 443
    user: str = ""
    group: str = ""

    def file(self, name: str) -> str:
        """The path of one of its files."""
        return f"{self.directory}/{name}"


@dataclass(frozen=True, slots=True)
class Rendered:
    """Files by name, haproxy.cfg among them. `skeleton` changes when HAProxy must read them again."""

    files: Mapping[str, str]
    skeleton: str


def rendered(plan: Plan, place: Place, passwords: Mapping[str, str], certificates: Mapping[str, str]) -> Rendered:
    """`passwords`: the text of a password file by "namespace/secret"; `certificates`: the file of each that there is,
    by "namespace/secret", "" for the mesh's own."""
    maps = dict(_maps(plan))
    listed = _certificate_list(plan, place, certificates)
    bare = "\n".join(_configuration(plan, place, passwords, bool(listed), slots=False))
    text = "\n".join(_configuration(plan, place, passwords, bool(listed), slots=True))
    files = {**maps, "certificates.list": listed, "haproxy.cfg": text + "\n"}
    return Rendered(files, "\n".join([bare, *(f"{n}\n{t}" for n, t in sorted(maps.items())), listed]))


def command_of(pool: str, index: int, slot: Slot | None) -> list[str]:
    """What gives a slot to a backend, or to nobody."""
    where = f"{pool}/p{index}"
    if slot is None:
        return [f"set server {where} state maint"]
    return [
        f"set server {where} addr {slot.backend.ip} port {slot.backend.port}",
        f"set server {where} weight {slot.weight}",
        f"set server {where} state ready",
    ]


def _maps(plan: Plan) -> Iterator[tuple[str, str]]:
    """For each level its exact paths, and the beginnings of paths; the shortest of these is all of a host, for a host's
    paths are its own."""
    hosts = {short: host for host, short in plan.hosts.items()}
    exact: dict[str, dict[str, str]] = {level: {} for level in _LEVELS}
    begins: dict[str, dict[str, str]] = {level: {} for level in _LEVELS}
    for host, short in plan.hosts.items():
        begins[_level(host)][_key(host)] = plan.rest.get(short) or plan.default or NOBODY
    for (short, path), pool in plan.exact.items():
        exact[_level(hosts[short])][_key(hosts[short], path)] = pool
    for (short, path), pool in plan.prefixes.items():
        begins[_level(hosts[short])][_key(hosts[short], f"{path}/")] = pool
    for level in _LEVELS:
        yield f"{level}-exact.map", _lines(exact[level].items())
        yield f"{level}.map", _lines(begins[level].items())


def _level(host: str) -> str:
    return "wildcards" if host.startswith("*.") else "hosts" if host else "anyone"


def _key(host: str, path: str = "") -> str:
    return f"{host.removeprefix('*.')}|{path}"


def _lines(pairs: object) -> str:
    found = sorted(pairs)  # type: ignore[call-overload]  # of pairs of texts
    return "".join(f"{key} {value}\n" for key, value in found if _SAFE.fullmatch(key) and _SAFE.fullmatch(value))


def _certificate_list(plan: Plan, place: Place, certificates: Mapping[str, str]) -> str:
    first = certificates.get(plan.certificates.get("", ""), "") or certificates.get("", "")
    if not first:  # any is better than no HTTPS at all
        first = next((certificates[s] for s in plan.certificates.values() if s in certificates), "")
    lines = [f"{place.file(first)} nobody.invalid"] if first else []
    by_file: dict[str, list[str]] = {}
    for host, secret in plan.certificates.items():
        if host and secret in certificates and _SAFE.fullmatch(host):
            by_file.setdefault(certificates[secret], []).append(host)
    lines += [f"{place.file(file)} {' '.join(sorted(hosts))}" for file, hosts in sorted(by_file.items())]
    return "".join(f"{line}\n" for line in lines)


def _configuration(
    plan: Plan, place: Place, passwords: Mapping[str, str], tls: bool, *, slots: bool
) -> Iterator[str]:  # fmt: skip
    yield from _global(place)
    yield from _frontend(plan, place, tls)
    for pool in plan.pools.values():
        if pool.options.passwords:
            yield from _users(pool, passwords.get(f"{pool.owner.partition('/')[0]}/{pool.options.passwords}", ""))
        yield from _backend(pool, slots)


def _global(place: Place) -> Iterator[str]:
    yield "global"
    yield "  log stdout format raw local0"
    yield f"  stats socket {place.file('worker.sock')} mode 600 level admin expose-fd listeners"
    yield "  hard-stop-after 10m"
    yield "  ssl-default-bind-options " + _TLS
    yield "  tune.ssl.default-dh-param 2048"
    if place.user:
        yield f"  user {place.user}"
        yield f"  group {place.group}"
    yield "defaults"
    yield "  mode http"
    yield f"  log-format '{LOG}'"
    for option in ("dontlognull", "idle-close-on-response", "http-keep-alive", "redispatch 1"):
        yield f"  option {option}"
    yield "  retries 3"
    yield f"  timeout connect {_CONNECT}s"
    yield f"  timeout queue {_CONNECT}s"
    yield f"  timeout client {_IDLE}s"
    yield f"  timeout server {_ANSWER}s"
    yield "  timeout http-request 10s"
    yield f"  timeout http-keep-alive {_IDLE}s"
    yield f"  timeout tunnel {_TUNNEL}s"


def _frontend(plan: Plan, place: Place, tls: bool) -> Iterator[str]:
    yield f"frontend {DOOR}"
    yield "  log global"
    for address in plan.addresses:
        yield f"  bind {address}:{place.http}"
        if tls:
            yield f"  bind {address}:{place.https} ssl crt-list {place.file('certificates.list')} alpn h2,http/1.1"
    yield "  http-request set-var(txn.host) req.hdr(host),host_only"
    yield "  http-request set-var(txn.path) path"
    yield from _lookups(plan, place)
    yield "  http-request set-header X-Forwarded-For %[src]"
    yield "  http-request set-header X-Real-IP %[src]"
    yield "  http-request set-header X-Forwarded-Host %[req.hdr(host)]"
    yield "  http-request set-header X-Forwarded-Port %[dst_port]"
    yield "  http-request set-header X-Forwarded-Proto %[ssl_fc,iif(https,http)]"
    yield "  use_backend %[var(txn.pool)]"
    yield f"  default_backend {plan.default or NOBODY}"
    yield f"backend {NOBODY}"
    yield '  http-request return status 404 content-type text/plain string "no route\\n"'


def _lookups(plan: Plan, place: Place) -> Iterator[str]:
    """One lookup for a request to a host that is named. Other levels are asked only where that has found nothing, and
    are left out, as exact paths are, where nobody has any."""
    hosts = {short: host for host, short in plan.hosts.items()}
    begins, exact = {_level(host) for host in plan.hosts}, {_level(hosts[short]) for short, _ in plan.exact}
    looks = []
    for level in _LEVELS:
        looks += [(level, "-exact", "", "map_str")] if level in exact else []
        looks += [(level, "", ",/", "map_beg")] if level in begins else []
    for number, (level, kind, end, how) in enumerate(looks):
        unless = ["!{ var(txn.pool) -m found }"] if number else []
        if level == "wildcards":  # an empty label is none
            unless.append("!{ var(txn.host) -m beg . }")
        found = f"{_LEVELS[level].format(end=end)},{how}({place.file(f'{level}{kind}.map')})"
        yield " ".join([f"  http-request set-var(txn.pool) {found}", *(["if"] if unless else []), *unless])


def _users(pool: Pool, text: str) -> Iterator[str]:
    yield f"userlist {pool.name}"
    for line in text.splitlines():
        name, _, crypted = line.strip().partition(":")
        if _USER.fullmatch(name) and _HASH.fullmatch(crypted):
            yield f"  user {name} password '{crypted}'"


def _backend(pool: Pool, slots: bool) -> Iterator[str]:
    options = pool.options
    yield f"backend {pool.name}"
    yield f"  balance {_BALANCE[options.balance]}"
    if options.redirect:
        yield "  http-request redirect scheme https code 308 unless { ssl_fc }"
    if options.rate:
        yield "  stick-table type ipv6 size 100k expire 10s store http_req_rate(1s)"
        yield "  http-request track-sc0 src"
        yield f"  http-request deny deny_status 429 if {{ sc_http_req_rate(0) gt {options.rate} }}"
    if options.passwords:
        yield f"  http-request auth realm {pool.owner} unless {{ http_auth({pool.name}) }}"
        yield "  http-request del-header Authorization"
    if options.body:
        yield "  http-request return status 411 if { req.hdr(transfer-encoding) -m found }"
        yield f"  http-request deny deny_status 413 if {{ req.hdr(content-length),sub({options.body}) gt 0 }}"
    if options.timeout:
        yield f"  timeout server {options.timeout}s"
    if options.cookie:
        yield f"  cookie {options.cookie} insert indirect nocache httponly dynamic attr SameSite=Lax"
        yield f"  dynamic-cookie-key {pool.key}"
    for index in range(len(pool.slots)):
        slot = pool.slots[index] if slots else None
        where = f"{slot.backend.ip}:{slot.backend.port} weight {slot.weight}" if slot else "127.0.0.1:1 disabled"
        yield f"  server p{index} {where}{' proto h2' if pool.http2 else ''}"


_BALANCE = {"round-robin": "roundrobin", "least-connections": "leastconn", "random": "random(2)"}
