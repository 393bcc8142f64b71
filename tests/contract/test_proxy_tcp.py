"""TCP through the real proxy: what a client and a backend see of each other."""

import asyncio
import hashlib
import os
import random
import socket
import struct
from collections import Counter
from pathlib import Path

import pytest

from mesh.v1.node_pb2 import HostPort, ProxyPort, ProxyTuning
from tests.harness.proxying import (
    DEADLINE,
    Serve,
    a_port,
    an_address,
    ask,
    backend,
    echo,
    endpoint,
    proxy,
    saying,
    service,
)


async def test_connections_go_to_every_ready_endpoint_and_to_no_other(tmp_path: Path) -> None:
    vip = an_address()
    async with (
        backend(saying("a")) as a, backend(saying("b")) as b, backend(saying("c")) as c, proxy(tmp_path) as (_, agent)
    ):  # fmt: skip
        ends = [endpoint("127.0.0.1", a), endpoint("127.0.0.1", b), endpoint("127.0.0.1", c, ready=False)]
        await agent.program(service("web", vip, 80, ends))
        said = Counter([await ask(vip, 80) for _ in range(60)])
    assert set(said) == {b"a", b"b"}


async def test_no_endpoint_is_refused_at_once_and_served_when_one_comes(tmp_path: Path) -> None:
    vip = an_address()
    async with backend(saying("a")) as a, proxy(tmp_path) as (_, programmer):
        await programmer.program(service("web", vip, 80, [endpoint("127.0.0.1", a, ready=False)]))
        with pytest.raises(ConnectionRefusedError):
            await ask(vip, 80)
        await programmer.program(service("web", vip, 80, [endpoint("127.0.0.1", a)]))
        assert await ask(vip, 80) == b"a"
        await programmer.program()
        with pytest.raises(ConnectionRefusedError):
            await ask(vip, 80)


async def test_the_last_serving_endpoints_are_used_while_they_end(tmp_path: Path) -> None:
    vip = an_address()
    async with backend(saying("a")) as a, proxy(tmp_path) as (_, programmer):
        await programmer.program(service("web", vip, 80, [endpoint("127.0.0.1", a, terminating=True)]))
        assert await ask(vip, 80) == b"a"


async def test_a_backend_that_refuses_is_passed_over_without_a_lost_connection(tmp_path: Path) -> None:
    vip = an_address()
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        refusing = nobody.getsockname()[1]
        async with backend(saying("a")) as a, proxy(tmp_path) as (_, programmer):
            ends = [endpoint("127.0.0.1", a), endpoint("127.0.0.1", refusing)]
            await programmer.program(service("web", vip, 80, ends))
            assert Counter([await ask(vip, 80) for _ in range(40)]) == {b"a": 40}
            flows = {b.port: b for b in (await programmer.flows()).services[0].backends}
    assert flows[refusing].ejections >= 1
    assert flows[refusing].failed < 40  # most connections did not even try it
    assert flows[a].total == 40


async def test_when_no_backend_can_be_reached_the_client_is_reset(tmp_path: Path) -> None:
    vip = an_address()
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        async with proxy(tmp_path) as (_, programmer):
            await programmer.program(service("web", vip, 80, [endpoint("127.0.0.1", nobody.getsockname()[1])]))
            with pytest.raises(ConnectionResetError):
                await ask(vip, 80)


