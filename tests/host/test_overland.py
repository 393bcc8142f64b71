"""Pods of other hosts: reached by a route on one network, through a tunnel between two, under their own addresses."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.harness.hosts import FakeHost, enter, machines

pytestmark = pytest.mark.host

CONNECT = """
import json, sys
from mesh.v1.node_pb2 import Neighbour
from nodeagent.runtime.overland import Overland
ip, neighbours = sys.argv[1], json.loads(sys.argv[2])
Overland("mesh0", ip).connect([Neighbour(node=n, address=a, pod_cidr=c) for n, a, c in neighbours])
"""
ANSWER = """
import socket, sys
with socket.create_server((sys.argv[1], 8080)) as server:
    print("ready", flush=True)
    connection, peer = server.accept()
    connection.sendall(peer[0].encode())
    connection.close()
"""
ASK = """
import socket, sys
with socket.create_connection((sys.argv[2], 8080), 5, (sys.argv[1], 0)) as connection:
    print(connection.recv(100).decode())
"""


def pod(host: FakeHost) -> str:
    """The address of a pod, here one of the host itself."""
    return f"10.244.{host.ip.rpartition('.')[2]}.5"


def connect(host: FakeHost, others: Sequence[FakeHost]) -> None:
    neighbours = [(o.name, o.ip, pod(o).replace(".5", ".0/24")) for o in others if o is not host]
    host.run(sys.executable, "-c", CONNECT, host.ip, json.dumps(neighbours))


def prepared(hosts: Sequence[FakeHost]) -> None:
    for host in hosts:
        host.run("sysctl", "-qw", "net.ipv4.ip_forward=1")
        enter(host.init, "ip", "addr", "add", f"{pod(host)}/32", "dev", "lo")


def source_seen(client: FakeHost, server: FakeHost) -> str:
    """The address under which a pod of one host is seen by one of the other."""
    command = server.command(sys.executable, "-c", ANSWER, pod(server))
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=server.environment(), cwd="/") as answering:
        assert answering.stdout is not None
        assert answering.stdout.readline() == "ready\n"
        return client.run(sys.executable, "-c", ASK, pod(client), pod(server)).strip()


def routes(host: FakeHost) -> list[str]:
    """Our routes of a host."""
    return sorted(line.split()[0] for line in host.run("ip", "route", "show", "proto", "78").splitlines())


def test_on_one_network_there_are_routes(tmp_path: Path) -> None:
    with machines(tmp_path, 3) as hosts:
        one, two, three = hosts
        prepared(hosts)
        for host in hosts:
            connect(host, hosts)
        assert source_seen(one, two) == pod(one)
        assert routes(one) == ["10.244.2.0/24", "10.244.3.0/24"]
        assert "mesh-vx" not in one.run("ip", "-br", "link")
        connect(one, [one, three])  # the second host is gone
        assert routes(one) == ["10.244.3.0/24"]
        connect(one, [one, three])


def test_between_networks_there_is_a_tunnel(tmp_path: Path) -> None:
    with machines(tmp_path, 2) as hosts:
        one, two = hosts
        prepared(hosts)
        for host, other in ((one, two), (two, one)):  # each reaches the other, and shares no network with it
            enter(host.init, "ip", "addr", "flush", "dev", "eth0")
            enter(host.init, "ip", "addr", "add", f"{host.ip}/32", "dev", "eth0")
            enter(host.init, "ip", "route", "add", f"{other.ip}/32", "dev", "eth0", "src", host.ip)
        for host in hosts:
            connect(host, hosts)
            connect(host, hosts)  # again is no work
        assert "mesh-vx" in one.run("ip", "-br", "link")
        assert source_seen(one, two) == pod(one)
        connect(one, [one])
        assert routes(one) == []
        assert "mesh-vx" not in one.run("ip", "-br", "link")
