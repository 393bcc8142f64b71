"""Which endpoints an address leads to on a host: readiness, policies, topology (X6, X8, X9, X10, X12)."""

from mesh.v1.node_pb2 import HostSide, Neighbour, ProxyEndpoint, ProxyPort, ProxyService, ProxyTuning
from netproxy.routes import ANY, Health, Listen, Place, health_of, place_of, routes_of, serving

HERE = Place("one", "east")
VIP = Listen("TCP", "10.96.0.9", 80)
NODE = Listen("TCP", ANY, 30080)


def end(ip: str, *, ready: bool = True, node: str = "one", zone: str = "", **more: object) -> ProxyEndpoint:
    return ProxyEndpoint(ip=ip, ports=[8080], ready=ready, serving=ready, node=node, zone=zone, **more)  # type: ignore[arg-type]


def ending(ip: str, *, serving: bool = True, node: str = "one") -> ProxyEndpoint:
    return ProxyEndpoint(ip=ip, ports=[8080], serving=serving, terminating=True, node=node)


def svc(*endpoints: ProxyEndpoint, **more: object) -> ProxyService:
    made = ProxyService(namespace="n", name="s", cluster_ip="10.96.0.9", endpoints=endpoints, **more)  # type: ignore[arg-type]
    made.ports.append(ProxyPort(protocol="TCP", port=80, node_port=30080))
    return made


def to(service: ProxyService, listen: Listen = VIP, place: Place = HERE) -> list[str] | str:
    route = routes_of(service, place).get(listen)
    if route is None:
        return "refuse"
    return "drop" if route.drop else [b.ip for b in route.backends]


def test_only_ready_endpoints_are_used() -> None:
    assert to(svc(end("a"), end("b", ready=False), ending("c"))) == ["a"]


def test_when_none_is_ready_those_that_end_and_serve_are() -> None:
    assert to(svc(end("a", ready=False), ending("b"), ending("c", serving=False))) == ["b"]


def test_without_endpoints_connections_are_refused() -> None:
    assert to(svc()) == to(svc(end("a", ready=False))) == "refuse"


def test_an_endpoint_without_the_port_is_none() -> None:
    without = end("a")
    without.ports[:] = [0]
    assert to(svc(without)) == "refuse"


def test_internal_local_uses_this_hosts_or_is_silent() -> None:
    assert to(svc(end("a"), end("b", node="two"), internal_local=True)) == ["a"]
    assert to(svc(end("b", node="two"), internal_local=True)) == "drop"
    assert to(svc(internal_local=True)) == "refuse"


def test_external_local_is_for_node_ports_alone() -> None:
    far = svc(end("b", node="two"), external_local=True)
    assert (to(far), to(far, NODE)) == (["b"], "drop")


def test_local_falls_back_to_local_ones_that_end() -> None:
    assert to(svc(ending("a"), end("b", node="two"), external_local=True), NODE) == ["a"]


def test_near_endpoints_are_preferred_and_far_ones_better_than_none() -> None:
    ends = [end("a", zone="west", node="two"), end("b", zone="east", node="three"), end("c", zone="east")]
    assert to(svc(*ends, distribution="PreferClose")) == ["b", "c"]
    assert to(svc(*ends, distribution="PreferSameNode")) == ["c"]
    assert to(svc(*ends[:2], distribution="PreferSameNode")) == ["b"]
    assert to(svc(ends[0], distribution="PreferSameZone")) == ["a"]


def test_headless_and_external_names_have_no_address() -> None:
    headless = svc(end("a"))
    headless.cluster_ip = ""
    headless.ports[0].node_port = 0
    assert routes_of(headless, HERE) == {}
    assert routes_of(svc(external_name="example.org"), HERE) == {}


def test_the_health_check_counts_ready_endpoints_here() -> None:
    service = svc(end("a"), end("b", node="two"), ending("c"), health_check_node_port=32000)
    assert health_of(service, HERE) == {32000: Health("n/s", 1)}
    assert health_of(svc(end("a")), HERE) == {}


def test_what_is_encrypted_leaves_through_the_tunnel_or_not_at_all() -> None:
    side = HostSide(node="one", neighbours=[Neighbour(node="two", address="192.0.2.2")])
    ends = [end("a"), end("b", node="two"), end("c", node="unheard"), end("d", node="")]
    plain, encrypted = svc(*ends), svc(*ends, tuning=ProxyTuning(encrypted=True))
    here = place_of(side)
    assert {b.ip: b.via for b in routes_of(plain, here)[VIP].backends} == dict.fromkeys("abcd", "")
    assert {b.ip: b.via for b in routes_of(encrypted, here)[VIP].backends} == {"a": "", "b": "two/192.0.2.2"}
    assert serving(encrypted, here) == set(routes_of(encrypted, here)[VIP].backends)
    assert to(svc(end("c", node="unheard"), tuning=ProxyTuning(encrypted=True)), place=here) == "refuse"
