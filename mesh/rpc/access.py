"""The Access service: who the caller is and what that allows.

Rule: everyone may ask about himself; about others who may impersonate them (the verb on users and groups).
"""

from typing import Any

from grpc import aio

from mesh.access.decide import decide, grants_of
from mesh.access.rules import Ask
from mesh.access.who import Who, named
from mesh.errors import Invalid, Violation
from mesh.rpc.gate import current
from mesh.store.feed import Feed
from mesh.v1 import access_pb2 as pb
from mesh.v1.access_pb2_grpc import AccessServicer

Context = aio.ServicerContext[Any, Any]


class Access(AccessServicer):
    """Answers by the newest view."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed

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


def _meant(request: pb.CanIRequest | pb.GrantsRequest) -> Who:
    """The caller, or whom he asks about; raises Forbidden."""
    call = current()
    if not request.user and not request.groups:
        return call.who
    asks = [Ask("impersonate", "", "users", name=request.user)] if request.user else []
    call.require([*asks, *(Ask("impersonate", "", "groups", name=group) for group in request.groups)])
    return named(request.user or call.who.name, tuple(request.groups))
