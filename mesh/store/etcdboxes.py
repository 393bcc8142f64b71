"""What every control host must have alike and a leader may replace, on its way to the others: boxes in etcd.

Rules: only who holds meshd's own key opens a box; every control host has the same one, and etcd has none of it. The
store's keys are there before anything is wrapped with a new one, an authority before anything is issued by it; who
starts, or begins to lead, takes what is there. Keys of the store that are under a passphrase, or in a credential,
never go there: their owner takes them to the other hosts.
"""

import asyncio
import os
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress

import structlog
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from mesh.errors import Unavailable
from mesh.etcd import etcd_pb2 as pb
from mesh.store.etcdbatch import made_at, put
from mesh.store.etcdclient import Compacted, EtcdClient
from mesh.store.etcdlayout import Layout

_NONCE = 12
_PAUSE = 0.5  # seconds, after etcd was away
_log = structlog.get_logger("mesh.store")


class Box:
    """The one of this name; `meshd_key`: the PEM of meshd's own."""

    def __init__(self, client: EtcdClient, layout: Layout, name: str, meshd_key: bytes) -> None:
        self._client = client
        self._leader = layout.leader
        self._key = layout.boxes[name]
        self._name = name
        self._meshd_key = meshd_key

    async def put(self, content: bytes, fence: int) -> None:
        """Replaces what is in it, while its writer leads by this fence. Raises Unavailable."""
        leads = [made_at(self._leader, fence)]
        box = sealed(content, self._meshd_key, self._name)
        answer = await self._client.txn(pb.TxnRequest(compare=leads, success=[put(self._key, box)]))
        if not answer.succeeded:
            raise Unavailable(f"cannot replace the {self._name}: another meshd leads by now")

    async def content(self) -> bytes:
        """What is in it; empty when nothing was ever put there. Raises Unavailable."""
        box, _ = await self._found()
        return opened(box, self._meshd_key, self._name) if box else b""

    async def contents(self) -> AsyncGenerator[bytes]:
        """What is in it, and again whenever that is replaced; waits while etcd is away. Raises Unavailable for what
        can't be opened."""
        known = b""
        while True:
            try:
                box, at = await self._found()
                if box == known:
                    await self._replaced(at)
            except Unavailable as error:
                _log.warning("box_not_followed", name=self._name, why=error.message)
                await asyncio.sleep(_PAUSE)
                continue
            if box != known:
                known = box
                yield opened(box, self._meshd_key, self._name)

    async def _found(self) -> tuple[bytes, int]:
        """It as it lies in etcd, or empty, and etcd's revision at that moment."""
        found = await self._client.range(pb.RangeRequest(key=self._key))
        return (found.kvs[0].value if found.kvs else b""), found.header.revision

    async def _replaced(self, at: int) -> None:
        """Returns once it may be another one than at that revision of etcd's."""
        with suppress(Compacted):
            async with aclosing(self._client.watch(self._key, b"", at + 1)) as told:
                async for events in told:
                    if any(event.type == pb.Event.PUT for event in events):
                        return


def sealed(content: bytes, meshd_key: bytes, name: str) -> bytes:
    """A box of this name; `meshd_key`: the PEM of meshd's own."""
    nonce = os.urandom(_NONCE)
    return nonce + _cipher(meshd_key, name).encrypt(nonce, content, b"")


def opened(box: bytes, meshd_key: bytes, name: str) -> bytes:
    """What is in it; raises Unavailable for one that another meshd's key has closed, or of another name."""
    try:
        return _cipher(meshd_key, name).decrypt(box[:_NONCE], box[_NONCE:], b"")
    except (InvalidTag, ValueError):
        raise Unavailable(
            f"cannot take over the mesh's new {name}: this host's meshd.key is not that of the meshd that replaced the "
            "old; `mesh control pack` there, and `mesh control add` here"
        ) from None


def _cipher(meshd_key: bytes, name: str) -> AESGCM:
    derive = HKDF(algorithm=SHA256(), length=32, salt=None, info=f"mesh {name} in etcd 1".encode())
    return AESGCM(derive.derive(meshd_key.strip()))
