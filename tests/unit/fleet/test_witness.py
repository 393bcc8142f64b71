"""Whether a silent host lives: who counts as the host, and how often it is asked."""

import asyncio
import ssl
import time
from pathlib import Path

from mesh import pki
from mesh.fleet.witness import MOST, Handshakes, Witnesses
from tests.harness.bent_time import bent
from tests.harness.control import test_pki
from tests.harness.figures import write_pki


async def answers(folder: Path, request: pki.Request, name: str, *, authority: pki.Pair | None = None) -> bool:
    """Whether the witness of a host `name` is content with who shows this certificate, and wants one of its clients."""
    ca = authority or test_pki().ca
    write_pki(folder, test_pki().ca, "agent", pki.issue(ca, request, int(time.time())))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "agent.crt", folder / "agent.key")
    context.load_verify_locations(folder / "ca.crt")
    context.verify_mode = ssl.CERT_REQUIRED
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=context)
    async with server:
        port = server.sockets[0].getsockname()[1]
        return await Handshakes(lambda: test_pki().ca.certificate, port)(name, "127.0.0.1")


async def test_a_host_is_believed_by_its_own_certificate_alone(tmp_path: Path) -> None:
    assert await answers(tmp_path, pki.node("one"), "one")
    assert not await answers(tmp_path, pki.node("two"), "one")
    stranger = pki.make_ca("another mesh", int(time.time()))
    assert not await answers(tmp_path, pki.node("one"), "one", authority=stranger)


async def test_nobody_there_is_no_answer(tmp_path: Path) -> None:
    server = await asyncio.start_server(lambda _, __: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    witness = Handshakes(lambda: test_pki().ca.certificate, port)
    assert not await witness("one", "127.0.0.1")
    assert not await witness("one", "")


class Told:
    """A witness that says what it is told to."""

    def __init__(self) -> None:
        self.lives, self.takes, self.asked = True, 0.0, 0

    async def __call__(self, name: str, address: str) -> bool:
        self.asked += 1
        assert (name, address) == ("a", "192.0.2.1")
        await asyncio.sleep(self.takes)
        return self.lives


@bent
async def test_two_unanswered_questions_in_a_row_are_a_no() -> None:
    told = Told()
    async with asyncio.TaskGroup() as tasks:
        witnesses = Witnesses(told, tasks)
        assert witnesses.answers("a") is None
        seen = []
        for lives in (True, False, True, False, False, False, True):
            told.lives = lives
            witnesses.ask([("a", "192.0.2.1")])
            await asyncio.sleep(1)
            seen.append(witnesses.answers("a"))
        assert seen == [True, True, True, True, False, False, True]
        witnesses.ask([])
        assert witnesses.answers("a") is None


@bent
async def test_a_host_is_asked_one_question_at_a_time() -> None:
    told = Told()
    told.takes = 2.5
    async with asyncio.TaskGroup() as tasks:
        witnesses = Witnesses(told, tasks)
        for _ in range(6):
            witnesses.ask([("a", "192.0.2.1")])
            await asyncio.sleep(1)
        assert told.asked == 2
    async with asyncio.TaskGroup() as tasks:
        asks = Told()
        witnesses = Witnesses(asks, tasks)
        for _ in range(20):  # whoever else is silent, and makes the roster look more often
            witnesses.ask([("a", "192.0.2.1")])
            await asyncio.sleep(0.1)
        assert asks.asked == 2
    async with asyncio.TaskGroup() as tasks:
        nobody = Witnesses(None, tasks)
        nobody.ask([("a", "192.0.2.1")])
        assert nobody.answers("a") is None


@bent
async def test_when_many_are_silent_they_take_turns() -> None:
    asked: list[str] = []

    async def witness(name: str, _: str) -> bool:
        asked.append(name)
        return name < "h0200"

    hosts = [(f"h{number:04}", "192.0.2.1") for number in range(MOST * 4)]
    async with asyncio.TaskGroup() as tasks:
        witnesses = Witnesses(witness, tasks)
        for _ in range(7):
            witnesses.ask(hosts)
            await asyncio.sleep(0.5)
        assert asked[:MOST] == [name for name, _ in hosts[:MOST]]  # whose pods would be driven away first
        assert sorted(asked) == [name for name, _ in hosts]  # in three seconds
        assert {witnesses.answers(name) for name, _ in hosts[:200]} == {True}
        assert {witnesses.answers(name) for name, _ in hosts[200:]} == {None}  # asked but once
        for _ in range(9):
            witnesses.ask(hosts)
            await asyncio.sleep(0.5)
        assert [witnesses.answers(name) for name, _ in hosts] == [True] * 200 + [False] * (MOST * 4 - 200)
