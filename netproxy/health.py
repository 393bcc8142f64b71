"""What load balancers are told: whether this host has endpoints of a Service (X9), and whether its proxy does its work
(X20).

Rule: the paths, the bodies, the codes and the header are Kubernetes': 200 when an endpoint here is ready, 503 when none
is; /healthz is 503 when what was ordered is not served or the host is being shut down, /livez for the first alone.
"""

import asyncio
import json
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

import structlog

from mesh.exposition.serving import until_cancelled
from netproxy.routes import ANY, Health

log = structlog.get_logger()
IDLE = 5.0  # seconds for a request to come
STALE = 60.0  # seconds that a table may be on its way (kube-proxy: two periods of its sync)
AGAIN = 30.0  # seconds until a port that somebody else has is tried again


class Standing(NamedTuple):
    """Of the proxy: has it ever had a table, is its host being shut down, since when is a table not served yet (0: it
    is), by the clock that says `now`."""

    served: bool
    leaving: bool
    unserved_since: float
    now: float

    @property
    def alive(self) -> bool:
        """Whether it serves what it was ordered to."""
        return self.served and not (self.unserved_since and self.now - self.unserved_since > STALE)


def standing_answer(path: str, standing: Standing) -> bytes:
    """The whole response at /healthz or /livez."""
    if path not in ("/healthz", "/livez"):
        return _response("404 Not Found", b"{}")
    well = standing.alive and not (standing.leaving and path == "/healthz")
    now = time.time()
    late = standing.now - standing.unserved_since if standing.unserved_since else 0.0
    told = {"lastUpdated": _stamp(now - late), "currentTime": _stamp(now), "nodeEligible": not standing.leaving}
    return _response("200 OK" if well else "503 Service Unavailable", json.dumps(told).encode())


def _stamp(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def _response(status: str, body: bytes, extra: str = "") -> bytes:
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nX-Content-Type-Options: nosniff\r\n"
        f"{extra}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body


def answer(health: Health) -> bytes:
    """The whole response."""
    namespace, _, name = health.service.partition("/")
    body = json.dumps({
        "service": {"namespace": namespace, "name": name},
        "localEndpoints": health.local,
        "serviceProxyHealthy": True,
    }).encode()  # fmt: skip
    status = "200 OK" if health.local else "503 Service Unavailable"
    return _response(status, body, f"X-Load-Balancing-Endpoint-Weight: {health.local}\r\n")


class Healthz:
    """The proxy's own port, "ip:port"; while somebody else has it, it is tried again."""

    def __init__(self, address: str, standing: Callable[[], Standing]) -> None:
        self._address = address
        self._standing = standing

    async def run(self) -> None:
        """Until cancelled."""
        ip, _, port = self._address.rpartition(":")
        while True:
            try:
                server = await asyncio.start_server(self._serve, ip, int(port))
                break
            except OSError as error:
                log.error("healthz_failed", address=self._address, error=str(error))
                await asyncio.sleep(AGAIN)
        await until_cancelled(server)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(IDLE):
                words = (await reader.readuntil(b"\r\n\r\n")).split(b" ", 2)
                path = words[1].decode(errors="replace") if len(words) > 1 else ""
                writer.write(standing_answer(path, self._standing()))
                await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, asyncio.CancelledError):
            return
        finally:
            writer.close()


class HealthPorts:
    """Serves `want`ed ports; one that cannot be listened on is logged and tried with the next change."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._by_owner: dict[str, dict[int, Health]] = {}
        self._servers: dict[int, asyncio.Server] = {}
        self._changing: asyncio.Task[None] | None = None

    def want(self, owner: str, ports: Mapping[int, Health]) -> None:
        """What `owner` wants served from now on; listeners follow in a moment."""
        before = self._by_owner.pop(owner, {})
        if ports:
            self._by_owner[owner] = dict(ports)
        if set(before) != set(ports) and (self._changing is None or self._changing.done()):
            self._changing = self._loop.create_task(self._change())

    def _wanted(self) -> dict[int, Health]:
        return {port: health for ports in self._by_owner.values() for port, health in ports.items()}

    async def _change(self) -> None:
        while (different := set(self._wanted()) ^ set(self._servers)) and not await self._apply(different):
            continue

    async def _apply(self, different: set[int]) -> bool:
        """Whether something could not be done."""
        failed = False
        for port in different:
            server = self._servers.pop(port, None)
            if server is not None:
                server.close()
                continue
            try:
                self._servers[port] = await asyncio.start_server(self._serve, ANY, port, reuse_address=True)
            except OSError as error:
                log.error("health_port_failed", port=port, error=str(error))
                failed = True
        return failed

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(IDLE):
                await reader.readuntil(b"\r\n\r\n")
                health = self._wanted().get(writer.get_extra_info("sockname")[1])
                if health is not None:
                    writer.write(answer(health))
                    await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, asyncio.CancelledError):
            return
        finally:
            writer.close()
