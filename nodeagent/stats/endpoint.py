"""The host's endpoint: figures over HTTPS, for Prometheus (docs/metrics.md).

Rule: a host without certificates, or whose port is taken, runs its pods all the same; it says so once and tries again.
"""

import asyncio

from mesh.exposition.web import Answer, Door, Files, Request
from mesh.handed import handed
from nodeagent.config import AgentConfig
from nodeagent.stats.meter import Meter


class Endpoint:
    """One host's."""

    def __init__(self, config: AgentConfig, meter: Meter) -> None:
        self._address = config.metrics_address
        pki = config.pki_dir
        self._door = Door(Files(pki / "ca.crt", pki / "agent.crt", handed(pki / "agent.key")), self._answer)
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

    async def _answer(self, request: Request) -> Answer:
        return await self._meter.answer(request.path)
