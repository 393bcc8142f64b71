"""What is fuzzed: each reader of what strangers write, as a function of bytes.

Rule: a target raises nothing but for a bug: what is refused is refused by an error of `mesh.errors`, or by ValueError
where the reader says so.
"""

import contextlib
import json
from collections.abc import Callable, Sequence

import dns.message
import dns.rcode
from google.protobuf import json_format, struct_pb2
from google.protobuf.any_pb2 import Any

from mesh import config, jwt, pki, signing
from mesh.access import accounts, tokens
from mesh.access.asks import asks_of
from mesh.admission import admit
from mesh.admission.admit import Stamp
from mesh.errors import MeshError
from mesh.model import cron, manifest, quantity, selectors
from mesh.model.kinds import KINDS, key_of, unpack
from mesh.sdk import jsonpath
from mesh.store.port import Snapshot
from mesh.v1 import access_pb2, control_pb2, secrets_pb2
from mesh.v1.core_pb2 import Pod, ServiceAccount
from mesh.view import View
from netproxy.dns import message
from tests.fuzz import sealed
from tests.harness import objects

NOW = 1_770_000_000 * 10**9
STAMP = Stamp(NOW, "11111111-2222-3333-4444-555555555555", "x7k2p")
VIEW = View(Snapshot(1, objects.namespaces()))
POD = """apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec:
  containers:
  - {name: main, image: "example:1", env: [{name: A, value: $(B)}], resources: {limits: {cpu: 500m, memory: 64Mi}}}
"""


def manifests(data: bytes) -> None:
    """YAML of files."""
    with contextlib.suppress(MeshError):
        for obj in manifest.load(data.decode(errors="replace"), "fuzz.yaml", default_namespace="default").objects:
            admit.apply(obj, None, VIEW, STAMP)


def objects(data: bytes) -> None:
    """Any kind's protobuf, admitted, then changed by itself."""
    kind = KINDS[(data[0] if data else 0) % len(KINDS)]
    box = Any(type_url=f"type.googleapis.com/{kind.message.DESCRIPTOR.full_name}", value=data[1:])
    with contextlib.suppress(MeshError):
        obj = unpack(box)
        key_of(obj)
        made = admit.create(obj, VIEW, STAMP).object
        admit.update(made, made, VIEW, STAMP)
        admit.apply(obj, made, VIEW, STAMP)
        admit.delete(made, None, VIEW, STAMP)


def requests(data: bytes) -> None:
    """Requests of every method, up to what they ask for."""
    files = (control_pb2, access_pb2, secrets_pb2)
    services = [service for file in files for service in file.DESCRIPTOR.services_by_name.values()]
    for service, method in ((s, m) for s in services for m in s.methods):
        request = method.input_type._concrete_class()
        try:
            request.ParseFromString(data)
        except Exception:  # noqa: BLE001, S112 - gRPC refuses what can't be parsed
            continue
        with contextlib.suppress(MeshError):
            asks_of(f"/{service.full_name}/{method.name}", request)


def patches(data: bytes) -> None:
    """JSON merge patches of a pod."""
    patch = struct_pb2.Struct()
    try:
        patch.ParseFromString(data)
        changes = json_format.MessageToDict(patch)
    except Exception:  # noqa: BLE001 - gRPC and protobuf refuse it
        return
    with contextlib.suppress(MeshError):
        admit.patch(changes, _POD, VIEW, STAMP)


def selecting(data: bytes) -> None:
    """Label and field selectors."""
    text = data.decode(errors="replace")
    for read in (selectors.parse_labels, lambda t: selectors.parse_fields(t, KINDS[0])):
        with contextlib.suppress(MeshError):
            read(text)
    with contextlib.suppress(MeshError):
        selectors.matches(selectors.parse_labels(text), {"app": "web", "a/b": ""})
    with contextlib.suppress(MeshError):
        selectors.parse_fields(text).matches(_POD)


def quantities(data: bytes) -> None:
    """Quantities such as 1.5Gi."""
    text = data.decode(errors="replace")
    with contextlib.suppress(ValueError, MeshError):
        quantity.parse(text)
        canonical = quantity.canonical(text)
        assert quantity.canonical(canonical) == canonical, text
        quantity.amount("cpu", text)
        quantity.amount("memory", text)


def schedules(data: bytes) -> None:
    """CronJobs' schedules and time zones."""
    schedule, _, zone = data.decode(errors="replace").partition("\n")
    cron.zone_why_not(zone)
    if not cron.why_not(schedule):
        cron.next_after(schedule, "UTC", NOW)
        cron.due(schedule, "UTC", NOW, NOW + 400 * 86_400 * 10**9)


