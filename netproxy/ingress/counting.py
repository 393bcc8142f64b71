"""Asks HAProxy's workers what they have counted.

Rule: one question at a time, however many want to know, so that what was read last is also what is newest; nobody waits
for an HAProxy that does not answer: what was known is told then.
"""

import asyncio

from mesh.errors import MeshError
from mesh.v1.node_pb2 import IngressFigures
from netproxy.ingress.master import Master
from netproxy.ingress.routes import Plan
from netproxy.ingress.tallies import Tallies

PATIENCE = 1.0  # seconds
_ASK = "show stat -1 3 -1"  # frontends and backends, without their servers


class Counting:
    """Of one HAProxy."""

    def __init__(self, loop: asyncio.AbstractEventLoop, master: Master) -> None:
        self._loop = loop
        self._master = master
        self._tallies = Tallies()
        self._asking: asyncio.Task[int] | None = None

    async def figures(self, plan: Plan) -> IngressFigures:
        """As of now."""
        return self._tallies.told(plan, await self.ask())

    async def ask(self) -> int:
        """Takes what there is; returns the pid of the worker that takes connections, 0: nobody answers."""
        if self._asking is None or self._asking.done():
            self._asking = self._loop.create_task(self._ask(), name="ingress figures")
        return await asyncio.shield(self._asking)

    def reloaded(self) -> None:
        """Workers with another configuration have come."""
        self._tallies.reloads += 1

    async def _ask(self) -> int:
        if not self._master.pid:
            return 0
        try:
            async with asyncio.timeout(PATIENCE):
                workers = await self._master.workers()
                pids = [pid for pid in (workers.current, *workers.old) if pid]
                self._tallies.take({pid: await self._master.ask(pid, _ASK) for pid in pids})
        except (MeshError, TimeoutError):
            return 0
        return workers.current
