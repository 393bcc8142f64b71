"""`mesh` and Services against a real meshd: exposed, listed with their endpoints, described with what proxies carry."""

import json

from tests.harness.cli import Cli

POD = """
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec:
  containers:
  - {name: app, image: "hello:1", ports: [{name: http, containerPort: 8080}]}
"""


async def exposed(cli: Cli, *options: str) -> None:
    await cli("apply", "-f", "-", stdin=POD)
    assert (await cli("wait", "pod/web", "--for=condition=Ready")).code == 0
    assert (await cli("expose", "pod", "web", *options)).out == "service/web created\n"


async def test_a_pod_is_exposed_and_listed(cli: Cli) -> None:
    await exposed(cli, "--port=80", "--target-port=http", "--type=NodePort", "--cluster-ip=10.96.0.77")
    titles, row = (await cli("get", "svc")).out.splitlines()
    assert titles.split() == ["NAME", "TYPE", "CLUSTER-IP", "EXTERNAL-IP", "PORT(S)", "AGE"]
    name, kind, address, external, ports, _ = row.split()
    assert (name, kind, address, external) == ("web", "NodePort", "10.96.0.77", "<none>")
    assert ports.startswith("80:3")
    assert ports.endswith("/TCP")
    ip = (await cli("get", "pod", "web", "-o", "jsonpath={.status.podIP}")).out
    assert (await cli("get", "endpoints")).out.splitlines()[1].split()[:2] == ["web", f"{ip}:8080"]
    slices = json.loads((await cli("get", "endpointslices", "-o", "json")).out)["items"]
    (endpoint,) = slices[0]["endpoints"]
    assert endpoint["conditions"] == {"ready": True, "serving": True, "terminating": False}
    assert slices[0]["metadata"]["labels"]["kubernetes.io/service-name"] == "web"
    assert (await cli("delete", "endpoints", "web")).code == 1


async def test_what_has_no_labels_or_ports_is_not_exposed(cli: Cli) -> None:
    bare = POD.replace(", labels: {app: web}", "").replace(", ports: [{name: http, containerPort: 8080}]", "")
    await cli("apply", "-f", "-", stdin=bare)
    assert "say --selector" in (await cli("expose", "pod/web", "--port=80")).err
    assert "say --port" in (await cli("expose", "pod/web", "--selector=a=b")).err


async def test_a_service_is_described_with_its_backends(cli: Cli) -> None:
    await exposed(cli)
    ip = (await cli("get", "pod", "web", "-o", "jsonpath={.status.podIP}")).out
    text = (await cli("describe", "service", "web")).out
    assert "Selector:" in text
    assert "8080/TCP" in text
    line = next(line for line in text.splitlines() if ip in line)
    assert line.split()[:3] == [ip, "8080/TCP", "web"]
    assert line.endswith("ready")


async def test_flows_of_every_host(cli: Cli) -> None:
    await exposed(cli)
    found = await cli("proxy", "flows", "web", "-o", "json")
    assert found.code in (0, 1)
    hosts = json.loads(found.out)
    assert hosts
    assert all("host" in host for host in hosts)
    assert (await cli("proxy", "flows", "--host", "nowhere")).code == 1
    wrong = await cli("proxy", "flows", "nope")
    assert (wrong.code, wrong.out) == (1, "")
    assert 'there is no Service "nope" in namespace "default"' in wrong.err


async def test_reservations_are_listed(cli: Cli) -> None:
    text = "{apiVersion: mesh/v1, kind: AddressReservation, metadata: {name: front}, spec: {address: 10.96.0.99}}"
    assert (await cli("apply", "-f", "-", stdin=text)).code == 0
    assert (await cli("get", "addressreservations")).out.splitlines()[1].split()[:3] == [
        "front",
        "ClusterIP",
        "10.96.0.99",
    ]
    assert "rangeallocations" not in (await cli("get", "all", "-A")).out
