"""Services on three hosts: reached from pods and hosts, and nothing is lost while pods behind them are replaced.

MESH_REPLACING=120 replaces pods for so many seconds instead of a few times, and asks as much as goes.
"""

import json
import os
import ssl
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from signal import SIGKILL, SIGTERM

import pytest

from mesh import pki
from mesh.supervision.programs import TUNNEL_PORT
from tests.e2e.test_three_hosts import settled
from tests.harness.hosts import Failed, FakeHost, until
from tests.harness.ingress import common_name
from tests.harness.loading import WORKERS, load
from tests.harness.pythonpod import python_pod

REPLACING = float(os.environ.get("MESH_REPLACING") or "0")  # seconds; 0: each pod once
RATE = 0 if REPLACING else 50
PODS = 3  # behind the Service
ADDRESS = "10.96.0.80"
ASK = "import socket, sys; c = socket.create_connection((sys.argv[1], int(sys.argv[2])), 10); " \
      "c.sendall(b'GET / HTTP/1.0\\r\\n\\r\\n'); print(c.makefile().read().splitlines()[-1])"  # fmt: skip
SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  type: NodePort
  clusterIP: 10.96.0.80
  selector: {app: web}
  ports: [{port: 80, targetPort: http, nodePort: 30080}]
"""

pytestmark = pytest.mark.timeout(900 + 8 * REPLACING)


@pytest.fixture(scope="module")
def web(mesh_of_three: list[FakeHost]) -> Iterator[list[FakeHost]]:
    """The Service, its pods on all hosts, and a client pod on each."""
    first = mesh_of_three[0]
    texts = [SERVICE, *(server(number) for number in range(PODS))]
    texts += [python_pod(f"client-{h.name}", "asleep.py", node=h.name) for h in mesh_of_three]
    first.mesh("apply", "-f", "-", "--wait", "--timeout=120s", text="\n---\n".join(texts))
    yield mesh_of_three
    first.mesh("delete", "pod", "--all", "--now", "--timeout=60s")
    first.mesh("delete", "service", "web")


def server(number: int, generation: int = 0) -> str:
    """A pod behind the Service."""
    name = f"web-{number}"
    return python_pod(
        name, "http_server.py", "8080", f"{name}.{generation}", node=f"host{number % 3 + 1}", ports=(8080,),
        labels={"app": "web"}, annotations={"mesh/drain-seconds": "3"},
    )  # fmt: skip


def answer(host: FakeHost, address: str, port: int) -> str:
    """Whose answer a program of the host gets."""
    return host.run(sys.executable, "-c", ASK, address, str(port)).strip()


def answer_in_pod(first: FakeHost, pod: str, address: str, port: int) -> str:
    """Whose answer a pod gets."""
    python = os.path.realpath(sys.executable)
    return first.mesh("exec", pod, "--", python, "-S", "-c", ASK, address, str(port)).strip()


def test_it_is_reached_from_every_host_and_pod(web: list[FakeHost]) -> None:
    first = web[0]
    everyone = {f"web-{n}.0" for n in range(PODS)}
    for host in web:
        until(lambda h=host: answer(h, ADDRESS, 80), 30, "the Service answers")  # type: ignore[misc]
        assert {answer(host, ADDRESS, 80) for _ in range(40)} == everyone
        assert answer(host, host.ip, 30080) in everyone
        assert answer_in_pod(first, f"client-{host.name}", ADDRESS, 80) in everyone
    assert answer(web[1], web[2].ip, 30080) in everyone  # another host's port
    assert "web-0.0" in {answer_in_pod(first, "web-0", ADDRESS, 80) for _ in range(20)}  # itself (X14)


def test_it_is_described_with_its_pods_and_has_a_name(web: list[FakeHost]) -> None:
    first = web[0]
    addresses = first.mesh("get", "endpoints", "web", "-o", "jsonpath={.subsets[0].addresses[*].ip}").split()
    assert len(addresses) == PODS
    told = first.mesh("describe", "service", "web")
    assert all(address in told for address in addresses)
    everyone = {f"web-{n}.0" for n in range(PODS)}
    assert answer_in_pod(first, "client-host2", "web", 80) in everyone
    assert answer_in_pod(first, "client-host3", "web.default.svc.cluster.local", 80) in everyone


def test_a_port_of_the_host_leads_to_another_port_of_the_pod(web: list[FakeHost]) -> None:  # E13
    first, second, third = web
    pod = json.loads(python_pod("direct", "http_server.py", "8080", "direct", node="host2", ports=(8080,)))
    pod["spec"]["containers"][0]["ports"][0]["hostPort"] = 18080
    first.mesh("apply", "-f", "-", "--wait", "--timeout=60s", text=json.dumps(pod))
    for host in web:
        until(lambda h=host: not is_refused(h, second.ip, 18080), 30, "the port is open")  # type: ignore[misc]
        assert answer(host, second.ip, 18080) == "direct"
    with pytest.raises(Failed, match="refused"):
        answer(third, third.ip, 18080)  # a port of its pod's host alone
    with pytest.raises(Failed, match="refused"):
        answer(second, second.ip, 8080)
    first.mesh("delete", "pod", "direct", "--now", "--timeout=60s")
    until(lambda: is_refused(third, second.ip, 18080), 30, "the port is closed with its pod")


def is_refused(host: FakeHost, address: str, port: int) -> bool:
    """Whether nobody listens there."""
    with suppress(Failed):
        answer(host, address, port)
        return False
    return True


def test_what_goes_between_hosts_can_be_encrypted(web: list[FakeHost]) -> None:
    first, second = web[0], web[1]
    everyone = {f"web-{n}.0" for n in range(PODS)}
    first.mesh("annotate", "service", "web", "mesh/encrypted=true")
    until(lambda: tunnelled(second, lambda: answer(second, ADDRESS, 80)), 30, "a connection through the tunnel")
    assert {answer(second, ADDRESS, 80) for _ in range(40)} == everyone
    first.mesh("annotate", "service", "web", "mesh/encrypted-")
    assert {answer(second, ADDRESS, 80) for _ in range(40)} == everyone


def tunnelled(host: FakeHost, ask: Callable[[], str]) -> bool:
    """Whether the host has had a connection to another host's tunnel, after one more question."""
    ask()
    rows = [line.split() for line in host.run("cat", "/proc/net/tcp").splitlines()[1:]]
    return any(row[2].endswith(f":{TUNNEL_PORT:04X}") for row in rows)


