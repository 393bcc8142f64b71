"""Whole programs on hosts made of namespaces: what `mesh up` makes of them."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

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
        first.up(f"--listen={first.ip}:7443")
        for other in others:
            join(first, other)
        for one in hosts:
            one.import_image(archive, IMAGE)
        yield list(hosts)


def join(first: FakeHost, other: FakeHost) -> None:
    """By a token, as a person does it."""
    token = first.mesh("token", "create", "--node", other.name, "-o", "token").strip()
    other.context.parent.mkdir(mode=0o700, exist_ok=True)
    told = (f"--node-name={other.name}", f"--node-ip={other.ip}", "--token=-")
    other.mesh("node", "join", f"{first.ip}:7444", *told, text=token + "\n", timeout=240)
