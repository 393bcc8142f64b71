"""Load balancers' addresses on three hosts: one host answers for each, and another when it dies."""

import hashlib
import sys

import pytest

from tests.e2e.test_three_hosts import settled
from tests.harness.hosts import ROOT, FakeHost, until
from tests.harness.pythonpod import python_pod

pytestmark = pytest.mark.timeout(600)


def test_a_balanced_address_moves_when_its_host_dies(mesh_of_three: list[FakeHost]) -> None:
    """Another host answers for it then, and tells the network: a host that knew the old one goes there."""
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
    first.mesh("apply", "-f", "-", "--wait", "--timeout=120s", text="\n---\n".join([service, *pods]))
    address = first.mesh("get", "service", name, "-o", "jsonpath={.status.loadBalancer.ingress[0].ip}").strip()
    until(lambda: answers(third, address), 30, "the address is reached")
    assert has(second, address)
    assert not has(first, address)
    second.power_off()
    until(lambda: has(first, address), 40, "another host has taken the address")
    until(lambda: answers(third, address), 10, "and is reached by who knew the old one")
    assert not has(third, address)


def ranking(service: str) -> list[str]:
    """The hosts in the order in which they would answer for a Service of the default namespace."""
    weight = {n: hashlib.sha256(f"default/{service}@{n}".encode()).digest() for n in ("host1", "host2", "host3")}
    return sorted(weight, key=lambda n: weight[n], reverse=True)


def has(host: FakeHost, address: str) -> bool:
    """Whether the address is one of the host's own."""
    return address in host.run("ip", "-4", "route", "show", "table", "local")


def answers(host: FakeHost, address: str) -> bool:
    """Whether a server answers there."""
    call = "import socket, sys; c = socket.create_connection((sys.argv[1], 80), 3); " \
           "c.sendall(b'GET / HTTP/1.0\\r\\n\\r\\n'); print(c.makefile().read().splitlines()[-1])"  # fmt: skip
    return bool(host.run(sys.executable, "-c", call, address, check=False).strip())
