"""Who leads, when several meshd share a store in etcd: an election by a lease, and the fence that it gives.

Rules: who leads holds the leader's key, which ends with his lease; the revision at which etcd made the key fences
every write of the store (`EtcdStore.fence`), and the epoch that the new leader stores fences what hosts are ordered
(`mesh.start`). While etcd has no majority nobody's lease ends, and nobody writes.
"""

import asyncio
import json
from contextlib import aclosing, suppress
from dataclasses import asdict, dataclass
from typing import NoReturn

import structlog

from mesh.errors import Unavailable
from mesh.etcd import etcd_pb2 as pb
from mesh.store.etcd import EtcdStore
from mesh.store.etcdbatch import get, made_at, put
from mesh.store.etcdclient import Compacted
from mesh.store.etcdlayout import beyond

_log = structlog.get_logger("mesh.leader")
_PAUSE = 0.5  # seconds, after etcd was away


@dataclass(frozen=True, slots=True)
class Candidate:
    """One meshd: its name, and where clients reach it ("host:port")."""

    name: str
    address: str

    def encode(self) -> bytes:
        """As it lies in etcd."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def decode(cls, value: bytes) -> "Candidate":
        """Raises Unavailable for what is damaged."""
        try:
            told = json.loads(value)
            return cls(str(told["name"]), str(told["address"]))
        except (ValueError, KeyError, TypeError) as error:
            raise Unavailable("cannot tell who leads: what etcd holds of it is damaged") from error


class Election:
    """One meshd's part. `leading`: who leads as far as is known; `seconds`: how long a leader that died leads on."""

    def __init__(self, store: EtcdStore, own: Candidate, seconds: int) -> None:
        self.own = own
        self.leading: Candidate | None = None
        self._store = store
        self._client = store.client
        self._seconds = seconds
        self._lease = 0
        self._asked_at = 0  # of etcd's revisions, the one at which `leading` was known
        self._leader = store.layout.leader
        self._members = store.layout.prefix + b"members/"

    async def run(self) -> NoReturn:
        """Keeps this meshd a candidate, and the leader once it is; raises Unavailable when its time has run out: begin
        anew then."""
        while True:
            await asyncio.sleep(self._seconds / 3)
            try:
                lives = not self._lease or await self._client.keep_alive(self._lease)
            except Unavailable as error:
                _log.warning("lease_not_kept", why=error.message)  # etcd ends none while it can't be kept at all
                continue
            if not lives:
                raise Unavailable("etcd has not heard of this meshd for too long: another one may lead by now")

    async def stand(self) -> bool:
        """Whether this meshd leads now, the store fenced by it; `leading` says who does. Raises Unavailable."""
        await self._enter()
        answer = await self._client.txn(pb.TxnRequest(
            compare=[made_at(self._leader, 0)],
            success=[put(self._leader, self.own.encode(), self._lease)],
            failure=[get(self._leader)],
        ))  # fmt: skip
        self._asked_at = answer.header.revision
        if answer.succeeded:
            return self._lead(answer.header.revision)
        held = answer.responses[0].response_range.kvs[0]
        if held.lease == self._lease:  # an earlier call's answer was lost
            return self._lead(held.create_revision)
        self.leading = Candidate.decode(held.value)
        return False

    async def won(self) -> None:
        """Returns once this meshd leads; takes part whenever nobody does."""
        while True:
            try:
                if await self.stand():
                    return
                _log.info("following", leader=self.leading and self.leading.name)
                await self._vacant()
            except Unavailable as error:
                _log.warning("cannot_campaign", why=error.message)
                await asyncio.sleep(_PAUSE)

    async def resign(self) -> None:
        """Lets another one lead at once; in vain when etcd is away."""
        with suppress(Unavailable):
            if self._lease:
                await self._client.revoke(self._lease)

    async def leader(self) -> Candidate | None:
        """Who leads, None when nobody does. Raises Unavailable."""
        found = await self._client.range(pb.RangeRequest(key=self._leader))
        return Candidate.decode(found.kvs[0].value) if found.kvs else None

    async def members(self) -> list[Candidate]:
        """Every meshd that lives, by name. Raises Unavailable."""
        found = await self._client.range(pb.RangeRequest(key=self._members, range_end=beyond(self._members)))
        return [Candidate.decode(kv.value) for kv in found.kvs]

    def _lead(self, fence: int) -> bool:
        self.leading = self.own
        self._store.fence = fence
        return True

    async def _enter(self) -> None:
        """Makes this meshd known, for as long as its lease lasts. Raises Unavailable."""
        if not self._lease:
            lease = await self._client.grant(self._seconds)
            key = self._members + self.own.name.encode()
            await self._client.txn(pb.TxnRequest(success=[put(key, self.own.encode(), lease)]))
            self._lease = lease

    async def _vacant(self) -> None:
        """Returns once the leader's key may be gone. Raises Unavailable."""
        with suppress(Compacted):
            async with aclosing(self._client.watch(self._leader, b"", self._asked_at + 1)) as told:
                async for events in told:
                    if any(event.type == pb.Event.DELETE for event in events):
                        return
