"""A mesh of a user without root: it works, and however it ends nothing of it is left."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import IMAGE
from tests.harness.hosts import until
from tests.harness.stranger import Stranger

pytestmark = pytest.mark.timeout(600)

UP = (sys.executable, "-m", "mesh.cli", "up", "--ephemeral", "--")
POD = """
apiVersion: v1
kind: Pod
metadata: {name: NAME, labels: {app: NAME}}
spec:
  restartPolicy: Never
  terminationGracePeriodSeconds: 1
  containers:
  - name: web
    image: IMAGE
    command: [sh, -c, "hostname > /index.html; exec httpd -f -p 8080 -h /"]
    ports: [{containerPort: 8080}]
    resources: {RESOURCES}
"""
TOUR = """
set -e
mesh() { python -m mesh.cli "$@"; }
podman="podman --url unix://$MESH_ROOT/run/podman.sock"
$podman import "$1/image.tar" IMAGE > /dev/null
$podman save -o "$1/image.oci" IMAGE && $podman rmi IMAGE > /dev/null
mesh image load "$1/image.oci" >&2
mesh apply -f "$1/hello.yaml" --wait --timeout=60s >&2
mesh expose pod hello --port=80 --target-port=8080 >&2
mesh exec hello -- cat /index.html
address=$(mesh get service hello -o jsonpath={.spec.clusterIP})
python -c "import sys, urllib.request as r; print(r.urlopen(sys.argv[1], timeout=20).read().decode())" http://$address
mesh apply -f "$1/limited.yaml" >&2
mesh wait pod/limited --for=jsonpath={.status.phase}=Failed --timeout=90s >&2
mesh get pod limited -o jsonpath={.status.reason}; echo
exec sleep 1000
"""


@pytest.fixture
def stranger() -> Iterator[Stranger]:
    with tempfile.TemporaryDirectory(prefix="stranger-") as directory:
        yield Stranger(Path(directory))


def machine() -> tuple[str, ...]:
    """Links, routes and mounts of this machine that tests of others do not touch."""
    commands = ("ip -o link | grep -c mesh0", "ip route show table local proto 77", "grep -c ' /run/mesh' /proc/mounts")
    return tuple(subprocess.run(["sh", "-c", c], capture_output=True, text=True, check=False).stdout for c in commands)


def left(stranger: Stranger) -> list[str]:
    return [*stranger.processes(), *stranger.files(), *map(str, stranger.home.iterdir())]


def test_pods_and_services_without_root_until_it_is_told_to_end(stranger: Stranger, archive: Path) -> None:
    before = machine()
    (stranger.home / "image.tar").write_bytes(archive.read_bytes())
    for name, resources in (("hello", "requests: {cpu: 50m}"), ("limited", "limits: {memory: 64Mi}")):
        text = POD.replace("NAME", name).replace("IMAGE", IMAGE).replace("RESOURCES", resources)
        (stranger.home / f"{name}.yaml").write_text(text)
    command = TOUR.replace("IMAGE", IMAGE)
    tour = stranger.start(*UP, "sh", "-c", command, "tour", str(stranger.home), stdout=subprocess.PIPE)
    assert tour.stdout is not None
    said = [tour.stdout.readline().strip() for _ in range(4)]
    assert said == ["hello", "hello", "", "ControlGroups"]
    for file in stranger.home.iterdir():
        file.unlink()
    assert left(stranger)
    tour.send_signal(signal.SIGTERM)
    assert tour.wait(60) == 128 + signal.SIGTERM
    assert left(stranger) == []
    assert machine() == before


def test_nothing_outlives_whoever_is_killed(stranger: Stranger) -> None:
    before = machine()
    mesh = stranger.start(*UP, "sh", "-c", "echo up; exec sleep 1000", stdout=subprocess.PIPE)
    assert mesh.stdout is not None
    assert mesh.stdout.readline() == "up\n"
    assert any("raylet" in line for line in stranger.processes())
    os.kill(mesh.pid, signal.SIGKILL)
    mesh.wait()
    until(lambda: not stranger.processes(), 10, "all of it has ended")
    assert left(stranger) == []
    assert machine() == before
