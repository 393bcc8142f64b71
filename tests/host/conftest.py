"""What most tests of a real Podman begin with: a Podman of its own for the file, an agent of its own for the test.

A file whose host differs (another OCI runtime, other settings) defines its own `host`; `node` then uses that one.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from tests.harness.podman import PodmanHost, podman_host
from tests.harness.podman_node import DEADLINE, Node
from tests.harness.podman_runtime import Agent


@pytest.fixture(scope="module")
def host() -> Iterator[PodmanHost]:
    """A Podman service with a root directory of its own."""
    with podman_host() as made:
        yield made


@pytest.fixture
async def node(host: PodmanHost) -> AsyncIterator[Node]:
    """An agent that remembers nothing of the test before; at the end nothing of its pods may be left."""
    made = Node(host)
    (host.config.state_dir / "checkpoint").unlink(missing_ok=True)
    await made.start()
    yield made
    made.configs.clear()
    made.secrets.clear()
    await made.assign()
    async with asyncio.timeout(DEADLINE):
        await made.agent.emptied()
    await made.kill()


@pytest.fixture(scope="module", params=["crun", "runc"])
def either_host(request: pytest.FixtureRequest) -> Iterator[PodmanHost]:
    with podman_host(oci_runtime=request.param) as host:
        yield host


@pytest.fixture
async def agent(either_host: PodmanHost) -> AsyncIterator[Agent]:
    agent = Agent(either_host)
    await agent.runtime.configure(either_host.pod_cidr, either_host.cluster_cidr)
    yield agent
    await agent.clear()
    await agent.runtime.close()
