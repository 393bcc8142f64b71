"""Questions to meshd about who may do what; a part of the client that stands apart for its size.

Rule: as of the client: every failure is a `mesh.errors` error.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from mesh.sdk.channel import answer
from mesh.sdk.client import AsyncClient
from mesh.v1 import access_pb2 as pb
from mesh.v1.access_pb2_grpc import AccessStub

_TIMEOUT = 30.0


@dataclass(frozen=True, slots=True)
class Access:
    """Asks over the connection of a client."""

    client: AsyncClient

    async def whoami(self) -> pb.WhoAmIResponse:
        """Whom meshd takes the caller for."""
        stub = AccessStub(await self.client._connect())  # a part of the client
        return await answer(stub.WhoAmI(pb.WhoAmIRequest(), timeout=_TIMEOUT), self.client.server)

    async def can_i(self, request: pb.CanIRequest) -> pb.CanIResponse:
        """Whether it would be allowed now, and why (not); raises Forbidden for questions about others."""
        stub = AccessStub(await self.client._connect())
        return await answer(stub.CanI(request, timeout=_TIMEOUT), self.client.server)

    async def grants(self, namespace: str, user: str = "", groups: Sequence[str] = ()) -> Sequence[pb.GrantedRule]:
        """Every rule that holds everywhere or in the namespace."""
        stub = AccessStub(await self.client._connect())
        request = pb.GrantsRequest(namespace=namespace, user=user, groups=groups)
        return (await answer(stub.Grants(request, timeout=_TIMEOUT), self.client.server)).rules
