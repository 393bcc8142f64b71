"""What pods and the proxy of a host are told of Services: environment, resolv.conf, names, host ports (E7 to E10)."""

import asyncio
from pathlib import Path

import pytest

from mesh.errors import Unavailable
from mesh.v1.core_pb2 import ContainerPort, EnvVar
from mesh.v1.node_pb2 import ObserveRequest, ProxyHeld, ProxyPort, ServiceLink, ServiceTable
from nodeagent.names import Names, variables
from nodeagent.pods import etc
from tests.harness.agents import FakeProxy, World, a_container, a_pod, a_secret
from tests.harness.bent_time import bent

NAMES = Names("10.96.0.10", "cluster.local")


def link(name: str = "my-web", *ports: ProxyPort, namespace: str = "default") -> ServiceLink:
    made = ports or (ProxyPort(name="http-a", protocol="TCP", port=80), ProxyPort(name="dns", protocol="UDP", port=53))
    return ServiceLink(namespace=namespace, name=name, cluster_ip="10.96.0.7", ports=made)


def test_the_variables_of_a_service() -> None:  # E7
    assert variables([link()]) == {
        "MY_WEB_SERVICE_HOST": "10.96.0.7",
        "MY_WEB_SERVICE_PORT": "80",
        "MY_WEB_SERVICE_PORT_HTTP_A": "80",
        "MY_WEB_SERVICE_PORT_DNS": "53",
        "MY_WEB_PORT": "tcp://10.96.0.7:80",
        "MY_WEB_PORT_80_TCP": "tcp://10.96.0.7:80",
        "MY_WEB_PORT_80_TCP_PROTO": "tcp",
        "MY_WEB_PORT_80_TCP_PORT": "80",
        "MY_WEB_PORT_80_TCP_ADDR": "10.96.0.7",
        "MY_WEB_PORT_53_UDP": "udp://10.96.0.7:53",
        "MY_WEB_PORT_53_UDP_PROTO": "udp",
        "MY_WEB_PORT_53_UDP_PORT": "53",
        "MY_WEB_PORT_53_UDP_ADDR": "10.96.0.7",
    }


HOST = "search corp.example\nnameserver 9.9.9.9\noptions rotate\n"
CLUSTER = (
    "search default.svc.cluster.local svc.cluster.local cluster.local corp.example\n"
    "nameserver 10.96.0.10\noptions ndots:5\n"
)


@pytest.mark.parametrize(
    ("policy", "host_network", "text"),
    [
        ("ClusterFirst", False, CLUSTER),
        ("", False, CLUSTER),
        ("ClusterFirst", True, HOST),  # there it is Default
        ("ClusterFirstWithHostNet", True, CLUSTER),
        ("Default", False, HOST),
    ],
)
def test_whom_a_pod_asks(policy: str, host_network: bool, text: str) -> None:  # E10
    pod = a_pod("p", dns_policy=policy, host_network=host_network)
    assert etc.resolv_conf(pod, HOST, NAMES) == text


def test_dns_config_completes_the_meshs_own_and_searches_are_bounded() -> None:
    pod = a_pod(
        "p", dns_config={"nameservers": ["1.1.1.1"], "searches": ["a.b"], "options": [{"name": "ndots", "value": "2"}]}
    )
    text = etc.resolv_conf(pod, HOST, NAMES)
    assert text.endswith("corp.example a.b\nnameserver 10.96.0.10\nnameserver 1.1.1.1\noptions ndots:2\n")
    long = a_pod("p", dns_config={"searches": [f"{'x' * 60}.{n:03}.example" for n in range(40)]})
    line = etc.resolv_conf(long, HOST, NAMES).splitlines()[0].removeprefix("search ")
    assert len(line) <= 2048
    assert len(line.split()) in range(20, 33)
    assert etc.resolv_conf(a_pod("p"), HOST, Names()) == HOST  # a mesh without a name service


def test_full_names() -> None:  # E8
    pod = a_pod("p", hostname="n1", subdomain="web")
    assert "10.0.0.5\tn1.web.default.svc.cluster.local\tn1\n" in etc.hosts(pod, "10.0.0.5", "n1", NAMES)
    assert etc.hostname_of(pod, "node", NAMES) == "n1"
    pod.spec.set_hostname_as_fqdn = True
    assert etc.hostname_of(pod, "node", NAMES) == "n1.web.default.svc.cluster.local"


