"""The agent that stands in for Ray's: what ends it."""

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from mesh.v1.node_pb2 import Observed, ObserveRequest
from nodeagent import alone
from nodeagent.config import AgentConfig
from nodeagent.lock import knock


class Hosted:
    """An agent that only waits, or whose observing has a bug."""

    bug: Exception | None = None

    def __init__(self, config: AgentConfig) -> None:
        pass

    async def serve(self, lock: int) -> None:
        await asyncio.Event().wait()

    async def observe(self, request: ObserveRequest) -> Observed:
        if self.bug:
            raise self.bug
        await asyncio.Event().wait()
        raise AssertionError


@pytest.fixture(autouse=True)
def hosted(monkeypatch: pytest.MonkeyPatch) -> type[Hosted]:
    monkeypatch.setattr(Hosted, "bug", None)
    monkeypatch.setattr(alone, "HostAgent", Hosted)
    return Hosted


@pytest.fixture
def door(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as opened:
        opened.bind(str(tmp_path / "door"))
        opened.listen()
        yield opened


async def serve(door: socket.socket) -> None:
    async with asyncio.timeout(30):
        await alone.serve_alone(AgentConfig("a", "10.0.0.1", Path("/none")), 0, door)


async def test_an_actor_that_knocks_ends_it(door: socket.socket) -> None:
    knock(Path(door.getsockname()))
    await serve(door)


async def test_a_bug_in_what_it_tells_is_not_lost(door: socket.socket, hosted: type[Hosted]) -> None:
    hosted.bug = ValueError("a bug")
    with pytest.raises(ValueError, match="a bug"):
        await serve(door)
