"""Lifecycle hooks under way: postStart and preStop of containers (L7, L8).

Rule: a hook runs beside the pod's worker, which is told when it is over; its deadline may come nearer while it runs. A
hook that an agent did not live to see the end of is begun again by the next one: hooks run at least once.
"""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

import structlog

from mesh.v1.core_pb2 import Container, LifecycleHandler
from nodeagent.probes.checks import Checks
from nodeagent.probes.state import COUNTS
from nodeagent.probes.wanted import Place, hook_check
from nodeagent.runtime.seen import SeenContainer

log = structlog.get_logger()


@dataclass(slots=True)
class Hooks:
    """A host's. `clock` gives nanoseconds since the epoch; deadlines are its times, 0 for none."""

    checks: Checks
    clock: Callable[[], int]
    spawn: Callable[[Coroutine[Any, Any, None]], None]
    _scopes: dict[str, asyncio.Timeout] = field(default_factory=dict)

    def begin(
        self, place: Place, container: Container, hook: LifecycleHandler, seen: SeenContainer,
        done: Callable[[str], None], *, deadline: int = 0,
    ) -> None:  # fmt: skip
        """Begins it; `done` gets why it failed, or nothing."""
        self.spawn(self._run(hook_check(place, container, hook), seen, done, deadline))

    def shorten(self, container_id: str, deadline: int) -> None:
        """A hook of this container that runs under a deadline ends then; 0: at once."""
        scope = self._scopes.get(container_id)
        if scope is None or scope.expired():
            return
        due = asyncio.get_running_loop().time() + self._left(deadline)
        when = scope.when()
        scope.reschedule(due if when is None else min(when, due))

    async def _run(self, check: Any, seen: SeenContainer, done: Callable[[str], None], deadline: int) -> None:
        failure = ""
        try:
            async with asyncio.timeout(self._left(deadline) if deadline else None) as scope:
                if deadline:
                    self._scopes[seen.id] = scope
                outcome = await self.checks.hook(check, seen)
            if not COUNTS.get(outcome.result, False):
                failure = outcome.output or "it failed"
        except TimeoutError:
            failure = "it was not over in time"
        finally:
            if deadline:
                self._scopes.pop(seen.id, None)
        if failure:
            log.warning("hook_failed", container=seen.name, pod=seen.pod_uid, why=failure)
        done(failure)

    def _left(self, deadline: int) -> float:
        return max(0.0, (deadline - self.clock()) / 1e9) if deadline else 0.0
