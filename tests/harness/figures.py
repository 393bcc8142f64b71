"""Figures read back as a Prometheus reads them, and control groups recorded as files.

figures = parse(text); figures["container_memory_rss", pod("web")]; figures.of("node_load1")
"""

import asyncio
import ssl
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from mesh import pki

V1 = {
    "cpuacct/cpuacct.usage": "220687121\n",
    "cpuacct/cpuacct.stat": "user 19\nsystem 3\n",
    "cpu/cpu.stat": "nr_periods 11\nnr_throttled 9\nthrottled_time 722140793\nnr_bursts 0\nburst_time 0\n",
    "memory/memory.usage_in_bytes": "946176\n",
    "memory/memory.max_usage_in_bytes": "2072576\n",
    "memory/memory.failcnt": "4\n",
    "memory/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n",
    "memory/memory.stat": (
        "cache 1\nrss 2\nmapped_file 3\nswap 0\npgfault 4\npgmajfault 0\ninactive_file 5\n"
        "hierarchical_memory_limit 9223372036854771712\ntotal_cache 143360\ntotal_rss 118784\ntotal_mapped_file 8192\n"
        "total_swap 4096\ntotal_pgfault 1463\ntotal_pgmajfault 2\ntotal_inactive_file 28672\n"
    ),
    "memory/cgroup.procs": "11004\n11022\n",
    "pids/pids.current": "3\n",
    "blkio/blkio.throttle.io_service_bytes_recursive": (
        "8:0 Read 4096\n8:0 Write 8192\n8:0 Sync 8192\n8:0 Async 4096\n8:0 Discard 0\n8:0 Total 12288\nTotal 12288\n"
    ),
    "blkio/blkio.throttle.io_serviced_recursive": "8:0 Read 1\n8:0 Write 2\n8:0 Total 3\nTotal 3\n",
}
V2 = {
    "cpu.stat": (
        "usage_usec 220687\nuser_usec 190000\nsystem_usec 30687\nnr_periods 11\nnr_throttled 9\nthrottled_usec 722140\n"
    ),
    "memory.current": "946176\n",
    "memory.peak": "2072576\n",
    "memory.swap.current": "4096\n",
    "memory.events": "low 0\nhigh 0\nmax 4\noom 1\noom_kill 1\noom_group_kill 0\n",
    "memory.stat": (
        "anon 118784\nfile 143360\nkernel 1000\nfile_mapped 8192\ninactive_anon 9\ninactive_file 28672\npgfault 1463\n"
        "pgmajfault 2\n"
    ),
    "cgroup.procs": "11004\n11022\n",
    "pids.current": "3\n",
    "io.stat": "8:0 rbytes=4096 wbytes=8192 rios=1 wios=2 dbytes=0 dios=0\n253:0 \n",
    "cpu.pressure": (
        "some avg10=0.00 avg60=0.00 avg300=0.00 total=1500\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=500\n"
    ),
    "memory.pressure": "some avg10=0.00 avg60=0.00 avg300=0.00 total=7\n",
}
STAT = (
    "cpu  30 0 20 100 10 0 0 0 0 0\ncpu0 20 0 10 50 5 0 0 0 0 0\ncpu1 10 0 10 50 5 0 0 0 0 0\nintr 5 1 2\nctxt 77\n"
    "btime 1700000000\nprocesses 99\nprocs_running 2\nprocs_blocked 1\nsoftirq 1 2 3\n"
)
MEMINFO = (
    "MemTotal:       1000 kB\nMemFree:         400 kB\nMemAvailable:    700 kB\nInactive(file):  100 kB\n"
    "AnonPages:        50 kB\nSwapTotal:       200 kB\nSwapFree:        150 kB\nHugePages_Total:       3\n"
)
NETDEV = (
    "Inter-|   Receive                                                |  Transmit\n"
    " face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls\n"
    "    lo:     500       5    0    0    0     0          0         0      500       5    0    0    0     0\n"
    "  eth0:    1000      10    1    2    0     0          0         0     2000      20    3    4    0     0\n"
)
DISKSTATS = (
    "   8       0 sda 10 0 16 0 20 0 32 0 0 7 0 0 0 0 0 0 0\n   8       1 sda1 1 0 1 0 1 0 1 0 0 1 0 0 0 0 0 0 0\n"
    "   7       0 loop0 9 0 9 0 9 0 9 0 0 9 0 0 0 0 0 0 0\n 259       0 nvme0n1 1 0 2 0 3 0 4 0 0 5 0 0 0 0 0 0 0\n"
    " 259       1 nvme0n1p1 1 0 2 0 3 0 4 0 0 5 0 0 0 0 0 0 0\n"
)
PROC = {
    "stat": STAT, "meminfo": MEMINFO, "net/dev": NETDEV, "diskstats": DISKSTATS,
    "loadavg": "1.50 2.00 3.25 2/330 12345\n", "vmstat": "nr_free_pages 1\npgfault 11\npgmajfault 3\n",
    "sys/kernel/pid_max": "32768\n", "pressure/cpu": V2["cpu.pressure"], "pressure/io": V2["cpu.pressure"],
}  # fmt: skip


