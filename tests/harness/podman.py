"""A real Podman of a test's own: a prepared root below /tmp, its service, a local image; nothing else is touched.

with podman_host() as host:
    runtime = PodmanRuntime(host.config)
"""

import contextlib
import io
import random
import select
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nodeagent.config import AgentConfig
from nodeagent.prepare import podman_argv, podman_environment, prepare, unprepare
from nodeagent.registries import Registry
from nodeagent.runtime import syscalls

IMAGE = "localhost/mesh-test:1"
BUSYBOX = Path("/bin/busybox")
PLAIN = (Registry("127.0.0.1", plain_http=True),)  # registries of tests
PASSWD = "root:x:0:0:root:/:/bin/sh\napp:x:1000:2000::/:/bin/sh\n"
GROUP = "root:x:0:\napp:x:2000:\nextra:x:3000:app\n"


@dataclass(slots=True)
class PodmanHost:
    """One prepared root with its Podman service."""

    config: AgentConfig
    pod_cidr: str
    cluster_cidr: str = "10.199.0.0/16"
    service: subprocess.Popen[bytes] | None = field(default=None)

    def start(self) -> None:
        """Starts the service; returns when it listens."""
        self.config.podman_socket.unlink(missing_ok=True)
        with contextlib.closing(syscalls.Inotify()) as watch:
            watch.add(self.config.run_dir, syscalls.IN_CREATE)
            log = (self.config.root / "podman.log").open("ab")
            self.service = subprocess.Popen(
                podman_argv(self.config), env=podman_environment(self.config), stdin=subprocess.DEVNULL,
                stdout=log, stderr=log, start_new_session=True, cwd=self.config.run_dir,
            )  # fmt: skip
            log.close()
            deadline = time.monotonic() + 20
            while not self._listens():
                left = deadline - time.monotonic()
                if left <= 0 or self.service.poll() is not None:
                    raise RuntimeError((self.config.root / "podman.log").read_text())
                select.select([watch.fd], [], [], min(left, 0.2))
                watch.read()

    def kill(self) -> None:
        """kill -9 of the service; containers go on."""
        if self.service:
            self.service.send_signal(signal.SIGKILL)
            self.service.wait()
            self.service = None

    def restart(self) -> None:
        """kill -9, then a new service."""
        self.kill()
        self.start()

    def podman(self, *arguments: str, data: bytes | None = None) -> str:
        """Podman's command line on this root; raises RuntimeError with its words."""
        command = [*podman_argv(self.config)[: podman_argv(self.config).index("system")], *arguments]
        done = subprocess.run(
            command, env=podman_environment(self.config), input=data, capture_output=True, check=False, timeout=60
        )
        if done.returncode:
            raise RuntimeError(f"podman {' '.join(arguments)}: {done.stderr.decode()}")
        return done.stdout.decode()

    def _listens(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(str(self.config.podman_socket)) == 0


@contextlib.contextmanager
def podman_host(
    name: str = "",
    *,
    oci_runtime: str = "auto",
    image: bool = True,
    registries: Sequence[Registry] = PLAIN,
    disk: int = 0,
    raw: Path | None = None,
    **settings: Any,
) -> Iterator[PodmanHost]:
    """Prepares a root, starts its service, imports IMAGE; afterwards everything is undone and gone. `disk`: the root is
    a filesystem of its own, of so many bytes, with `raw` an ext4 in that file; `settings` are more of agent.toml."""
    root = Path(tempfile.mkdtemp(prefix="mt-", dir="/tmp"))
    if raw is not None:
        with raw.open("wb") as file:
            file.truncate(disk)
        subprocess.run(["mkfs.ext4", "-q", "-F", str(raw)], check=True)
        subprocess.run(["mount", "-o", "loop", str(raw), str(root)], check=True)
    elif disk:
        syscalls.mount("tmpfs", str(root), "tmpfs", 0, f"mode=0700,size={disk}")
    tag = root.name.removeprefix("mt-").lower()
    claim, number = _claimed()
    config = AgentConfig(
        node_name=name or f"t-{tag}", node_ip="127.0.0.1", root=root, bridge=f"mt{tag[:8].replace('_', 'u')}",
        oci_runtime=oci_runtime, registries=tuple(registries), **settings,
    )  # fmt: skip
    host = PodmanHost(config, pod_cidr=f"10.199.{number}.0/24")
    try:
        prepare(config)
        if image:
            import_image(host)
        host.start()
        yield host
    finally:
        host.kill()
        unprepare(config)
        if disk:
            syscalls.unmount(root)
        shutil.rmtree(root)
        claim.close()


def _claimed() -> tuple[socket.socket, int]:
    """The third part of an address range that no other test of this machine has, and what keeps it so."""
    left = _routed()
    for number in random.sample(range(1, 251), 250):
        if number in left:
            continue
        claim = socket.socket(socket.AF_UNIX)
        try:
            claim.bind(f"\0mesh-test-range-{number}")
        except OSError:
            claim.close()
            continue
        return claim, number
    raise RuntimeError("250 other tests with Podman run on this machine")


def _routed() -> set[int]:
    """The third parts of 10.199.x.0 that have a route already: a bridge that a test which was killed left behind."""
    lines = Path("/proc/net/route").read_text().splitlines()[1:]
    numbers = (int(line.split()[1], 16).to_bytes(4, sys.byteorder) for line in lines)
    return {number[2] for number in numbers if number[:2] == bytes((10, 199))}


def import_image(host: PodmanHost, name: str = IMAGE, *changes: str) -> None:
    """An image with busybox and two users; `changes` are Containerfile lines."""
    standard = ('CMD ["sleep","100000"]', "ENV PATH=/bin", "ENV FROM_IMAGE=yes")
    flags = [word for change in (*standard, *changes) for word in ("--change", change)]
    host.podman("import", *flags, "-", name, data=root_file_system())


def root_file_system() -> bytes:
    """A tar: /bin with busybox under every name it answers to, /etc/passwd, /etc/group, /tmp."""
    listed = subprocess.run([BUSYBOX, "--list"], capture_output=True, check=True, text=True).stdout.split()
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        tar.add(BUSYBOX, "bin/busybox")
        for applet in set(listed) - {"busybox"}:
            link = tarfile.TarInfo(f"bin/{applet}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(link)
        for directory in ("tmp", "etc", "proc", "sys", "dev"):
            entry = tarfile.TarInfo(directory)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o1777 if directory == "tmp" else 0o755
            tar.addfile(entry)
        for path, text in (("etc/passwd", PASSWD), ("etc/group", GROUP)):
            entry = tarfile.TarInfo(path)
            entry.size, entry.mode = len(text), 0o644
            tar.addfile(entry, io.BytesIO(text.encode()))
    return buffer.getvalue()
