"""Pods as futures of a Ray cluster of yours: a task for each pod, which may hold what the pod requests.

    refs = [pod_task(manifest(n), hold=True) for n in range(8)]
    print([done.output for done in ray.get(refs)])   # raises PodFailed
    ray.cancel(refs[0])                              # its pod is deleted

Rule: Ray knows of a pod what it knows of the task, so the task lives as long: it renews the pod's lease, deletes the
pod when it ends, and when Ray tries it again (its worker was killed) it goes on with the pod that is there.
"""

import asyncio
import secrets
import signal
import string
import uuid
from collections.abc import Mapping
from typing import Any

import ray
from ray.util import get_node_ip_address

from mesh.errors import NotFound
from mesh.model.claims import HOSTNAME
from mesh.model.pods import effective_requests
from mesh.sdk.client import Applicable, AsyncClient
from mesh.sdk.context import Context
from mesh.sdk.run import LEASE, TASK, Ended, one_pod, run_pod_async
from mesh.v1.core_pb2 import Node, Pod

_GPUS = ("nvidia.com/gpu", "amd.com/gpu")
_NOT_RAYS = ("ephemeral-storage", "pods")  # what Ray does not count


def pod_task(
    what: Applicable, *, hold: bool = False, context: Context | str = "", namespace: str = "",
    timeout: float | None = None, lease: int = LEASE, **options: Any,
) -> "ray.ObjectRef[Ended]":  # fmt: skip
    """The future of the pod's end; `ray.get` raises what `run_pod` does.

    With `hold` the task takes what the pod requests (cpu, memory, others by their names) from one of Ray's nodes, and
    the pod runs on the same host; without, it takes nothing. `options` are those of a Ray task and go first. The
    context is looked up where the task runs. Raises Invalid for what is not one pod that ends.
    """
    pod = one_pod(what, namespace)
    meta = pod.metadata
    if not meta.name:
        meta.name = meta.generate_name + "".join(secrets.choice(string.ascii_lowercase) for _ in range(5))
    meta.annotations[TASK] = uuid.uuid4().hex
    taken = {"num_cpus": 0, **(holding(effective_requests(pod)) if hold else {}), "name": f"pod {meta.name}"}
    task = ray.remote(play).options(**{**taken, **options})
    ref: ray.ObjectRef[Ended] = task.remote(pod.SerializeToString(), context, namespace, timeout, lease, hold)
    return ref


def holding(requests: Mapping[str, int]) -> dict[str, Any]:
    """The options of a Ray task that takes these requests, as `effective_requests` counts them."""
    gpus = sum(requests.get(name, 0) for name in _GPUS)
    own = {"cpu", "memory", *_GPUS, *_NOT_RAYS}
    others = {name: float(amount) for name, amount in requests.items() if name not in own and amount}
    taken = {"num_cpus": requests.get("cpu", 0) / 1000, "num_gpus": gpus, "memory": requests.get("memory", 0)}
    return {"num_cpus": 0, **{name: amount for name, amount in taken.items() if amount}, "resources": others}


def play(pod: bytes, context: Context | str, namespace: str, timeout: float | None, lease: int, here: bool) -> Ended:
    """What the task is, in a worker of Ray."""

    async def run() -> Ended:
        own = asyncio.current_task()
        assert own is not None  # noqa: S101 - it runs in one
        # ray.cancel interrupts the first thread: so it is heard while that waits for events, too.
        asyncio.get_running_loop().add_signal_handler(signal.SIGINT, own.cancel)
        wanted = Pod.FromString(pod)
        async with AsyncClient(context, namespace=namespace) as client:
            if here:
                wanted.spec.node_selector[HOSTNAME] = await host_at(client, _own_address())
            return await run_pod_async(client, wanted, timeout=timeout, lease=lease)

    try:
        return asyncio.run(run())
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None  # as Ray knows a task that was cancelled


def _own_address() -> str:
    address: str = get_node_ip_address()  # type: ignore[no-untyped-call]  # Ray has no type there
    return address


async def host_at(client: AsyncClient, address: str) -> str:
    """The label of the mesh's host that has this address; raises NotFound."""
    for node in await client.list(Node):
        if any(a.type == "InternalIP" and a.address == address for a in node.status.addresses):
            return node.metadata.labels.get(HOSTNAME, node.metadata.name)
    raise NotFound(
        f"no host of the mesh has the address {address} of this Ray node: start Ray with --node-ip-address as the mesh "
        "knows its host, or let the pod run elsewhere (hold=False)"
    )
