"""A changed ConfigMap in whole programs: from `apply` to the files of running containers (V6)."""

import re
import sys
from pathlib import Path

import pytest

from tests.harness.hosts import ROOT, FakeHost

BENCHMARK = Path(__file__).parent.parent.parent / "benchmarks" / "config.py"


@pytest.mark.timeout(600)
def test_thirty_pods_show_a_changed_config_map_within_a_second(host: FakeHost) -> None:
    host.up()
    options = ("--pods", "30", "--rounds", "10", "--mesh-root", str(ROOT))
    said = host.run(sys.executable, str(BENCHMARK), *options)
    print(said)
    found = re.search(r"p99 (\d+) ms", said)
    assert found is not None
    assert int(found[1]) < 1000
