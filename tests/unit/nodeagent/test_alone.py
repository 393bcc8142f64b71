"""The agent without Ray: nobody but an actor that knocks makes it step aside."""

import asyncio
import socket
from pathlib import Path

import pytest

from mesh.errors import Unavailable
from mesh.v1.node_pb2 import Observed, ObserveRequest
from nodeagent import alone
from nodeagent.config import AgentConfig
from nodeagent.lock import knock


class Slow:
    """An agent that takes its time to begin."""

    asked: asyncio.Event

    def __init__(self, _config: AgentConfig) -> None:
        self.tries = 0

    async def serve(self, _lock: int) -> None:
        await asyncio.Event().wait()

    async def observe(self, _request: ObserveRequest) -> Observed:
        self.tries += 1
        if self.tries < 3:
            raise Unavailable("another agent still has node1")
        self.asked.set()
        await asyncio.Event().wait()
        raise AssertionError


async def test_a_slow_beginning_is_no_knock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Slow.asked = asyncio.Event()
    monkeypatch.setattr(alone, "HostAgent", Slow)
    path = tmp_path / "door"
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(str(path))
        serving = asyncio.create_task(alone.serve_alone(AgentConfig("node1", "192.0.2.1", tmp_path), -1, door))
        asked = asyncio.create_task(Slow.asked.wait())
        done, _ = await asyncio.wait({serving, asked}, return_when=asyncio.FIRST_COMPLETED)
        assert done == {asked}
        await asyncio.to_thread(knock, path)
        await serving
