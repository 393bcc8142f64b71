"""The record forms of Kubernetes' DNS specification (D1 to D7)."""

import random

import dns.message
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.v1.node_pb2 import ProxyEndpoint, ProxyPort, ProxyService
from netproxy.dns.message import LARGEST, Garbage, answer_of, asked, limit, question, wire_of
from netproxy.dns.names import Absent, Found, Names, Srv

WEB = ProxyService(
    namespace="shop", name="web", cluster_ip="10.96.0.9",
    ports=[ProxyPort(name="http", protocol="TCP", port=80), ProxyPort(name="dns", protocol="UDP", port=53)],
)  # fmt: skip
DB = ProxyService(
    namespace="shop", name="db",
    ports=[ProxyPort(name="sql", protocol="TCP", port=5432)],
    endpoints=[
        ProxyEndpoint(ip="10.244.1.5", hostname="db-0", ready=True, ports=[5432]),
        ProxyEndpoint(ip="10.244.1.6", ready=True, ports=[5433]),
        ProxyEndpoint(ip="10.244.1.7", hostname="db-2", ports=[5432]),
    ],
)  # fmt: skip
OUT = ProxyService(namespace="shop", name="out", external_name="www.example.org")
EMPTY = ProxyService(namespace="shop", name="empty", endpoints=[ProxyEndpoint(ip="10.244.1.9", ports=[])])


@pytest.fixture
def names() -> Names:
    made = Names("cluster.local")
    for service in (WEB, DB, OUT, EMPTY):
        made.set(f"{service.namespace}/{service.name}", service)
    return made


@pytest.mark.parametrize("name", ["web.shop.svc.cluster.local", "WEB.Shop.SVC.cluster.LOCAL."])
def test_a_service_has_its_address_whatever_the_case(names: Names, name: str) -> None:
    assert names.find(name) == Found(addresses=("10.96.0.9",))


def test_named_ports_have_srv_records(names: Names) -> None:
    own = "web.shop.svc.cluster.local"
    found = names.find(f"_http._tcp.{own}")
    assert isinstance(found, Found)
    assert (found.services, found.glue) == ((Srv(80, own),), {own: ("10.96.0.9",)})
    assert names.find(f"_dns._tcp.{own}") is Absent.NAME
    assert names.find(f"_udp.{own}") == Found()


def test_a_headless_service_has_its_ready_endpoints(names: Names) -> None:
    own = "db.shop.svc.cluster.local"
    assert names.find(own) == Found(addresses=("10.244.1.5", "10.244.1.6"))
    assert names.find(f"db-0.{own}") == Found(addresses=("10.244.1.5",))
    assert names.find(f"10-244-1-6.{own}") == Found(addresses=("10.244.1.6",))
    assert names.find(f"db-2.{own}") is Absent.NAME
    found = names.find(f"_sql._tcp.{own}")
    assert isinstance(found, Found)
    assert set(found.services) == {Srv(5432, f"db-0.{own}"), Srv(5433, f"10-244-1-6.{own}")}


def test_a_headless_service_without_ready_endpoints_has_no_name(names: Names) -> None:
    assert names.find("empty.shop.svc.cluster.local") is Absent.NAME


def test_an_external_name_is_an_alias(names: Names) -> None:
    assert names.find("out.shop.svc.cluster.local") == Found(alias="www.example.org")


def test_addresses_point_back(names: Names) -> None:
    assert names.find("9.0.96.10.in-addr.arpa") == Found(pointers=("web.shop.svc.cluster.local",))
    assert names.find("5.1.244.10.in-addr.arpa") == Found(pointers=("db-0.db.shop.svc.cluster.local",))
    assert names.find("7.1.244.10.in-addr.arpa") is Absent.OTHER


def test_other_records(names: Names) -> None:
    assert names.find("dns-version.cluster.local") == Found(texts=("1.1.0",))
    assert names.find("10-244-1-5.shop.pod.cluster.local") == Found(addresses=("10.244.1.5",))
    assert names.find("10-244-1-500.shop.pod.cluster.local") is Absent.NAME
    assert names.find("shop.svc.cluster.local") == Found()
    assert names.find("none.svc.cluster.local") is Absent.NAME
    assert names.find("www.example.org") is Absent.OTHER
    assert names.find("notcluster.local") is Absent.OTHER


def test_what_is_gone_has_no_name_and_nothing_points_to_it(names: Names) -> None:
    for key in ("shop/web", "shop/db", "shop/out", "shop/empty"):
        names.set(key, None)
    assert names.find("web.shop.svc.cluster.local") is Absent.NAME
    assert names.find("9.0.96.10.in-addr.arpa") is Absent.OTHER
    assert names.find("shop.svc.cluster.local") is Absent.NAME


def test_an_answer_that_does_not_fit_says_so() -> None:
    query = dns.message.make_query("big.cluster.local", "A")
    many = Found(addresses=tuple(f"10.1.{n}.1" for n in range(200)))
    cut = dns.message.from_wire(wire_of(answer_of(query, many, "cluster.local"), limit(query)))
    assert cut.flags & dns.flags.TC
    assert not cut.answer
    query.use_edns(0, payload=65000)
    assert limit(query) == LARGEST
    assert len(dns.message.from_wire(wire_of(answer_of(query, many, "cluster.local"), 65535)).answer[0]) == 200


def test_names_without_records_and_no_names_are_told_apart(names: Names) -> None:
    for name, code in (("web.shop.svc.cluster.local", "NOERROR"), ("no.shop.svc.cluster.local", "NXDOMAIN")):
        query = dns.message.make_query(name, "AAAA")
        answer = answer_of(query, names.find(name), "cluster.local")
        assert (dns.rcode.to_text(answer.rcode()), len(answer.answer)) == (code, 0)
        assert answer.authority[0].rdtype == dns.rdatatype.SOA


@given(st.binary(max_size=80), st.integers(0, 2**32))
def test_whatever_comes_in_is_a_question_or_garbage(noise: bytes, seed: int) -> None:
    """Noise, and real questions with bytes changed."""
    chance = random.Random(seed)
    wire = bytearray(dns.message.make_query("_http._tcp.web.shop.svc.cluster.local", "SRV", use_edns=True).to_wire())
    for _ in range(chance.randint(1, 4)):
        wire[chance.randrange(len(wire))] = chance.randrange(256)
    for data in (noise, bytes(wire), bytes(wire)[: chance.randrange(len(wire))]):
        try:
            query = question(data)
            name, _ = asked(query)
        except Garbage:
            continue
        table = Names("cluster.local")
        table.set("shop/web", WEB)
        wire_of(answer_of(query, table.find(name), "cluster.local"), limit(query))
