"""The mesh's own certificate, which Ingress shows to whoever names no host that has another: HTTPS answers at once.

Rule: a Secret like any other, so it is encrypted in the store and travels sealed. It is made when the first host serves
Ingresses, and made anew when two thirds of its life are over or when it does not name all these hosts.
"""

import asyncio
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress

import structlog

from mesh import authority, pki
from mesh.errors import MeshError
from mesh.model.ingress import CERTIFICATE, DEFAULT_CERTIFICATE, KEY, TLS_TYPE
from mesh.model.keys import Key
from mesh.model.kinds import revision_of
from mesh.model.times import whole_seconds
from mesh.network import ingress
from mesh.rpc.certificates import Certificates
from mesh.store.change import change
from mesh.store.feed import Feed
from mesh.store.port import Event, Store, Write
from mesh.v1.core_pb2 import Node, Secret
from mesh.view import View

_NAME = "ingress.mesh"
_KEY = Key("Secret", *DEFAULT_CERTIFICATE)
_AGAIN, _LONGEST = 60.0, 3600.0  # seconds until another try; between two looks at the clock
_log = structlog.get_logger("mesh.rpc")


class IngressCertificate:
    """Keeps that Secret. `clock`: nanoseconds since the epoch."""

    def __init__(self, store: Store, feed: Feed, certificates: Certificates, clock: Callable[[], int]) -> None:
        self._store = store
        self._feed = feed
        self._certificates = certificates
        self._clock = clock
        self._news = asyncio.Event()
        self._news.set()

    async def run(self) -> None:
        """Until cancelled."""
        leave = self._feed.on_events(self._on_events)
        pause: float | None = None
        try:
            while True:
                with suppress(TimeoutError):
                    async with asyncio.timeout(pause):
                        await self._news.wait()
                self._news.clear()
                try:
                    await change(self._store, self._feed, self._writes)
                    pause = _LONGEST if ingress.hosts(self._feed.view) else None
                except (MeshError, OSError) as error:
                    _log.error("ingress_certificate_not_made", error=str(error))
                    pause = _AGAIN
        finally:
            leave()

    def _on_events(self, events: Sequence[Event]) -> None:
        if any(isinstance(e.object, Node) or e.key == _KEY for e in events):
            self._news.set()

    def _writes(self, view: View) -> list[Write]:
        names = sorted({_NAME, *ingress.addresses(view), *(n.metadata.name for n in ingress.hosts(view))})
        if len(names) == 1:
            return []
        held, now = view.get(_KEY), self._clock() // 1_000_000_000
        if isinstance(held, Secret) and _holds(held.data.get(CERTIFICATE, b""), names, self._certificates, now):
            return []
        own = self._certificates.authority
        request = pki.server(_NAME, names)
        pair = pki.issue(pki.Pair(own.certificate, own.key), request, now, authority.life(request) // pki.DAY)
        made = Secret(api_version="v1", kind="Secret", type=TLS_TYPE)
        if isinstance(held, Secret):
            made.metadata.CopyFrom(held.metadata)
        else:
            made.metadata.namespace, made.metadata.name = DEFAULT_CERTIFICATE
            made.metadata.uid = str(uuid.uuid4())
            made.metadata.creation_timestamp.CopyFrom(whole_seconds(self._clock()))
        made.data[CERTIFICATE], made.data[KEY] = pair.certificate + own.cross, pair.key
        return [Write(_KEY, made, revision_of(held) if held is not None else 0)]


def _holds(chain: bytes, names: Sequence[str], certificates: Certificates, now: int) -> bool:
    try:
        return pki.covers(chain, names) and not authority.stale(chain, certificates.authority, now)
    except (MeshError, ValueError, IndexError):
        return False
