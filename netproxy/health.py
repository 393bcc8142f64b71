"""Health-check ports of Services: whether this host has endpoints of a Service, for load balancers (X9).

Rule: the body, the codes and the header are Kubernetes': 200 when an endpoint here is ready, 503 when none is.
"""

import asyncio
import json
from collections.abc import Mapping

import structlog

from netproxy.routes import ANY, Health

log = structlog.get_logger()
IDLE = 5.0  # seconds for a request to come


def answer(health: Health) -> bytes:
    """The whole response."""
    namespace, _, name = health.service.partition("/")
    body = json.dumps({
        "service": {"namespace": namespace, "name": name},
        "localEndpoints": health.local,
        "serviceProxyHealthy": True,
    }).encode()  # fmt: skip
    status = "200 OK" if health.local else "503 Service Unavailable"
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nX-Content-Type-Options: nosniff\r\n"
        f"X-Load-Balancing-Endpoint-Weight: {health.local}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body


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
