"""Where the real proxy listens: node ports, balanced addresses, host ports, health-check ports."""

import asyncio
import socket
from pathlib import Path

import pytest

from mesh.v1.node_pb2 import HostPort, ProxyPort
from tests.harness.proxying import DEADLINE, PORT, a_port, an_address, ask, backend, endpoint, proxy, saying, service


async def test_node_ports_answer_everywhere_and_local_policy_is_silent_without_an_endpoint(
    tmp_path: Path,
) -> None:
    vip, number = an_address(), a_port()
    async with backend(saying("a")) as a, proxy(tmp_path) as (_, programmer):
        ports = [ProxyPort(protocol="TCP", port=PORT, node_port=number)]
        await programmer.program(service("web", vip, PORT, [endpoint("127.0.0.1", a)], ports=ports))
        assert [await ask(ip, number) for ip in ("127.0.0.1", "127.0.0.2")] == [b"a", b"a"]
        far = endpoint("127.0.0.1", a, node="two")
        await programmer.program(service("web", vip, PORT, [far], ports=ports, external_local=True))
        assert await ask(vip, PORT) == b"a"
        with socket.socket() as client:
            client.settimeout(0.3)
            with pytest.raises(TimeoutError):
                await asyncio.to_thread(client.connect, ("127.0.0.1", number))
        near = endpoint("127.0.0.1", a)
        await programmer.program(service("web", vip, PORT, [near], ports=ports, external_local=True))
        assert await ask("127.0.0.1", number) == b"a"


async def test_source_ranges_hold_for_balanced_addresses_alone(tmp_path: Path) -> None:
    vip, balanced = an_address(), an_address()
    async with backend(saying("a")) as a, proxy(tmp_path) as (_, programmer):
        await programmer.program(
            service(
                "web",
                vip,
                PORT,
                [endpoint("127.0.0.1", a)],
                load_balancer_ips=[balanced],
                announcer="one",
                source_ranges=["127.0.0.9/32"],
            )
        )
        assert await ask(vip, PORT) == b"a"
        assert await ask(balanced, PORT, source="127.0.0.9") == b"a"
        with socket.socket() as client:
            client.settimeout(0.3)
            client.bind(("127.0.0.8", 0))
            with pytest.raises(TimeoutError):
                await asyncio.to_thread(client.connect, (balanced, PORT))


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
        told = {flows.service: list(flows.problems) for flows in (await programmer.flows()).services}
        assert [text.split("/")[0] for text in told["default/one"]] == [f"{vip}:8080"]
        assert told["default/two"] == []


async def test_the_health_check_port_tells_whether_endpoints_are_here(tmp_path: Path) -> None:
    vip, number = an_address(), a_port()
    async with backend(saying("a")) as a, proxy(tmp_path) as (_, programmer):

        async def status(*, node: str) -> bytes:
            ends = [endpoint("127.0.0.1", a, node=node)]
            await programmer.program(service("web", vip, PORT, ends, health_check_node_port=number))
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
