"""The distribution's etcd, unpacked by tools/unpack.sh: a real cluster on loopback, over mutual TLS.

with etcd_cluster(tmp_path, members=3) as etcd:
    store = await EtcdStore.open(etcd.address(), codec, prefix="/a-test/")
    etcd.kill(0); etcd.start(0)     # the same ports, the same data

Members may also be on hosts of their own (tests.harness.hosts), one on each: `etcd_on`.
"""

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from mesh import pki
from mesh.store.etcdclient import Address
from tests.harness.hosts import FakeHost
from tests.harness.ports import free_ports
from tests.harness.waiting import wait_for_text

ROOT = Path(__file__).resolve().parents[2]
DEADLINE = 60.0
E = TypeVar("E", bound="EtcdCluster")


@dataclass(slots=True)
class EtcdCluster:
    """`clients` and `peers`: "127.0.0.1:port" of each member."""

    directory: Path
    clients: list[str]
    peers: list[str]
    ca: pki.Pair
    processes: "dict[int, subprocess.Popen[bytes]]" = field(default_factory=dict)
    _starts: int = 0

    def address(self, *members: int) -> Address:
        """How a client reaches these members; all of them when none is named."""
        pair = pki.issue(self.ca, pki.user("meshd", ()), int(time.time()))
        endpoints = tuple(self.clients[number] for number in members or range(len(self.clients)))
        return Address(endpoints, self.ca.certificate, pair.certificate, pair.key)

    def write_pki(self, directory: Path) -> dict[str, Path]:
        """What meshd reads: files "ca", "certificate" and "key"."""
        address = self.address()
        texts = {"ca": address.ca, "certificate": address.certificate, "key": address.key}
        files = {name: directory / f"etcd-{name}.pem" for name in texts}
        for name, text in texts.items():
            files[name].write_bytes(text)
            files[name].chmod(0o600)
        return files

    def start(self, *members: int, wait: bool = True) -> None:
        """Starts members; returns once they serve, which without a majority they do not."""
        logs = {number: self._start(number) for number in members}
        for log in logs.values() if wait else ():
            wait_for_text(log, "serving client traffic", DEADLINE)

    def kill(self, *members: int) -> None:
        """As when the power goes; the data stays."""
        for number in members:
            self._end(number)
        for number in members:
            self.processes.pop(number).wait()

    def _at(self, _number: int, *argv: str) -> list[str]:
        """The argv that runs a member where it is to be."""
        return list(argv)

    def _end(self, number: int) -> None:
        self.processes[number].kill()

    def _start(self, number: int) -> Path:
        log = self.directory / f"etcd-{number}-{self._starts}.log"
        self._starts += 1
        names = {"cert-file": "member.crt", "key-file": "member.key", "trusted-ca-file": "ca.crt"}
        pki_files = [f"--{peer}{flag}={self.directory / names[flag]}" for peer in ("", "peer-") for flag in names]
        everybody = ",".join(f"m{n}=https://{peer}" for n, peer in enumerate(self.peers))
        with log.open("wb") as file:
            self.processes[number] = subprocess.Popen(
                self._at(number,
                    str(program()), f"--name=m{number}", f"--data-dir={self.directory / f'm{number}'}",
                    f"--listen-client-urls=https://{self.clients[number]}",
                    f"--advertise-client-urls=https://{self.clients[number]}",
                    f"--listen-peer-urls=https://{self.peers[number]}",
                    f"--initial-advertise-peer-urls=https://{self.peers[number]}",
                    f"--initial-cluster={everybody}", *pki_files, "--client-cert-auth", "--peer-client-cert-auth",
                    "--log-outputs=stderr", "--logger=zap",
                ),
                stdin=subprocess.DEVNULL, stdout=file, stderr=file,
            )  # fmt: skip
        return log


def program() -> Path:
    """The program, unpacked if it is not there yet."""
    into = Path(sys.prefix) / "etcd"
    unpack = [ROOT / "tools" / "unpack.sh", "etcd-server", "etcd", into]
    subprocess.run(unpack, check=True, timeout=110, stdout=subprocess.DEVNULL)
    return into / "usr" / "bin" / "etcd"


@contextlib.contextmanager
def etcd_cluster(directory: Path, members: int = 1, host: str = "127.0.0.1") -> Iterator[EtcdCluster]:
    """An empty one at an address of this machine, whose files are below `directory`."""
    addresses = [f"{host}:{port}" for port in free_ports(2 * members)]
    ca = _authority(directory, host)
    with _running(EtcdCluster(directory, addresses[:members], addresses[members:], ca)) as cluster:
        yield cluster


@dataclass(slots=True)
class EtcdOnHosts(EtcdCluster):
    """A member on each of `hosts`; it ends with the power of its host, and is started again by `start`."""

    hosts: Sequence[FakeHost] = ()

    def _at(self, number: int, *argv: str) -> list[str]:
        return self.hosts[number].command(*argv)

    def _end(self, number: int) -> None:
        host = self.hosts[number]
        if host.init:
            host.kill(f"--name=m{number}")


@contextlib.contextmanager
def etcd_on(hosts: Sequence[FakeHost], directory: Path) -> Iterator[EtcdOnHosts]:
    """An empty one, at its usual ports, whose files are below `directory`."""
    ips = [host.ip for host in hosts]
    clients, peers = [f"{ip}:2379" for ip in ips], [f"{ip}:2380" for ip in ips]
    with _running(EtcdOnHosts(directory, clients, peers, _authority(directory, *ips), hosts=hosts)) as cluster:
        yield cluster


def _authority(directory: Path, *addresses: str) -> pki.Pair:
    """Of etcd alone; the certificate of all members is made."""
    now = int(time.time())
    ca = pki.make_ca("etcd", now)
    pair = pki.issue(ca, pki.node("etcd", addresses), now)
    for name, text in (("ca.crt", ca.certificate), ("member.crt", pair.certificate), ("member.key", pair.key)):
        (directory / name).write_bytes(text)
        (directory / name).chmod(0o600)
    return ca


@contextlib.contextmanager
def _running(cluster: E) -> Iterator[E]:
    try:
        cluster.start(*range(len(cluster.clients)))
        yield cluster
    finally:
        cluster.kill(*cluster.processes)
