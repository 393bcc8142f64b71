"""Watch: from the beginning or a revision, through selectors, over silence, and what becomes of the slow (A8)."""

import asyncio
from collections.abc import AsyncIterator

import grpc
import pytest
from grpc.aio import UnaryStreamCall

from mesh.errors import TooOld
from mesh.meshd import Settings
from mesh.model.kinds import KINDS, pack, unpack
from mesh.v1 import control_pb2 as pb
from tests.harness import objects
from tests.harness.control import RunningMeshd, control
from tests.harness.refusals import refusal_of

Call = UnaryStreamCall[pb.WatchRequest, pb.WatchEvent]


@pytest.fixture
async def mesh() -> AsyncIterator[RunningMeshd]:
    async with control(settings=Settings(bookmark=0.2)) as running:
        yield running


async def apply(mesh: RunningMeshd, *objs: object) -> int:
    return (await mesh.resources.Apply(pb.ApplyRequest(objects=[pack(o) for o in objs]))).revision  # type: ignore[arg-type]


async def delete(mesh: RunningMeshd, kind: str, name: str) -> int:
    wanted = pb.ObjectKey(kind=kind, namespace="default", name=name)
    return (await mesh.resources.Delete(pb.DeleteRequest(key=wanted))).revision


async def read(call: Call, count: int, *, bookmarks: bool = False) -> list[tuple[str, str]]:
    """The next `count` events as (type, name)."""
    seen: list[tuple[str, str]] = []
    async with asyncio.timeout(30):
        while len(seen) < count:
            event = await call.read()
            assert isinstance(event, pb.WatchEvent)
            kind = pb.WatchEvent.Type.Name(event.type)
            if kind != "BOOKMARK" or bookmarks:
                seen.append((kind, unpack(event.object).metadata.name if event.HasField("object") else ""))
    return seen


async def news(call: Call) -> pb.WatchEvent:
    """The next event that is no bookmark."""
    async with asyncio.timeout(30):
        while True:
            event = await call.read()
            assert isinstance(event, pb.WatchEvent)
            if event.type != pb.WatchEvent.BOOKMARK:
                return event


async def test_a_watch_says_at_once_that_it_has_begun(mesh: RunningMeshd) -> None:
    revision = await apply(mesh, objects.config_map("a"))
    call = mesh.resources.Watch(pb.WatchRequest(kind="ConfigMap", after_revision=revision))
    event = await call.read()
    assert event == pb.WatchEvent(type=pb.WatchEvent.BOOKMARK, revision=revision)


async def test_from_the_beginning_what_is_there_then_a_bookmark_then_what_follows(mesh: RunningMeshd) -> None:
    await apply(mesh, objects.config_map("a"), objects.config_map("b"))
    call = mesh.resources.Watch(pb.WatchRequest(kind="ConfigMap"))
    first = await read(call, 3, bookmarks=True)
    assert first == [("ADDED", "a"), ("ADDED", "b"), ("BOOKMARK", "")]
    await apply(mesh, objects.config_map("a", x="1"), objects.config_map("c"))
    await delete(mesh, "ConfigMap", "b")
    assert await read(call, 3) == [("MODIFIED", "a"), ("ADDED", "c"), ("DELETED", "b")]


async def test_resumed_from_a_revision_nothing_is_lost_or_twice(mesh: RunningMeshd) -> None:
    revision = await apply(mesh, objects.config_map("a"))
    call = mesh.resources.Watch(pb.WatchRequest(kind="ConfigMap", after_revision=revision))
    await apply(mesh, objects.config_map("b"))
    event = await news(call)
    call.cancel()
    await apply(mesh, objects.config_map("c"))
    await apply(mesh, objects.config_map("d"))
    again = mesh.resources.Watch(pb.WatchRequest(kind="ConfigMap", after_revision=event.revision))
    assert await read(again, 2) == [("ADDED", "c"), ("ADDED", "d")]


async def test_a_deleted_object_comes_in_its_last_state_at_the_revision_of_its_end(mesh: RunningMeshd) -> None:
    revision = await apply(mesh, objects.config_map("a", x="1"))
    call = mesh.resources.Watch(pb.WatchRequest(kind="ConfigMap", after_revision=revision))
    end = await delete(mesh, "ConfigMap", "a")
    event = await news(call)
    last = unpack(event.object)
    assert (event.type, event.revision, last.metadata.resource_version) == (pb.WatchEvent.DELETED, end, str(end))
    assert dict(last.data) == {"x": "1"}  # type: ignore[union-attr]  # it is a ConfigMap


