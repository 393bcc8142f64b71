"""Brings the table of Services to one host's proxy, through its agent.

Rules: what the proxy says it holds is the acknowledgement. Only the difference to it travels; what was sent and is not
acknowledged yet counts as held, for pieces arrive in order, until the proxy says otherwise: then everything travels.
While the proxy is away nothing is sent; its return is news.
"""

import asyncio

import structlog

from mesh.errors import MeshError
from mesh.fleet.line import Line
from mesh.fleet.publisher import SETTLE, Publisher
from mesh.model.pauses import Pauses
from mesh.v1.node_pb2 import Observed

_log = structlog.get_logger("mesh.fleet.programming")

AGAIN = 0.1, 3.0  # seconds until a failed call is repeated: at first, at most
PATIENCE = 5.0  # seconds until a table that is not acknowledged is sent again, whole


class Programming:
    """One host's; `hear` takes what the host says, `look` is called when there is a new table. `limit`: of a call."""

    def __init__(self, node: str, line: Line, publisher: Publisher, limit: float) -> None:
        self._node = node
        self._line = line
        self._publisher = publisher
        self._limit = limit
        self._news = asyncio.Event()
        self._life = ("", "")  # boots of agent and proxy
        self._error = ""
        self._sent = ""  # digest of the newest table that was sent in this life
        self._whole = False  # send everything
        self._late: asyncio.TimerHandle | None = None

    def look(self) -> None:
        """There may be something to send."""
        self._news.set()

    def hear(self, observed: Observed) -> None:
        """What the host says of its proxy."""
        life = (observed.boot, observed.proxy_boot)
        before = self._publisher.route(self._node).digest
        self._publisher.hear(self._node, observed)
        if life != self._life:
            self._life, self._sent, self._whole, self._error = life, "", False, ""
        elif observed.proxy_error and observed.proxy_error != self._error:
            _log.warning("table_refused", node=self._node, why=observed.proxy_error)
            self._sent, self._whole = "", True
        elif observed.route_digest == before and observed.proxy_error == self._error:
            return
        self._error = observed.proxy_error
        self._news.set()

    async def run(self) -> None:
        """For ever."""
        pauses = Pauses(*AGAIN)
        while True:
            await self._news.wait()
            self._news.clear()
            held = self._publisher.route(self._node).digest
            wanted = self._publisher.wanted
            if wanted == held and not self._whole:
                self._rest()
                self._sent = held
                pauses.reset()
                continue
            if not self._life[1] or wanted == self._sent:
                continue
            try:
                await self._send(held)
                await asyncio.sleep(SETTLE)  # what comes soon after gathers
            except MeshError as error:
                _log.debug("cannot_program_proxy", node=self._node, error=error.message)
                self._sent, self._whole = "", True
                await asyncio.sleep(pauses.next())
                self._news.set()

    async def _send(self, held: str) -> None:
        base = "" if self._whole else self._sent or held
        life = self._life
        pieces = self._publisher.pieces(base)
        for piece in pieces:
            await self._line.call(self._line.agent.program(piece), self._limit)
        if life == self._life:
            self._sent, self._whole = pieces[-1].digest, False
            self._rest()
            self._late = asyncio.get_running_loop().call_later(PATIENCE, self._again)
        self._news.set()  # the table may have moved on meanwhile

    def _again(self) -> None:
        """Not acknowledged in time."""
        self._late = None
        self._sent, self._whole = "", True
        self._news.set()

    def _rest(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None
