"""`mesh store migrate`, `mesh backup` and `mesh restore` between a file and etcd: nothing is lost, nothing opened."""

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from mesh.errors import AlreadyExists, Conflict, TooOld, Unavailable
from mesh.leader import Candidate, Election
from mesh.model.kinds import Object, key_of, revision_of
from mesh.store import copying
from mesh.store.backup import LEAP
from mesh.store.encrypted import EncryptedCodec
from mesh.store.etcd import EtcdStore
from mesh.store.etcdlayout import Head, Layout
from mesh.store.keyring import Keyring
from mesh.store.port import Store, Write
from mesh.store.sqlite import SqliteStore
from mesh.v1.core_pb2 import ConfigMap, Secret
from tests.harness import members
from tests.harness.cli import run_here
from tests.harness.etcd import EtcdCluster, etcd_cluster

CODEC = EncryptedCodec(Keyring([os.urandom(32)]))


@pytest.fixture(scope="module")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdCluster]:
    with etcd_cluster(tmp_path_factory.mktemp("etcd")) as cluster:
        yield cluster


@pytest.fixture
def root(tmp_path: Path, etcd: EtcdCluster) -> Path:
    (tmp_path / "meshd").mkdir()
    text = members.config(tmp_path, tmp_path / "meshd", etcd, name="a", port=7443)
    (tmp_path / "meshd" / "meshd.toml").write_text(text)
    return tmp_path


async def mesh(root: Path, *words: str) -> tuple[int, str]:
    result = await asyncio.to_thread(run_here, [*words, "--root", str(root)], b"", {})
    return result.code, result.out + result.err


def in_etcd(root: Path, etcd: EtcdCluster) -> "asyncio.Future[EtcdStore]":
    return asyncio.ensure_future(EtcdStore.open(etcd.address(), CODEC, f"/{root.name}/"))


def config(name: str) -> ConfigMap:
    made = ConfigMap()
    made.metadata.name = name
    return made


async def fill(store: Store) -> None:
    """Some objects, each at a revision of its own, and Secrets; more than one transaction of etcd takes."""
    for number in range(3):
        made = Secret(data={"password": f"hush-{number}".encode()})
        made.metadata.name, made.metadata.namespace, made.metadata.uid = f"s{number}", "default", f"uid-{number}"
        await store.commit([Write(key_of(made), made, 0)])
    many = [ConfigMap(data={"n": str(n)}) for n in range(110)]
    for number, obj in enumerate(many):
        obj.metadata.name, obj.metadata.namespace = f"c{number}", "default"
    for piece in (many[:60], many[60:]):
        await store.commit([Write(key_of(obj), obj, 0) for obj in piece])
    await store.commit([Write(key_of(many[0]), None)])


async def content(store: Store) -> tuple[int, dict[str, Object]]:
    """The revision, and every object, Secrets decrypted, each with its own revision."""
    snapshot = await store.snapshot()
    await store.close()
    return snapshot.revision, {str(key_of(o)): o for o in snapshot.objects}


async def test_there_and_back_with_every_revision_and_box(root: Path, etcd: EtcdCluster) -> None:
    store = await SqliteStore.open(root / "meshd" / "store.db", CODEC)
    await fill(store)
    before = await content(store)
    raw = copying.read_file(root / "meshd" / "store.db")

    code, said = await mesh(root, "store", "migrate", "--to", "etcd")
    assert (code, "112 objects at revision 6" in said) == (0, True), said
    moved = await in_etcd(root, etcd)
    with pytest.raises(TooOld):  # whoever follows lists anew
        await moved.since(3)
    assert await content(moved) == before

    code, said = await mesh(root, "store", "migrate", "--to", "etcd")
    assert (code, "not empty: --overwrite" in said) == (1, True), said

    moved = await in_etcd(root, etcd)
    fresh = config("later")
    assert await moved.commit([Write(key_of(fresh), fresh, 0)]) == 7
    await moved.close()
    code, said = await mesh(root, "store", "migrate", "--to", "sqlite")
    assert (code, "is kept as" in said) == (0, True), said
    back = copying.read_file(root / "meshd" / "store.db")
    assert back.revision == 7
    assert set(raw.objects) == {row for row in back.objects if row[0].name != "later"}  # the very bytes
    revision, objects = await content(await SqliteStore.open(root / "meshd" / "store.db", CODEC))
    assert (revision, revision_of(objects["ConfigMap later"])) == (7, 7)


async def test_backup_and_restore_across_both(root: Path, etcd: EtcdCluster) -> None:
    store = await in_etcd(root, etcd)
    await fill(store)
    backup = root / "backup"
    copying.write_backup(await copying.read_etcd(store.client, store.layout), backup)
    assert backup.stat().st_mode & 0o777 == 0o600
    assert b"hush" not in backup.read_bytes()
    lost = config("after-the-backup")
    await store.commit([Write(key_of(lost), lost, 0)])
    revision, objects = await content(store)
    del objects["ConfigMap after-the-backup"]

    code, said = await mesh(root, "restore", str(backup))  # into etcd
    assert (code, "is kept as" in said) == (0, True), said
    restored = await in_etcd(root, etcd)
    assert await content(restored) == (revision + LEAP, objects)

    (root / "meshd" / "meshd.toml").unlink()
    code, said = await mesh(root, "restore", str(backup))  # the same file, where the store is a file
    assert code == 0, said
    opened = await SqliteStore.open(root / "meshd" / "store.db", CODEC)
    assert (await content(opened))[1] == objects


async def test_a_store_in_use_and_half_a_copy_are_refused(root: Path, etcd: EtcdCluster) -> None:
    store = await in_etcd(root, etcd)
    await fill(store)
    election = Election(store, Candidate("a", "127.0.0.1:7443"), 60)
    assert await election.stand()
    copy, layout = await copying.read_etcd(store.client, store.layout), store.layout
    for work in (
        copying.write_etcd(store.client, layout, copy, over=True),
        copying.refuse_in_use(store.client, layout),
    ):
        with pytest.raises(Conflict, match="stop every meshd"):
            await work
    await election.resign()
    with pytest.raises(Unavailable, match="does not lead"):  # whoever lost the lead writes nothing more
        await store.commit([Write(key_of(late := config("late")), late)])
    with pytest.raises(AlreadyExists):
        await copying.write_etcd(store.client, layout, copy)
    await store.close()

    async with copying.reaching(etcd.address()) as client:
        half = Layout(f"/{root.name}-half/")
        await copying.write_etcd(client, half, copy)
        await client.txn(copying.filling(half, Head(9, 9)))
        with pytest.raises(Unavailable, match="has not ended"):
            await EtcdStore.open(etcd.address(), CODEC, f"/{root.name}-half/")
        await copying.write_etcd(client, half, copy)  # begun again, it ends
    assert (await content(await EtcdStore.open(etcd.address(), CODEC, f"/{root.name}-half/")))[0] == 6
