"""Lifecycle hooks under way: postStart and preStop of containers (L7, L8).

Rule: a hook runs beside the pod's worker, which is told when it is over; its deadline may come nearer while it runs. A
hook that an agent did not live to see the end of is begun again by the next one: hooks run at least once.
"""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field, replace
from typing import Any

import structlog

from mesh.model.pods import container_named
from nodeagent.events import Events
from nodeagent.pods import actions as do
from nodeagent.pods.podstate import PodState
from nodeagent.probes.checks import Checks
from nodeagent.probes.state import COUNTS, POST_START
from nodeagent.probes.wanted import Check, Place, hook_check, verdict_of
from nodeagent.runtime.seen import SeenContainer, State

log = structlog.get_logger()


@dataclass(slots=True)
class Hooks:
    """A host's. `clock` gives nanoseconds since the epoch; deadlines are its times. `poke` wakes a pod's worker."""

    checks: Checks
    events: Events
    host_ip: str
    clock: Callable[[], int]
    poke: Callable[[str], None]
    spawn: Callable[[Coroutine[Any, Any, None]], None]
    _scopes: dict[str, asyncio.Timeout] = field(default_factory=dict)

    def greet(self, action: do.Greet, state: PodState) -> None:
        """Begins the postStart hook; its end is a verdict."""
        seen, container = state.container(action.container_id), container_named(state.pod.spec, action.container)
        state.memory = state.memory.with_hook(action.container_id, "postStart", done=False)
        if seen is None or container is None:
            return

        def done(failure: str) -> None:
            if state.newest(seen.id) is None:
                return
            verdict = verdict_of(state.record.verdicts, seen)
            verdict = replace(verdict, failed=POST_START) if failure else replace(verdict, greeted=True)
            if failure:  # it never counts as started
                self.events.warning(state.pod, "FailedPostStartHook", "PostStartHook failed", seen.name)
            state.record = state.record.with_verdict(seen.name, verdict)
            self.poke(state.uid)

        check = hook_check(self._place(state), container, container.lifecycle.post_start)
        self.spawn(self._run(check, seen, done, 0))

    def leave(self, action: do.Leave, state: PodState) -> None:
        """Begins the preStop hook; TERM follows its end, see the plan."""
        seen, container = state.container(action.container_id), container_named(state.pod.spec, action.container)
        state.memory = state.memory.with_hook(action.container_id, "preStop", done=seen is None or container is None)
        if seen is None or container is None:
            return

        def done(failure: str) -> None:
            state.memory = state.memory.with_hook(seen.id, "preStop", done=True)
            now = state.container(seen.id)
            if failure and now is not None and now.state is State.RUNNING:
                self.events.warning(state.pod, "FailedPreStopHook", "PreStopHook failed", seen.name)
            self.poke(state.uid)

        check = hook_check(self._place(state), container, container.lifecycle.pre_stop)
        self.spawn(self._run(check, seen, done, action.deadline))

    def shorten(self, container_id: str, deadline: int) -> None:
        """A hook of this container that runs under a deadline ends then; 0: at once."""
        scope = self._scopes.get(container_id)
        if scope is None or scope.expired():
            return
        due = asyncio.get_running_loop().time() + self._left(deadline)
        when = scope.when()
        scope.reschedule(due if when is None else min(when, due))

    async def _run(self, check: Check, seen: SeenContainer, done: Callable[[str], None], deadline: int) -> None:
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
        except Exception as error:  # a bug: the pod must end all the same, and so must the hooks of others
            log.exception("hook_broke", container=seen.name, pod=seen.pod_uid)
            failure = f"the agent of this host fails on it ({type(error).__name__})"
        finally:
            if deadline:
                self._scopes.pop(seen.id, None)
        if failure:
            log.warning("hook_failed", container=seen.name, pod=seen.pod_uid, why=failure)
        done(failure)

    def _place(self, state: PodState) -> Place:
        sandbox = state.seen.sandbox if state.seen else None
        return Place(state.pod, self.host_ip if state.pod.spec.host_network else sandbox.ip if sandbox else "")

    def _left(self, deadline: int) -> float:
        return max(0.0, (deadline - self.clock()) / 1e9) if deadline else 0.0
