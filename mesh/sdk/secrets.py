"""Questions to meshd about what becomes of Secrets; a part of the client that stands apart for its size.

Rule: as of the client: every failure is a `mesh.errors` error; no value is ever in an answer.
"""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

from mesh.sdk.connection import Connection
from mesh.v1 import secrets_pb2 as pb
from mesh.v1.secrets_pb2_grpc import SecretsStub

_TIMEOUT = 30.0


@dataclass(frozen=True, slots=True)
class Secrets:
    """Asks over a client's connection."""

    over: Connection

    async def delivery(self, name: str, namespace: str = "") -> pb.SecretDeliveryResponse:
        """Which revision of a Secret is where, in every pod that refers to it."""
        stub = SecretsStub(await self.over.channel())
        request = pb.SecretDeliveryRequest(namespace=namespace or self.over.namespace, name=name)
        return await self.over.call(stub.Delivery(request, timeout=_TIMEOUT))

    async def rotate_keys(self) -> AsyncGenerator[pb.RotateKeysProgress, None]:
        """Rotates the key that encrypts Secrets at rest, or ends an unfinished rotation; tells how far it is."""
        stub = SecretsStub(await self.over.channel())
        async with aclosing(self.over.stream(stub.RotateKeys(pb.RotateKeysRequest()))) as stream:
            async for progress in stream:
                yield progress