def write_v1(root: Path, path: str, texts: dict[str, str]) -> None:
    """A group of version 1 as files below `root`; "memory/memory.stat" goes where the kernel has it."""
    for name, text in texts.items():
        controller, _, file = name.partition("/")
        place = root / controller / path.lstrip("/") / file
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)


def write_v2(root: Path, path: str, texts: dict[str, str]) -> None:
    """A group of version 2."""
    (root / path.lstrip("/")).mkdir(parents=True, exist_ok=True)
    (root / "cgroup.controllers").write_text("cpu memory pids io\n")
    for name, text in texts.items():
        (root / path.lstrip("/") / name).write_text(text)


def write_proc(root: Path, texts: dict[str, str] = PROC) -> None:
    """A procfs."""
    for name, text in texts.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


@dataclass
class Figures:
    """What was read: samples by name and labels."""

    samples: dict[tuple[str, frozenset[tuple[str, str]]], float] = field(default_factory=dict)
    kinds: dict[str, str] = field(default_factory=dict)

    def of(self, name: str, /, **labels: str) -> float:
        """The one sample of this name with at least these labels."""
        found = list(self.every(name, **labels))
        assert len(found) == 1, f"{name} {labels}: {len(found)} samples"
        return found[0]

    def every(self, name: str, /, **labels: str) -> Iterator[float]:
        """The samples of this name with at least these labels."""
        wanted = set(labels.items())
        return (value for (n, of), value in self.samples.items() if n == name and wanted <= of)

    def names(self) -> set[str]:
        """Of all samples."""
        return {name for name, _ in self.samples}


def parse(text: bytes | str) -> Figures:
    """What a Prometheus client library reads; a sample that is there twice is an error."""
    figures = Figures()
    words = text.decode() if isinstance(text, bytes) else text
    for family in text_string_to_metric_families(words):
        assert family.name not in figures.kinds, f"{family.name} is there twice"
        figures.kinds[family.name] = family.type
        for sample in family.samples:
            key = (sample.name, frozenset(sample.labels.items()))
            assert key not in figures.samples, f"{sample.name} {sample.labels} is there twice"
            figures.samples[key] = sample.value
    return figures


@dataclass(frozen=True)
class Reader:
    """Asks an endpoint as a Prometheus would; `client` None: without a certificate."""

    port: int
    ca: bytes
    client: pki.Pair | None
    directory: Path
    host: str = "127.0.0.1"

    async def get(self, path: str, method: str = "GET") -> tuple[int, bytes]:
        """Status and body; raises OSError when TLS refuses."""
        reader, writer = await self.connect()
        try:
            writer.write(f"{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
            await writer.drain()
            async with asyncio.timeout(60):
                data = await reader.read()
        finally:
            writer.close()
        head, _, body = data.partition(b"\r\n\r\n")
        if not head:
            raise ConnectionResetError("nothing was answered")
        return int(head.split()[1]), body

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cadata=self.ca.decode())
        if self.client is not None:
            path = self.directory / f"client-{id(self.client)}.pem"
            path.write_bytes(self.client.certificate + self.client.key)
            context.load_cert_chain(path)
        return await asyncio.open_connection(self.host, self.port, ssl=context, server_hostname=self.host)


def write_pki(directory: Path, ca: pki.Pair, name: str, pair: pki.Pair) -> None:
    """ca.crt, and NAME.crt with NAME.key, as a host has them."""
    directory.mkdir(parents=True, exist_ok=True)
    for file, content in (("ca.crt", ca.certificate), (f"{name}.crt", pair.certificate), (f"{name}.key", pair.key)):
        (directory / file).write_bytes(content)
