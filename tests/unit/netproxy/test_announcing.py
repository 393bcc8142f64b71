"""Who listens on addresses of the hosts' network, and how that is told (X17)."""

from mesh.v1.node_pb2 import HostSide, ProxyEndpoint, ProxyPort, ProxyService
from netproxy.announce import REPLY, REQUEST, frame
from netproxy.routes import place_of, routes_of


def service(**fields: object) -> ProxyService:
    made = ProxyService(namespace="default", name="web", cluster_ip="10.96.0.7", **fields)  # type: ignore[arg-type]
    made.ports.append(ProxyPort(protocol="TCP", port=80))
    made.endpoints.append(ProxyEndpoint(ip="10.244.0.5", node="a", ready=True, serving=True, ports=[8080]))
    return made


def addresses(served: ProxyService, node: str) -> set[str]:
    place = place_of(HostSide(node=node, node_addresses=["10.77.0.1"]))
    return {listen.ip for listen in routes_of(served, place)}


def test_only_the_announcer_takes_a_load_balancers_address() -> None:
    balanced = service(load_balancer_ips=["10.77.0.200"], announcer="a")
    assert addresses(balanced, "a") == {"10.96.0.7", "10.77.0.200"}
    assert addresses(balanced, "b") == {"10.96.0.7"}


def test_an_external_address_is_taken_by_the_host_that_has_it_alone() -> None:
    assert addresses(service(external_ips=["10.77.0.1", "10.77.0.2"]), "a") == {"10.96.0.7", "10.77.0.1"}


def test_the_frame_that_tells_where_an_address_is() -> None:
    hardware = bytes.fromhex("0a580a4d0001")
    for operation in (REQUEST, REPLY):
        sent = frame(operation, hardware, "10.77.0.200")
        assert sent[:14] == b"\xff" * 6 + hardware + b"\x08\x06"
        assert sent[14:22] == b"\x00\x01\x08\x00\x06\x04\x00" + bytes([operation])
        assert sent[22:32] == hardware + bytes([10, 77, 0, 200])
        assert sent[38:42] == bytes([10, 77, 0, 200])
