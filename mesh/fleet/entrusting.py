"""What lets a host be given Secrets: its key, vouched for by its certificate; boxes for that key; signed orders.

Rule: a key counts when the host's own certificate signed it for this meshd's nonce and this agent process; a plain
Secret leaves meshd in a box for such a key alone, and every order is signed. Without an authority (a simulation, which
has no API either) any key counts and nothing is signed.
"""

import asyncio
import secrets
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

from mesh import jwt, pki, sealing, signing
from mesh.errors import MeshError
from mesh.fleet.needs import SECRET_BUDGET, Entrusted, token_claims
from mesh.model import podtokens
from mesh.model.keys import Key
from mesh.pki import Identity
from mesh.sealing import Context, PublicKey
from mesh.sessions import Trust
from mesh.v1.core_pb2 import Secret
from mesh.v1.node_pb2 import Assignment, HostKey, Observed, SealedSecret, SignedOrder
from mesh.view import View


class Entrusting:
    """One host's. `clock` gives nanoseconds since the epoch."""

    def __init__(self, node: str, trust: Trust | None, clock: Callable[[], int], budget: int = SECRET_BUDGET) -> None:
        self.nonce = secrets.token_bytes(16)  # to be answered by the announcement
        self.state = Entrusted(budget=budget)
        self._node = node
        self._trust = trust
        self._clock = clock
        self._boot = ""
        self.identity: Identity | None = None  # by which certificate the host announced its key
        self.announced: HostKey | None = None  # that announcement, while it counts
        self._key: PublicKey | None = None
        self._taken: set[tuple[str, str]] = set()  # uid, name and revision of boxes that the key's holder has taken

    def hear(self, observed: Observed) -> bool:
        """Takes the announcement of the host's key, if there is one; says whether another key counts now."""
        before = self.state
        if observed.boot != self._boot:
            self._boot, self.announced = observed.boot, None
            self._forget("this host has not announced a key yet")
        if observed.HasField("key"):
            try:
                self._take(observed)
            except MeshError as error:
                self.announced = None
                self._forget(f"this host's key does not count: {error.message}")
        return self.state != before

    def _take(self, observed: Observed) -> None:
        told = observed.key
        if self._trust is not None:
            signed = signing.Signed(told.certificate, told.signature)
            if not told.certificate:
                self._forget("this host has no certificate of the mesh, so its key does not count")
                return
            words = signing.announcement(self._node, observed.boot, self.nonce, told.suite, told.public_key)
            signing.verify_host(signed, signing.HOST_KEY, words, self._node, self._trust.ca(), self._now())
            self.identity = pki.identity(pki.split(told.certificate)[0])
        self.announced = told
        key = PublicKey(told.suite, told.public_key)
        if key != self._key:
            self._key, self._taken = key, set()
            self.state = Entrusted(key.id, "", self.state.budget)

    def bar(self) -> bool:
        """The certificate was revoked: no Secret is given until there is another one. Says whether that is new."""
        before = self.state
        self._forget("this host's certificate was revoked")
        return self.state != before

    def _forget(self, why: str) -> None:
        self._key, self._taken = None, set()
        self.state = Entrusted("", why, self.state.budget)

    # ---- orders

    async def order(self, wanted: Assignment, view: View) -> Assignment:
        """The order with its boxes, and signed; what the host has taken before stays without a box. `wanted` is of
        `view` and of `state`, as they are now."""
        pending = [(entry, content) for entry in wanted.sealed_secrets if (content := self._fresh(entry, view))]
        key = self._key
        if pending and key is not None:
            await asyncio.to_thread(self._seal, pending, key)
        return await asyncio.to_thread(self._signed, wanted) if pending else self._signed(wanted)

    def _fresh(self, entry: SealedSecret, view: View) -> "Callable[[], bytes] | None":
        """What gives the bytes of the Secret, or of the token, that must travel."""
        if (entry.uid, f"{entry.name}@{entry.revision}") in self._taken:
            return None
        if podtokens.is_token(entry.name):
            claims = token_claims(entry, self._node, view)
            return None if claims is None else lambda: self._token(claims)
        found = view.get(Key("Secret", entry.namespace, entry.name))
        return (lambda: _content(found)) if isinstance(found, Secret) else None

    def _token(self, claims: dict[str, Any]) -> bytes:
        own = self._trust.own() if self._trust is not None else _nobodys()
        return Secret(data={podtokens.KEY: jwt.sign(claims, own.key).encode()}).SerializeToString()

    def _seal(self, pending: Sequence[tuple[SealedSecret, Callable[[], bytes]]], key: PublicKey) -> None:
        for entry, content in pending:
            context = Context(self._node, entry.key_id, entry.namespace, entry.name, entry.uid, entry.revision)
            entry.box = sealing.seal(content(), key, context)

    def _signed(self, wanted: Assignment) -> Assignment:
        if self._trust is None:
            return wanted
        payload = wanted.SerializeToString()
        signed = signing.sign(self._trust.own(), signing.ORDER, payload)
        return Assignment(
            signed=SignedOrder(assignment=payload, certificate=signed.certificate, signature=signed.signature)
        )

    def took(self, wanted: Assignment) -> None:
        """The host holds this order: its boxes need not travel again."""
        if self._key is not None:
            mine = (s for s in wanted.sealed_secrets if s.key_id == self._key.id)
            self._taken = {(s.uid, f"{s.name}@{s.revision}") for s in mine}

    def refused(self) -> None:
        """The host may not hold what was thought: all boxes travel again."""
        self._taken = set()

    def _now(self) -> int:
        return self._clock() // 1_000_000_000


def _content(secret: Secret) -> bytes:
    return Secret(data=secret.data, type=secret.type).SerializeToString()


@lru_cache(maxsize=1)
def _nobodys() -> pki.Pair:
    """A key of no authority, where there is none: tokens are made, and nobody takes them."""
    return pki.wish()