async def test_half_close_reaches_the_other_side_both_ways(tmp_path: Path) -> None:
    vip = an_address()
    heard = asyncio.get_running_loop().create_future()

    async def greets_then_listens(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello")
        writer.write_eof()
        heard.set_result(await reader.read())

    async with backend(greets_then_listens) as port, proxy(tmp_path) as (_, programmer):
        await programmer.program(service("web", vip, 80, [endpoint("127.0.0.1", port)]))
        async with asyncio.timeout(DEADLINE):
            reader, writer = await asyncio.open_connection(vip, 80)
            assert await reader.read() == b"hello"
            writer.write(b"still here")
            writer.write_eof()
            assert await heard == b"still here"
            writer.close()


async def test_a_reset_reaches_the_other_side_as_a_reset(tmp_path: Path) -> None:
    vip = an_address()
    got = asyncio.get_running_loop().create_future()

    async def waits(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"x")
        try:
            got.set_result(await reader.read())
        except ConnectionResetError as error:
            got.set_result(error)

    async with backend(waits) as port, proxy(tmp_path) as (_, programmer):
        await programmer.program(service("web", vip, 80, [endpoint("127.0.0.1", port)]))
        async with asyncio.timeout(DEADLINE):
            reader, writer = await asyncio.open_connection(vip, 80)
            assert await reader.read(1) == b"x"
            sock = writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
            assert isinstance(await got, ConnectionResetError)


async def test_a_reader_that_does_not_read_stops_the_writer(tmp_path: Path) -> None:
    """Back-pressure: the proxy takes in no more than the kernel's buffers and its own one read."""
    vip, sent = an_address(), 0
    body = os.urandom(1 << 16)

    async def pours(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.transport.set_write_buffer_limits(0)
        for _ in range(1024):
            writer.write(body)
            await writer.drain()
            sent += len(body)

    async with backend(pours) as port, proxy(tmp_path) as (process, programmer):
        await programmer.program(service("web", vip, 80, [endpoint("127.0.0.1", port)]))
        async with asyncio.timeout(DEADLINE):
            loop = asyncio.get_running_loop()
            with socket.socket() as client:
                client.setblocking(False)
                client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
                await loop.sock_connect(client, (vip, 80))
                before = -1
                while sent != before or not sent:
                    before = sent
                    await programmer.flows()
                    await programmer.flows()
                memory = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1]) * 4096
                assert sent < 1024 * len(body)
                check, size = hashlib.sha256(), 0
                while data := await loop.sock_recv(client, 1 << 18):
                    check.update(data)
                    size += len(data)
    assert size == 1024 * len(body)
    assert check.hexdigest() == hashlib.sha256(body * 1024).hexdigest()
    assert memory < 200 << 20


async def test_bytes_match_whatever_clients_do(tmp_path: Path) -> None:
    """Half-closes, slow readers, one-byte writes and large bodies; MESH_CONNECTIONS for more than the short run."""
    number = int(os.environ.get("MESH_CONNECTIONS") or "300")
    vip, chance = an_address(), random.Random(5)
    async with backend(echo) as a, backend(echo) as b, proxy(tmp_path) as (process, programmer):
        await programmer.program(service("web", vip, 80, [endpoint("127.0.0.1", a), endpoint("127.0.0.1", b)]))
        gate = asyncio.Semaphore(20)

        async def one(seed: int) -> None:
            async with gate:
                await _converse(vip, random.Random(seed))

        await asyncio.gather(*(one(i) for i in range(50)))
        descriptors = len(list(Path(f"/proc/{process.pid}/fd").iterdir()))
        memory = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])
        for start in range(0, number, 500):
            await asyncio.gather(*(one(chance.random()) for _ in range(start, min(number, start + 500))))
        async with asyncio.timeout(DEADLINE):
            while any(b.open for s in (await programmer.flows()).services for b in s.backends):
                await asyncio.to_thread(lambda: None)
        assert len(list(Path(f"/proc/{process.pid}/fd").iterdir())) <= descriptors
        assert int(Path(f"/proc/{process.pid}/statm").read_text().split()[1]) < memory * 1.5 + 4096


