"""The one pod that a word means: the pod's own name, or one of those of a workload or Service, as kubectl chooses.

Rule: pods that stay, run and are ready come first; of equals the first by name, so the same word means the same pod.
"""

from typing import TYPE_CHECKING

from mesh.cli import targets
from mesh.cli.failure import say
from mesh.errors import Invalid, NotFound
from mesh.model import selectors
from mesh.model.pods import is_deleting, is_ready
from mesh.model.workloads import WORKLOADS, selector_of
from mesh.v1.batch_pb2 import CronJob
from mesh.v1.core_pb2 import Pod
from mesh.v1.meta_pb2 import LabelSelector
from mesh.v1.net_pb2 import Service

if TYPE_CHECKING:
    from mesh.model.kinds import Object
    from mesh.sdk.client import AsyncClient


async def pod_meant(client: "AsyncClient", word: str, *, quiet: bool = False) -> tuple[Pod, Service | None]:
    """The pod, and the Service when that was named; unless `quiet` it says which of several. Raises NotFound."""
    target = targets.one((word,))
    if target.kind.name == "Pod":
        return await client.get(Pod, target.names[0]), None
    held = await client.get(target.kind.name, target.names[0])
    found = [p for p in await client.list(Pod) if selectors.matches(_selector(held), p.metadata.labels)]
    if not found:
        raise NotFound(f"{targets.ref(target.kind, target.names[0])} has no pods")
    chosen = min(found, key=_worth)
    if len(found) > 1 and not quiet:
        say(f"Found {len(found)} pods, using pod/{chosen.metadata.name}")
    return chosen, held if isinstance(held, Service) else None


def _selector(held: "Object") -> LabelSelector:
    if isinstance(held, Service):
        selector = LabelSelector(match_labels=held.spec.selector)
    elif isinstance(held, WORKLOADS) and not isinstance(held, CronJob):
        selector = selector_of(held)
    else:
        raise Invalid(f"a {held.DESCRIPTOR.name} has no pods of its own: say a pod's name, a workload or a Service")
    if not selector.match_labels and not selector.match_expressions:
        raise Invalid(f'{held.DESCRIPTOR.name} "{held.metadata.name}" chooses no pods')
    return selector


def _worth(pod: Pod) -> tuple[bool, bool, bool, str]:
    return is_deleting(pod), pod.status.phase != "Running", not is_ready(pod), pod.metadata.name
