"""Who gets a certificate: by a token once, by the certificate before it, never by what a request says of itself.

Rule: a token is taken away in the commit that decides about it: of two who come with it one is refused. What is refused
is written down by the gate, and the caller is told no more than that it does not count.
"""

import secrets
from collections.abc import Callable, Sequence

from mesh import pki
from mesh.access import tokens
from mesh.access.builtin import EVERYWHERE
from mesh.access.tokens import Ticket
from mesh.access.who import RESERVED
from mesh.admission import admit
from mesh.admission.admit import Stamp
from mesh.errors import Conflict, Forbidden, Invalid, NotFound, Unavailable, Violation
from mesh.model import formats
from mesh.model.kinds import revision_of
from mesh.pki import MONITORS, Identity, Request
from mesh.rpc.certificates import Certificates
from mesh.rpc.rayaccess import RayAccess, check_address
from mesh.store.change import change
from mesh.store.feed import Feed
from mesh.store.port import Store, Write
from mesh.v1 import access_pb2 as pb
from mesh.view import View

_MOST = 30 * pki.DAY  # that a token may last
_LEAST = 60
_NO = "this token does not count: it was used, revoked, has expired, or never was"


class Enrolment:
    """`clock`: nanoseconds since the epoch. `servers`: where those come who have only a token. `ray`: what hosts need
    of it."""

    port = 0  # where those come who have a certificate, once it is known
    members: Sequence[str] = ()  # and where they reach each meshd, if there are several

    def __init__(
        self, store: Store, feed: Feed, certificates: Certificates, clock: Callable[[], int], servers: Sequence[str],
        ray: RayAccess | None = None,
    ) -> None:  # fmt: skip
        self._store = store
        self._feed = feed
        self.certificates = certificates
        self._clock = clock
        self.servers = tuple(servers)
        self._ray = ray
        self.host_removed: Callable[[], None] = lambda: None  # what is to be done once a host counts no more

    async def create(self, request: pb.CreateTokenRequest, by: str) -> tuple[tokens.Shown, Ticket]:
        """A token that is shown this once."""
        now = self._now()
        _check(request)
        if not request.host and self.certificates.authority.key == b"":
            raise Unavailable("cannot let anyone in: the authority's key is kept elsewhere; put ca.key back")
        shown = tokens.new(secrets.token_bytes(27), pki.fingerprint(self.certificates.authority.certificate))
        name = request.node if request.host else request.user
        ticket = Ticket(shown.id, request.host, name, tuple(request.groups), now + request.ttl_seconds, by)
        stored = tokens.stored(ticket, shown.secret)

        def compute(view: View) -> list[Write]:
            made = admit.create(stored, view, Stamp(self._clock(), str(secrets.token_hex(16)), "")).object
            expired = [t for t in tokens.all_of(view) if t.expires <= now]
            return [Write(tokens.key_of(ticket.id), made, 0), *(Write(tokens.key_of(t.id), None) for t in expired)]

        await change(self._store, self._feed, compute)
        return shown, ticket

    def listed(self) -> list[Ticket]:
        """The tokens that count."""
        return [ticket for ticket in tokens.all_of(self._feed.view) if ticket.expires > self._now()]

    async def revoke(self, id_: str) -> None:
        """Takes a token away; raises NotFound."""

        def compute(view: View) -> list[Write]:
            held = view.get(tokens.key_of(id_))
            if held is None:
                raise NotFound(f'there is no token "{id_}": it was used, revoked or has expired')
            return [Write(tokens.key_of(id_), None, revision_of(held))]

        await change(self._store, self._feed, compute)

    async def enrol(self, request: pb.EnrolRequest) -> pb.Certified:
        """Uses a token up; raises Forbidden, Invalid."""
        shown = tokens.read(request.token)
        pki.wished_key(request.request)
        if request.ray_request:
            pki.wished_key(request.ray_request)
        taken: list[Ticket] = []

        def compute(view: View) -> list[Write]:
            held = view.get(tokens.key_of(shown.id))
            ticket = tokens.ticket_of(held)
            if held is None or ticket is None or not tokens.fits(held, shown.secret) or ticket.expires <= self._now():
                raise Forbidden(_NO)
            _check_host(ticket, request.node, view)
            if ticket.host and self._ray is not None:
                check_address(ticket.name or request.node, request.node_ip, view)
            taken[:] = [ticket]
            return [Write(tokens.key_of(shown.id), None, revision_of(held))]

        await change(self._store, self._feed, compute)
        ticket = taken[0]
        name = ticket.name or request.node
        certified = self._certified(pki.node(name) if ticket.host else pki.user(name, ticket.groups), request.request)
        if ticket.host and self._ray is not None:
            certified.ray.CopyFrom(self._ray.given(name, request.node_ip, request.ray_request, self._now()))
        return certified

    def renew(self, identity: Identity, csr: bytes) -> pb.Certified:
        """The same identity anew; raises Unavailable, Invalid, and Forbidden for a request that names another one."""
        is_node = identity.kind == "node"
        own = {identity.name, *(pki.node(identity.name) if is_node else pki.user(identity.name)).uris}
        if others := sorted(set(pki.wished_names(csr)) - own):
            raise Forbidden(f'a certificate is renewed for who shows it, "{identity.name}", not for "{others[0]}"')
        return self._certified(pki.node(identity.name) if is_node else pki.user(identity.name, identity.groups), csr)

    def _certified(self, request: Request, csr: bytes) -> pb.Certified:
        return pb.Certified(
            certificate=self.certificates.certify(request, csr),
            authorities=self.certificates.authority.bundle,
            name=request.name,
            node=request.server,
            port=self.port,
            servers=self.members,
        )

    def _now(self) -> int:
        return self._clock() // 1_000_000_000


def _check(request: pb.CreateTokenRequest) -> None:
    wrong = []
    if bool(request.user) == request.host:
        wrong.append(Violation("user", "say either a user or a host"))
    if request.user.startswith(RESERVED) or len(request.user) > 200 or not request.user.isprintable():
        wrong.append(Violation("user", f'can\'t be "{request.user[:200]}": such names are not for users'))
    if request.node and (why := formats.dns_subdomain(request.node)):
        wrong.append(Violation("node", why))
    bad = [g for g in request.groups if request.host or not _is_users(g)]
    wrong += [Violation("groups", f'"{group}" can\'t be given') for group in bad]
    if not _LEAST <= request.ttl_seconds <= _MOST:
        wrong.append(Violation("ttl", "must be between 1 minute and 30 days"))
    if wrong:
        raise Invalid.of("the token", wrong)


def _is_users(group: str) -> bool:
    return 0 < len(group.encode()) <= 64 and (group in (*EVERYWHERE, MONITORS) or not group.startswith(RESERVED))


def _check_host(ticket: Ticket, asked: str, view: View) -> None:
    """A token that names no host lets in new ones alone."""
    if not ticket.host:
        return
    if ticket.name:
        if asked not in ("", ticket.name):
            raise Forbidden(f'this token is for the host "{ticket.name}", not for "{asked}"')
        return
    if why := formats.dns_subdomain(asked):
        raise Invalid.of("the host", [Violation("node", why)])
    if view.node(asked) is not None:
        raise Conflict(f'there is a host "{asked}" already: make a token for it by `mesh token create --node {asked}`')
