"""The real proxy among agents, and after proxies, of other releases; the agent's end beside a proxy of another one."""

import asyncio
import json
import os
import socket
import struct
from pathlib import Path
from typing import Any

import pytest

from mesh.model import protocol
from mesh.v1.node_pb2 import Fence, HostSide, Protocol, ProxyHeld, ProxyOrder, ServiceTable
from netproxy.hold import send
from netproxy.lastgood import LastGood
from nodeagent.proxy import Proxy
from tests.harness.holding import Holder
from tests.harness.proxying import (
    DEADLINE,
    PORT,
    ProxyProcess,
    an_address,
    ask,
    backend,
    endpoint,
    proxy,
    saying,
    service,
)
from tests.harness.versions import Dialect

FORMER = Dialect.former(protocol.PROTOCOL - 1)
TOMORROW = Dialect.tomorrow()
FAR = "this host's proxy needs at least protocol 8, and this release speaks 2: upgrade this one"


@pytest.mark.parametrize("way", [FORMER.heard, TOMORROW.said], ids=["former", "tomorrow"])
async def test_orders_of_a_neighbouring_agent_are_served(tmp_path: Path, way: Any):
    vip = an_address()
    async with backend(saying("a")) as a, proxy(tmp_path) as (_, programmer):
        side = HostSide(node="one", workers=1, protocol=protocol.ours())
        assert not (await programmer.send(way(ProxyOrder(host=side)))).error
        table = ServiceTable(fence=Fence(epoch=1, revision=1), digest="d", last=True)
        table.services.append(service("web", vip, PORT, [endpoint("127.0.0.1", a)]))
        held = await programmer.send(way(ProxyOrder(table=table)))
        assert (held.error, held.digest, held.protocol) == ("", "d", protocol.ours())
        assert await ask(vip, PORT) == b"a"


async def test_an_order_of_a_kind_that_is_not_known_changes_nothing(tmp_path: Path):
    vip = an_address()
    async with backend(saying("a")) as a, proxy(tmp_path) as (_, programmer):
        await programmer.program(service("web", vip, PORT, [endpoint("127.0.0.1", a)]))
        held = await programmer.send(
            ProxyOrder.FromString(b"\xfa\x7f\x02hi")
        )  # a field of tomorrow's, of which no word is known
        assert (held.digest, held.error) == ("table-1", "")
        assert await ask(vip, PORT) == b"a"


async def test_an_agent_too_far_away_is_refused_and_what_is_served_stays(tmp_path: Path):
    vip = an_address()
    async with backend(saying("a")) as a, proxy(tmp_path) as (_, programmer):
        await programmer.program(service("web", vip, PORT, [endpoint("127.0.0.1", a)]))
        held = await programmer.host(protocol=Protocol(speaks=9, oldest=8))
        assert held.error == "this host's agent needs at least protocol 8, and this release speaks 2: upgrade this one"
        assert held.digest == "table-1"
        assert await ask(vip, PORT) == b"a"


@pytest.mark.parametrize(
    ("said", "problems"),
    [(None, []), (Protocol(speaks=3, oldest=2), []),
     (Protocol(speaks=9, oldest=8), [FAR])],
    ids=["former", "tomorrow", "too far"],
)  # fmt: skip
async def test_the_agent_beside_a_proxy_of_another_release(tmp_path: Path, said: Protocol | None, problems: list[str]):
    heard: asyncio.Queue[ProxyHeld | None] = asyncio.Queue()
    told = ProxyHeld(digest="d", boot="b", protocol=said)
    if said is not None:
        told = TOMORROW.said(told)

    async def other(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        body = told.SerializeToString()
        writer.write(struct.pack(">I", len(body)) + body)
        await writer.drain()

    server = await asyncio.start_unix_server(other, tmp_path / "p.sock")
    talking = asyncio.create_task(Proxy(tmp_path / "p.sock", heard.put_nowait).run())
    try:
        held = await asyncio.wait_for(heard.get(), DEADLINE)
        assert held is not None
        assert (held.digest, held.boot, list(held.problems)) == (("", "") if problems else ("d", "b")) + (problems,)
    finally:
        talking.cancel()
        await asyncio.gather(talking, return_exceptions=True)
        server.close()


async def test_what_a_proxy_of_another_release_has_served_last_is_served_again(tmp_path: Path):
    vip = an_address()
    async with backend(saying("a")) as a:
        side = HostSide(node="one", workers=1, protocol=Protocol(speaks=9, oldest=8))  # whoever told it then
        table = ServiceTable(fence=Fence(epoch=1, revision=1), digest="d", last=True)
        table.services.append(service("web", vip, PORT, [endpoint("127.0.0.1", a)]))
        LastGood(tmp_path / "last").rewrite(TOMORROW.said(table), TOMORROW.said(side))
        process = ProxyProcess(tmp_path)
        await process.start()
        try:
            assert await ask(vip, PORT) == b"a"
        finally:
            await process.end()


# ---- connections that a proxy of another release has left


async def pair() -> tuple[socket.socket, socket.socket]:
    """A connection: the client's end and the proxy's."""
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        ours = socket.socket()
        ours.setblocking(False)
        await loop.sock_connect(ours, listener.getsockname())
        theirs, _ = await loop.sock_accept(listener)
    return ours, theirs


def left_behind(holder: Path, flows: list[dict[str, Any]], sockets: list[socket.socket]) -> None:
    """As a proxy leaves its connections at its end."""
    words = os.memfd_create("flows")
    os.write(words, json.dumps(flows).encode())
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock:
        sock.connect(str(holder))
        send(sock, {"do": "leave", "what": {"flows": len(flows)}}, [words, *(s.fileno() for s in sockets)])
    os.close(words)
    for one in sockets:
        one.close()


@pytest.mark.parametrize("newer", [False, True], ids=["former", "tomorrow"])
async def test_connections_of_a_neighbouring_proxy_go_on_and_odd_ones_end_alone(tmp_path: Path, *, newer: bool):
    loop, side = asyncio.get_running_loop(), {"waiting": "", "ended": False, "told": False, "count": 0}
    client, front = await pair()
    server, back = await pair()
    flow = {
        "kind": "tcp", "client": side, "server": side, "peer": ["127.0.0.1", 1], "age": 1.0, "idle": False,
        "service": "default/web", "backend": ["127.0.0.1", 1, "default/a", "u"], "listen": ["TCP", an_address(), PORT],
    }  # fmt: skip
    flows, sockets, odd = [flow], [front, back], None
    if newer:
        flow |= {"sockets": 2, "mood": "calm", "backend": [*flow["backend"], "", "more"]}
        odd, its = await pair()
        others = [(await pair())[1] for _ in range(2)]
        flows, sockets = [{"kind": "sctp", "sockets": 3}, flow], [its, *others, *sockets]
    holder = Holder(tmp_path)
    await holder.start()
    process = ProxyProcess(tmp_path, "--holder", str(holder.path))
    try:
        left_behind(holder.path, flows, sockets)
        await process.start()
        async with asyncio.timeout(DEADLINE):
            await loop.sock_sendall(client, b"to the server")
            assert await loop.sock_recv(server, 100) == b"to the server"
            await loop.sock_sendall(server, b"and back")
            assert await loop.sock_recv(client, 100) == b"and back"
            if odd is not None:
                assert await loop.sock_recv(odd, 100) == b""
    finally:
        await process.end()
        await holder.kill()
        for one in (client, server):
            one.close()
