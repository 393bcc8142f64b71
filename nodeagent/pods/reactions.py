"""What is done in containers whose mounted Secrets have changed, where the pod's annotation asks for it.

Rule: it follows the change of the files, runs beside the pod's worker, and harms nothing by failing: that is told as an
event. An agent that is killed between the files and this does not do it.
"""

from collections.abc import Callable, Collection, Coroutine, Iterator
from dataclasses import dataclass
from typing import Any

from mesh.model.pods import container_named
from mesh.model.secretchange import Reaction, reaction_of
from nodeagent.events import Events
from nodeagent.pods.podstate import PodState
from nodeagent.probes.checks import Checks
from nodeagent.probes.state import COUNTS
from nodeagent.probes.wanted import ExecCheck
from nodeagent.runtime.port import Runtime, RuntimeFailure
from nodeagent.runtime.seen import SeenContainer, State
from nodeagent.volumes.files import secrets_in


@dataclass(slots=True)
class Reactions:
    """A host's."""

    runtime: Runtime
    checks: Checks
    events: Events
    spawn: Callable[[Coroutine[Any, Any, None]], None]

    def changed(self, state: PodState, volumes: Collection[str]) -> None:
        """The files of these volumes are new ones."""
        reaction = reaction_of(state.pod.metadata.annotations)
        secret = {v.name for v in state.pod.spec.volumes if v.name in volumes and secrets_in(v)}
        if reaction is not None and secret:
            for container in _mounting(state, secret):
                self.spawn(self._react(state, container, reaction))

    async def _react(self, state: PodState, container: SeenContainer, reaction: Reaction) -> None:
        what = f"sent {reaction.signal} to" if reaction.signal else f"ran {reaction.command[0]} in"
        failure = ""
        if reaction.signal:
            try:
                await self.runtime.kill(container.id, reaction.signal)
            except RuntimeFailure as raised:
                failure = raised.message
        else:
            outcome = await self.checks.hook(ExecCheck(reaction.command), container)
            failure = "" if COUNTS.get(outcome.result, False) else "the command failed"
        words = f"A mounted Secret has changed: {what} container {container.name}"
        if failure:
            self.events.warning(state.pod, "SecretChangeFailed", f"{words}: {failure}", container.name)
        else:
            self.events.normal(state.pod, "SecretChanged", words, container.name)


def _mounting(state: PodState, volumes: Collection[str]) -> Iterator[SeenContainer]:
    """Running containers that mount one of the volumes as a whole: what a subPath shows never changes (V6)."""
    for seen in state.seen.containers if state.seen else ():
        container = container_named(state.pod.spec, seen.name)
        mounts = container.volume_mounts if container else ()
        whole = any(m.name in volumes and not (m.sub_path or m.sub_path_expr) for m in mounts)
        if seen.state is State.RUNNING and whole:
            yield seen
