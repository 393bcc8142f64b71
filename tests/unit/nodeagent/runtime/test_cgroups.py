"""Control groups of both versions, as trees of files."""

import subprocess
from pathlib import Path

import pytest

from nodeagent.runtime import cgroups, oci
from nodeagent.runtime.places import Places
from nodeagent.runtime.port import Limits


@pytest.fixture
def unified(tmp_path: Path) -> Path:
    (tmp_path / "cgroup.controllers").write_text("cpu memory pids\n")
    (tmp_path / "mesh/podu/libpod-c").mkdir(parents=True)
    (tmp_path / "mesh/podu/libpod-c/memory.events").write_text("low 0\nmax 3\noom 1\noom_kill 2\noom_group_kill 0\n")
    return tmp_path


@pytest.fixture
def hybrid(tmp_path: Path) -> Path:
    for controller in ("memory", "cpu"):
        (tmp_path / controller / "mesh/podu/libpod-c").mkdir(parents=True)
        (tmp_path / controller / "cgroup.procs").touch()
    (tmp_path / "memory/mesh/podu/libpod-c/memory.oom_control").write_text(
        "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n"
    )
    (tmp_path / "unified").mkdir()
    (tmp_path / "unified/cgroup.controllers").write_text("hugetlb\n")
    return tmp_path


def test_version_two(unified: Path) -> None:
    assert cgroups.version(unified) == 2
    assert cgroups.hierarchies(unified) == [unified]
    assert cgroups.stray_controllers(unified) == []
    assert cgroups.oom_kills("/mesh/podu/libpod-c", unified) == 2
    assert cgroups.oom_kills("/mesh/gone", unified) == 0


def test_version_one_and_hybrid(hybrid: Path) -> None:
    assert cgroups.version(hybrid) == 1
    assert {h.name for h in cgroups.hierarchies(hybrid)} == {"memory", "cpu"}
    assert cgroups.stray_controllers(hybrid) == ["hugetlb"]
    assert cgroups.oom_kills("/mesh/podu/libpod-c", hybrid) == 1


@pytest.mark.parametrize(
    ("version", "file", "whole", "least"),
    [("unified", "cpu.weight", "157", "1"), ("hybrid", "cpu/cpu.shares", "4096", "2")],
)
def test_shares_are_given_to_what_is_there(  # R7
    version: str, file: str, whole: str, least: str, request: pytest.FixtureRequest
) -> None:
    root: Path = request.getfixturevalue(version)
    place, name = root / Path(file).parent / "mesh", Path(file).name
    (place / name).write_text("1024\n")
    (place / "podu" / name).write_text("1024\n")
    cgroups.weigh({"/mesh": 4096, "/mesh/podu": 2, "/mesh/gone": 7}, root)
    assert ((place / name).read_text(), (place / "podu" / name).read_text()) == (whole, least)
    assert not (place / "gone").exists()


def test_removal_takes_all_that_is_empty_in_every_hierarchy(hybrid: Path) -> None:
    (hybrid / "memory/mesh/podu/libpod-c/memory.oom_control").unlink()  # the kernel's files are no obstacle to rmdir
    assert cgroups.remove("/mesh/podu", hybrid)
    assert not (hybrid / "memory/mesh/podu").exists()
    assert not (hybrid / "cpu/mesh/podu").exists()
    assert cgroups.remove("/mesh/podu", hybrid)


def test_what_is_busy_stays(hybrid: Path) -> None:
    assert not cgroups.remove("/mesh/podu", hybrid)
    assert (hybrid / "memory/mesh/podu/libpod-c").exists()