async def _converse(vip: str, chance: random.Random) -> None:
    kind = chance.choice(["small", "bytes", "large", "reset", "slow", "silent"])
    size = {"small": 500, "bytes": 40, "large": 3_000_000, "reset": 100_000, "slow": 400_000, "silent": 0}[kind]
    body = chance.randbytes(size)
    async with asyncio.timeout(DEADLINE * 3):
        reader, writer = await asyncio.open_connection(vip, 80)

        async def write() -> None:
            step = 1 if kind == "bytes" else 65536
            for start in range(0, size, step):
                writer.write(body[start : start + step])
                await writer.drain()
            if kind != "reset":
                writer.write_eof()

        writing = asyncio.create_task(write())
        try:
            if kind == "reset":
                await reader.read(1000)
                sock = writer.get_extra_info("socket")
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                writing.cancel()
                writer.transport.abort()
                return
            got = hashlib.sha256()
            while data := await reader.read(1000 if kind == "slow" else 1 << 18):
                got.update(data)
            await writing
            assert got.digest() == hashlib.sha256(body).digest(), kind
        finally:
            writer.close()
            await asyncio.gather(writing, return_exceptions=True)


async def test_a_changed_table_cuts_no_connection_and_blinks_no_listener(tmp_path: Path) -> None:
    vip = an_address()
    async with backend(echo) as a, backend(echo) as b, proxy(tmp_path) as (_, programmer):
        await programmer.program(service("web", vip, 80, [endpoint("127.0.0.1", a)]))
        async with asyncio.timeout(DEADLINE):
            reader, writer = await asyncio.open_connection(vip, 80)
            for _ in range(20):
                await programmer.program(service("web", vip, 80, [endpoint("127.0.0.1", b)]))
                assert await ask(vip, 80, b"x") == b"x"
            writer.write(b"still the first")
            assert await reader.readexactly(15) == b"still the first"
            writer.close()


async def test_connections_to_a_pod_that_leaves_are_told_until_the_last_ends(tmp_path: Path) -> None:
    vip = an_address()
    async with backend(echo) as a, backend(echo) as b, proxy(tmp_path) as (_, programmer):
        leaves = endpoint("127.0.0.1", a)
        await programmer.program(service("web", vip, 80, [leaves]))
        reader, writer = await asyncio.open_connection(vip, 80)
        writer.write(b"x")
        await reader.readexactly(1)
        held = await programmer.program(
            service("web", vip, 80, [endpoint("127.0.0.1", a, terminating=True), endpoint("127.0.0.1", b)])
        )
        assert dict(held.draining) == {leaves.pod_uid: 1}
        writer.close()
        held = await programmer.until(lambda held: not held.draining)
        assert held.digest == "table-2"


async def test_round_robin_takes_turns(tmp_path: Path) -> None:
    vip = an_address()
    async with backend(saying("a")) as a, backend(saying("b")) as b, proxy(tmp_path) as (_, programmer):
        ends = [endpoint("127.0.0.1", a), endpoint("127.0.0.1", b)]
        await programmer.program(service("web", vip, 80, ends, tuning=ProxyTuning(balance="round-robin")))
        said = [await ask(vip, 80) for _ in range(6)]
    assert said in ([b"a", b"b"] * 3, [b"b", b"a"] * 3)


async def test_a_client_stays_with_its_backend_and_moves_when_that_goes(tmp_path: Path) -> None:
    vip = an_address()
    async with backend(saying("a")) as a, backend(saying("b")) as b, proxy(tmp_path) as (_, programmer):
        ends = {b"a": endpoint("127.0.0.1", a), b"b": endpoint("127.0.0.1", b)}
        await programmer.program(service("web", vip, 80, list(ends.values()), affinity_seconds=600))
        (stuck,) = {await ask(vip, 80) for _ in range(20)}
        (other,) = {await ask(vip, 80, source=f"127.0.0.{n}") for n in range(2, 40)} - {stuck}
        await programmer.program(service("web", vip, 80, [ends[other]], affinity_seconds=600))
        assert {await ask(vip, 80) for _ in range(5)} == {other}


async def test_more_connections_than_a_service_may_have_are_refused(tmp_path: Path) -> None:
    vip = an_address()
    async with backend(echo) as a, proxy(tmp_path) as (_, programmer):
        tuning = ProxyTuning(max_connections=1)
        await programmer.program(service("web", vip, 80, [endpoint("127.0.0.1", a)], tuning=tuning))
        reader, writer = await asyncio.open_connection(vip, 80)
        writer.write(b"x")
        await reader.readexactly(1)
        with pytest.raises(ConnectionResetError):
            await ask(vip, 80, b"y")
        flows = await programmer.flows()
        assert flows.services[0].rejected == 1
        writer.close()