@bent
async def test_containers_are_told_of_services_of_their_namespace(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.order.service_links.extend([link("web"), link("db", namespace="other")])
    await world.start()
    container = a_container(env=[EnvVar(name="URL", value="http://$(WEB_SERVICE_HOST)")])
    await world.assign(a_pod("told", containers=(container,)), a_pod("plain", enable_service_links=False))
    await world.until(lambda: world.phase("told") == world.phase("plain") == "Running")
    env = {s.pod_uid: s.env for s in world.host.specs.values()}
    assert env["uid-told"]["WEB_SERVICE_HOST"] == "10.96.0.7"
    assert env["uid-told"]["URL"] == "http://10.96.0.7"
    assert not [name for name in env["uid-told"] if name.startswith("DB_")]
    assert not [name for name in env["uid-plain"] if "SERVICE" in name]
    del world.order.service_links[:]
    await world.assign()
    await asyncio.sleep(5)
    assert world.restarts("told") == 0  # and nobody is told afterwards
    await world.kill()


@bent
async def test_the_proxy_is_told_of_the_host_and_of_its_pods_ports(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.proxy = FakeProxy()
    world.order.service_cidr, world.order.dns_address = "10.96.0.0/16", "10.96.0.10"
    world.order.cluster_domain = "cluster.local"
    world.order.node_labels["topology.kubernetes.io/zone"] = "east"
    await world.start()
    port = ContainerPort(container_port=80, host_port=8080, host_ip="192.0.2.1")
    own = ContainerPort(container_port=90, host_port=90)
    await world.assign(
        a_pod("web", containers=(a_container(ports=[port]),)),
        a_pod("node", containers=(a_container(ports=[own]),), host_network=True),
    )
    await world.until(lambda: world.phase("web") == world.phase("node") == "Running")
    side = world.proxy.side
    assert (side.node, side.zone, list(side.node_addresses)) == ("node1", "east", ["192.0.2.1"])
    assert (side.service_cidr, side.dns_address, side.dns_zone) == ("10.96.0.0/16", "10.96.0.10", "cluster.local")
    assert (side.pod_cidr, side.cluster_cidr) == ("10.244.1.0/24", "10.244.0.0/16")
    ((held),) = side.host_ports
    assert (held.pod, held.port, held.protocol, held.container_port) == ("default/web", 8080, "TCP", 80)
    assert (held.ip, held.host_ip) == (world.status("web").pod_ip, "192.0.2.1")
    await world.delete("web", 1)
    await world.until(lambda: world.gone("web"))
    assert not world.proxy.side.host_ports
    await world.kill()


@bent
async def test_what_the_proxy_says_is_told_and_tables_are_passed_on(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.proxy = FakeProxy()
    agent = await world.start()
    await world.assign()
    await agent.program(ServiceTable(digest="d", piece=1))
    assert [p.piece for p in world.proxy.pieces] == [1]
    world.proxy.say(ProxyHeld(digest="d", boot="b", error="e", draining={"uid-x": 2, "uid-y": 0}))
    held = await agent.observe(ObserveRequest())
    assert (held.route_digest, held.proxy_boot, held.proxy_error, list(held.draining)) == ("d", "b", "e", ["uid-x"])
    world.proxy.say(None)
    held = await agent.observe(ObserveRequest())
    assert (held.route_digest, held.proxy_boot, list(held.draining)) == ("", "", [])
    await world.kill()
    bare = World(tmp_path / "bare")
    agent = await bare.start()
    with pytest.raises(Unavailable):
        await agent.program(ServiceTable())
    await bare.kill()


@bent
async def test_what_the_proxy_cannot_do_is_an_event_of_the_host(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.proxy = FakeProxy()
    await world.start()
    for problems in (
        ["ingress: cannot run haproxy"],
        ["ingress: cannot run haproxy"],
        [],
        ["ingress: cannot run haproxy"],
    ):
        world.proxy.say(ProxyHeld(boot="b", problems=problems))
    await world.until(lambda: any(e.reason == "ProxyProblem" for e in world.events.values()))
    told = world.host_event("ProxyProblem")
    assert (told.message, told.type) == ("ingress: cannot run haproxy", "Warning")
    await world.kill()


@bent
async def test_the_proxy_is_given_the_secrets_of_its_ingress_and_none_before_an_order(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.proxy = FakeProxy()
    world.order.ingress_secrets.append("default/shop")
    await world.start()
    assert world.proxy.entrusted is None
    world.order.node_labels["mesh/ingress"] = "true"
    await world.reveal(a_secret("shop", **{"tls.crt": "c", "tls.key": "k"}))
    await world.until(lambda: bool(world.proxy is not None and world.proxy.entrusted))
    assert world.proxy.entrusted is not None
    (given,) = world.proxy.entrusted.secrets
    assert (given.metadata.namespace, given.metadata.name, dict(given.data)) == (
        "default", "shop", {"tls.crt": b"c", "tls.key": b"k"},
    )  # fmt: skip
    world.order.node_labels["mesh/ingress"] = "false"
    await world.reveal(a_secret("shop", 2, **{"tls.crt": "c", "tls.key": "k"}))
    assert list(world.proxy.entrusted.secrets) == []
    await world.kill()
