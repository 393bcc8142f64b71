"""The Access service: who the caller is and what that allows, and who gets in at all.

Rule: everyone may ask about himself; about others who may impersonate them (the verb on users and groups).
"""

from collections.abc import Callable
from typing import Any

from grpc import aio

from mesh import pki
from mesh.access.decide import decide, grants_of
from mesh.access.rules import Ask
from mesh.access.tokens import Ticket
from mesh.access.who import Who, named
from mesh.errors import Forbidden, Invalid, MeshError, Unavailable, Violation
from mesh.rpc import revoked, tokens
from mesh.rpc.enrol import Enrolment
from mesh.rpc.gate import current
from mesh.store.change import change
from mesh.store.feed import Feed
from mesh.store.port import Store
from mesh.v1 import access_pb2 as pb
from mesh.v1.access_pb2_grpc import AccessServicer

_SECOND = 1_000_000_000
Context = aio.ServicerContext[Any, Any]


class Access(AccessServicer):
    """Answers by the newest view. Without `enrolment` nobody new gets in: the authority is somebody else's. `key`:
    what service accounts' tokens are signed with."""

    def __init__(
        self, feed: Feed, store: Store, clock: Callable[[], int], enrolment: Enrolment | None,
        key: Callable[[], bytes] = bytes,
    ) -> None:  # fmt: skip
        self._feed = feed
        self._store = store
        self._clock = clock
        self._enrolment = enrolment
        self._key = key

    async def WhoAmI(self, request: pb.WhoAmIRequest, context: Context) -> pb.WhoAmIResponse:
        """Whom the call's proof names."""
        who = current().who
        return pb.WhoAmIResponse(name=who.name, groups=who.groups, by=who.by)

    async def CanI(self, request: pb.CanIRequest, context: Context) -> pb.CanIResponse:
        """Whether it would be allowed now."""
        missing = [name for name in ("verb", "resource") if not getattr(request, name)]
        if missing:
            raise Invalid.of("the request", [Violation(name, "is required") for name in missing])
        await self._feed.reached(0)
        resource, _, part = request.resource.partition("/")
        ask = Ask(request.verb, request.group, resource, part, request.namespace, request.name)
        decision = decide(_meant(request), ask, self._feed.view)
        return pb.CanIResponse(allowed=decision.allowed, why=decision.why)

    async def Grants(self, request: pb.GrantsRequest, context: Context) -> pb.GrantsResponse:
        """Every rule that holds everywhere or in the namespace. Of a host there are none: it may what its pods need."""
        await self._feed.reached(0)
        return pb.GrantsResponse(rules=[
            pb.GrantedRule(
                verbs=sorted(grant.rule.verbs),
                groups=sorted(grant.rule.groups),
                resources=sorted(grant.rule.resources),
                names=sorted(grant.rule.names),
                namespace=grant.namespace,
                source=grant.source,
            )
            for grant in grants_of(_meant(request), self._feed.view, request.namespace)
        ])  # fmt: skip

    async def RequestToken(self, request: pb.RequestTokenRequest, context: Context) -> pb.RequestTokenResponse:
        """A token of a service account."""
        await self._feed.reached(0)
        return tokens.made(request, self._feed.view, self._key(), self._clock() // _SECOND)

    async def ReviewToken(self, request: pb.ReviewTokenRequest, context: Context) -> pb.ReviewTokenResponse:
        """Whom such a token names, if it counts."""
        await self._feed.reached(0)
        return tokens.reviewed(request, self._feed.view, self._key, self._clock() // _SECOND)

    # ---- certificates and tokens

    async def Renew(self, request: pb.RenewRequest, context: Context) -> pb.Certified:
        """A new certificate of the caller's identity."""
        call = current()
        if call.identity is None:
            raise Forbidden("only a certificate is renewed")
        try:
            certified = self._keeper.renew(call.identity, request.request)
        except MeshError as error:
            call.gate.refused(call, error)
            raise
        call.gate.note(call, f"renewed until {pki.expires(certified.certificate)}")
        return certified

    async def Enrol(self, request: pb.EnrolRequest, context: Context) -> pb.Certified:
        """A certificate for a token."""
        call = current()
        call.who = Who("", by=f"token {request.token.split('.')[1][:10]}" if request.token.count(".") == 3 else "")
        try:
            certified = await self._keeper.enrol(request)
        except MeshError as error:
            call.gate.refused(call, error)
            raise
        call.gate.note(call, f'enrolled as {"host" if certified.node else "user"} "{certified.name}"')
        return certified

    async def CreateToken(self, request: pb.CreateTokenRequest, context: Context) -> pb.CreateTokenResponse:
        """A token, shown this once."""
        shown, ticket = await self._keeper.create(request, current().who.name)
        return pb.CreateTokenResponse(token=str(shown), about=_token(ticket), servers=self._keeper.servers)

    async def ListTokens(self, request: pb.ListTokensRequest, context: Context) -> pb.ListTokensResponse:
        """The tokens that count."""
        return pb.ListTokensResponse(tokens=[_token(ticket) for ticket in self._keeper.listed()])

    async def RevokeToken(self, request: pb.RevokeTokenRequest, context: Context) -> pb.RevokeTokenResponse:
        """Takes a token away."""
        await self._keeper.revoke(request.id)
        return pb.RevokeTokenResponse()

    async def ListCertificates(
        self, request: pb.ListCertificatesRequest, context: Context
    ) -> pb.ListCertificatesResponse:
        """The authorities, what this host holds, and what was revoked."""
        keeper = self._keeper
        held = [certificate_info(name, chain) for name, chain in keeper.certificates.held().items()]
        return pb.ListCertificatesResponse(
            certificates=[*_authorities(keeper), *held], revoked=list(revoked.listed(self._feed.view))
        )

    async def Revoke(self, request: pb.RevokeRequest, context: Context) -> pb.RevokeResponse:
        """What an identity was issued until now counts no more."""
        if request.kind not in ("user", "node", "serial") or not request.name:
            raise Invalid.of("the request", [Violation("kind", 'must be "user", "node" or "serial", with a name')])
        by, now = current().who.name, self._clock()
        await change(self._store, self._feed, lambda view: revoked.writes(request, by, now, view))
        if request.kind == "node":
            self._keeper.host_removed()
        return pb.RevokeResponse()

    async def RotateAuthority(self, request: pb.RotateAuthorityRequest, context: Context) -> pb.RotateAuthorityResponse:
        """Begins with a new authority, or ends the trust in the old one."""
        keeper = self._keeper
        await (keeper.certificates.finish() if request.finish else keeper.certificates.rotate())
        return pb.RotateAuthorityResponse(authorities=_authorities(keeper))

    @property
    def _keeper(self) -> Enrolment:
        if self._enrolment is None:
            raise Unavailable("this meshd has no authority: meshd.toml names no pki.authority")
        return self._enrolment


def _authorities(keeper: Enrolment) -> list[pb.CertificateInfo]:
    held = keeper.certificates.authority
    infos = []
    for certificate in pki.split(held.bundle):
        issues = certificate == held.certificate
        note = ("issues" if held.key else "its key is kept elsewhere") if issues else "trusted until the change is over"
        infos.append(certificate_info("", certificate, "authority", note))
    return infos


def certificate_info(name: str, chain: bytes, kind: str = "", note: str = "") -> pb.CertificateInfo:
    """What `mesh certs list` shows of a certificate."""
    leaf = pki.split(chain)[0]
    request = pki.request_of(leaf)
    what = kind or ("server" if not request.uris else request.uris[0].removeprefix("mesh://").partition("/")[0])
    return pb.CertificateInfo(
        name=request.name if not name or name == "agent" else name,
        kind=what,
        fingerprint=pki.fingerprint(leaf),
        serial=f"{pki.serial(leaf):X}",
        issued=pki.issued(leaf),
        expires=pki.expires(leaf),
        note=note,
    )


def _token(ticket: Ticket) -> pb.Token:
    return pb.Token(
        id=ticket.id,
        user="" if ticket.host else ticket.name,
        node=ticket.name if ticket.host else "",
        host=ticket.host,
        groups=ticket.groups,
        expires=ticket.expires,
        by=ticket.by,
    )


def _meant(request: pb.CanIRequest | pb.GrantsRequest) -> Who:
    """The caller, or whom he asks about; raises Forbidden."""
    call = current()
    if not request.user and not request.groups:
        return call.who
    asks = [Ask("impersonate", "", "users", name=request.user)] if request.user else []
    call.require([*asks, *(Ask("impersonate", "", "groups", name=group) for group in request.groups)])
    return named(request.user or call.who.name, tuple(request.groups))
