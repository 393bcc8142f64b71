"""Waiting until applied pods are ready, and giving up as soon as one can't be, with the reason in words.

Rule: nothing is asked twice: pods and their events are watched.
"""

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING

from mesh.cli.progress import Progress
from mesh.errors import MeshError
from mesh.model import conditions, pods
from mesh.model.kinds import Object
from mesh.sdk.wait import Goal, Wait
from mesh.sdk.words import FATAL_WAITING, last_failure, summary, why_waiting
from mesh.v1.core_pb2 import Event, Pod

if TYPE_CHECKING:
    from mesh.sdk.client import AsyncClient

FATAL_EVENTS = frozenset(("FailedMount", "FailedAttachVolume", "FailedCreatePodSandBox"))


class NotStarting(MeshError):  # noqa: N818 - as the errors of mesh.errors
    """A pod can't become ready as things are."""

    kind = "NotStarting"


async def until_ready(client: "AsyncClient", objects: Sequence[Object], timeout: float, color: bool) -> None:
    """Returns when every pod among the objects is ready or has succeeded; raises NotStarting or TimeoutError."""
    waited = [obj for obj in objects if isinstance(obj, Pod)]
    with Progress(len(waited), color) as progress:
        try:
            async with asyncio.TaskGroup() as group:
                for pod in waited:
                    group.create_task(_one(client, pod, timeout, progress))
        except* (MeshError, TimeoutError) as errors:
            progress.stop()
            raise errors.exceptions[0] from None


async def _one(client: "AsyncClient", pod: Pod, timeout: float, progress: Progress) -> None:
    name, namespace = pod.metadata.name, pod.metadata.namespace

    def seen(obj: Object) -> None:
        if isinstance(obj, Pod):
            progress.say(f"pod/{name}", summary(obj).status)
            doubt = _hopeless(obj)
            if doubt:
                raise NotStarting(doubt)

    goal = Goal("readiness", _ready_or_done)
    wait = Wait(client, "Pod", name, namespace, goal, seen)
    events = asyncio.create_task(_bad_event(client, pod))
    waiting = asyncio.create_task(wait.run(timeout))
    try:
        await asyncio.wait((events, waiting), return_when=asyncio.FIRST_COMPLETED)
        if not waiting.done():
            events.result()  # raises: an event that ends all hope
        reached = await waiting
    except NotStarting as error:
        raise NotStarting(await _with_warning(client, pod, error.message)) from None
    finally:
        for task in (events, waiting):
            task.cancel()
        await asyncio.gather(events, waiting, return_exceptions=True)
    over = isinstance(reached, Pod) and reached.status.phase == "Succeeded"
    progress.done(f"pod/{name}", "has succeeded" if over else "is ready")


def _ready_or_done(obj: Object | None) -> bool:
    if not isinstance(obj, Pod) or _stale(obj) or pods.is_deleting(obj):
        return False
    return obj.status.phase == "Succeeded" or conditions.is_true(obj.status.conditions, "Ready")


def _stale(pod: Pod) -> bool:
    """Whether the status is of an earlier spec."""
    seen = pod.status.observed_generation
    return bool(seen) and seen < pod.metadata.generation


def _hopeless(pod: Pod) -> str:
    """Why a pod can't become ready as things are, in words; empty while there is hope."""
    name = pod.metadata.name
    if _stale(pod):
        return ""
    if pod.status.phase == "Failed":
        ends = [
            f"container {s.name}: {text}" for s in pod.status.container_statuses if (text := last_failure(pod, s.name))
        ]
        why = pod.status.message or "; ".join(ends) or pod.status.reason or "it ended with an error"
        return f"pod/{name} failed: {why}"
    container, reason, message = why_waiting(pod)
    if reason not in FATAL_WAITING:
        return ""
    ended = last_failure(pod, container) if reason == "CrashLoopBackOff" else ""
    why = f"it ended with {ended}" if ended else message
    return f"pod/{name} can't start: container {container}: {reason}" + (f": {why}" if why else "")


async def _bad_event(client: "AsyncClient", pod: Pod) -> None:
    """Raises NotStarting at the first event that says a pod can't start though no container says so."""
    name, namespace = pod.metadata.name, pod.metadata.namespace
    fields = f"involvedObject.kind=Pod,involvedObject.name={name}"
    async with aclosing(client.watch(Event, namespace=namespace, fields=fields)) as changes:
        async for change in changes:
            event = change.object
            if change.type != "DELETED" and event.reason in FATAL_EVENTS and _about(event, pod):
                raise NotStarting(f"pod/{name} can't start: {event.reason}: {event.message}")


async def _with_warning(client: "AsyncClient", pod: Pod, message: str) -> str:
    """The message, and the pod's last warning when that says something else."""
    from mesh.cli.printers import last_seen

    fields = f"involvedObject.kind=Pod,involvedObject.name={pod.metadata.name},type=Warning"
    events = [e for e in await client.list(Event, namespace=pod.metadata.namespace, fields=fields) if _about(e, pod)]
    hint = f"`mesh describe pod {pod.metadata.name}` tells more"
    last = max(events, key=last_seen) if events else None
    if last is None or last.message in message:
        return f"{message}; {hint}"
    return f"{message}; last warning: {last.reason}: {last.message}; {hint}"


def _about(event: Event, pod: Pod) -> bool:
    return event.involved_object.uid in ("", pod.metadata.uid)
