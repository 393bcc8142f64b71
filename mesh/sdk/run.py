"""A pod as a call: made, waited for to its end, its log brought back, deleted. `mesh.sdk.ray` makes it a future.

    done = run_pod("pod.yaml")                       # blocking; done.output, done.exit_code

Rule: a pod that this call has made is gone when it returns, however it ends; what fails is a PodFailed that says how.
While the call lasts it renews the pod's lease, so the mesh deletes the pod of a caller that was killed. It runs in any
process that has a context: everything it needs goes as values.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

from mesh.errors import AlreadyExists, Invalid, MeshError, Unavailable
from mesh.model import leases
from mesh.model.kinds import Object
from mesh.model.pauses import Pauses
from mesh.model.pods import default_container, grace_seconds, is_deleting, is_terminal
from mesh.sdk.client import Applicable, AsyncClient
from mesh.sdk.context import Context
from mesh.sdk.sources import objects_of
from mesh.sdk.wait import Goal, Wait
from mesh.v1.core_pb2 import Pod

TASK = "mesh/task"  # of a pod: the one call, tried again perhaps, that it was made for
LEASE = 30  # seconds
_PATIENCE = 30  # seconds for a host to give a log, and, beyond a pod's grace, to say that it is gone
_OVER = Goal("its end", lambda obj: isinstance(obj, Pod) and is_terminal(obj))
_GONE = Goal("its deletion", lambda obj: obj is None, absent=True)


@dataclass(frozen=True, slots=True)
class Ended:
    """How a pod ended; `output` is the log of its default container, `exit_code` that container's."""

    name: str
    node: str
    exit_code: int
    output: str


class PodFailed(MeshError):  # noqa: N818 - named as the phase
    """The pod ran and failed; `ended` has its exit code and log."""

    kind = "PodFailed"

    def __init__(self, message: str, ended: Ended) -> None:
        super().__init__(message)
        self.ended = ended

    def __reduce__(self) -> tuple[type["PodFailed"], tuple[str, Ended]]:
        return PodFailed, (self.message, self.ended)  # it crosses processes


def run_pod(
    what: Applicable, *, context: Context | str = "", namespace: str = "", timeout: float | None = None,
    lease: int = LEASE,
) -> Ended:  # fmt: skip
    """Runs the one pod of a manifest (a path, YAML text or a Pod) to its end; it is never restarted unless it says so.
    So many seconds (`lease`) after this process was killed the mesh deletes it.

    Raises PodFailed; Invalid for what is not one pod, or one that never ends; TimeoutError; AlreadyExists (a manifest
    with metadata.generateName may run many times at once).
    """

    async def run() -> Ended:
        async with AsyncClient(context, namespace=namespace) as client:
            return await run_pod_async(client, what, timeout=timeout, lease=lease)

    return asyncio.run(run())


async def run_pod_async(
    client: AsyncClient, what: Applicable, *, timeout: float | None = None, lease: int = LEASE  # noqa: ASYNC109
) -> Ended:  # fmt: skip
    """The same on a client that is there."""
    wanted = one_pod(what, client.namespace)
    wanted.metadata.annotations[leases.SECONDS] = str(lease)
    made = await _made(client, wanted)
    meta = made.metadata
    try:
        async with _wanted(client, made, lease):
            over = await Wait(client, "Pod", meta.name, meta.namespace, _OVER).run(timeout)
            assert isinstance(over, Pod)  # noqa: S101 - the goal is met by nothing else
            return await _ended(client, over)
    finally:
        await _delete(client, made)


def one_pod(what: Applicable, namespace: str) -> Pod:
    """A copy of the one pod, which ends by itself; raises Invalid."""
    found: list[Object] = objects_of(what, namespace)[0]
    if len(found) != 1 or not isinstance(found[0], Pod):
        raise Invalid("run_pod takes exactly one Pod; for workloads there are `apply` and `wait`")
    pod = Pod()
    pod.CopyFrom(found[0])
    if not pod.spec.restart_policy:
        pod.spec.restart_policy = "Never"
    if pod.spec.restart_policy == "Always":
        raise Invalid('a pod with restartPolicy "Always" never ends: say Never or OnFailure')
    return pod


async def _made(client: AsyncClient, wanted: Pod) -> Pod:
    """The pod, new; or the one that an earlier try of the same task has left, if it is where this one wants it."""
    meta = wanted.metadata
    try:
        return await client.create(wanted)
    except AlreadyExists:
        held = await client.get(Pod, meta.name, namespace=meta.namespace)
        task = meta.annotations.get(TASK, "")
        if not task or held.metadata.annotations.get(TASK, "") != task:
            raise
    if not is_deleting(held) and held.spec.node_selector == wanted.spec.node_selector:
        return held
    await _delete(client, held)
    return await client.create(wanted)


async def _delete(client: AsyncClient, pod: Pod) -> None:
    """Until it is gone; of a host that is away nobody hears that, and nothing more is waited for."""
    meta = pod.metadata
    with contextlib.suppress(MeshError, TimeoutError):
        await client.delete(Pod, meta.name, namespace=meta.namespace)
        patience = grace_seconds(pod) + _PATIENCE
        await Wait(client, "Pod", meta.name, meta.namespace, _GONE).run(patience)


@contextlib.asynccontextmanager
async def _wanted(client: AsyncClient, pod: Pod, lease: int) -> AsyncIterator[None]:
    """The pod's lease is renewed while the `with` lasts; raises Forbidden to who may not."""
    await _renew(client, pod)
    renewing = asyncio.create_task(_keep(client, pod, lease / 3))
    try:
        yield
    finally:
        renewing.cancel()
        await asyncio.wait({renewing})


async def _renew(client: AsyncClient, pod: Pod) -> None:
    changes = {"metadata": {"annotations": {leases.RENEWED: leases.NOW}}}
    await client.patch(Pod, pod.metadata.name, changes, namespace=pod.metadata.namespace)


async def _keep(client: AsyncClient, pod: Pod, pause: float) -> None:
    while True:
        await asyncio.sleep(pause)
        with contextlib.suppress(MeshError):  # a meshd that is away is asked again; a pod that is away, the wait sees
            await _renew(client, pod)


async def _log(client: AsyncClient, pod: Pod, container: str) -> bytes:
    """All of it; nothing of a pod that never began. Who is away is asked again for a while; raises Unavailable."""
    meta, pauses, until = pod.metadata, Pauses(0.2, 5.0), time.monotonic() + _PATIENCE
    while True:
        try:
            pieces = [data async for data in client.log_bytes(meta.name, container=container, namespace=meta.namespace)]
            return b"".join(pieces)
        except Unavailable:
            if time.monotonic() > until:
                raise
            await asyncio.sleep(pauses.next())
        except MeshError:
            return b""


async def _ended(client: AsyncClient, pod: Pod) -> Ended:
    meta, chosen = pod.metadata, default_container(pod)
    code = next((s.state.terminated.exit_code for s in pod.status.container_statuses if s.name == chosen), 0)
    output = (await _log(client, pod, chosen)).decode(errors="replace")
    ended = Ended(meta.name, pod.spec.node_name, code, output)
    if pod.status.phase == "Failed":
        why = pod.status.message or pod.status.reason or f"its container {chosen} ended with exit code {code}"
        raise PodFailed(f'pod "{meta.name}" failed: {why}', ended)
    return ended
