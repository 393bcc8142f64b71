"""Questions to meshd about who may do what; a part of the client that stands apart for its size.

Rule: as of the client: every failure is a `mesh.errors` error.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from mesh import pki
from mesh.sdk.connection import Connection
from mesh.sdk.wire import keep, renewed
from mesh.v1 import access_pb2 as pb
from mesh.v1.access_pb2_grpc import AccessStub

_TIMEOUT = 30.0


@dataclass(frozen=True, slots=True)
class Access:
    """Asks over a client's connection."""

    over: Connection

    async def whoami(self) -> pb.WhoAmIResponse:
        """Whom meshd takes the caller for."""
        stub = AccessStub(await self.over.channel())
        return await self.over.call(stub.WhoAmI(pb.WhoAmIRequest(), timeout=_TIMEOUT))

    async def can_i(self, request: pb.CanIRequest) -> pb.CanIResponse:
        """Whether it would be allowed now, and why (not); raises Forbidden for questions about others."""
        stub = AccessStub(await self.over.channel())
        return await self.over.call(stub.CanI(request, timeout=_TIMEOUT))

    async def grants(self, namespace: str, user: str = "", groups: Sequence[str] = ()) -> Sequence[pb.GrantedRule]:
        """Every rule that holds everywhere or in the namespace."""
        stub = AccessStub(await self.over.channel())
        request = pb.GrantsRequest(namespace=namespace, user=user, groups=groups)
        return (await self.over.call(stub.Grants(request, timeout=_TIMEOUT))).rules

    # ---- service accounts

    async def request_token(self, request: pb.RequestTokenRequest) -> pb.RequestTokenResponse:
        """A token of a service account; raises NotFound, Invalid."""
        stub = AccessStub(await self.over.channel())
        return await self.over.call(stub.RequestToken(request, timeout=_TIMEOUT))

    async def review_token(self, token: str, audiences: Sequence[str] = ()) -> pb.ReviewTokenResponse:
        """Whom such a token names, and whether it counts."""
        stub = AccessStub(await self.over.channel())
        request = pb.ReviewTokenRequest(token=token, audiences=audiences)
        return await self.over.call(stub.ReviewToken(request, timeout=_TIMEOUT))

    # ---- tokens and certificates

    async def create_token(self, request: pb.CreateTokenRequest) -> pb.CreateTokenResponse:
        """A token that is shown this once."""
        stub = AccessStub(await self.over.channel())
        return await self.over.call(stub.CreateToken(request, timeout=_TIMEOUT))

    async def tokens(self) -> Sequence[pb.Token]:
        """The tokens that count."""
        stub = AccessStub(await self.over.channel())
        return (await self.over.call(stub.ListTokens(pb.ListTokensRequest(), timeout=_TIMEOUT))).tokens

    async def revoke_token(self, id_: str) -> None:
        """Takes a token away; raises NotFound."""
        stub = AccessStub(await self.over.channel())
        await self.over.call(stub.RevokeToken(pb.RevokeTokenRequest(id=id_), timeout=_TIMEOUT))

    async def certificates(self) -> pb.ListCertificatesResponse:
        """The authorities, the certificates on meshd's host, and what was revoked."""
        stub = AccessStub(await self.over.channel())
        request = pb.ListCertificatesRequest()
        return await self.over.call(stub.ListCertificates(request, timeout=_TIMEOUT))

    async def revoke(self, kind: str, name: str, why: str = "") -> None:
        """What a "user" or "node" was issued until now, or the certificate of a "serial", counts no more."""
        stub = AccessStub(await self.over.channel())
        request = pb.RevokeRequest(kind=kind, name=name, why=why)
        await self.over.call(stub.Revoke(request, timeout=_TIMEOUT))

    async def rotate_authority(self, finish: bool = False) -> Sequence[pb.CertificateInfo]:
        """Begins with a new authority, or ends the trust in the old one; returns those that are trusted."""
        stub = AccessStub(await self.over.channel())
        request = pb.RotateAuthorityRequest(finish=finish)
        return (await self.over.call(stub.RotateAuthority(request, timeout=_TIMEOUT))).authorities

    async def renew(self) -> int:
        """Renews the context's own certificate now; returns when it ends, in seconds since the epoch."""
        channel = await self.over.channel()
        certified = await renewed(channel, self.over.server, self.over.context)
        await asyncio.to_thread(keep, self.over.context, certified)
        return pki.expires(certified.certificate)
