"""What control groups of both versions say, from files as the kernel writes them (G7)."""

from pathlib import Path

import pytest

from nodeagent.stats import groupfiles
from nodeagent.stats.reading import Reader
from nodeagent.stats.values import Cpu, Disk, Group, Memory, Pressure
from tests.harness.figures import V1, V2, write_v1, write_v2

MEMORY = Memory(946176, 946176 - 28672, 118784, 143360, 8192, 4096, 2072576, 1463, 2, 4, 1)
PATH = "/mesh/burstable/podu/libpod-c"


def test_version_one() -> None:
    group = groupfiles.version_1(V1)
    assert group.cpu == Cpu(220_687_121, 190_000_000, 30_000_000, 11, 9, 722_140_793)
    assert group.memory == MEMORY
    assert group.disks == {"8:0": Disk(4096, 8192, 1, 2)}
    assert (group.threads, group.processes, group.pressure) == (3, 2, {})


def test_version_two() -> None:
    group = groupfiles.version_2(V2)
    assert group.cpu == Cpu(220_687_000, 190_000_000, 30_687_000, 11, 9, 722_140_000)
    assert group.memory == MEMORY
    assert group.disks == {"8:0": Disk(4096, 8192, 1, 2)}
    assert (group.threads, group.processes) == (3, 2)
    assert group.pressure == {"cpu": Pressure(1_500_000, 500_000), "memory": Pressure(7_000, 0)}


def test_what_the_kernel_can_take_back_is_no_part_of_the_working_set_which_is_never_negative() -> None:
    stat = "total_inactive_file 5000\n"
    group = groupfiles.version_1({"memory/memory.usage_in_bytes": "4096\n", "memory/memory.stat": stat})
    assert group.memory is not None
    assert (group.memory.usage, group.memory.working_set) == (4096, 0)


@pytest.mark.parametrize("version", [1, 2])
def test_a_group_that_is_gone_is_not_taken_for_an_idle_one(version: int) -> None:
    group = groupfiles.version_1({}) if version == 1 else groupfiles.version_2({})
    assert (group.cpu, group.memory, group.threads, group.processes, group.disks) == (None, None, None, None, {})


@pytest.mark.parametrize("version", [1, 2])
def test_files_are_found_where_each_version_has_them(tmp_path: Path, version: int) -> None:
    if version == 1:
        write_v1(tmp_path, PATH, V1)
        expected = groupfiles.version_1(V1)
    else:
        write_v2(tmp_path, PATH, V2)
        expected = groupfiles.version_2(V2)
    reader = Reader(tmp_path)
    assert reader.group(PATH) == expected
    assert reader.group("/mesh/gone") == Group()
    quick = reader.group(PATH, quick=True)
    assert quick.cpu is not None
    assert quick.memory is not None
    assert (quick.cpu.usage, quick.memory.working_set) == (expected.cpu.usage, MEMORY.working_set)  # type: ignore[union-attr]
    assert quick.threads is None


@pytest.mark.parametrize("junk", ["", "max\n", "garbage here\n", "-5\n", "12 13 14\n"])
def test_junk_leaves_a_part_out_and_raises_nothing(junk: str) -> None:
    one = groupfiles.version_1(dict.fromkeys(groupfiles.FILES_1, junk))
    two = groupfiles.version_2(dict.fromkeys(groupfiles.FILES_2, junk))
    assert (one.cpu, one.memory, one.disks) == (None, None, {})
    assert (two.cpu, two.memory, two.disks, two.pressure) == (None, None, {}, {})
