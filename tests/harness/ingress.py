"""The ingress of one host for tests: a real HAProxy, driven by manifests through the same table as a proxy's.

Rule: what is applied goes through admission and `mesh.network.table`; pods are servers of this process on addresses of
127.0.0.0/8, and answer with what they were asked.
"""

import asyncio
import base64
import hashlib
import json
import ssl
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mesh import pki
from mesh.admission import admit
from mesh.admission.admit import Stamp
from mesh.model import manifest
from mesh.model.ingress import DEFAULT_CERTIFICATE
from mesh.model.kinds import Object, key_of
from mesh.network import ingress as network
from mesh.network.table import Table
from mesh.store.port import Event, Snapshot
from mesh.v1.core_pb2 import Secret
from mesh.v1.meta_pb2 import ObjectMeta
from mesh.v1.net_pb2 import Ingress
from mesh.v1.node_pb2 import Fence, ProxyService
from mesh.view import View
from netproxy.ingress.engine import Ingress as Engine
from tests.harness.objects import namespace
from tests.harness.ports import free_ports
from tests.harness.services import node
from tests.harness.services import pod as a_pod

NOW = 1_770_000_000
DEADLINE = 30.0
WEBSOCKET = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455
MEMORY = Path("/dev/shm")


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back; `body` is read as JSON when it is some."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def said(self) -> dict[str, Any]:
        """What the pod was asked, in its own words."""
        found: dict[str, Any] = json.loads(self.body)
        return found

    @property
    def pod(self) -> str:
        """Who answered, "" for the ingress itself."""
        return str(self.said["pod"]) if self.status == 200 else ""


