"""What most tests of a real Podman begin with: a Podman of its own for the file, an agent of its own for the test.

A file whose host differs (another OCI runtime, other settings) defines its own `host`; `node` then uses that one.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from tests.harness.podman import PodmanHost, podman_host
from tests.harness.podman_node import DEADLINE, Node


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
