"""What becomes of a step that failed: noted for the next plan with the time of the next try, and told as an event.

Rule: it decides nothing but when something may be tried again; nothing is raised.
"""

from collections.abc import Callable
from dataclasses import dataclass

import structlog

from mesh.model.times import SECOND
from nodeagent.events import Events
from nodeagent.images import Images
from nodeagent.pods import actions as do
from nodeagent.pods.imagevolumes import user_of_image
from nodeagent.pods.podstate import PodState
from nodeagent.pods.record import Death
from nodeagent.runtime.port import PULL_FAILURES, RuntimeFailure

log = structlog.get_logger()

RETRY = 10 * SECOND  # L21: after an error; plain, for a host has few pods
TRANSIENT = SECOND  # L21: the runtime is away
START_ERROR_CODE = 128
MOUNT_FIRST, MOUNT_LONGEST = SECOND // 2, 10 * SECOND  # V16


@dataclass(slots=True)
class Failures:
    """Those of all workers."""

    images: Images
    events: Events
    clock: Callable[[], int]

    def note(self, action: do.Action, state: PodState, failure: RuntimeFailure) -> None:
        """Notes in `state` that the action failed."""
        now = self.clock()
        if failure.transient:
            state.stale = True  # and that look waits until the runtime is back
        match action:
            case do.ResolveImage():
                self._image_failed(action, state, failure)
            case do.PrepareVolumes() | do.ProjectVolumes():
                self._mount_failed(state, failure)
            case do.StartContainer() if not failure.transient:
                self._start_failed(action, state, failure)
            case do.CreateContainer() | do.StartContainer():
                reason = failure.reason or "CreateContainerConfigError"
                self._note(
                    state, action.container, RuntimeFailure(reason, failure.message, transient=failure.transient), now
                )
                self._forget_image(state, action.container)
                if not failure.transient:
                    self.events.warning(state.pod, "Failed", f"Error: {failure.message}", action.container)
            case do.MakeSandbox():
                self._note(state, do.SANDBOX, failure, now)
                if not failure.transient:
                    words = f"Failed to create pod sandbox: {failure.message}"
                    self.events.warning(state.pod, "FailedCreatePodSandBox", words)
            case do.Resize():
                self._note(state, do.RESIZE, failure, now)
                if not failure.transient:
                    self.events.warning(state.pod, "ResizeError", failure.message, action.container)
            case do.Terminate() | do.Term() | do.Kill():
                noted = do.Failure(failure.reason, failure.message, now, now + TRANSIENT)
                state.memory = state.memory.with_failure(do.STOP, noted)
                log.warning("stop_failed", pod=state.uid, container=action.container, why=failure.message)
            case _:
                self._note(state, do.REMOVAL, failure, now)
                log.warning("step_failed", pod=state.uid, step=type(action).__name__, why=failure.message)

    def _note(self, state: PodState, subject: str, failure: RuntimeFailure, now: int) -> None:
        delay = TRANSIENT if failure.transient else RETRY
        noted = do.Failure(failure.reason, failure.message, now, now + delay)
        state.memory = state.memory.with_failure(subject, noted)

    def _mount_failed(self, state: PodState, failure: RuntimeFailure) -> None:
        known = state.memory.failures.get(do.VOLUMES)
        count = known.count + 1 if known else 1
        delay = min(MOUNT_FIRST * 2 ** min(count - 1, 10), MOUNT_LONGEST)
        now = self.clock()
        noted = do.Failure("FailedMount", failure.message, now, now + delay, count)
        state.memory = state.memory.with_failure(do.VOLUMES, noted)
        self.events.warning(state.pod, "FailedMount", f"MountVolume.SetUp failed for {failure.message}")

    def _start_failed(self, action: do.StartContainer, state: PodState, failure: RuntimeFailure) -> None:
        """It counts as an exit: StartError, 128; the container is removed and tried again with back-off."""
        now = self.clock()
        ours = next((c for c in (state.seen.containers if state.seen else ()) if c.id == action.container_id), None)
        death = Death(
            attempt=action.attempt, exit_code=START_ERROR_CODE, reason="StartError", message=failure.message,
            started_at=now, finished_at=now, container_id=action.container_id,
            spec_hash=ours.spec_hash if ours else "", image=ours.image if ours else "",
            image_id=ours.image_id if ours else "",
        )  # fmt: skip
        state.record = state.record.with_death(action.container, death)
        self.events.warning(state.pod, "Failed", f"Error: {failure.message}", action.container)

    def _image_failed(self, action: do.ResolveImage, state: PodState, failure: RuntimeFailure) -> None:
        container = user_of_image(state.pod, action.container)
        reference = container.image if container else ""
        now = self.clock()
        delay = self.images.failed(state.uid, reference, failure)
        noted = do.Failure(failure.reason, failure.message, now, now + delay)
        fact = do.ImageFact(action.attempt, reference, failure=noted)
        state.memory = state.memory.with_image(action.container, fact)
        if failure.transient:
            return
        if failure.reason in PULL_FAILURES:
            words = f'Failed to pull image "{reference}": {failure.message}'
            self.events.warning(state.pod, "Failed", words, action.container)
            self.events.warning(state.pod, "Failed", f"Error: {failure.reason}", action.container)
        else:
            self.events.warning(state.pod, "Failed", f"Error: {failure.message}", action.container)

    @staticmethod
    def _forget_image(state: PodState, name: str) -> None:
        state.memory = state.memory.without_image(name)
