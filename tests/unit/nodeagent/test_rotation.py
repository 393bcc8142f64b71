"""Logs are kept small: 10Mi, 5 files, every 10 s; followers lose nothing (G2)."""

import asyncio
import gzip
import os
from dataclasses import replace
from pathlib import Path

from mesh.v1.node_pb2 import LogOptions, StreamOpen, StreamRead
from nodeagent.config import AgentConfig
from nodeagent.rotation import LogRotation, make_room
from nodeagent.runtime.seen import Role, SeenContainer, State
from tests.harness.agents import World, a_pod
from tests.harness.bent_time import bent
from tests.harness.fake_runtime import FakeHost, FakeRuntime

MIB = 1 << 20


async def running(tmp_path: Path) -> tuple[World, Path]:
    world = World(tmp_path, FakeHost(log_dir=tmp_path / "log" / "pods"))
    await world.start()
    await world.assign(a_pod("web"))
    await world.until(lambda: world.phase("web") == "Running")
    assert world.runtime is not None
    return world, Path(world.runtime.find("uid-web", "main").log_path)


def grow(path: Path, size: int) -> None:
    os.truncate(path, size)


async def rotations(world: World, wanted: int) -> None:
    """Returns after so many rotations, at most 11 s after the one before."""
    for _ in range(11):
        await asyncio.sleep(1)
        if len([call for call in world.host.calls if call[0] == "reopen_log"]) >= wanted:
            return
    raise AssertionError(f"no rotation {wanted}")


def files(path: Path) -> list[str]:
    return sorted(p.name for p in path.parent.iterdir())


@bent
async def test_ten_mebibytes_and_five_files(tmp_path: Path) -> None:
    world, path = await running(tmp_path)
    grow(path, 10 * MIB)
    await asyncio.sleep(25)
    assert files(path) == ["0.log"]  # not more than the limit
    for rounds in range(1, 8):
        grow(path, 10 * MIB + 1)
        await rotations(world, rounds)
        assert path.stat().st_size == 0
        assert len(files(path)) == min(rounds + 1, 5)
    names = files(path)
    assert [name.endswith(".gz") for name in names] == [False, True, True, True, False]
    assert names[-1].startswith("0.log.2027")
    with gzip.open(path.with_name(names[1])) as packed:
        assert len(packed.read()) == 10 * MIB + 1
    await world.kill()


@bent
async def test_the_numbers_are_configuration(tmp_path: Path) -> None:
    world = World(tmp_path, FakeHost(log_dir=tmp_path / "log" / "pods"))
    world.config = replace(world.config, container_log_max_size="1Ki", container_log_max_files=2)
    await world.start()
    await world.assign(a_pod("web"))
    await world.until(lambda: world.phase("web") == "Running")
    assert world.runtime is not None
    path = Path(world.runtime.find("uid-web", "main").log_path)
    for rounds in range(1, 4):
        grow(path, 1025)
        await rotations(world, rounds)
        assert len(files(path)) == 2
    await world.kill()


@bent
async def test_a_runtime_that_cannot_begin_a_new_log_keeps_the_old_one(tmp_path: Path) -> None:
    world, path = await running(tmp_path)
    grow(path, 11 * MIB)
    world.host.away = True
    await asyncio.sleep(11)
    assert files(path) == ["0.log"]
    world.host.away = False
    await rotations(world, 2)  # with the one that failed
    assert len(files(path)) == 2
    await world.kill()


@bent
async def test_a_log_that_a_killed_agent_put_aside_begins_anew(tmp_path: Path) -> None:
    world, path = await running(tmp_path)
    await world.kill()
    path.rename(path.with_name("0.log.20270115-080000"))
    await world.start()
    await rotations(world, 1)
    assert files(path) == ["0.log", "0.log.20270115-080000"]
    await asyncio.sleep(25)
    assert len([call for call in world.host.calls if call[0] == "reopen_log"]) == 1
    await world.kill()


async def test_a_follower_goes_on_over_a_rotation(tmp_path: Path) -> None:
    world, path = await running(tmp_path)
    assert world.runtime is not None
    assert world.agent is not None
    container = world.runtime.find("uid-web", "main")
    world.runtime.write_log(container.id, "one")
    opened = await world.agent.open_stream(StreamOpen(pod_uid="uid-web", logs=LogOptions(follow=True)))
    said = b""

    async def hear(text: bytes) -> None:
        nonlocal said
        async with asyncio.timeout(60):
            while text not in said:
                batch = await world.agent.read_stream(StreamRead(id=opened.id, wait_milliseconds=5000))  # type: ignore[union-attr]
                said += b"".join(chunk.data for chunk in batch.chunks)

    await hear(b"one\n")
    for number in (2, 3):
        path.rename(path.with_name(f"0.log.{number}"))
        with path.with_name(f"0.log.{number}").open("a") as old:
            old.write(f"2027-01-15T08:00:00.000000000+00:00 stdout F late {number}\n")
        await world.runtime.reopen_log(container.id)
        world.runtime.write_log(container.id, f"new {number}")
        await hear(f"new {number}\n".encode())
    assert said == b"one\nlate 2\nnew 2\nlate 3\nnew 3\n"
    await world.kill()


def test_an_interrupted_packing_is_done_again(tmp_path: Path) -> None:
    path = tmp_path / "0.log"
    (tmp_path / "0.log.20270115-080000").write_bytes(b"whole")
    (tmp_path / "0.log.20270115-080000.tmp").write_bytes(b"half")
    (tmp_path / "1.log.20270115-080000").write_bytes(b"another attempt's")
    make_room(path, 5)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["0.log.20270115-080000.gz", "1.log.20270115-080000"]
    assert gzip.decompress((tmp_path / "0.log.20270115-080000.gz").read_bytes()) == b"whole"


async def test_who_is_slow_to_begin_a_log_anew_is_told_once(tmp_path: Path) -> None:
    """conmon makes a new file for each word, and what was in the one before would be lost."""
    path = tmp_path / "log" / "0.log"
    path.parent.mkdir()
    path.write_bytes(b"x" * 2000)
    full = SeenContainer("c1", "u1", "main", 0, Role.APP, State.RUNNING, "h", "i", "i", log_path=str(path))
    told: list[str] = []

    class Slow(FakeRuntime):
        async def reopen_log(self, container_id: str) -> None:
            told.append(container_id)

    config = replace(AgentConfig("host1", "10.77.0.1", tmp_path), container_log_max_size="1k")
    rotation = LogRotation(config, Slow(FakeHost(log_dir=tmp_path)), lambda: [full], lambda: 0)
    for _ in range(3):
        await rotation.look()
    assert told == ["c1"]
    path.write_bytes(b"x" * 2000)
    await rotation.look()
    assert told == ["c1", "c1"]
