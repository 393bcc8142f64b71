"""The line to one host's agent: calls that end in time, and when and how the host last answered.

Rule: a call that takes too long is Unavailable; nothing is repeated here.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog

from mesh.errors import MeshError, Unavailable
from mesh.fleet.port import AgentPort

_log = structlog.get_logger("mesh.fleet.line")
_T = TypeVar("_T")


class Line:
    """`last_seen`: the loop's time of the host's last answer, `last_seen_ns` the clock's; `message`: why it does not
    answer, empty when it does."""

    def __init__(self, name: str, agent: AgentPort, clock: Callable[[], int]) -> None:
        self.name = name
        self.agent = agent
        self.message = "has not answered yet"
        self.last_seen: float | None = None
        self.last_seen_ns = 0
        self._clock = clock

    async def call(self, call: Awaitable[_T], seconds: float) -> _T:
        """What the host answers; raises Unavailable after so many seconds, and what the agent raises."""
        try:
            async with asyncio.timeout(seconds):
                answer = await call
        except TimeoutError:
            raise Unavailable(f'the host "{self.name}" did not answer within {seconds:g} s') from None
        return answer

    def seen(self) -> None:
        """The host has answered."""
        if self.message:
            _log.info("host_answers", node=self.name)
        self.message = ""
        self.last_seen = asyncio.get_running_loop().time()
        self.last_seen_ns = self._clock()

    def failed(self, verb: str, error: MeshError) -> None:
        """A call failed; the same reason is logged once."""
        if self.message != error.message:
            _log.warning("host_does_not_answer", node=self.name, call=verb, error=error.message)
        self.message = error.message