async def test_who_leaves_a_selector_is_deleted_and_who_enters_is_added(mesh: RunningMeshd) -> None:
    web = objects.config_map("a")
    web.metadata.labels["app"] = "web"
    revision = await apply(mesh, objects.config_map("b"))
    call = mesh.resources.Watch(
        pb.WatchRequest(kind="ConfigMap", namespace="default", label_selector="app=web", after_revision=revision)
    )
    await apply(mesh, web)
    web.metadata.labels["app"] = "db"
    await apply(mesh, web)
    await apply(mesh, objects.config_map("b", unseen="yes"))
    web.metadata.labels["app"] = "web"
    await apply(mesh, web)
    assert await read(call, 3) == [("ADDED", "a"), ("DELETED", "a"), ("ADDED", "a")]


async def test_fields_select_too(mesh: RunningMeshd) -> None:
    call = mesh.resources.Watch(pb.WatchRequest(kind="ConfigMap", field_selector="metadata.name=b"))
    await apply(mesh, objects.config_map("a"), objects.config_map("b"))
    assert await read(call, 1) == [("ADDED", "b")]


async def test_all_kinds_at_once(mesh: RunningMeshd) -> None:
    call = mesh.resources.Watch(pb.WatchRequest(after_revision=await apply(mesh, objects.config_map("a"))))
    await apply(mesh, objects.namespace("team"), objects.config_map("b", "team"))
    assert await read(call, 2) == [("ADDED", "team"), ("ADDED", "b")]


async def test_a_silent_watch_gets_bookmarks_that_move_on(mesh: RunningMeshd) -> None:
    call = mesh.resources.Watch(pb.WatchRequest(kind="Pod"))
    assert await read(call, 1, bookmarks=True) == [("BOOKMARK", "")]
    revision = await apply(mesh, objects.config_map("unrelated"))
    async with asyncio.timeout(30):
        while True:
            event = await call.read()
            assert isinstance(event, pb.WatchEvent)
            assert event.type == pb.WatchEvent.BOOKMARK
            if event.revision >= revision:
                break


async def test_a_forgotten_or_foreign_revision_is_out_of_range(mesh: RunningMeshd) -> None:
    for i in range(4):
        await apply(mesh, objects.config_map("a", x=str(i)))
    for after in (10_000, -1):
        call = mesh.resources.Watch(pb.WatchRequest(kind="ConfigMap", after_revision=after))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await read(call, 1)
        assert caught.value.code() is grpc.StatusCode.OUT_OF_RANGE
        assert refusal_of(caught.value).kind == "TooOld"


async def test_what_was_before_a_restart_is_out_of_range_or_complete(mesh: RunningMeshd) -> None:
    """Another meshd over the same store: the watch goes on from the store's history, or says that it can't."""
    revision = await apply(mesh, objects.config_map("a"))
    await apply(mesh, objects.config_map("b"))
    async with control(store=mesh.store) as other:
        call = other.resources.Watch(pb.WatchRequest(kind="ConfigMap", after_revision=revision))
        assert await read(call, 1) == [("ADDED", "b")]


async def test_a_meshd_that_stops_says_so(mesh: RunningMeshd) -> None:
    async with control() as other:
        call = other.resources.Watch(pb.WatchRequest(kind="Pod"))
        await read(call, 1, bookmarks=True)
        other.stop()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await read(call, 1)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert "meshd is stopping" in refusal_of(caught.value).message


async def test_unreadable_requests_are_refused(mesh: RunningMeshd) -> None:
    for request, code in (
        (pb.WatchRequest(kind="Sandwich"), grpc.StatusCode.NOT_FOUND),
        (pb.WatchRequest(kind=next(k.name for k in KINDS if not k.served)), grpc.StatusCode.INVALID_ARGUMENT),
        (pb.WatchRequest(kind="Pod", label_selector="a b"), grpc.StatusCode.INVALID_ARGUMENT),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await read(mesh.resources.Watch(request), 1)
        assert caught.value.code() is code


async def test_who_does_not_read_is_cut_and_holds_nobody_up(
    mesh: RunningMeshd, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut = asyncio.Event()

    class Cut(TooOld):
        def __init__(self, message: str) -> None:
            super().__init__(message)
            cut.set()

    monkeypatch.setattr("mesh.rpc.watch.PATIENCE", 0.2)
    monkeypatch.setattr("mesh.rpc.watch.TooOld", Cut)
    slow = mesh.resources.Watch(pb.WatchRequest(kind="ConfigMap"))
    await slow.read()
    quick = mesh.resources.Watch(pb.WatchRequest(kind="ConfigMap", label_selector="last=yes"))
    for i in range(40):
        await apply(mesh, objects.config_map("big", blob=f"{i}" + "x" * 900_000))
    last = objects.config_map("last")
    last.metadata.labels["last"] = "yes"
    await apply(mesh, last)
    assert await read(quick, 1) == [("ADDED", "last")]
    await asyncio.wait_for(cut.wait(), 30)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await read(slow, 1000)
    assert caught.value.code() is grpc.StatusCode.OUT_OF_RANGE
