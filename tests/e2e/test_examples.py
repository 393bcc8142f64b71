"""The examples as their pages tell them: every command of the page is run, and prints what the page says."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import IMAGE
from tests.harness.hosts import FakeHost, machines
from tests.harness.walkthrough import Shell, walk

REPOSITORY = Path(__file__).parent.parent.parent
EXAMPLES = REPOSITORY / "examples"

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def two_machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[FakeHost, FakeHost]]:
    """A host with a mesh, and another machine of its network."""
    with machines(tmp_path_factory.mktemp("examples"), 2) as (host, outside):
        host.up()
        yield host, outside


@pytest.fixture
def shells(two_machines: tuple[FakeHost, FakeHost], tmp_path: Path) -> Iterator[tuple[Shell, Shell]]:
    """Where `$` and `outside$` are: a copy of the repository's examples, a Podman of their own for building."""
    host, outside = two_machines
    here = tmp_path / "repository"
    here.mkdir()
    (here / "examples").symlink_to(EXAMPLES)
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    (bin_ / "wget").write_text('#!/bin/sh\nexec busybox wget "$@"\n')
    (bin_ / "mesh").write_text(f'#!/bin/sh\nexec {sys.executable} -P -m mesh.cli "$@"\n')
    for program in bin_.iterdir():
        program.chmod(0o755)
    storage = tmp_path / "storage.conf"
    places = "".join(f'{name} = "{tmp_path / name}"\n' for name in ("graphroot", "runroot"))
    storage.write_text(f'[storage]\ndriver = "vfs"\n{places}')
    path = f"{bin_}:{host.environment()['PATH']}"
    told = {"PATH": path, "CONTAINERS_STORAGE_CONF": str(storage), "PYTHONPATH": str(REPOSITORY)}
    with Shell(host, here, told) as shell, Shell(outside, here, told) as other:
        yield shell, other


@pytest.mark.parametrize("name", ["hello-node", "guestbook"])
def test_the_page_tells_the_truth(name: str, shells: tuple[Shell, Shell]) -> None:
    try:
        walk(EXAMPLES / name / "README.md", *shells)
    finally:
        (EXAMPLES / name / "busybox").unlink(missing_ok=True)


def test_workloads_of_the_documentation_on_real_hosts(two_machines: tuple[FakeHost, FakeHost], archive: Path) -> None:
    host, _ = two_machines
    host.import_image(archive, IMAGE)
    names = ("deployment", "daemonset", "job", "job-indexed", "job-failure-policy", "statefulset", "disruptionbudget")
    for name in names:
        host.mesh("apply", "-f", str(EXAMPLES / "workloads" / f"{name}.yaml"))
    host.mesh("wait", "job/pi", "job/indexed-job", "--for=condition=Complete", "--timeout=60s")
    host.mesh("wait", "job/job-pod-failure-policy-example", "--for=condition=Failed", "--timeout=60s")
    for word in ("deployment/nginx-deployment", "statefulset/web", "statefulset/zk"):
        host.mesh("rollout", "status", word, "--timeout=60s")
    host.mesh("rollout", "status", "daemonset/fluentd-elasticsearch", "-n", "kube-system", "--timeout=60s")
    assert host.mesh("logs", "job/pi").startswith("3.14159265358979323846")
    said = host.mesh("logs", "-l", "job-name=indexed-job", "-c", "worker")
    assert sorted(said.split()) == sorted(word[::-1] for word in ("foo", "bar", "baz", "qux", "xyz"))
    assert host.mesh("get", "pdb", "zk-pdb", "-o", "jsonpath={.status.disruptionsAllowed}") == "1"
    for name in names:
        host.mesh("delete", "-f", str(EXAMPLES / "workloads" / f"{name}.yaml"))
