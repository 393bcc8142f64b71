"""The agent's end of the proxy's control socket.

Rule: what the proxy says it holds is the acknowledgement; while it is away it holds nothing that we know of (None).
What the host's side is (`host`) is said first of all, and again whenever the proxy is back; pieces of the table are
passed on in the order in which they come, and lost with the connection: meshd sees that, and sends what is missing.
"""

import asyncio
import struct
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import structlog
from google.protobuf.message import DecodeError

from mesh.errors import Unavailable
from mesh.model import protocol
from mesh.model.pauses import Pauses
from mesh.v1.node_pb2 import Flows, FlowsRequest, HostSide, IngressSecrets, ProxyHeld, ProxyOrder, ServiceTable

log = structlog.get_logger()

AWAY = (0.1, 2.0)  # seconds between attempts to reach it
OnHeld = Callable[[ProxyHeld | None], None]


class ProxyPort(Protocol):
    """The agent's end of this host's proxy."""

    def program(self, table: ServiceTable) -> None:
        """Passes a piece of the table on; raises Unavailable while the proxy is away."""
        ...

    def host(self, side: HostSide) -> None:
        """What the host's side is from now on."""
        ...

    def secrets(self, secrets: IngressSecrets) -> None:
        """What the host's ingress needs and no disk may hold, from now on."""
        ...

    async def flows(self, request: FlowsRequest) -> Flows:
        """What the proxy carries; raises Unavailable."""
        ...

    async def run(self) -> None:
        """Talks to the proxy for ever."""
        ...


class Proxy:
    """Keeps one connection; `on_held` gets what the proxy says, None when it is away."""

    def __init__(self, socket: Path, on_held: OnHeld) -> None:
        self._socket = socket
        self._on_held = on_held
        self._host: HostSide | None = None
        self._secrets: IngressSecrets | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._asked: deque[asyncio.Future[Flows]] = deque()

    def program(self, table: ServiceTable) -> None:
        """See ProxyPort; what is held then is told by `on_held`."""
        self._order(ProxyOrder(table=table))

    def host(self, side: HostSide) -> None:
        """See ProxyPort."""
        if side == self._host:
            return
        self._host = side
        if self._writer is not None:
            self._order(ProxyOrder(host=side))

    def secrets(self, secrets: IngressSecrets) -> None:
        """See ProxyPort."""
        if secrets == self._secrets:
            return
        self._secrets = secrets
        if self._writer is not None:
            self._order(ProxyOrder(ingress_secrets=secrets))

    async def flows(self, request: FlowsRequest) -> Flows:
        """See ProxyPort."""
        self._order(ProxyOrder(flows=request))
        answer: asyncio.Future[Flows] = asyncio.get_running_loop().create_future()
        self._asked.append(answer)
        return await answer

    async def run(self) -> None:
        """Connects and listens; again after 0.1 to 2 s when the proxy is away."""
        pauses = Pauses(*AWAY)
        while True:
            try:
                reader, writer = await asyncio.open_unix_connection(self._socket)
            except (OSError, ValueError):
                await asyncio.sleep(pauses.next())
                continue
            pauses.reset()
            self._writer = writer
            try:
                if self._host is not None:
                    self._order(ProxyOrder(host=self._host))
                if self._secrets is not None:
                    self._order(ProxyOrder(ingress_secrets=self._secrets))
                await self._listen(reader)
            except (ConnectionError, asyncio.IncompleteReadError, DecodeError) as error:
                log.info("proxy_away", why=str(error))
            finally:
                self._writer = None
                writer.close()
                self._lost()

    def _order(self, order: ProxyOrder) -> None:
        if self._writer is None:
            raise Unavailable("cannot reach this host's proxy: it is away")
        body = order.SerializeToString()
        self._writer.write(struct.pack(">I", len(body)) + body)

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        while header := await reader.read(4):
            header += await reader.readexactly(4 - len(header))
            held = ProxyHeld.FromString(await reader.readexactly(struct.unpack(">I", header)[0]))
            if held.HasField("flows") and self._asked:
                answer = self._asked.popleft()
                if not answer.done():
                    answer.set_result(held.flows)
            if held.error:
                log.error("proxy_refused_order", error=held.error)
            skew = protocol.why_not("this host's proxy", held.protocol)
            self._on_held(held if not skew else ProxyHeld(problems=[skew]))

    def _lost(self) -> None:
        while self._asked:
            answer = self._asked.popleft()
            if not answer.done():
                answer.set_exception(Unavailable("cannot reach this host's proxy: it has just gone away"))
        self._on_held(None)
