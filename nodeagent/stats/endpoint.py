"""The host's endpoint: figures over HTTPS, for Prometheus (docs/metrics.md).

Rule: a host without certificates, or whose port is taken, runs its pods all the same; it says so once and tries again.
"""

import asyncio
from collections.abc import Callable, Mapping

from mesh.exposition.web import Answer, Door, Files, Request, allowed
from mesh.handed import handed
from mesh.pki import Identity
from mesh.revocation import counts_no_more
from nodeagent.config import AgentConfig
from nodeagent.stats.meter import Meter


class Endpoint:
    """One host's; `revoked`: which certificates count no more, as the host was last told."""

    def __init__(self, config: AgentConfig, meter: Meter, revoked: Callable[[], Mapping[str, int]]) -> None:
        self._address = config.metrics_address
        pki = config.pki_dir
        self._door = Door(
            Files(pki / "ca.crt", pki / "agent.crt", handed(pki / "agent.key")), self._answer, self._allowed
        )
        self._revoked = revoked
        self._meter = meter
        self.port = 0  # where it listens, once it does
        self.open = asyncio.Event()

    async def run(self) -> None:
        """Until cancelled."""
        if self._address is not None:
            await self._door.keep(*self._address, self._opened)

    def _opened(self, port: int) -> None:
        self.port = port
        self.open.set()

    def _allowed(self, who: Identity) -> bool:
        return allowed(who) and not counts_no_more(who, self._revoked().get)

    async def _answer(self, request: Request) -> Answer:
        return await self._meter.answer(request.path)
