"""Desired, checkpoint, board: what is held and what is told."""

import asyncio
from pathlib import Path

import pytest

from mesh.errors import Conflict, Invalid
from mesh.model.digest import LAST_APPLIED
from mesh.model.pods import MIRROR
from mesh.v1.core_pb2 import Event
from mesh.v1.meta_pb2 import ObjectMeta
from mesh.v1.node_pb2 import Assignment, Fence, ObserveRequest, PodReport
from nodeagent.board import EVENTS_KEPT, Board
from nodeagent.checkpoint import Checkpoint
from nodeagent.desired import Desired, accept, restored
from tests.harness.agents import a_pod
from tests.harness.bent_time import bent


def order(epoch: int, revision: int, **fields: object) -> Assignment:
    fence = Fence(epoch=epoch, revision=revision)
    return Assignment(node="n", digest=f"d{revision}", fence=fence, **fields)  # type: ignore[arg-type]


def test_orders_only_go_forward() -> None:
    held = accept(Desired(), order(2, 5), "n")
    assert (held.fence, held.digest) == ((2, 5), "d5")
    assert accept(held, order(2, 5), "n").fence == (2, 5)
    assert accept(held, order(3, 1), "n").fence == (3, 1)
    for older in (order(2, 4), order(1, 9)):
        with pytest.raises(Conflict):
            accept(held, older, "n")


def test_orders_that_make_no_sense() -> None:
    with pytest.raises(Invalid, match="for other"):
        accept(Desired(), Assignment(node="other"), "n")
    nameless = a_pod("p")
    nameless.metadata.uid = ""
    with pytest.raises(Invalid, match="no uid"):
        accept(Desired(), order(1, 1, pods=[nameless]), "n")


def test_mirrors_are_not_run() -> None:
    mirror = a_pod("m")
    mirror.metadata.annotations[MIRROR] = "x"
    assert list(accept(Desired(), order(1, 1, pods=[mirror, a_pod("p")]), "n").pods) == ["uid-p"]


def test_what_is_restored_keeps_the_fence_and_claims_no_digest() -> None:
    held = restored(order(2, 5, pods=[a_pod("p")], pod_cidr="10.1.0.0/24"), "n")
    assert (held.fence, held.digest, held.pod_cidr, list(held.pods)) == ((2, 5), "", "10.1.0.0/24", ["uid-p"])


def test_the_checkpoint(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path / "agent" / "checkpoint")
    assert checkpoint.read() is None
    pod = a_pod("p")
    pod.metadata.annotations[LAST_APPLIED] = "{long}"
    checkpoint.write(order(1, 1, pods=[pod]))
    kept = checkpoint.read()
    assert kept is not None
    assert LAST_APPLIED not in kept.pods[0].metadata.annotations
    assert (tmp_path / "agent" / "checkpoint").stat().st_mode & 0o777 == 0o600
    (tmp_path / "agent" / "checkpoint").write_bytes(b"\xff\xff\xff")
    assert checkpoint.read() is None


def report(uid: str, phase: str = "Running", *, gone: bool = False) -> PodReport:
    made = PodReport(uid=uid, name=uid, gone=gone)
    made.status.phase = phase
    return made


async def take(board: Board, boot: str = "", version: int = 0, wait: int = 0) -> tuple[bool, list[str], int]:
    observed = await board.observe(ObserveRequest(boot=boot, after_version=version, wait_milliseconds=wait))
    return observed.full, [p.uid for p in observed.pods], observed.version


@bent
async def test_only_what_is_newer_is_told() -> None:
    board = Board("n")
    board.put_pod(report("a"))
    full, pods, version = await take(board)
    assert (full, pods) == (True, ["a"])
    board.put_pod(report("b"))
    assert (await take(board, board.boot, version))[:2] == (False, ["b"])
    board.put_pod(report("b"))
    assert board.version == version + 1


@bent
async def test_unknown_cursors_get_everything() -> None:
    board = Board("n")
    board.put_pod(report("a"))
    for boot, version in (("other", 1), (board.boot, 99)):
        assert (await take(board, boot, version))[:2] == (True, ["a"])


@bent
async def test_who_missed_a_pod_that_was_dropped_gets_everything() -> None:
    board = Board("n")
    board.put_pod(report("a"))
    early = board.version
    board.put_pod(report("b", gone=True))
    late = board.version
    board.drop_pod("b")
    assert (await take(board, board.boot, early))[0] is True
    assert (await take(board, board.boot, late))[:2] == (False, [])


@bent
async def test_a_waiting_reader_hears_within_five_milliseconds_what_happened_together() -> None:
    board = Board("n")
    loop = asyncio.get_running_loop()
    waiting = asyncio.create_task(take(board, board.boot, board.version, 60_000))
    await asyncio.sleep(10)
    board.put_pod(report("a"))
    board.put_pod(report("b"))
    assert (await waiting)[1] == ["a", "b"]
    assert loop.time() - 10 <= 0.005


@bent
async def test_who_has_taken_the_news_before_they_were_called_out_is_not_woken_for_nothing() -> None:
    board = Board("n")
    loop = asyncio.get_running_loop()
    board.put_pod(report("a"))
    version = (await take(board))[2]  # before the moment in which news gather is over
    waiting = asyncio.create_task(take(board, board.boot, version, 60_000))
    await asyncio.sleep(10)
    assert not waiting.done()
    board.put_pod(report("b"))
    assert (await waiting)[1] == ["b"]
    assert loop.time() - 10 <= 0.005


@bent
async def test_that_a_pod_is_ready_no_more_waits_for_nothing_else() -> None:
    def ready(status: str) -> PodReport:
        made = report("a")
        made.status.conditions.add(type="Ready", status=status)
        return made

    board = Board("n")
    loop = asyncio.get_running_loop()

    async def after(told: PodReport) -> float:
        """Seconds until a reader hears of it who was told of something else a moment ago."""
        board.put_pod(report("b", f"at {loop.time()}"))
        version = (await take(board, board.boot, board.version - 1, 60_000))[2]
        waiting = asyncio.create_task(take(board, board.boot, version, 60_000))
        await asyncio.sleep(0.005)
        board.put_pod(told)
        began = loop.time()
        assert (await waiting)[1] == ["a"]
        return loop.time() - began

    await asyncio.sleep(10)
    assert await after(ready("True")) >= 0.005  # its host is busy: what happens soon after goes along
    await asyncio.sleep(10)
    assert await after(ready("False")) <= 0.003


@bent
async def test_events_come_with_the_next_news_or_a_moment_later() -> None:
    board = Board("n")
    loop = asyncio.get_running_loop()
    waiting = asyncio.create_task(
        board.observe(ObserveRequest(boot=board.boot, after_version=1, wait_milliseconds=9000))
    )
    await asyncio.sleep(1)
    board.put_event(Event(metadata=ObjectMeta(name="e"), count=1))
    observed = await waiting
    assert [e.metadata.name for e in observed.events] == ["e"]
    assert 0.05 < loop.time() - 1 < 0.2


@bent
async def test_a_wait_ends_empty() -> None:
    board = Board("n")
    assert await take(board, board.boot, board.version, 500) == (False, [], board.version)
    assert asyncio.get_running_loop().time() == pytest.approx(0.5)


@bent
async def test_old_events_make_room() -> None:
    board = Board("n")
    for number in range(EVENTS_KEPT + 10):
        board.put_event(Event(metadata=ObjectMeta(name=f"e{number}"), count=1))
    observed = await board.observe(ObserveRequest())
    assert (len(observed.events), observed.events[0].metadata.name) == (EVENTS_KEPT, "e10")