@pytest.mark.parametrize("mode", ["close", "keep"])
def test_nothing_is_lost_while_pods_are_replaced(web: list[FakeHost], mode: str) -> None:
    with load(web[1], ADDRESS, mode, RATE) as told:
        replace_pods(web[0])
    assert told["failed"] == {}, told
    assert told["asked"] > 50
    print(f"\n{mode}: {told}")


def test_a_killed_server_costs_no_more_than_the_requests_it_had(web: list[FakeHost]) -> None:
    """New connections go to another backend, before anybody has said that the pod is not ready."""
    second = web[1]
    with load(web[2], ADDRESS, "close", RATE) as told:
        killed = servers(second)
        for pid in killed:
            os.kill(pid, SIGKILL)
        until(lambda: servers(second) - killed, 30, "it is started again")
        until(lambda: answer(second, ADDRESS, 80), 30, "the Service answers")
    assert killed
    assert sum(told["failed"].values()) <= WORKERS, told


def servers(host: FakeHost) -> set[int]:
    """The processes of the Service's pods on a host."""
    found = set()
    for _, pid in host.containers().values():
        with suppress(FileNotFoundError):  # it has just ended
            if b"http_server.py" in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.add(pid)
    return found


def test_nothing_is_lost_while_programs_are_killed_and_proxies_upgraded(web: list[FakeHost]) -> None:
    """The agent's actor, meshd and the Podman service die, every proxy is replaced by a new one, and pods are too."""
    first, second, third = web
    proxy = "-m netproxy --socket"
    blows = [(second, "ray::NodeActor", SIGKILL), (first, "mesh.app", SIGKILL), (third, "system service", SIGKILL),
             *((host, proxy, SIGTERM) for host in web)]  # fmt: skip
    with load(second, ADDRESS, "close", RATE) as told:
        end, generation = time.monotonic() + REPLACING, 100
        while True:
            for number, (host, words, kind) in enumerate(blows):
                gone = set(host.kill(words, number=kind))
                if words == "mesh.app":  # without which nothing can be asked for
                    until(lambda: settled(first, len(web)), 60, "meshd is back")
                if REPLACING or number in (0, len(blows) - 1):  # else while nobody is there to tell the proxies
                    generation += 1
                    replace(first, number % PODS, generation)
                until(lambda h=host, w=words, g=gone: set(h.pids(w)) - g, 30, f"{words} is back")  # type: ignore[misc]
                until(lambda: settled(first, len(web)), 60, "the mesh settles")
            if time.monotonic() >= end:
                break
    assert told["failed"] == {}, told
    print(f"\n{told}")