def secrets_of_doors(data: bytes) -> None:
    """Tokens, requests for certificates, certificates, signatures, meshd.toml."""
    text = data.decode(errors="replace")
    host = signing.HOST_KEY
    for read in (lambda: tokens.read(text), lambda: pki.wished_key(data), lambda: pki.identity(data),
                 lambda: pki.split(data), lambda: config.parse(text),
                 lambda: signing.verify_host(_signed(data), host, b"", "a", _CERTIFICATE, NOW // 10**9)):  # fmt: skip
        with contextlib.suppress(MeshError):
            read()


def bearers(data: bytes) -> None:
    """Tokens of service accounts as callers bring them, and whatever the mesh could have signed."""
    text = data.decode(errors="replace")
    with contextlib.suppress(MeshError):
        jwt.read(text, _KEY)
    try:
        claims = json.loads(text)
        token = jwt.sign(claims, _KEY)
    except (ValueError, RecursionError):
        return
    if isinstance(claims, dict):
        with contextlib.suppress(MeshError):
            accounts.bearer_of(jwt.read(token, _KEY), VIEW, NOW // 10**9)


def datagrams(data: bytes) -> None:
    """Questions to the proxy's DNS, and the answers of refusal."""
    try:
        query = message.question(data)
        message.asked(query)
    except message.Garbage:
        return
    limit = message.limit(query)
    for answer in (message.reply(query), message.failure(query, dns.rcode.SERVFAIL)):
        assert len(message.wire_of(answer, limit)) <= limit


def _signed(data: bytes) -> signing.Signed:
    return signing.Signed(data, data)


def jsonpaths(data: bytes) -> None:
    """Templates of -o jsonpath."""
    value = {"items": [{"a": 1, "b": ["x"]}], "kind": "List"}
    with contextlib.suppress(MeshError, ValueError):
        jsonpath.render(jsonpath.parse(data.decode(errors="replace")), value)


(_read,) = manifest.load(POD, "pod.yaml", default_namespace="default").objects
_POD = admit.create(_read, VIEW, STAMP).object
assert isinstance(_POD, Pod)

_QUESTIONS = (("web.default.svc", "A"), ("_http._tcp.web.default", "SRV"), ("1.0.96.10.in-addr.arpa", "PTR"))
_KINDS = [bytes([i]) + b"\x1a\x05\x0a\x03web" for i in range(len(KINDS))]
_TOKEN = b"mesh1." + b"a" * 10 + b"." + b"b" * 32 + b"." + b"0" * 64
_KEY = pki.wish().key
_CLAIMS = accounts.claims_of(ServiceAccount(), _POD, [""], NOW // 10**9, NOW // 10**9 + 600)
_BEARER = jwt.sign(_CLAIMS, _KEY).encode()
_CERTIFICATE = pki.make_ca("x", NOW // 10**9).certificate
_PATCH = {"spec": {"containers": [{"name": "x"}]}, "metadata": {"labels": None}}
_PATCH_BYTES = json_format.ParseDict(_PATCH, struct_pb2.Struct()).SerializeToString()

TARGETS: dict[str, tuple[Callable[[bytes], None], Sequence[bytes]]] = {
    "manifests": (manifests, (POD.encode(), b"a: &a [1]\nb: *a\n", b"kind: List\nitems: [{}]\n", b"--- \n...\n")),
    "objects": (objects, [*_KINDS, b"\0" + _POD.SerializeToString()]),
    "requests": (requests, (b"", b"\x0a\x03Pod\x12\x07default", b"\x0a\x10\x0a\x03Pod\x12\x01a\x1a\x03web")),
    "patches": (patches, [_PATCH_BYTES]),
    "selectors": (selecting, (b"app=web,a!=b,c in (d,e),!f", b"metadata.name=a,spec.nodeName!=b")),
    "quantities": (quantities, (b"100m", b"1.5Gi", b"-3e6", b"12E", b".5", b"0x1")),
    "cron": (schedules, (b"*/5 1-3 * jan,mar mon\nEurope/Berlin", b"@daily\nUTC", b"0 0 29 2 *\n")),
    "doors": (secrets_of_doors, (pki.wish().certificate, _CERTIFICATE, b"listen = ['a:1']\n", _TOKEN)),
    "bearers": (bearers, (_BEARER, json.dumps(_CLAIMS).encode(), b'{"exp": 1e999, "nbf": [], "aud": {}}')),
    "sealed": (sealed.door, (b"", sealed.HELLO, sealed.CALL)),
    "dns": (datagrams, [dns.message.make_query(name, kind, use_edns=True).to_wire() for name, kind in _QUESTIONS]),
    "jsonpath": (jsonpaths, (b"{.items[*].a}", b"{range .items[?(@.a==1)]}{.b[0]}{end}", b"{.a['b']..c}")),
}
