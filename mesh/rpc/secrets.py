"""The Secrets service: which revision of a Secret is where.

Rule: nothing here shows a value, or what a value could be guessed from. What a host has is what the host itself says.
"""

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import aclosing
from typing import Any

from grpc import aio

from mesh.errors import Invalid, Unavailable, Violation
from mesh.model.keys import Key
from mesh.model.pods import containers, is_terminal
from mesh.model.references import environment_secrets, secrets_of
from mesh.model.times import to_timestamp
from mesh.store.feed import Feed
from mesh.store.rotation import KeyRotation
from mesh.v1 import secrets_pb2 as pb
from mesh.v1.core_pb2 import Pod, PodSpec
from mesh.v1.node_pb2 import SecretReceipt
from mesh.v1.secrets_pb2_grpc import SecretsServicer

Context = aio.ServicerContext[Any, Any]
Receipts = Callable[[str, str], Sequence[SecretReceipt]]


class Secrets(SecretsServicer):
    """`receipts` says what a host said of a pod, by the host's name and the pod's uid; `rotation` rotates the store's
    key, None where there is none."""

    def __init__(self, feed: Feed, receipts: Receipts, rotation: KeyRotation | None = None) -> None:
        self._feed = feed
        self._receipts = receipts
        self._rotation = rotation

    async def RotateKeys(self, request: pb.RotateKeysRequest, context: Context) -> AsyncIterator[pb.RotateKeysProgress]:
        """Rotates the key that encrypts Secrets at rest, and tells how far it is."""
        if self._rotation is None:
            raise Unavailable("this store is in memory: it has no key")
        async with aclosing(self._rotation.run()) as steps:
            async for step in steps:
                yield pb.RotateKeysProgress(words=step.words, key_id=step.key_id, wrapped=step.wrapped)

    async def Delivery(self, request: pb.SecretDeliveryRequest, context: Context) -> pb.SecretDeliveryResponse:
        """Every place in every pod that refers to the Secret, be it there or not."""
        if not request.name:
            raise Invalid.of("the request", [Violation("name", "is required")])
        await self._feed.reached(0)
        view, namespace = self._feed.view, request.namespace or "default"
        found = view.get(Key("Secret", namespace, request.name))
        revision = found.metadata.resource_version if found is not None else ""
        answer = pb.SecretDeliveryResponse(revision=revision)
        pods = (p for p in view.pods() if p.metadata.namespace == namespace and not is_terminal(p))
        for pod in sorted(pods, key=lambda p: p.metadata.name):
            known = {r.where: r for r in self._known(pod) if r.name == request.name}
            for where in places(pod, request.name):
                answer.deliveries.append(_delivery(pod, where, known.get(where), revision))
        return answer

    def _known(self, pod: Pod) -> Sequence[SecretReceipt]:
        return self._receipts(pod.spec.node_name, pod.metadata.uid) if pod.spec.node_name else ()


def places(pod: Pod, name: str) -> Iterator[str]:
    """Where a pod has a Secret, as receipts name it."""
    for volume in pod.spec.volumes:
        if name in secrets_of(PodSpec(volumes=[volume])):
            yield f"volume {volume.name}"
    for container in containers(pod.spec):
        if name in environment_secrets(container):
            yield f"environment of {container.name}"


def _delivery(pod: Pod, where: str, receipt: SecretReceipt | None, newest: str) -> pb.SecretDelivery:
    made = pb.SecretDelivery(pod=pod.metadata.name, host=pod.spec.node_name, where=where)
    if receipt is not None:
        made.revision = receipt.revision
        made.current = bool(newest) and receipt.revision == newest
        made.since.CopyFrom(to_timestamp(receipt.at_unix_nanos))
    if not newest:
        made.why = "there is no such Secret"
    elif receipt is None:
        made.why = "is not there yet" if pod.spec.node_name else "the pod has no host yet"
    elif not made.current:
        made.why = "changes with the next start of the container" if where.startswith("env") else "is on its way"
    return made
