"""Load balancers' addresses on three hosts: one host answers for each, and another when it dies; Ingresses' as well."""

import hashlib
import sys

from tests.e2e.test_three_hosts import settled
from tests.harness.hosts import ROOT, FakeHost, until
from tests.harness.pythonpod import python_pod

DOOR = """
apiVersion: mesh/v1
kind: AddressReservation
metadata: {name: door}
spec: {type: LoadBalancer, address: ADDRESS}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: reserved, annotations: {mesh/address-reservation: door}}
spec: {defaultBackend: {service: {name: NAME, port: {number: 80}}}}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: plain}
spec:
  rules:
  - host: plain.test
    http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: NAME, port: {number: 80}}}}]}
"""


def test_balanced_addresses_move_when_their_host_dies(mesh_of_three: list[FakeHost]) -> None:
    """Another host answers for them then, and tells the network: a host that knew the old one goes there. What an
    Ingress has reserved goes to a host that is labelled for Ingress."""
    first, second, third = mesh_of_three
    config = first.path(f"{ROOT}/meshd/meshd.toml")
    config.write_text(f'{config.read_text()}\n[network]\nload_balancer_pool = ["10.77.0.200-10.77.0.210"]\n')
    first.kill("mesh.app")
    until(lambda: settled(first, len(mesh_of_three)), 60, "meshd is back")
    name = next(n for n in map("front-{}".format, range(1000)) if ranking(n) == [second.name, first.name, third.name])
    pods = [python_pod(f"front-{h.name}", "http_server.py", "8080", h.name, node=h.name, ports=(8080,),
                       labels={"app": "front"}) for h in (first, third)]  # fmt: skip
    spec = "{type: LoadBalancer, selector: {app: front}, ports: [{port: 80, targetPort: 8080}]}"
    service = f"{{apiVersion: v1, kind: Service, metadata: {{name: {name}}}, spec: {spec}}}"
    door = next(ip for ip in map("10.77.0.{}".format, range(200, 211)) if ranking_of(ip)[0] == second.name)
    for host in (first, second):
        first.mesh("label", "node", host.name, "mesh/ingress=true")
    ingresses = DOOR.replace("NAME", name).replace("ADDRESS", door)
    first.mesh("apply", "-f", "-", "--wait", "--timeout=120s", text="\n---\n".join([ingresses, service, *pods]))
    address = first.mesh("get", "service", name, "-o", "jsonpath={.status.loadBalancer.ingress[0].ip}").strip()
    until(lambda: answers(third, address), 30, "the address is reached")
    until(lambda: answers(third, door), 60, "the address of the Ingress is reached")
    assert told(first, "reserved") == [door]
    until(lambda: told(first, "plain") == [first.ip, second.ip], 30, "the status names both hosts")
    for ip in (address, door):
        assert has(second, ip)
        assert not has(first, ip)
    second.power_off()
    until(lambda: has(first, address) and has(first, door), 40, "another host has taken the addresses")
    until(lambda: answers(third, address), 10, "and is reached by who knew the old one")
    until(lambda: answers(third, door), 30, "so is its HAProxy, at the address of the Ingress")
    until(lambda: told(first, "plain") == [first.ip], 30, "the status names the host that is left")
    assert told(first, "reserved") == [door]
    for ip in (address, door):
        assert not has(third, ip)


def ranking(service: str) -> list[str]:
    """The hosts in the order in which they would answer for a Service of the default namespace."""
    return ranking_of(f"default/{service}", "host1", "host2", "host3")


def ranking_of(what: str, *hosts: str) -> list[str]:
    """Hosts in the order in which they would answer for something; by default those labelled for Ingress."""
    weight = {n: hashlib.sha256(f"{what}@{n}".encode()).digest() for n in hosts or ("host1", "host2")}
    return sorted(weight, key=lambda n: weight[n], reverse=True)


def told(first: FakeHost, ingress: str) -> list[str]:
    """The addresses of an Ingress' status."""
    entries = first.mesh_json("get", "ingress", ingress)["status"].get("loadBalancer", {})
    return [entry["ip"] for entry in entries.get("ingress", [])]


def has(host: FakeHost, address: str) -> bool:
    """Whether the address is one of the host's own."""
    return address in host.run("ip", "-4", "route", "show", "table", "local")


def answers(host: FakeHost, address: str) -> bool:
    """Whether a pod answers there."""
    call = "import socket, sys; c = socket.create_connection((sys.argv[1], 80), 3); " \
           "c.sendall(b'GET / HTTP/1.0\\r\\n\\r\\n'); print(c.makefile().read().splitlines()[-1])"  # fmt: skip
    return host.run(sys.executable, "-c", call, address, check=False).startswith("front-")
