"""What `mesh describe service` tells of what the hosts' proxies carry."""

from mesh.cli.servicedetails import ServiceFacts, describe_service, flow_rows
from mesh.cli.sheets import Sheet
from mesh.v1.control_pb2 import HostFlows
from mesh.v1.meta_pb2 import ObjectMeta
from mesh.v1.net_pb2 import Service, ServicePort, ServiceSpec
from mesh.v1.node_pb2 import BackendFlows, Flows, ServiceFlows

BACKEND = BackendFlows(
    ip="10.244.0.5", port=8080, pod="default/web-1", open=2, total=9, bytes_in=100, bytes_out=70_000, failed=4,
    ejections=3, ejected=True,
)  # fmt: skip


def host(name: str, *backends: BackendFlows, **more: object) -> HostFlows:
    flows = ServiceFlows(service="default/web", backends=backends, **more)  # type: ignore[arg-type]
    return HostFlows(host=name, flows=Flows(services=[flows]))


def test_every_host_tells_its_backends_what_it_refused_and_what_it_cannot_serve() -> None:
    service = Service(metadata=ObjectMeta(name="web"), spec=ServiceSpec(ports=[ServicePort(port=80, protocol="TCP")]))
    problem = "10.96.0.9:80/TCP: cannot listen: Address already in use"
    hosts = [host("one", BACKEND, rejected=6), host("two", problems=[problem]), HostFlows(host="three", error="away")]
    sheet = Sheet()
    describe_service(sheet, service, ServiceFacts(hosts=hosts))
    lines = sheet.render()
    (row,) = [line.split() for line in lines if "10.244.0.5:8080" in line]
    assert row == ["one", "10.244.0.5:8080", "default/web-1", "2", "9", "100B", "70.0kB", "4", "3", "(ejected", "now)"]
    assert [line.split() for line in lines if line.startswith("Rejected")] == [["Rejected:", "6"]]
    assert any(line.startswith("Proxy of two:") and line.endswith(problem) for line in lines)
    assert any(line.startswith("Proxy of three:") and line.endswith("away") for line in lines)


def test_a_row_for_each_backend_of_each_host() -> None:
    other = BackendFlows(ip="10.244.1.7", port=8080)
    assert [row[1] for row in flow_rows(host("one", BACKEND, other))] == ["10.244.0.5:8080", "10.244.1.7:8080"]
