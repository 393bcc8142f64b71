"""A pod as a call: made, waited for to its end, its log brought back, deleted. With `ray.remote` around it, a future.

    done = run_pod("pod.yaml")                       # blocking; done.output, done.exit_code
    refs = [ray.remote(num_cpus=0)(run_pod).remote(text) for text in manifests]

Rule: a pod that this call has made is deleted however the call ends; what fails is a PodFailed that says how. It runs
in any process that has a context, a worker of Ray too: everything it needs goes as values.
"""

import asyncio
import contextlib
from dataclasses import dataclass

from mesh.errors import Invalid, MeshError
from mesh.model.kinds import Object
from mesh.model.pods import default_container, is_terminal
from mesh.sdk.client import Applicable, AsyncClient
from mesh.sdk.context import Context
from mesh.sdk.sources import objects_of
from mesh.sdk.wait import Goal, Wait
from mesh.v1.core_pb2 import Pod

_OVER = Goal("its end", lambda obj: isinstance(obj, Pod) and is_terminal(obj))


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
    what: Applicable, *, context: Context | str = "", namespace: str = "", timeout: float | None = None
) -> Ended:
    """Runs the one pod of a manifest (a path, YAML text or a Pod) to its end; it is never restarted unless it says so.

    Raises PodFailed; Invalid for what is not one pod, or one that never ends; TimeoutError; AlreadyExists (a manifest
    with metadata.generateName may run many times at once).
    """

    async def run() -> Ended:
        async with AsyncClient(context, namespace=namespace) as client:
            return await run_pod_async(client, what, timeout=timeout)

    return asyncio.run(run())


async def run_pod_async(client: AsyncClient, what: Applicable, *, timeout: float | None = None) -> Ended:  # noqa: ASYNC109
    """The same on a client that is there."""
    made = await client.create(_one(what, client.namespace))
    meta = made.metadata
    try:
        over = await Wait(client, "Pod", meta.name, meta.namespace, _OVER).run(timeout)
        assert isinstance(over, Pod)  # noqa: S101 - the goal is met by nothing else
        return await _ended(client, over)
    finally:
        with contextlib.suppress(MeshError):
            await client.delete(Pod, meta.name, namespace=meta.namespace)


async def _ended(client: AsyncClient, pod: Pod) -> Ended:
    meta, chosen = pod.metadata, default_container(pod)
    code = next((s.state.terminated.exit_code for s in pod.status.container_statuses if s.name == chosen), 0)
    try:
        pieces = [data async for data in client.log_bytes(meta.name, container=chosen, namespace=meta.namespace)]
    except MeshError:
        pieces = []  # a pod that never began has none
    ended = Ended(meta.name, pod.spec.node_name, code, b"".join(pieces).decode(errors="replace"))
    if pod.status.phase == "Failed":
        why = pod.status.message or pod.status.reason or f"its container {chosen} ended with exit code {code}"
        raise PodFailed(f'pod "{meta.name}" failed: {why}', ended)
    return ended


def _one(what: Applicable, namespace: str) -> Pod:
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
