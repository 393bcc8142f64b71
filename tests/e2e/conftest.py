"""Whole programs on hosts made of namespaces: what `mesh up` makes of them."""

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mesh import pki
from tests.harness.hosts import FakeHost, machines

EXAMPLE = Path(__file__).parent.parent.parent / "examples" / "hello"
IMAGE = "localhost/mesh-hello:1"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Every test below this directory is an e2e test, and may take minutes."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.e2e)


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The root file system of the example's image."""
    path = tmp_path_factory.mktemp("image") / "hello.tar"
    subprocess.run([str(EXAMPLE / "image.sh"), str(path)], check=True)
    return path


@pytest.fixture
def host(tmp_path: Path) -> Iterator[FakeHost]:
    """One host, powered on, nothing on it yet."""
    with machines(tmp_path, 1) as (one,):
        yield one


@pytest.fixture(scope="module")
def mesh_of_three(tmp_path_factory: pytest.TempPathFactory, archive: Path) -> Iterator[list[FakeHost]]:
    """Three hosts in one mesh; the first has Ray's head and meshd."""
    with machines(tmp_path_factory.mktemp("mesh"), 3) as hosts:
        first, *others = hosts
        first.up()
        for other in others:
            join(first, other)
        for one in hosts:
            one.import_image(archive, IMAGE)
            first.mesh("wait", f"node/{one.name}", "--for=create", "--timeout=60s")
            first.mesh("wait", f"node/{one.name}", "--for=condition=Ready", "--timeout=60s")
        yield list(hosts)


def join(first: FakeHost, other: FakeHost) -> None:
    """`mesh up --join`, with a copy of the first host's token."""
    token = other.state.parent / "token"
    token.touch(0o600)
    token.write_text((first.state / "ray" / "token").read_text())
    other.up(f"--join={first.ip}:7430", f"--token-file={token}")
    certify(first, other)


def certify(first: FakeHost, other: FakeHost) -> None:
    """Gives a joined host the certificate without which it is given no Secret."""
    ours, theirs = first.state / "pki", other.state / "pki"
    ca = pki.Pair((ours / "ca.crt").read_bytes(), (ours / "ca.key").read_bytes())
    pair = pki.issue(ca, pki.node(other.name), int(time.time()))
    for name, text in (("ca.crt", ca.certificate), ("agent.key", pair.key), ("agent.crt", pair.certificate)):
        (theirs / name).touch(0o600)
        (theirs / name).write_bytes(text)
