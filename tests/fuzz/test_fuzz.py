"""Every fuzz target for a moment, as CI has it; MESH_FUZZ=SECONDS makes it long (HACKING.md)."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz.targets import TARGETS

SECONDS = int(os.environ.get("MESH_FUZZ") or "1")
ROOT = Path(__file__).parent.parent.parent


@pytest.mark.parametrize("name", TARGETS)
def test_seeds_are_read(name: str) -> None:
    target, seeds = TARGETS[name]
    for seed in seeds:
        target(seed)


@pytest.mark.timeout(120 + 2 * SECONDS)
@pytest.mark.parametrize("name", TARGETS)
def test_nothing_is_found(name: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.fuzz.run", name, str(SECONDS), str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    found = [path.read_bytes() for path in tmp_path.glob("found-*")]
    assert (done.returncode, found) == (0, []), done.stderr[-3000:]
