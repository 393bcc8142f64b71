"""A served mesh with one scripted host, and the command `mesh` for it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.harness.cli import Cli
from tests.harness.control import RunningMeshd, control
from tests.harness.scripted_host import ScriptedHost


@pytest.fixture
def scripted() -> ScriptedHost:
    return ScriptedHost("host1")


@pytest.fixture
async def served(scripted: ScriptedHost) -> AsyncIterator[RunningMeshd]:
    async with control(agents={"host1": scripted}) as running:
        yield running


@pytest.fixture
def cli(served: RunningMeshd, tmp_path: Path) -> Cli:
    return Cli(served, tmp_path)