INGRESS = """
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: web}
spec:
  defaultBackend: {service: {name: web, port: {number: 80}}}
  tls: [{hosts: [shop.test], secretName: shop}]
"""


@pytest.fixture(scope="module")
def ingress(web: list[FakeHost], tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeHost]:
    """The second host serves the Ingress of all of them."""
    first, second, _ = web
    directory = tmp_path_factory.mktemp("certificate")
    pair = pki.issue(pki.make_ca("shop", int(time.time())), pki.server("shop", ("shop.test",)), int(time.time()))
    for name, text in (("tls.crt", pair.certificate), ("tls.key", pair.key)):
        (directory / name).write_bytes(text)
    first.mesh("create", "secret", "tls", "shop", f"--cert={directory / 'tls.crt'}", f"--key={directory / 'tls.key'}")
    first.mesh("apply", "-f", "-", text=INGRESS)
    first.mesh("label", "node", second.name, "mesh/ingress=true")
    until(lambda: shown(second, "shop.test") == "shop", 60, "the certificate is there")
    yield second
    first.mesh("label", "node", second.name, "mesh/ingress-")
    until(lambda: not second.pids("haproxy", "-W"), 60, "HAProxy ends")
    first.mesh("delete", "ingress", "web")


def shown(host: FakeHost, name: str) -> str:
    """The common name of the certificate that a client of a host's port 443 is shown; "" when nobody answers."""
    program = (
        "import ssl, sys, socket; c = ssl._create_unverified_context();"
        " s = c.wrap_socket(socket.create_connection((sys.argv[1], 443), 10), server_hostname=sys.argv[2]);"
        " print(ssl.DER_cert_to_PEM_cert(s.getpeercert(True)))"
    )
    text = host.run(sys.executable, "-c", program, host.ip, name, check=False)
    return common_name(ssl.PEM_cert_to_DER_cert(text.strip())) if "BEGIN" in text else ""


def test_an_ingress_answers_on_the_host_that_is_labelled_for_it(web: list[FakeHost], ingress: FakeHost) -> None:
    first = web[0]
    assert answer(first, ingress.ip, 80).startswith("web-")
    until(lambda: shown(ingress, "other.test") == "ingress.mesh", 30, "the mesh's own certificate is there")
    until(lambda: ingress.ip in first.mesh("get", "ingress", "web"), 30, "its address is told")
    assert "80, 443" in first.mesh("get", "ingress", "web")
    assert "web:80 (10." in first.mesh("describe", "ingress", "web")
    with pytest.raises(Failed, match="refused"):
        answer(first, web[2].ip, 80)


def test_nothing_is_lost_through_ingress_while_pods_routes_and_netproxy_change(
    web: list[FakeHost], ingress: FakeHost
) -> None:
    first = web[0]
    before = ingress.pids("haproxy", "-W")
    with load(web[2], ingress.ip, "keep", RATE) as told:
        replace_pods(first)
        first.mesh("apply", "-f", "-", text=INGRESS.replace("name: web}\nspec", "name: more}\nspec"))
        ingress.kill("netproxy", "--ingress")
        replace(first, 0, 2000)
        first.mesh("delete", "ingress", "more")
    assert told["failed"] == {}, told
    assert told["asked"] > 100
    assert ingress.pids("haproxy", "-W")[0] == before[0]


def replace_pods(first: FakeHost) -> None:
    end, generation = time.monotonic() + REPLACING, 0
    while True:
        generation += 1
        for number in range(PODS):
            replace(first, number, generation)
        if time.monotonic() >= end:
            return


def replace(first: FakeHost, number: int, generation: int) -> None:
    """A graceful delete, and a new pod in its place."""
    first.mesh("delete", "pod", f"web-{number}", "--timeout=60s")
    first.mesh("apply", "-f", "-", "--wait", "--timeout=60s", text=server(number, generation))
