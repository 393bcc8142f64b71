"""The keys that wrap Secrets' data keys, on their way from the meshd that rotates them to the others: a box in etcd.

Rules: only who holds meshd's own key opens the box; every control host has the same one, and etcd has none of it. The
box is there before anything is wrapped with a new key. Who starts, or begins to lead, takes its keys from it. Keys
that are under a passphrase, or in a credential, never go there: their owner takes them to the other hosts.
"""

import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from mesh.errors import Unavailable
from mesh.etcd import etcd_pb2 as pb
from mesh.store.etcdbatch import made_at, put
from mesh.store.etcdclient import EtcdClient
from mesh.store.etcdlayout import Layout
from mesh.store.keyring import Keyring, key_lines, parse_keys

_NONCE = 12


def sealed(ring: Keyring, meshd_key: bytes) -> bytes:
    """The box of these keys; `meshd_key`: the PEM of meshd's own."""
    nonce = os.urandom(_NONCE)
    return nonce + _cipher(meshd_key).encrypt(nonce, key_lines(ring.all()).encode(), b"")


def opened(box: bytes, meshd_key: bytes) -> Keyring:
    """What is in a box; raises Unavailable for one that another meshd's key has closed."""
    try:
        lines = _cipher(meshd_key).decrypt(box[:_NONCE], box[_NONCE:], b"")
    except (InvalidTag, ValueError):
        raise Unavailable(
            "cannot take over the store's new keys: this host's meshd.key is not that of the meshd that rotated them; "
            "`mesh control pack` there, and `mesh control add` here"
        ) from None
    return parse_keys("the store's keys in etcd", lines)


async def tell_keys(client: EtcdClient, layout: Layout, fence: int, box: bytes) -> None:
    """Puts a box there, while its writer leads by this fence. Raises Unavailable."""
    leads = [made_at(layout.leader, fence)]
    answer = await client.txn(pb.TxnRequest(compare=leads, success=[put(layout.keys, box)]))
    if not answer.succeeded:
        raise Unavailable("cannot rotate the store's keys: another meshd leads by now")


async def keys_told(client: EtcdClient, layout: Layout) -> bytes:
    """The box; empty when no keys were rotated since the store came to etcd. Raises Unavailable."""
    found = await client.range(pb.RangeRequest(key=layout.keys))
    return found.kvs[0].value if found.kvs else b""


def _cipher(meshd_key: bytes) -> AESGCM:
    derive = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"mesh store keys in etcd 1")
    return AESGCM(derive.derive(meshd_key.strip()))
