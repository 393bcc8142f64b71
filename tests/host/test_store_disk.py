"""A full disk: commits say so, nothing is half there, and the store goes on once there is space."""

import asyncio
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from mesh.errors import Unavailable
from mesh.model.kinds import key_of
from mesh.store.codec import PlainCodec
from mesh.store.port import Write
from mesh.store.sqlite import SqliteStore
from mesh.v1.core_pb2 import ConfigMap

pytestmark = pytest.mark.host


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MiB; needs root."""
    path = tmp_path / "disk"
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(path)], check=True)
    yield path
    subprocess.run(["umount", str(path)], check=True)


def put(name: str, size: int) -> list[Write]:
    obj = ConfigMap(data={"text": "x" * size})
    obj.metadata.name, obj.metadata.namespace = name, "default"
    return [Write(key_of(obj), obj)]


async def test_a_full_disk_refuses_commits_and_nothing_else_and_heals_when_space_returns(small_disk: Path):
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"x" * (2 << 20))
    store = await SqliteStore.open(small_disk / "store.db", PlainCodec())
    stored = []
    with pytest.raises(Unavailable, match="disk is full"):
        for n in range(1000):
            await store.commit(put(str(n), 50_000))
            stored.append(str(n))
    results = await asyncio.gather(*(store.commit(put(f"more-{n}", 500_000)) for n in range(8)), return_exceptions=True)
    assert all(isinstance(r, Unavailable) for r in results)
    assert {o.metadata.name for o in (await store.snapshot()).objects} == set(stored)
    assert await store.wait(-1) == len(stored)
    with pytest.raises(Unavailable, match="disk is full"):
        await store.backup(small_disk / "backup")
    assert {p.name for p in small_disk.iterdir() if not p.name.startswith("store.db")} == {"ballast"}

    ballast.unlink()
    assert await store.commit(put("after", 1000)) == len(stored) + 1
    events = await store.since(0)
    assert [e.key.name for e in events] == [*stored, "after"]
    await store.close()
    store = await SqliteStore.open(small_disk / "store.db", PlainCodec())
    assert {o.metadata.name for o in (await store.snapshot()).objects} == {*stored, "after"}
    await store.close()
