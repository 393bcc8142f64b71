"""A few rows of the failure matrix, one of a kind; `make test-matrix` plays all of them, see docs/reliability.md."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.matrix import ha, programs, resources
from tests.matrix.row import Row, wrong
from tests.matrix.stage import Stage

QUICK = (
    "meshd killed during a rolling update", "netproxy of every host upgraded", "memory of a pod exhausted",
    "meshd that leads killed in HA, until the other leads",
)  # fmt: skip
ROWS = [row for row in (*programs.ROWS, *resources.ROWS, *ha.ROWS) if row.name in QUICK]

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory, archive: Path) -> Iterator[Stage]:
    """Three hosts under load."""
    with Stage(tmp_path_factory.mktemp("stage"), archive, disks=False) as made:
        yield made


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_it_costs_no_more_than_it_must(stage: Stage, row: Row[Stage]) -> None:
    seen = stage.play(row)
    print(f"\n{seen.line(row)}")
    assert wrong(row, seen) == []
