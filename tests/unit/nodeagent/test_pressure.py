"""Which host is under pressure, who goes first and which pod holds too much: the decisions alone (R9, R10, R11)."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mesh.errors import Invalid
from mesh.v1.core_pb2 import Pod, ResourceRequirements
from nodeagent import config
from nodeagent.pods.record import Record, from_json, to_json
from nodeagent.pressure import Gauge, Signal, Usage, Used, over_limit, victim
from nodeagent.thresholds import DEFAULTS, Eviction, parse
from nodeagent.usage import usage_of
from nodeagent.vitals import Disk, Vitals, read_vitals
from tests.harness.agents import VITALS, a_container, a_pod
from tests.harness.hungry import asking, limited

ROOMY = Disk(100 << 30, 50 << 30, 1 << 20, 1 << 19)
MEMORY = Signal("memory", "100Mi", 50 << 20)


def read(vitals: Vitals, now: int = 0, gauge: Gauge | None = None) -> list[str]:
    return [s.resource for s in (gauge or Gauge(Eviction())).look(vitals, now).crossed]


@pytest.mark.parametrize(
    ("changed", "crossed"),
    [
        ({}, []),
        ({"memory_available": 100 << 20}, []),
        ({"memory_available": (100 << 20) - 1}, ["memory"]),
        ({"disk_available": VITALS.disk // 10}, []),
        ({"disk_available": VITALS.disk // 10 - 1}, ["ephemeral-storage"]),
        ({"inodes_available": VITALS.inodes // 20 - 1}, ["inodes"]),
        ({"inodes_available": VITALS.inodes // 20}, []),
        ({"inodes": 0, "inodes_available": 0}, []),
        ({"memory_available": 0, "disk_available": 0}, ["memory", "ephemeral-storage"]),
        ({"pids": VITALS.pids_limit}, []),
    ],
)
def test_thresholds(changed: dict[str, int], crossed: list[str]) -> None:  # R9
    assert read(replace(VITALS, images=ROOMY, **changed)) == crossed  # type: ignore[arg-type] # numbers


def test_images_have_thresholds_of_their_own() -> None:  # R9
    full = replace(ROOMY, available=ROOMY.size * 15 // 100 - 1)
    assert read(replace(VITALS, images=replace(full, available=full.available + 1))) == []
    signal = Gauge(Eviction()).look(replace(VITALS, images=full), 0).crossed[0]
    assert (signal.resource, signal.part) == ("ephemeral-storage", "images")
    assert read(replace(VITALS, images=replace(ROOMY, inodes_available=ROOMY.inodes // 20 - 1))) == ["inodes"]
    assert read(replace(VITALS, disk_available=VITALS.disk * 15 // 100 - 1)) == ["ephemeral-storage"]  # one disk
    assert read(replace(VITALS, disk_available=VITALS.disk * 15 // 100)) == []
    node = Gauge(Eviction()).look(replace(VITALS, images=ROOMY, disk_available=0), 0).crossed[0]
    assert node.part == "node"


SETTINGS: dict[str, Any] = {
    "hard": {"memory.available": "5%", "imagefs.available": "0%", "pid.available": "10"},
    "soft": {"nodefs.available": {"threshold": "20Gi", "grace_seconds": 90}},
    "minimum_reclaim": {"memory.available": "1Gi"},
    "pressure_transition_seconds": 30,
}


def test_settings_replace_the_default_of_their_signal_alone() -> None:  # R9, R10
    eviction, wrong = parse(SETTINGS)
    assert wrong == []
    told = [(t.signal, t.quantity, t.grace) for t in eviction.thresholds()]
    assert told == [
        ("memory.available", "5%", 0), ("nodefs.available", "10%", 0), ("nodefs.available", "20Gi", 90),
        ("nodefs.inodesFree", "5%", 0), ("imagefs.inodesFree", "5%", 0), ("pid.available", "10", 0),
    ]  # fmt: skip
    assert read(replace(VITALS, pids=VITALS.pids_limit - 9), 0, Gauge(eviction)) == ["pids"]


def test_settings_are_agent_tomls() -> None:
    head = 'node_name = "a"\nnode_ip = "192.0.2.1"\nroot = "/r"\n'
    made = config.parse(head + '[eviction.hard]\n"memory.available" = "1Gi"\n')
    assert dict(made.eviction.hard) == {**DEFAULTS, "memory.available": "1Gi"}
    assert config.parse(head).eviction == Eviction()
    with pytest.raises(Invalid, match=r"eviction\.hrad"):
        config.parse(head + "[eviction.hrad]\n")


def test_images_on_a_disk_of_their_own_are_read_apart(tmp_path: Path) -> None:
    assert read_vitals(tmp_path, tmp_path / "podman").images is None
    apart = read_vitals(tmp_path, Path("/proc"))
    assert apart.images is not None
    assert apart.image_disk is apart.images


@pytest.mark.parametrize(
    ("table", "field"),
    [
        ({"hrad": {}}, "eviction.hrad"),
        ({"hard": {"memory": "1Gi"}}, 'eviction.hard."memory"'),
        ({"hard": {"memory.available": "lots"}}, 'eviction.hard."memory.available"'),
        ({"hard": {"memory.available": "101%"}}, 'eviction.hard."memory.available"'),
        ({"hard": {"memory.available": 5}}, 'eviction.hard."memory.available"'),
        ({"soft": {"memory.available": "1Gi"}}, 'eviction.soft."memory.available"'),
        (
            {"soft": {"memory.available": {"threshold": "1Gi", "grace_seconds": 0}}},
            'eviction.soft."memory.available".grace_seconds',
        ),
        ({"max_pod_grace_seconds": -1}, "eviction.max_pod_grace_seconds"),
        ([], "eviction"),
    ],
)
def test_what_is_wrong_with_settings_is_named(table: Any, field: str) -> None:
    assert [w.field for w in parse(table)[1]] == [field]


def test_a_soft_threshold_waits_and_a_crossed_one_wants_more_back() -> None:  # R10
    gauge, minute = Gauge(parse(SETTINGS)[0]), 60 * 10**9
    low = replace(VITALS, disk_available=(20 << 30) - 1)
    reading = gauge.look(low, 0)
    assert (set(reading.conditions), reading.crossed) == ({"DiskPressure"}, ())
    assert read(low, minute, gauge) == []
    assert read(VITALS, minute + 1, gauge) == []  # the grace begins anew
    assert read(low, 2 * minute, gauge) == []
    assert [s.soft for s in gauge.look(low, 2 * minute + 90 * 10**9).crossed] == [True]
    tight = VITALS.memory // 20
    assert read(replace(VITALS, memory_available=tight), 9 * minute, gauge) == []
    assert read(replace(VITALS, memory_available=tight - 1), 9 * minute, gauge) == ["memory"]
    assert read(replace(VITALS, memory_available=tight + (1 << 30) - 1), 9 * minute, gauge) == ["memory"]
    assert read(replace(VITALS, memory_available=tight + (1 << 30)), 9 * minute, gauge) == []
    assert gauge.look(VITALS, 9 * minute + 29 * 10**9).conditions == {"MemoryPressure"}
    assert gauge.look(VITALS, 9 * minute + 30 * 10**9).conditions == set()


@pytest.mark.parametrize(
    ("pods", "chosen"),
    [
        ([(asking("a", "1Gi"), 900), (asking("b", "10Mi"), 20)], "b"),  # over its request, however little
        ([(asking("a", "10Mi", 5), 900), (asking("b", "10Mi", 1), 20)], "b"),  # the lower priority
        ([(asking("a", "10Mi"), 900), (asking("b"), 895)], "b"),  # more beyond its request
        ([(asking("a", "1Gi"), 900), (asking("b", "2Gi"), 1000)], "a"),  # all within: the one nearest to its request
        ([(asking("a"), 0), (asking("b"), 1)], "b"),
    ],
)
def test_order(pods: list[tuple[Pod, int]], chosen: str) -> None:  # R10
    for order in (pods, pods[::-1]):
        found = victim([(pod, Usage(memory=used << 20)) for pod, used in order], MEMORY)
        assert found is not None
        assert found[0].metadata.name == chosen


@pytest.mark.parametrize(
    ("part", "chosen"),
    [("", "a"), ("images", "b"), ("node", "a")],  # which of their bytes count, by filesystem
)
def test_order_by_the_disk_that_is_full(part: str, chosen: str) -> None:  # R10
    signal = Signal("ephemeral-storage", "1Gi", 0, part)
    inodes = Signal("inodes", "1", 0, part)
    usages = [Usage(disk=90, layers=10, inodes=90, layer_inodes=10), Usage(disk=50, layers=40, inodes=50,
                                                                            layer_inodes=40)]  # fmt: skip
    for low in (signal, inodes):
        found = victim([(asking("a"), usages[0]), (asking("b"), usages[1])], low)
        assert found is not None
        assert found[0].metadata.name == chosen


def test_processes_have_no_requests() -> None:  # R10
    signal = Signal("pids", "10", 0)
    found = victim([(asking("a", priority=1), Usage(pids=9)), (asking("b"), Usage(pids=2))], signal)
    assert found is not None
    assert found[0].metadata.name == "b"


def test_words() -> None:
    assert victim([(asking("a"), Usage())], MEMORY) is None
    held = {"main": Used(memory=2 << 20), "other": Used(memory=1 << 10)}
    pod = asking("a", "1Mi")
    pod.spec.containers.add(name="other").resources.requests["memory"] = "1Ki"
    found = victim([(pod, Usage(memory=2 << 20, containers=held))], MEMORY)
    assert found is not None
    assert found[1] == (
        "The node was low on resource: memory. Threshold quantity: 100Mi, available: 51200Ki. "
        "Container main was using 2048Ki, request is 1Mi, has larger consumption of memory."
    )


def test_size_limits() -> None:  # R11
    pod = a_pod("a", volumes=[limited("v", "1Mi"), limited("m", "1", medium="Memory"), limited("n", "0")])
    assert over_limit(pod, Usage(volumes={"v": 1 << 20, "m": 99, "n": 9})) == ""
    over = Usage(volumes={"v": (1 << 20) + 1})
    assert over_limit(pod, over) == 'Usage of EmptyDir volume "v" exceeds the limit "1Mi".'


def storing(**limits: str) -> Pod:
    made = (a_container(n, resources=ResourceRequirements(limits={"ephemeral-storage": t} if t else {}))
            for n, t in limits.items())  # fmt: skip
    return a_pod("a", containers=tuple(made))


def test_limits_of_a_pods_and_a_containers_disk_usage() -> None:  # R11
    pod = storing(a="1Mi", b="2Mi", c="")
    at = {"a": Used(layer=1 << 19, logs=1 << 19), "b": Used(layer=1 << 21), "c": Used(layer=1 << 30)}
    assert over_limit(pod, Usage(disk=3 << 20, containers=at)) == ""
    whole = "Pod ephemeral local storage usage exceeds the total limit of containers 3Mi."
    assert over_limit(pod, Usage(disk=(3 << 20) + 1, containers=at)) == whole
    over = {**at, "a": Used(layer=1 << 19, logs=(1 << 19) + 1)}
    one = 'Container a exceeded its local ephemeral storage limit "1Mi".'
    assert over_limit(pod, Usage(disk=3 << 20, containers=over)) == one
    assert over_limit(pod, Usage(disk=3 << 20, containers=over), split=True) == ""  # its layer is on another disk
    assert over_limit(storing(a=""), Usage(disk=9 << 30, containers=over)) == ""


def test_usage_is_what_lies_on_the_disk(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "file").write_bytes(os.urandom(100_000))
    (tmp_path / "a" / "link").symlink_to("/")
    size, inodes = usage_of(tmp_path / "a")
    assert 100_000 <= size <= 130_000
    assert inodes == 3
    assert usage_of(tmp_path / "none") == (0, 0)


def test_the_record_keeps_it() -> None:
    record = Record(reason="Evicted", evicted_at=7, evicted_grace=9, disrupted=True)
    assert from_json(to_json(record)) == record