async def _pod(name: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One connection to a pod: HTTP/1.1 that tells what it was asked, and echoes bytes after an upgrade."""
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            first, *lines = head.splitlines()
            headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines if line)}
            body = await reader.readexactly(int(headers.get("content-length", 0)))
            if headers.get("upgrade") == "websocket":
                key = base64.b64encode(hashlib.sha1(headers["sec-websocket-key"].encode() + WEBSOCKET).digest())  # noqa: S324
                words = b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " + key
                writer.write(b"HTTP/1.1 101 Switching Protocols\r\n" + words + b"\r\n\r\n")
                while data := await reader.read(4096):
                    writer.write(data.upper())
                return
            said = {"pod": name, "path": first.split()[1], "headers": headers, "length": len(body)}
            text = json.dumps(said).encode()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(text), text))
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


@dataclass
class Mesh:
    """One host that serves Ingresses. `changed` waits until HAProxy does what was applied."""

    engine: Engine
    http: int
    https: int
    ca: pki.Pair
    view: View = field(default_factory=lambda: View(Snapshot(1, [namespace("default"), namespace("other")])))
    servers: list[asyncio.Server] = field(default_factory=list)
    revision: int = 1

    def __post_init__(self) -> None:
        self.table = Table(self.view)
        self._held: dict[str, ProxyService] = {}
        self._digest = ""
        host = node("a")
        host.metadata.labels["mesh/ingress"] = "true"
        self._put(host)

    def apply(self, *texts: str) -> list[Object]:
        """Objects of manifests, as a user would apply them; each is a second younger than the one before."""
        made = []
        for text in texts:
            for obj in manifest.load(text, "test", default_namespace="default").objects:
                self.revision += 1
                stamp = Stamp((NOW + self.revision) * 10**9, f"uid-{self.revision}", "abcde")
                found = admit.apply(obj, self.view.get(key_of(obj)), self.view, stamp).object
                self._put(found)
                made.append(found)
        return made

    def remove(self, kind: str) -> None:
        """Every object of a kind."""
        for obj in self.view.of_kind(kind):
            self._note([Event(self.revision + 1, key_of(obj), None, obj)])

    async def service(self, name: str, *pods: str, port: int = 8080, protocol: str = "") -> None:
        """A Service with these pods; each is a server of its own."""
        app = f", appProtocol: {protocol}" if protocol else ""
        spec = f"{{selector: {{app: {name}}}, ports: [{{name: http, port: {port}, targetPort: 8080{app}}}]}}"
        self.apply(f"{{apiVersion: v1, kind: Service, metadata: {{name: {name}}}, spec: {spec}}}")
        for pod in pods:
            await self.pod(pod, name)

    async def pod(self, name: str, app: str) -> None:
        """One more pod of a Service."""
        address = f"127.77.{len(self.servers) // 200}.{len(self.servers) % 200 + 1}"
        self.servers.append(await asyncio.start_server(lambda r, w: _pod(name, r, w), address, 8080, backlog=1024))
        self.put_pod(name, address, app)

    def put_pod(self, name: str, address: str, app: str) -> None:
        """A pod that somebody else serves."""
        self._put(a_pod(name, address, app=app))

    def unready(self, name: str) -> None:
        """The pod takes nothing any more."""
        held = self.view.pod("default", name)
        assert held is not None
        changed = a_pod(name, held.status.pod_ip, ready=False, app=held.metadata.labels["app"])
        self._put(changed)

    def secret(self, name: str, *hosts: str, serial: int = 0) -> None:
        """A certificate for these names."""
        pair = pki.issue(self.ca, pki.server(f"{name}-{serial}", hosts or (name,)), NOW_SECONDS(), 30)
        self._put(
            Secret(
                metadata=ObjectMeta(name=name, namespace="default", uid=f"{name}-{serial}"), type="kubernetes.io/tls",
                data={"tls.crt": pair.certificate, "tls.key": pair.key},
            )
        )  # fmt: skip

    async def changed(self) -> None:
        """Programs the engine with what there is now, and waits until HAProxy does it."""
        pieces = self.table.pieces(self._digest, Fence())
        if not pieces[0].base:
            self._held = {}
        for piece in pieces:
            self._held |= {f"{s.namespace}/{s.name}": s for s in piece.services}
            for gone in piece.gone:
                del self._held[gone]
        self._digest = pieces[-1].digest
        ingresses = {k.replace("/ingress:", "/"): s.ingress for k, s in self._held.items() if "/ingress:" in k}
        self.engine.program(ingresses, {k: s for k, s in self._held.items() if "/ingress:" not in k})
        wanted = [self.view.get(key) for key in sorted(network.secrets("a", self.view))]
        self.engine.secrets([self._default(), *(s for s in wanted if isinstance(s, Secret))])
        self.engine.place(True, ["127.0.0.1"])
        try:
            async with asyncio.timeout(DEADLINE):
                await self.engine.settled()
        except TimeoutError:
            raise AssertionError(f"not settled: {self.engine.problem}") from None

    def ingress(self, name: str) -> Ingress:
        """As it is stored."""
        found = next(o for o in self.view.of_kind("Ingress") if o.metadata.name == name)
        assert isinstance(found, Ingress)
        return found

    def _default(self) -> Secret:
        space, name = DEFAULT_CERTIFICATE
        pair = _DEFAULTS.setdefault(id(self), pki.issue(self.ca, pki.server("ingress.mesh", ()), NOW_SECONDS(), 30))
        return Secret(
            metadata=ObjectMeta(name=name, namespace=space), data={"tls.crt": pair.certificate, "tls.key": pair.key}
        )

    def _put(self, obj: Object) -> None:
        self._note([Event(self.revision + 1, key_of(obj), obj, self.view.get(key_of(obj)))])

    def _note(self, events: list[Event]) -> None:
        self.revision += 1
        self.view.apply(events)
        self.table.note(events)

    # ---- clients

    async def get(
        self, host: str, path: str = "/", *, tls: bool = False, method: str = "GET", body: bytes = b"",
        headers: Mapping[str, str] | None = None,
    ) -> Answer:  # fmt: skip
        """One request on a connection of its own."""
        reader, writer = await self.connect(host if tls else "")
        try:
            return await ask(reader, writer, host, path, method=method, body=body, headers=headers)
        finally:
            writer.close()

    async def connect(self, name: str = "") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection; with a name over TLS."""
        if not name:
            return await asyncio.open_connection("127.0.0.1", self.http)
        return await asyncio.open_connection("127.0.0.1", self.https, ssl=_trusting(), server_hostname=name)

    async def shown(self, name: str) -> str:
        """The common name of the certificate that a client of this name is shown."""
        _, writer = await self.connect(name)
        der: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        writer.close()
        return common_name(der)


_DEFAULTS: dict[int, pki.Pair] = {}


def NOW_SECONDS() -> int:  # noqa: N802 - certificates are looked at by real clocks
    """Now."""
    import time  # noqa: PLC0415

    return int(time.time())


def common_name(der: bytes) -> str:
    """Of a certificate."""
    from cryptography import x509  # noqa: PLC0415

    held = x509.load_der_x509_certificate(der)
    return str(held.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)[0].value)


def _trusting() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


async def ask(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str, path: str = "/", *, method: str = "GET",
    body: bytes = b"", headers: Mapping[str, str] | None = None,
) -> Answer:  # fmt: skip
    """One request on a connection; raises IncompleteReadError when it was closed instead."""
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", *(f"{k}: {v}" for k, v in (headers or {}).items())]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    async with asyncio.timeout(DEADLINE):
        writer.write("\r\n".join([*lines, "", ""]).encode() + body)
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        first, *rest = head.splitlines()
        found = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in rest if line)}
        return Answer(int(first.split()[1]), found, await reader.readexactly(int(found.get("content-length", 0))))


@asynccontextmanager
async def serving() -> AsyncIterator[Mesh]:
    """A mesh with an ingress, and nothing applied."""
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as directory:
        http, https = free_ports(2)
        engine = Engine(asyncio.get_running_loop(), Path(directory), (http, https))
        mesh = Mesh(engine, http, https, pki.make_ca("test", NOW_SECONDS()))
        try:
            yield mesh
        finally:
            engine.end()
            master = engine.master
            if master.pid:
                await master.kill()
            for server in mesh.servers:
                server.close()
            with suppress(KeyError):
                del _DEFAULTS[id(mesh)]
