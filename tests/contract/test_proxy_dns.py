"""The name service of the real proxy, asked over sockets as programs ask it."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import dns.asyncquery
import dns.flags
import dns.message
import dns.rcode
import dns.rrset

from mesh.v1.node_pb2 import ProxyEndpoint, ProxyPort, ProxyService
from tests.harness.proxying import DEADLINE, an_address, proxy, service

SVC = "svc.cluster.local"


async def ask(server: str, name: str, kind: str = "A", *, tcp: bool = False) -> dns.message.Message:
    query = dns.message.make_query(name, kind)
    way = dns.asyncquery.tcp if tcp else dns.asyncquery.udp
    return await way(query, server, timeout=DEADLINE)


def texts(answer: dns.message.Message) -> list[str]:
    return sorted(str(record) for rrset in answer.answer for record in rrset)


class Elsewhere(asyncio.DatagramProtocol):
    """Another name server: knows one name; counts what it is asked."""

    def __init__(self) -> None:
        self.asked = 0

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        self.transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.asked += 1
        query = dns.message.from_wire(data)
        answer = dns.message.make_response(query)
        name = query.question[0].name
        if name.to_text() == "www.example.org.":
            answer.answer.append(dns.rrset.from_text(name, 300, "IN", "A", "192.0.2.7"))
        elif name.to_text().startswith("silent"):
            return
        else:
            answer.set_rcode(dns.rcode.NXDOMAIN)
            soa = "ns.example.org. who.example.org. 1 1 1 1 60"
            answer.authority.append(dns.rrset.from_text("example.org.", 60, "IN", "SOA", soa))
        self.transport.sendto(answer.to_wire(), addr)


@asynccontextmanager
async def elsewhere() -> AsyncIterator[tuple[Elsewhere, str]]:
    loop = asyncio.get_running_loop()
    transport, server = await loop.create_datagram_endpoint(Elsewhere, ("127.0.0.1", 0))
    try:
        yield server, "{}:{}".format(*transport.get_extra_info("sockname"))
    finally:
        transport.close()


async def test_answers_follow_the_table(tmp_path: Path) -> None:
    server = an_address()
    async with proxy(tmp_path) as (_, programmer):
        await programmer.host(dns_address=server, dns_zone="cluster.local")
        held = await programmer.program(service("web", "127.77.0.9", 80, []))
        for tcp in (False, True):
            answer = await ask(server, f"web.default.{SVC}", tcp=tcp)
            assert (texts(answer), answer.answer[0].ttl) == (["127.77.0.9"], 5)
            assert answer.flags & dns.flags.AA
            assert answer.flags & dns.flags.RA
        await programmer.program(service("web", "127.77.0.10", 80, []), base=held.digest)
        assert texts(await ask(server, f"web.default.{SVC}")) == ["127.77.0.10"]
        await programmer.program()
        assert (await ask(server, f"web.default.{SVC}")).rcode() == dns.rcode.NXDOMAIN


async def test_the_dig_of_bind_agrees(tmp_path: Path) -> None:
    """SRV, PTR, TXT and AAAA as a program that is not ours reads them."""
    server = an_address()
    headless = ProxyService(
        namespace="default", name="db", ports=[ProxyPort(name="sql", protocol="TCP", port=1)],
        endpoints=[ProxyEndpoint(ip=f"10.9.0.{n}", hostname=f"db-{n}", ready=True, ports=[5432]) for n in (1, 2)],
    )  # fmt: skip
    async with proxy(tmp_path) as (_, programmer):
        await programmer.host(dns_address=server, dns_zone="cluster.local")
        await programmer.program(headless)

        async def dig(*what: str) -> list[str]:
            command = ["dig", "+short", "+tries=1", f"@{server}", *what]
            child = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
            out, _ = await asyncio.wait_for(child.communicate(), DEADLINE)
            return sorted(out.decode().split("\n")[:-1])

        own = f"db.default.{SVC}"
        assert await dig(own) == ["10.9.0.1", "10.9.0.2"]
        assert await dig("SRV", f"_sql._tcp.{own}") == [f"0 50 5432 db-1.{own}.", f"0 50 5432 db-2.{own}."]
        assert await dig("-x", "10.9.0.2") == [f"db-2.{own}."]
        assert await dig("TXT", "dns-version.cluster.local") == ['"1.1.0"']
        assert await dig("AAAA", own) == []


async def test_what_is_not_ours_is_asked_elsewhere_once(tmp_path: Path) -> None:
    server = an_address()
    async with elsewhere() as (other, at), proxy(tmp_path) as (_, programmer):
        await programmer.host(dns_address=server, dns_zone="cluster.local", upstreams=[at])
        await programmer.program(ProxyService(namespace="default", name="out", external_name="www.example.org"))
        for _ in range(3):
            assert texts(await ask(server, "www.example.org")) == ["192.0.2.7"]
        assert texts(await ask(server, f"out.default.{SVC}")) == ["192.0.2.7", "www.example.org."]
        assert other.asked == 1
        for _ in range(3):
            assert (await ask(server, "nothing.example.org")).rcode() == dns.rcode.NXDOMAIN
        assert other.asked == 2
        assert (await ask(server, ".", "NS")).rcode() == dns.rcode.NXDOMAIN
        assert other.asked == 3


async def test_large_answers_come_over_tcp(tmp_path: Path) -> None:
    server = an_address()
    ends = [ProxyEndpoint(ip=f"10.9.{n // 250}.{n % 250}", ready=True, ports=[]) for n in range(400)]
    async with proxy(tmp_path) as (_, programmer):
        await programmer.host(dns_address=server, dns_zone="cluster.local")
        await programmer.program(ProxyService(namespace="default", name="many", endpoints=ends))
        assert (await ask(server, f"many.default.{SVC}")).flags & dns.flags.TC
        assert len(texts(await ask(server, f"many.default.{SVC}", tcp=True))) == 400


async def test_a_flood_of_names_without_answers_leaves_names_and_service(tmp_path: Path) -> None:
    server = an_address()
    async with elsewhere() as (_, at), proxy(tmp_path) as (_, programmer):
        await programmer.host(dns_address=server, dns_zone="cluster.local", upstreams=[at])
        await programmer.program(service("web", "127.77.0.9", 80, []))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as flood:
            flood.connect((server, 53))
            for n in range(3000):
                flood.send(dns.message.make_query(f"silent{n}.example.org", "A").to_wire())
                if not n % 500:
                    assert texts(await ask(server, f"web.default.{SVC}")) == ["127.77.0.9"]
            for n in range(500):
                flood.send(bytes([n % 256]) * (n % 90))
        assert texts(await ask(server, f"web.default.{SVC}")) == ["127.77.0.9"]
