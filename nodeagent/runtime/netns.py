"""A pod's namespaces: made by a thread that leaves ours, kept alive by bind mounts, without a pause container.

Rules: each function is blocking and short; making what half exists starts over, removing what is not there is no
error. Files are run/netns/<uid>.{net,ipc,uts,pid}, <uid>.init with the number of the first process where there is one,
and the tmpfs run/shm/<uid>.
"""

import os
import socket
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mesh.model.securitychecks import sysctl_name
from nodeagent.runtime import podinit, syscalls
from nodeagent.runtime.netlink import LOOPBACK, POD_LINK, Netlink, hardware_address

Sysctls = Sequence[tuple[str, str]]
KINDS = {"net": syscalls.CLONE_NEWNET, "ipc": syscalls.CLONE_NEWIPC, "uts": syscalls.CLONE_NEWUTS}
PID, INIT = "pid", "init"
SHM_SIZE = 64 << 20


@dataclass(frozen=True, slots=True)
class Link:
    """How a pod is plugged in: `name` is the host's end, `address` with its prefix, "10.244.1.7/24"."""

    name: str
    bridge: str
    address: str
    gateway: str


@dataclass(frozen=True, slots=True)
class Files:
    """Where one pod's namespaces lie."""

    netns: Path
    shm: Path
    uid: str

    def of(self, kind: str) -> Path:
        """The file of one namespace."""
        return self.netns / f"{self.uid}.{kind}"

    @property
    def memory(self) -> Path:
        """The pod's /dev/shm."""
        return self.shm / self.uid


def make(files: Files, kinds: list[str], hostname: str, link: Link | None, sysctls: Sysctls = ()) -> None:
    """Makes the namespaces of `kinds` ("net", "ipc", "uts"), sets hostname and sysctls, plugs the pod in; raises
    OSError. Shared memory goes with "ipc"."""
    remove(files)
    syscalls.in_thread_of_its_own(lambda: _make(files, kinds, hostname, link, sysctls))
    if "ipc" not in kinds:
        return
    files.memory.mkdir(exist_ok=True)
    flags = syscalls.MS_NOSUID | syscalls.MS_NODEV | syscalls.MS_NOEXEC
    syscalls.mount("shm", str(files.memory), "tmpfs", flags, f"mode=1777,size={SHM_SIZE}")


def _make(files: Files, kinds: list[str], hostname: str, link: Link | None, sysctls: Sysctls) -> None:
    with Netlink() as host:
        syscalls.unshare(sum(KINDS[kind] for kind in kinds))
        own = f"/proc/self/task/{threading.get_native_id()}/ns"
        if "uts" in kinds:
            socket.sethostname(hostname)
        if link:
            _plug(host, link, f"{own}/net")
        for name, value in sysctls:
            _set_sysctl(name, value)
        for kind in kinds:
            files.of(kind).touch(mode=0o600)
            syscalls.bind(f"{own}/{kind}", str(files.of(kind)))


def _set_sysctl(name: str, value: str) -> None:
    """Of the thread's own namespaces; in a path the words are parted the other way round."""
    path = Path("/proc/sys", sysctl_name(name).translate(str.maketrans("./", "/.")))
    try:
        path.write_text(value)
    except OSError as error:
        raise OSError(error.errno, f"sysctl {name} can't be {value}: {error.strerror}") from error


def _plug(host: Netlink, link: Link, namespace: str) -> None:
    peer = os.open(namespace, os.O_RDONLY | os.O_CLOEXEC)
    # From here names of links are the new namespace's; the bridge's index was found before.
    address = link.address.split("/")[0]
    try:
        bridge = host.index(link.bridge)
        try:
            host.add_veth(link.name, bridge, peer, hardware_address(address))
        except FileExistsError:  # the kernel is still taking down the pair of this pod's last sandbox
            host.delete_link(link.name)
            host.add_veth(link.name, bridge, peer, hardware_address(address))
    finally:
        os.close(peer)
    with Netlink() as pod:
        pod.up(LOOPBACK)
        pod.up(POD_LINK)
        pod.add_address(POD_LINK, link.address)
        pod.add_default_route(POD_LINK, link.gateway)
    own = Path("/proc/sys/net/ipv4")  # the thread's own namespace
    (own / "ip_unprivileged_port_start").write_text("0")  # a pod's ports are its own, as with containerd
    (own / "ping_group_range").write_text(f"0 {syscalls.last_group()}")


def share_processes(files: Files, cgroup: str) -> int:
    """Makes the namespace of the pod's processes, and returns the number of its first process; raises OSError."""
    pid = podinit.start(files.of(INIT), files.uid, cgroup)
    files.of(PID).touch(mode=0o600)
    syscalls.bind(f"/proc/{pid}/ns/pid", str(files.of(PID)))  # by its path alone, a number would come to mean another
    return pid


def remove(files: Files) -> None:
    """Lets go of the namespaces, and with them of the pod's links, of its shared memory and first process."""
    podinit.stop(files.of(INIT), files.uid)
    kinds = (*KINDS, PID)
    for file in (*(files.of(kind) for kind in kinds), files.memory):
        while syscalls.unmount(file):
            pass
    for kind in kinds:
        files.of(kind).unlink(missing_ok=True)
    if files.memory.is_dir():
        files.memory.rmdir()


def socket_in(netns: str, address: tuple[str, int], timeout: float) -> socket.socket:
    """A TCP connection opened from inside a network namespace (empty: the host's), for port-forward. Blocking: call it
    in a thread. Raises OSError when nobody listens."""
    opened: list[socket.socket] = []

    def connect() -> None:
        if netns:
            with Path(netns).open("rb") as namespace:
                syscalls.setns(namespace.fileno(), syscalls.CLONE_NEWNET)
        opened.append(socket.create_connection(address, timeout))

    syscalls.in_thread_of_its_own(connect)
    return opened[0]
