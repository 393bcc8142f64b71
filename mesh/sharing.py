"""What several meshd keep alike: the store's keys and the mesh's authority, which whoever leads may replace.

Rule: what is new is in its box in etcd (mesh/store/etcdboxes.py) before it is used; a meshd takes what is there when it
starts and when it begins to lead, and an authority as soon as it is there. With a store in a file there is nobody to
tell, and nothing to take.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import structlog

from mesh.authority import Authority
from mesh.config import MeshdConfig
from mesh.meshd import Settings
from mesh.rpc.certificates import Certificates
from mesh.rpc.tls import Tls
from mesh.store.copying import reaching
from mesh.store.etcd import EtcdStore
from mesh.store.etcdboxes import Box
from mesh.store.etcdclient import address_of
from mesh.store.etcdlayout import AUTHORITY, KEYS, Layout
from mesh.store.keyring import Keyring, key_lines, parse_keys
from mesh.store.keysource import FileKeys, KeySource
from mesh.store.rotation import KeyRotation
from mesh.store.sqlite import SqliteStore

_log = structlog.get_logger("mesh.leader")


async def take_keys(config: MeshdConfig, source: KeySource, ring: Keyring, tls: Tls) -> None:
    """The keys that another meshd of this mesh has made: they are kept, and used from now on. Raises Unavailable."""
    if not config.etcd.endpoints or not isinstance(source, FileKeys):
        return
    async with reaching(address_of(config.etcd)) as client:
        lines = await Box(client, Layout(config.etcd.prefix), KEYS, tls.server.key).content()
    if not lines or (told := parse_keys("the store's keys in etcd", lines)).all() == ring.all():
        return
    await asyncio.to_thread(source.save, told.all())
    ring.become(told)
    _log.info("took_keys", first=ring.primary)


def rotation(source: KeySource, ring: Keyring, store: SqliteStore | EtcdStore, tls: Tls) -> KeyRotation:
    """Of the store's keys; each new one is told to the other meshd."""
    if not isinstance(store, EtcdStore) or not isinstance(source, FileKeys):
        return KeyRotation(source, ring, store)
    box = Box(store.client, store.layout, KEYS, tls.server.key)

    async def tell(keys: Keyring) -> None:
        await box.put(key_lines(keys.all()).encode(), store.fence)

    return KeyRotation(source, ring, store, tell)


async def take_authority(settings: Settings, store: EtcdStore, tls: Tls) -> None:
    """The authority as the meshd that led before has left it. Raises Unavailable."""
    content = await Box(store.client, store.layout, AUTHORITY, tls.server.key).content()
    if content and settings.authority is not None:
        Certificates(settings.authority, tls, "meshd", settings.clock).take(Authority.decode(content))


def with_shared_authority(settings: Settings, store: EtcdStore, tls: Tls) -> Settings:
    """How a meshd runs that is not alone: it tells of a new authority while it leads, and is told while it follows."""
    box = Box(store.client, store.layout, AUTHORITY, tls.server.key)

    async def tell(held: Authority) -> None:
        await box.put(held.encode(), store.fence)

    async def authorities() -> AsyncIterator[Authority]:
        async for content in box.contents():
            yield Authority.decode(content)

    return replace(settings, tell_authority=tell, authorities=authorities)
