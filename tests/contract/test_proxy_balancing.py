"""Which backend the real proxy gives a connection, and what becomes of one that has none."""

import asyncio
import socket
from collections import Counter
from pathlib import Path

import pytest

from mesh.v1.node_pb2 import ProxyTuning
from tests.harness.proxying import PORT, an_address, ask, backend, echo, endpoint, proxy, saying, service


async def test_connections_go_to_every_ready_endpoint_and_to_no_other(tmp_path: Path) -> None:
    vip = an_address()
    async with (
        backend(saying("a")) as a, backend(saying("b")) as b, backend(saying("c")) as c, proxy(tmp_path) as (_, agent)
    ):  # fmt: skip
        ends = [endpoint("127.0.0.1", a), endpoint("127.0.0.1", b), endpoint("127.0.0.1", c, ready=False)]
        await agent.program(service("web", vip, PORT, ends))
        said = Counter([await ask(vip, PORT) for _ in range(60)])
    assert set(said) == {b"a", b"b"}


async def test_no_endpoint_is_refused_at_once_and_served_when_one_comes(tmp_path: Path) -> None:
    vip = an_address()
    async with backend(saying("a")) as a, proxy(tmp_path) as (_, programmer):
        await programmer.program(service("web", vip, PORT, [endpoint("127.0.0.1", a, ready=False)]))
        with pytest.raises(ConnectionRefusedError):
            await ask(vip, PORT)
        await programmer.program(service("web", vip, PORT, [endpoint("127.0.0.1", a)]))
        assert await ask(vip, PORT) == b"a"
        await programmer.program()
        with pytest.raises(ConnectionRefusedError):
            await ask(vip, PORT)


async def test_the_last_serving_endpoints_are_used_while_they_end(tmp_path: Path) -> None:
    vip = an_address()
    async with backend(saying("a")) as a, proxy(tmp_path) as (_, programmer):
        await programmer.program(service("web", vip, PORT, [endpoint("127.0.0.1", a, terminating=True)]))
        assert await ask(vip, PORT) == b"a"


async def test_a_backend_that_refuses_is_passed_over_without_a_lost_connection(tmp_path: Path) -> None:
    vip = an_address()
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        refusing = nobody.getsockname()[1]
        async with backend(saying("a")) as a, proxy(tmp_path) as (_, programmer):
            ends = [endpoint("127.0.0.1", a), endpoint("127.0.0.1", refusing)]
            await programmer.program(service("web", vip, PORT, ends))
            assert Counter([await ask(vip, PORT) for _ in range(40)]) == {b"a": 40}
            flows = {b.port: b for b in (await programmer.flows()).services[0].backends}
    assert flows[refusing].ejections >= 1
    assert flows[refusing].failed < 40  # most connections did not even try it
    assert flows[a].total == 40


async def test_when_no_backend_can_be_reached_the_client_is_reset(tmp_path: Path) -> None:
    vip = an_address()
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        async with proxy(tmp_path) as (_, programmer):
            await programmer.program(service("web", vip, PORT, [endpoint("127.0.0.1", nobody.getsockname()[1])]))
            with pytest.raises(ConnectionResetError):
                await ask(vip, PORT)


async def test_round_robin_takes_turns(tmp_path: Path) -> None:
    vip = an_address()
    async with backend(saying("a")) as a, backend(saying("b")) as b, proxy(tmp_path) as (_, programmer):
        ends = [endpoint("127.0.0.1", a), endpoint("127.0.0.1", b)]
        await programmer.program(service("web", vip, PORT, ends, tuning=ProxyTuning(balance="round-robin")))
        said = [await ask(vip, PORT) for _ in range(6)]
    assert said in ([b"a", b"b"] * 3, [b"b", b"a"] * 3)


async def test_a_client_stays_with_its_backend_and_moves_when_that_goes(tmp_path: Path) -> None:
    vip = an_address()
    async with backend(saying("a")) as a, backend(saying("b")) as b, proxy(tmp_path) as (_, programmer):
        ends = {b"a": endpoint("127.0.0.1", a), b"b": endpoint("127.0.0.1", b)}
        await programmer.program(service("web", vip, PORT, list(ends.values()), affinity_seconds=600))
        (stuck,) = {await ask(vip, PORT) for _ in range(20)}
        (other,) = {await ask(vip, PORT, source=f"127.0.0.{n}") for n in range(2, 40)} - {stuck}
        await programmer.program(service("web", vip, PORT, [ends[other]], affinity_seconds=600))
        assert {await ask(vip, PORT) for _ in range(5)} == {other}


async def test_more_connections_than_a_service_may_have_are_refused(tmp_path: Path) -> None:
    vip = an_address()
    async with backend(echo) as a, proxy(tmp_path) as (_, programmer):
        tuning = ProxyTuning(max_connections=1)
        await programmer.program(service("web", vip, PORT, [endpoint("127.0.0.1", a)], tuning=tuning))
        reader, writer = await asyncio.open_connection(vip, PORT)
        writer.write(b"x")
        await reader.readexactly(1)
        with pytest.raises(ConnectionResetError):
            await ask(vip, PORT, b"y")
        flows = await programmer.flows()
        assert flows.services[0].rejected == 1
        writer.close()


async def test_a_backend_learns_who_the_client_is(tmp_path: Path) -> None:
    vip = an_address()
    async with backend(echo) as a, proxy(tmp_path) as (_, programmer):
        tuning = ProxyTuning(proxy_protocol=True)
        await programmer.program(service("web", vip, PORT, [endpoint("127.0.0.1", a)], tuning=tuning))
        said = await ask(vip, PORT, b"hello", source="127.0.0.9")
    assert said[:12] == b"\r\n\r\n\0\r\nQUIT\n"
    assert said[16:24] == socket.inet_aton("127.0.0.9") + socket.inet_aton(vip)
    assert said[28:] == b"hello"