async def test_a_backend_learns_who_the_client_is(tmp_path: Path) -> None:
    vip = an_address()
    async with backend(echo) as a, proxy(tmp_path) as (_, programmer):
        tuning = ProxyTuning(proxy_protocol=True)
        await programmer.program(service("web", vip, 80, [endpoint("127.0.0.1", a)], tuning=tuning))
        said = await ask(vip, 80, b"hello", source="127.0.0.9")
    assert said[:12] == b"\r\n\r\n\0\r\nQUIT\n"
    assert said[16:24] == socket.inet_aton("127.0.0.9") + socket.inet_aton(vip)
    assert said[28:] == b"hello"


async def test_node_ports_answer_everywhere_and_local_policy_is_silent_without_an_endpoint(
    tmp_path: Path,
) -> None:
    vip, number = an_address(), a_port()
    async with backend(saying("a")) as a, proxy(tmp_path) as (_, programmer):
        ports = [ProxyPort(protocol="TCP", port=80, node_port=number)]
        await programmer.program(service("web", vip, 80, [endpoint("127.0.0.1", a)], ports=ports))
        assert [await ask(ip, number) for ip in ("127.0.0.1", "127.0.0.2")] == [b"a", b"a"]
        far = endpoint("127.0.0.1", a, node="two")
        await programmer.program(service("web", vip, 80, [far], ports=ports, external_local=True))
        assert await ask(vip, 80) == b"a"
        with socket.socket() as client:
            client.settimeout(0.3)
            with pytest.raises(TimeoutError):
                await asyncio.to_thread(client.connect, ("127.0.0.1", number))
        near = endpoint("127.0.0.1", a)
        await programmer.program(service("web", vip, 80, [near], ports=ports, external_local=True))
        assert await ask("127.0.0.1", number) == b"a"


async def test_source_ranges_hold_for_balanced_addresses_alone(tmp_path: Path) -> None:
    vip, balanced = an_address(), an_address()
    async with backend(saying("a")) as a, proxy(tmp_path) as (_, programmer):
        await programmer.program(
            service(
                "web",
                vip,
                80,
                [endpoint("127.0.0.1", a)],
                load_balancer_ips=[balanced],
                announcer="one",
                source_ranges=["127.0.0.9/32"],
            )
        )
        assert await ask(vip, 80) == b"a"
        assert await ask(balanced, 80, source="127.0.0.9") == b"a"
        with socket.socket() as client:
            client.settimeout(0.3)
            client.bind(("127.0.0.8", 0))
            with pytest.raises(TimeoutError):
                await asyncio.to_thread(client.connect, (balanced, 80))


async def test_host_ports_live_beside_the_same_port_of_a_service(tmp_path: Path) -> None:
    vip, number = an_address(), a_port()
    async with backend(saying("service")) as a, backend(saying("pod")) as b, proxy(tmp_path) as (_, programmer):
        await programmer.program(service("web", vip, number, [endpoint("127.0.0.1", a)]))
        port = HostPort(pod_uid="u", pod="default/p", port=number, protocol="TCP", ip="127.0.0.1", container_port=b)
        await programmer.host(host_ports=[port])
        assert (await ask(vip, number), await ask("127.0.0.1", number)) == (b"service", b"pod")
        await programmer.host()
        with pytest.raises(ConnectionRefusedError):
            await ask("127.0.0.1", number)
        assert await ask(vip, number) == b"service"


async def test_an_address_that_somebody_else_has_is_told_and_the_rest_is_served(tmp_path: Path) -> None:
    vip, other = an_address(), an_address()
    async with backend(saying("a")) as a, backend(saying("other"), vip, 8080), proxy(tmp_path) as (_, programmer):
        ends = [endpoint("127.0.0.1", a)]
        held = await programmer.program(service("one", vip, 8080, ends), service("two", other, 8080, ends))
        assert [text.split("/")[0] for text in held.problems] == [f"{vip}:8080"]
        assert await ask(other, 8080) == b"a"


