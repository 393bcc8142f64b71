"""What came to a host as meshd's and was refused."""

from collections import Counter
from pathlib import Path

from mesh.errors import Forbidden
from mesh.model.times import SECOND
from mesh.v1.node_pb2 import ObserveRequest, Refusal, SessionHello
from nodeagent.app import HostAgent
from nodeagent.board import Board
from nodeagent.config import AgentConfig
from nodeagent.events import Events
from nodeagent.refusals import Refusals
from tests.harness.seam import SeamPki


async def test_a_flood_is_an_event_a_minute_and_a_number() -> None:
    board, now, counts = Board("a"), [1000 * SECOND], Counter[str]()
    refusals = Refusals(board, Events(board, lambda: now[0]), lambda: now[0], counts)

    async def told() -> tuple[int, list[int]]:
        observed = await board.observe(ObserveRequest())
        return len(observed.refusals), [event.count for event in observed.events]

    for _ in range(500):
        refusals.take(Refusal(method="assign", why="not new"))
    assert await told() == (1, [1])
    now[0] += 60 * SECOND - 1
    refusals.take(Refusal(method="assign", why="not new"))
    assert await told() == (1, [1])
    now[0] += 1
    refusals.take(Refusal(method="assign", why="not new"))
    assert await told() == (1, [2])
    refusals.take(Refusal(method="observe", why="not new"))
    assert await told() == (2, [2, 1])
    assert counts == {"assign": 502, "observe": 1}


async def test_an_agent_without_its_host_refuses_all_the_same(tmp_path: Path) -> None:
    config = AgentConfig("a", "192.0.2.1", tmp_path)
    SeamPki.made().admit("a", config.pki_dir)
    assert HostAgent(config).door.hello(SessionHello(node="b").SerializeToString()).error_kind == Forbidden.kind
