"""Where Ray's head is, as every control host finds it in etcd: what an operator said last (`mesh control head`).

Rule: without it, each host's own meshd.toml says so. It is no part of the store: no commit, no revision, no backup.
"""

from mesh.etcd import etcd_pb2 as pb
from mesh.store.etcdbatch import put
from mesh.store.etcdclient import EtcdClient
from mesh.store.etcdlayout import Layout


async def place_told(client: EtcdClient, layout: Layout) -> str:
    """ "ip:port"; empty when nobody has said so yet. Raises Unavailable."""
    found = await client.range(pb.RangeRequest(key=layout.place))
    return found.kvs[0].value.decode() if found.kvs else ""


async def tell_place(client: EtcdClient, layout: Layout, address: str) -> None:
    """Says it, from now on. Raises Unavailable."""
    await client.txn(pb.TxnRequest(success=[put(layout.place, address.encode())]))
