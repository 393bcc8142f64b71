"""How fast the store on a disk commits: `python benchmarks/store.py [DIRECTORY] [--seconds 3]`.

Prints commits per second awaited one by one, and by 64 writers at once, each durable; beside them the disk's own
rate of small synchronous writes, which no commit awaited alone can pass.
"""

import argparse
import asyncio
import itertools
import os
import statistics
import tempfile
import time
from pathlib import Path

from mesh.model.kinds import key_of
from mesh.store.encrypted import EncryptedCodec
from mesh.store.feed import Feed
from mesh.store.keyring import Keyring
from mesh.store.port import Write
from mesh.store.sqlite import SqliteStore
from mesh.v1.core_pb2 import Container, EnvVar, Pod, PodSpec, Secret
from mesh.v1.meta_pb2 import ObjectMeta


def pod(name: str) -> Pod:
    """A pod of usual size."""
    env = [EnvVar(name=f"VARIABLE_{n}", value=f"value {n}") for n in range(20)]
    container = Container(name="main", image="registry.example/app:1", command=["app", "--serve"], env=env)
    return Pod(metadata=ObjectMeta(name=name, namespace="default", uid=name), spec=PodSpec(containers=[container]))


def secret(name: str) -> Secret:
    """A secret of usual size."""
    return Secret(metadata=ObjectMeta(name=name, namespace="default", uid=name), data={"password": b"x" * 200})


def disk_rate(directory: Path, seconds: float) -> float:
    """Appends of 4 KiB with fdatasync, per second."""
    with tempfile.TemporaryFile(dir=directory, buffering=0) as file:
        count, start = 0, time.perf_counter()
        while time.perf_counter() - start < seconds:
            file.write(b"x" * 4096)
            os.fdatasync(file.fileno())
            count += 1
        return count / (time.perf_counter() - start)


async def write(store: SqliteStore, make: type[Pod] | type[Secret], writers: int, seconds: float) -> str:
    """Updates of 100 objects by so many writers; one line of figures."""
    numbers, times = itertools.count(), list[float]()
    build = pod if make is Pod else secret
    start = time.perf_counter()

    async def writer() -> None:
        while (begun := time.perf_counter()) - start < seconds:
            obj = build(f"object-{next(numbers) % 100}")
            await store.commit([Write(key_of(obj), obj)])
            times.append(time.perf_counter() - begun)

    cpu = time.process_time()
    async with asyncio.TaskGroup() as group:
        for _ in range(writers):
            group.create_task(writer())
    took, cpu = time.perf_counter() - start, time.process_time() - cpu
    slow = statistics.quantiles(times, n=100)[98]
    return (
        f"{make.__name__:>7}, {writers:>2} writers: {len(times) / took:8.0f} commits/s, "
        f"median {statistics.median(times) * 1e3:6.2f} ms, 99 % {slow * 1e3:6.2f} ms, "
        f"{cpu / len(times) * 1e6:4.0f} us CPU each"
    )


async def bench(directory: Path, seconds: float) -> None:
    """Prints every figure."""
    print(f"  disk: {disk_rate(directory, seconds / 3):.0f} writes of 4 KiB with fdatasync per second")
    path = directory / "store.db"
    store = await SqliteStore.open(path, EncryptedCodec(Keyring([os.urandom(32)])))
    feed = Feed(store)
    following = asyncio.create_task(feed.run())
    await feed.reached(0)
    for make in (Pod, Secret):
        for writers in (1, 64):
            print(await write(store, make, writers, seconds))
    newest = await store.wait(-1)
    await feed.reached(newest)
    print(f"   file: {path.stat().st_size / 2**20:.1f} MiB after {newest} revisions, the feed at the newest")
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)
    await store.close()
    start = time.perf_counter()
    await (await SqliteStore.open(path, EncryptedCodec(Keyring([os.urandom(32)])))).close()
    print(f"   open: {(time.perf_counter() - start) * 1e3:.0f} ms with its check")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", nargs="?", help="on the disk to measure; a temporary one otherwise")
    parser.add_argument("--seconds", type=float, default=3, help="of each figure")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.directory) as scratch:
        asyncio.run(bench(Path(scratch), arguments.seconds))


if __name__ == "__main__":
    main()