async def test_a_killed_proxy_serves_its_last_table_alone(tmp_path: Path) -> None:
    vip = an_address()
    async with backend(saying("a")) as a, backend(saying("b")) as b, proxy(tmp_path) as (process, programmer):
        one = service("one", vip, 80, [endpoint("127.0.0.1", a)])
        held = await programmer.program(one)
        await programmer.program(service("two", vip, 81, [endpoint("127.0.0.1", b)]), base=held.digest)
        await process.end(9)
        await process.start()
        assert (await ask(vip, 80), await ask(vip, 81)) == (b"a", b"b")
        again = await process.connect()
        assert again.held.digest == "table-2"
        again.close()


async def test_http_changes_its_backend_between_requests_and_never_within_one(tmp_path: Path) -> None:
    """While a pod leaves: an idle connection lets go of it at once, one in the midst of a request when that is over."""
    vip, go = an_address(), asyncio.Event()

    def serving(name: bytes) -> Serve:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while line := await reader.readuntil(b"\r\n\r\n"):
                body = name * 3
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n" + body[:1])
                if b"/slow" in line:
                    await go.wait()
                writer.write(body[1:])

        return serve

    async def request(ends: tuple[asyncio.StreamReader, asyncio.StreamWriter], path: bytes) -> bytes:
        ends[1].write(b"GET " + path + b" HTTP/1.1\r\nHost: a\r\n\r\n")
        await ends[0].readuntil(b"\r\n\r\n")
        return await ends[0].readexactly(3)

    async with backend(serving(b"a")) as a, backend(serving(b"b")) as b, proxy(tmp_path) as (_, programmer):
        ports = [ProxyPort(protocol="TCP", port=80, app_protocol="http")]
        one, two = endpoint("127.0.0.1", a), endpoint("127.0.0.1", b)
        await programmer.program(service("web", vip, 80, [one], ports=ports))
        async with asyncio.timeout(DEADLINE):
            idle, busy = [await asyncio.open_connection(vip, 80) for _ in range(2)]
            assert [await request(ends, b"/") for ends in (idle, busy)] == [b"aaa", b"aaa"]
            slow = asyncio.create_task(request(busy, b"/slow"))
            while (await programmer.flows(connections=True)).services[0].backends[0].bytes_out < 3 * 41 - 2:
                pass
            gone = endpoint("127.0.0.1", a, terminating=True)
            held = await programmer.program(service("web", vip, 80, [gone, two], ports=ports))
            assert held.draining[one.pod_uid] == 1  # the one in the midst of a request
            assert await request(idle, b"/") == b"bbb"
            go.set()
            assert await slow == b"aaa"
            await programmer.until(lambda held: not held.draining)
            assert await request(busy, b"/") == b"bbb"
            assert await request(idle, b"/") == b"bbb"
            for _, writer in (idle, busy):
                writer.close()


async def test_the_health_check_port_tells_whether_endpoints_are_here(tmp_path: Path) -> None:
    vip, number = an_address(), a_port()
    async with backend(saying("a")) as a, proxy(tmp_path) as (_, programmer):

        async def status(*, node: str) -> bytes:
            ends = [endpoint("127.0.0.1", a, node=node)]
            await programmer.program(service("web", vip, 80, ends, health_check_node_port=number))
            async with asyncio.timeout(DEADLINE):
                while True:
                    try:
                        return await ask("127.0.0.1", number, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                    except ConnectionRefusedError:  # the listener follows the table
                        await programmer.flows()

        here, elsewhere = await status(node="one"), await status(node="two")
    assert here.startswith(b"HTTP/1.1 200 ")
    assert b'"localEndpoints": 1' in here
    assert elsewhere.startswith(b"HTTP/1.1 503 ")
    assert b"X-Load-Balancing-Endpoint-Weight: 0" in elsewhere
