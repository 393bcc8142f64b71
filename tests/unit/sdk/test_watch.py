"""A watch over a scripted source: every change is told once, whatever breaks."""

from collections.abc import AsyncGenerator, Sequence

import pytest

from mesh.errors import Forbidden, TooOld, Unavailable
from mesh.model.kinds import pack
from mesh.sdk import watch as watching
from mesh.v1 import control_pb2
from mesh.v1.core_pb2 import ConfigMap
from mesh.v1.meta_pb2 import ObjectMeta

ADDED, MODIFIED, DELETED = (control_pb2.WatchEvent.Type.Value(n) for n in ("ADDED", "MODIFIED", "DELETED"))
Step = control_pb2.WatchEvent | Exception


def event(kind: int, name: str, revision: int, at: int = 0) -> control_pb2.WatchEvent:
    obj = ConfigMap(metadata=ObjectMeta(name=name, namespace="default", resource_version=str(revision)))
    return control_pb2.WatchEvent(
        type=kind,  # type: ignore[arg-type]  # a value of the enum
        object=pack(obj), revision=at or revision,
    )  # fmt: skip


def bookmark(revision: int) -> control_pb2.WatchEvent:
    return control_pb2.WatchEvent(type=control_pb2.WatchEvent.BOOKMARK, revision=revision)


class Source:
    """Connections one after another; an exception ends one, and without any the stream just ends."""

    def __init__(self, *connections: Sequence[Step]) -> None:
        self.connections = list(connections)
        self.asked: list[int] = []

    async def __call__(self, revision: int) -> AsyncGenerator[control_pb2.WatchEvent, None]:
        self.asked.append(revision)
        if not self.connections:
            raise Forbidden("the end of the script")
        for step in self.connections.pop(0):
            if isinstance(step, Exception):
                raise step
            yield step


async def told(source: Source, after: int = 0) -> list[tuple[str, str]]:
    """Every change until the script ends."""
    changes = []
    with pytest.raises(Forbidden):
        async for change in watching.watch(source, after):
            changes.append((change.type, change.object.metadata.name))  # noqa: PERF401 - it ends by raising
    return changes


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "_FIRST_DELAY", 0.0)
    monkeypatch.setattr(watching, "_LONGEST_DELAY", 0.0)


GONE = Unavailable("the wire broke")


async def test_it_goes_on_from_its_last_revision() -> None:
    source = Source(
        [event(ADDED, "a", 3, at=7), bookmark(7), event(ADDED, "b", 8), bookmark(9), GONE], [event(DELETED, "a", 12)]
    )
    assert await told(source) == [("ADDED", "a"), ("ADDED", "b"), ("DELETED", "a")]
    assert source.asked == [0, 9, 11]


async def test_a_revision_that_came_in_part_is_asked_for_again_and_told_once() -> None:
    source = Source(
        [event(ADDED, "a", 5), event(ADDED, "b", 5), GONE],
        [event(ADDED, "a", 5), event(ADDED, "b", 5), event(ADDED, "c", 5), event(MODIFIED, "a", 6)],
    )
    assert await told(source, after=4) == [("ADDED", "a"), ("ADDED", "b"), ("ADDED", "c"), ("MODIFIED", "a")]
    assert source.asked == [4, 4, 5]


async def test_a_listing_that_broke_off_is_begun_again_without_telling_twice() -> None:
    source = Source(
        [event(ADDED, "a", 3, at=7), GONE],
        [event(ADDED, "a", 3, at=8), event(ADDED, "b", 8, at=8), bookmark(8)],
    )
    assert await told(source) == [("ADDED", "a"), ("ADDED", "b")]
    assert source.asked == [0, 0, 8]


async def test_after_a_gap_everything_that_changed_is_told() -> None:
    source = Source(
        [event(ADDED, "a", 1, at=3), event(ADDED, "b", 2, at=3), event(ADDED, "c", 3, at=3), bookmark(3), GONE],
        [TooOld("compacted")],
        [event(ADDED, "a", 1, at=50), event(ADDED, "b", 40, at=50), event(ADDED, "d", 50, at=50), bookmark(50)],
    )
    assert await told(source) == [
        ("ADDED", "a"), ("ADDED", "b"), ("ADDED", "c"), ("MODIFIED", "b"), ("ADDED", "d"), ("DELETED", "c"),
    ]  # fmt: skip
    assert source.asked == [0, 3, 0, 50]


async def test_the_first_connection_must_come_about() -> None:
    with pytest.raises(Unavailable):
        await anext(watching.watch(Source([GONE])))


async def test_later_refusals_are_not_healed() -> None:
    changes = watching.watch(Source([bookmark(1), GONE], [Forbidden("no longer")]))
    with pytest.raises(Forbidden, match="no longer"):
        await anext(changes)


async def test_a_watch_that_has_begun_outlives_its_connection_though_nothing_came_yet() -> None:
    source = Source([bookmark(7), Unavailable("meshd is gone")], [event(ADDED, "late", 9)])
    assert await told(source, after=7) == [("ADDED", "late")]
    assert source.asked[:2] == [7, 7]