@pytest.mark.parametrize("runtime", ["crun", "runc"])
@pytest.mark.parametrize("kills", [0, 3])
@pytest.mark.parametrize("version", [1, 2])
def test_the_wrapper_notes_kills_for_memory_before_a_cgroup_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runtime: str, kills: int, version: int
) -> None:
    root, state, oom = tmp_path / "cgroup", tmp_path / "state", tmp_path / "oom"
    monkeypatch.setattr(cgroups, "ROOT", root)
    place, counter = (root, "memory.events") if version == 2 else (root / "memory", "memory.oom_control")
    cgroup = "/mesh/podu/libpod-c"
    (place / cgroup[1:]).mkdir(parents=True)
    (place / cgroup[1:] / counter).write_text(f"low 0\noom_kill {kills}\n")
    (state / "c").mkdir(parents=True)
    oom.mkdir()
    if runtime == "crun":
        (state / "c/status").write_text(f'{{\n    "pid": 7,\n    "cgroup-path": "{cgroup}",\n    "scope": ""\n}}\n')
    else:
        key = "" if version == 2 else "memory"
        paths = f'{{"cpu":"/x","{key}":"{place}{cgroup}","pids":"/y"}}'
        (state / "c/state.json").write_text(f'{{"id":"c","cgroup_paths":{paths},"more":1}}')
    binary = tmp_path / "binary"
    binary.write_text('#!/bin/sh\necho "$@"\n')
    binary.chmod(0o700)
    chosen = oci.Chosen(runtime, str(binary), str(state), "", version)
    places = Places(*[tmp_path] * 8)
    places.bin.mkdir()
    wrapper = oci.write_wrapper(chosen, places)

    started = subprocess.run([wrapper, "start", "c"], capture_output=True, text=True, check=True)
    assert started.stdout == f"--root {state} start c\n"
    assert list(oom.iterdir()) == []
    deleted = subprocess.run([wrapper, "delete", "--force", "c"], capture_output=True, text=True, check=True)
    assert (deleted.stdout, deleted.stderr) == (f"--root {state} delete --force c\n", "")
    assert [f.read_text() for f in oom.iterdir()] == ([f"{kills}\n"] if kills else [])


def test_a_resize_under_version_two(unified: Path) -> None:  # L20, R4
    place = unified / "mesh/podu/libpod-c"
    for name, text in {
        "memory.current": "5000",
        "memory.stat": "inactive_file 1000\n",
        "memory.swap.max": "max",
    }.items():
        (place / name).write_text(text)
    cgroups.limit("/mesh/podu/libpod-c", Limits(cpu_shares=1024, cpu_quota=50_000, memory=4000), unified)
    written = {n: (place / n).read_text() for n in ("cpu.weight", "cpu.max", "memory.max", "memory.swap.max")}
    assert written == {"cpu.weight": "39", "cpu.max": "50000 100000", "memory.max": "4000", "memory.swap.max": "0"}
    with pytest.raises(ValueError, match="3999 bytes is below what is in use, 4000 bytes"):
        cgroups.limit("/mesh/podu/libpod-c", Limits(memory=3999), unified)
    cgroups.limit("/mesh/podu/libpod-c", Limits(cpu_shares=2), unified)
    written = {n: (place / n).read_text() for n in written}
    assert written == {"cpu.weight": "1", "cpu.max": "max 100000", "memory.max": "max", "memory.swap.max": "max"}


def test_a_resize_under_version_one(hybrid: Path) -> None:  # L20, R4
    cpu, memory = hybrid / "cpu/mesh/podu/libpod-c", hybrid / "memory/mesh/podu/libpod-c"
    for name in ("limit_in_bytes", "memsw.limit_in_bytes"):
        (memory / f"memory.{name}").write_text("5000")
    cgroups.limit("/mesh/podu/libpod-c", Limits(cpu_shares=512, cpu_quota=20_000, memory=9000), hybrid)
    assert {f.name: f.read_text() for f in cpu.iterdir()} == {
        "cpu.shares": "512", "cpu.cfs_period_us": "100000", "cpu.cfs_quota_us": "20000",
    }  # fmt: skip
    assert (memory / "memory.limit_in_bytes").read_text() == "9000"
    assert (memory / "memory.memsw.limit_in_bytes").read_text() == "9000"
    cgroups.limit("/mesh/podu/libpod-c", Limits(cpu_shares=2), hybrid)
    assert (cpu / "cpu.cfs_quota_us").read_text() == "-1"
    assert (memory / "memory.limit_in_bytes").read_text() == "-1"


def test_a_pods_cgroup_is_made_before_its_containers(hybrid: Path) -> None:  # R7
    cgroups.make("/mesh/burstable/podx", hybrid)
    cgroups.make("/mesh/burstable/podx", hybrid)
    assert all((hybrid / kind / "mesh/burstable/podx").is_dir() for kind in ("cpu", "memory"))


def test_under_version_two_it_gets_its_controllers_from_above(unified: Path) -> None:  # R7
    for place in (".", "mesh", "mesh/burstable"):
        (unified / place).mkdir(exist_ok=True)
    cgroups.make("/mesh/burstable/podx", unified)
    given = [(unified / p / "cgroup.subtree_control").read_text() for p in (".", "mesh", "mesh/burstable")]
    assert given == ["+cpu +memory +pids"] * 3
    assert list((unified / "mesh/burstable/podx").iterdir()) == []
