"""One host, as a new user has it: up, a pod, its logs, a command in it, a connection to it, down, nothing left."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.conftest import EXAMPLE, IMAGE
from tests.harness.hosts import ROOT, FakeHost, until

pytestmark = pytest.mark.timeout(600)


def test_from_up_to_purge(host: FakeHost, archive: Path) -> None:
    before = picture(host)
    host.up()
    host.import_image(archive, IMAGE)
    pod_runs_and_answers(host)
    second_up_disturbs_nothing(host)
    rays_directories_are_closed(host)
    what_listens_is_named(host)
    containers_outlive_a_stop(host)
    host.mesh("delete", "pod", "hello", "--timeout=90s")
    assert host.containers() == {}
    host.mesh("down", "--purge", "--yes")
    assert picture(host) == before
    assert list(host.state.iterdir()) == []
    assert not host.context.exists()
    assert host.pids("") == [host.init]


def pod_runs_and_answers(host: FakeHost) -> None:
    assert "hello is ready" in host.mesh("apply", "-f", str(EXAMPLE / "pod.yaml"), "--wait", "--timeout=60s")
    pod = host.mesh_json("get", "pod", "hello")
    assert pod["status"]["phase"] == "Running"
    assert pod["status"]["podIP"].startswith("10.244.")
    assert [c["ready"] for c in pod["status"]["containerStatuses"]] == [True, True]
    assert len(host.containers()) == 2
    assert "wrote the page" in until(lambda: host.mesh("logs", "hello", "-c", "writer"), 10, "the writer wrote")
    page = host.mesh("exec", "hello", "-c", "web", "--", "cat", "/www/index.html")
    assert page.startswith("Hello from pod hello")
    with forwarded(host, "hello", 8080) as address:
        assert b"Hello from pod hello" in fetch(host, address)


def second_up_disturbs_nothing(host: FakeHost) -> None:
    containers, programs = host.containers(), host.pids("mesh.app")
    assert json.loads(host.mesh("up", "-o", "json")) == {"changed": []}
    assert (host.containers(), host.pids("mesh.app")) == (containers, programs)


def rays_directories_are_closed(host: FakeHost) -> None:
    tmp = host.path(ROOT) / "run" / "ray"
    sessions = [path for path in tmp.glob("session_2*") if not path.is_symlink()]
    assert sessions
    for path in (host.state, tmp.parent, tmp, *sessions, *(s / "logs" for s in sessions)):
        assert path.stat().st_mode & 0o777 == 0o700, path


def what_listens_is_named(host: FakeHost) -> None:
    """For firewalls: nothing but Services' own addresses listens at another port than `mesh node ports` tells."""
    named: set[tuple[str, int]] = set()
    for row in json.loads(host.mesh("node", "ports", "-o", "json")):
        first, _, last = row["ports"].partition("-")
        named |= {(row["protocol"], number) for number in range(int(first), int(last or first) + 1)}
    found = set()
    for line in host.run("ss", "-Hlntu").splitlines():
        address, _, port = line.split()[4].rpartition(":")
        if not address.strip("[]").startswith(("127.", "::1", "10.96.")):
            found.add((line.split()[0], int(port)))
    assert found <= named
    assert {("tcp", 7430), ("tcp", 7446)} <= found


def containers_outlive_a_stop(host: FakeHost) -> None:
    containers = host.containers()
    host.mesh("down")
    assert host.containers() == containers
    assert not host.pids("mesh.app")
    assert not host.pids("raylet")
    host.up()
    host.mesh("wait", "pod/hello", "--for=condition=Ready", "--timeout=60s")
    assert host.containers() == containers
    statuses = host.mesh_json("get", "pod", "hello")["status"]["containerStatuses"]
    assert [c["restartCount"] for c in statuses] == [0, 0]


def picture(host: FakeHost) -> tuple[str, ...]:
    """Mounts, links, rules and routes of a host."""
    # Mounts of other tests of this machine are seen here, and vanish with them.
    commands = (
        "grep -vE ' (/tmp/mt-|/var/lib/mesh)' /proc/mounts",
        "ip -o link",
        "ip route",
        "ip route show table local proto 77",
        "nft list ruleset",
        "cat /proc/sys/net/ipv4/ip_forward",
    )
    return tuple(host.run("sh", "-c", command) for command in commands)


@contextmanager
def forwarded(host: FakeHost, pod: str, port: int) -> Iterator[tuple[str, int]]:
    """A port-forward while the `with` lasts; yields where it listens."""
    call = host.command("mesh", "port-forward", pod, f"18080:{port}")
    with subprocess.Popen(
        call, stdout=subprocess.PIPE, text=True, env=host.environment(), cwd="/", start_new_session=True
    ) as process:
        assert process.stdout is not None
        assert "Forwarding" in process.stdout.readline()
        try:
            yield "127.0.0.1", 18080
        finally:
            os.killpg(process.pid, signal.SIGTERM)  # nsenter, and what it has started


def fetch(host: FakeHost, address: tuple[str, int]) -> bytes:
    """What an HTTP server of the host answers to GET /."""
    script = "import sys,urllib.request as r; sys.stdout.write(r.urlopen(sys.argv[1], timeout=10).read().decode())"
    return host.run("python3", "-c", script, f"http://{address[0]}:{address[1]}/").encode()
