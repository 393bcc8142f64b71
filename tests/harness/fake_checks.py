"""Checks of the mind, for bent time: what a probe's or hook's command answers, and when it was asked.

checks = FakeChecks()
checks.answers["ready"] = Result.FAILURE          # what `exec: {command: [ready]}` finds from now on
checks.seconds["slow"] = 3.0                      # how long it takes; beyond its timeout it fails
"""

import asyncio
from dataclasses import dataclass, field

from nodeagent.probes.state import Outcome, Result
from nodeagent.probes.wanted import Check, ExecCheck, SleepCheck
from nodeagent.runtime.seen import SeenContainer


@dataclass(slots=True)
class FakeChecks:
    """See the module; what has no answer is a success."""

    answers: dict[str, Result] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    asked: list[tuple[float, str]] = field(default_factory=list)  # (seconds of the loop, command)
    cut: list[tuple[float, str]] = field(default_factory=list)  # those that did not live to their end

    def times(self, command: str) -> list[float]:
        """When it was asked."""
        return [at for at, what in self.asked if what == command]

    async def perform(self, check: Check, container: SeenContainer, seconds: float | None) -> Outcome:
        """See `Checks`."""
        loop = asyncio.get_running_loop()
        if isinstance(check, SleepCheck):
            await asyncio.sleep(check.seconds)
            return Outcome(Result.SUCCESS)
        name = check.command[0] if isinstance(check, ExecCheck) else type(check).__name__
        self.asked.append((round(loop.time(), 3), name))
        took = self.seconds.get(name, 0.0)
        try:
            await asyncio.sleep(took if seconds is None else min(took, seconds))
        except asyncio.CancelledError:
            self.cut.append((round(loop.time(), 3), name))
            raise
        if seconds is not None and took > seconds:
            return Outcome(Result.FAILURE, "timed out")
        return Outcome(self.answers.get(name, Result.SUCCESS), name)

    async def hook(self, check: Check, container: SeenContainer) -> Outcome:
        """See `Checks`."""
        return await self.perform(check, container, None)
