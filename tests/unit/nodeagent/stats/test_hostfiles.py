"""What procfs says of a host."""

from pathlib import Path

from nodeagent.stats import hostfiles
from nodeagent.stats.reading import Reader
from nodeagent.stats.values import Disk, Interface, Pressure
from tests.harness.figures import PROC, write_proc

MOUNTINFO = (
    "22 27 0:21 / /proc rw - proc proc rw\n"
    "27 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n"
    "30 27 8:2 / /var/lib/my\\040data rw - xfs /dev/sdb rw\n"
    "31 27 8:1 /bind /mnt/bind rw - ext4 /dev/sda1 rw\n"
    "32 27 0:50 / /var/lib/x/overlay/abc/merged rw - overlay overlay rw\n"
    "33 27 0:60 / /mnt/nfs rw - nfs4 server:/x rw\n"
)


def test_a_host() -> None:
    host = hostfiles.reading(PROC)
    assert host.cpus["1"] == {"user": 10**8, "nice": 0, "system": 10**8, "idle": 5 * 10**8, "iowait": 5 * 10**7,
                              "irq": 0, "softirq": 0, "steal": 0}  # fmt: skip
    assert host.cpu_used == 5 * 10**8  # neither idle nor waiting for a disk
    assert (host.boot_time, host.context_switches, host.forks, host.running, host.blocked) == (
        1_700_000_000, 77, 99, 2, 1,
    )  # fmt: skip
    assert (host.load, host.processes, host.pid_limit) == ((1.5, 2.0, 3.25), 330, 32768)
    assert (host.memory_used, host.working_set) == (600 * 1024, 500 * 1024)
    assert host.memory["HugePages_Total"] == 3
    assert (host.faults, host.major_faults) == (11, 3)
    assert host.interfaces["eth0"] == Interface(1000, 10, 1, 2, 2000, 20, 3, 4)
    assert host.pressure == {"cpu": Pressure(1_500_000, 500_000), "io": Pressure(1_500_000, 500_000)}


def test_partitions_and_loops_are_no_disks_of_their_own() -> None:
    assert hostfiles.disks(PROC["diskstats"]) == {
        "sda": Disk(16 * 512, 32 * 512, 10, 20, 7_000_000),
        "nvme0n1": Disk(2 * 512, 4 * 512, 1, 3, 5_000_000),
    }


def test_a_pod_counts_the_other_way_round_than_its_end_on_the_host() -> None:
    end = hostfiles.interfaces(PROC["net/dev"])["eth0"].other_end()
    assert (end.rx_bytes, end.tx_bytes, end.rx_errors, end.tx_dropped) == (2000, 1000, 3, 2)


def test_local_filesystems_once_for_each_device_and_none_that_could_hang() -> None:
    assert hostfiles.mounts(MOUNTINFO) == [("/dev/sda1", "ext4", "/"), ("/dev/sdb", "xfs", "/var/lib/my data")]


def test_a_host_that_says_nothing_is_empty() -> None:
    host = hostfiles.reading({})
    assert (host.cpu_used, host.memory_used, host.working_set, host.load) == (0, 0, 0, (0.0, 0.0, 0.0))


def test_files_are_found(tmp_path: Path) -> None:
    write_proc(tmp_path)
    reader = Reader(tmp_path / "none", tmp_path)
    assert reader.host() == hostfiles.reading(PROC)
    quick = reader.host(quick=True)
    assert (quick.cpu_used, quick.working_set, quick.load) == (5 * 10**8, 500 * 1024, (0.0, 0.0, 0.0))
