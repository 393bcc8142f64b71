"""One virtual machine with the kernel, the systemd and the cgroups of a distribution, reached by ssh.

Rule: all of it lies below one directory; `close` ends it and leaves only its root file system, on which nothing is ever
written after it was made. Needs root and QEMU, and patience where the processor can't run it by itself. It reaches
outside by QEMU's own network, and nothing reaches it but ssh from this machine.
"""

import json
import os
import re
import shlex
import socket
import subprocess
import time
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from tests.machines.lab import PACKAGES, SUITE, SUITES, Failed, run

NAME = "machine1"
ADDRESS = "10.0.2.15"  # which QEMU's network gives
BOOT = "/proc/sys/kernel/random/boot_id"
ROLE = Path(__file__).parent.parent.parent / "ansible" / "roles" / "mesh" / "defaults" / "main.yml"
# Of the role's packages: what would start by itself, which the role leaves off where it installs them.
OFF = ("haproxy.service", "podman.service", "podman.socket", "podman-auto-update.timer", "podman-restart.service")
KVM = ("-accel", "kvm", "-cpu", "host", "-smp", "2")
# An emulated machine counts its instructions for time (a thousand million are its second while it works), so that no
# deadline in it is missed because this machine is slow or busy.
EMULATION = ("-accel", "tcg,thread=single", "-icount", "shift=0", "-cpu", "max")
PATIENCE = 3600.0  # seconds of this machine's clock: emulated beside other work, one of its own may take 20
KERNELS: Mapping[str, str] = {
    "bookworm": "linux-image-cloud-amd64",
    "trixie": "linux-image-cloud-amd64",
    "noble": "linux-image-virtual",
}
NETWORK = f"[Match]\nName=en* eth*\n[Network]\nAddress={ADDRESS}/24\nGateway=10.0.2.2\n"
SETTINGS = {
    "etc/systemd/network/20-wired.network": NETWORK,
    "etc/resolv.conf": "nameserver 10.0.2.3\n",
    "etc/hostname": f"{NAME}\n",
    "etc/hosts": f"127.0.0.1 localhost\n{ADDRESS} {NAME}\n",
    "etc/fstab": "/dev/vda / ext4 defaults 0 1\n",
}


def accelerated() -> bool:
    """Whether this machine's KVM carries any kernel: one without the processor's help carries only some."""
    flags = re.search(r"^flags\s*:(.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return Path("/dev/kvm").exists() and bool({"vmx", "svm"} & set(flags[1].split() if flags else ()))


@dataclass(slots=True)
class Machine:
    """`close` it, however far `boot` came."""

    directory: Path
    suite: str = SUITE
    mirror: str = ""  # where the suite comes from; without it, where `mmdebstrap` looks by itself
    port: int = 0
    process: "subprocess.Popen[bytes] | None" = field(default=None)

    def boot(self) -> None:
        """Returns when it is up."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not self._key.exists():
            run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self._key))
        if not self._root.exists():
            self._install()
        self._start()
        self._await()

    def close(self) -> None:
        """Pulls the plug; what was written since the first boot is lost."""
        if self.process is not None:
            self._hang_up()
            self.process.kill()
            self.process.wait()

    def ssh(self, *argv: str, check: bool = True, seconds: float = 900, told: str = "") -> str:
        """A command on it, as root; it reads `told`."""
        where = (*self._options(), "-p", str(self.port), "root@127.0.0.1")
        return run("ssh", *where, "--", *argv, check=check, seconds=seconds, told=told)

    def put(self, path: Path, where: str) -> None:
        """Copies a file to it."""
        run("scp", "-q", *self._options(), "-P", str(self.port), str(path), f"root@127.0.0.1:{where}")

    def reboot(self, *, settled: bool = True) -> None:
        """As an administrator does it; returns when it is up again, or else while it comes up."""
        before = self.ssh("cat", BOOT)
        self.ssh("systemctl", "reboot", check=False)
        self._await(before, settled=settled)

    def cut(self) -> None:
        """Pulls the plug and puts it in again: what was not on its disk yet is lost; returns when it is up again."""
        before = self.ssh("cat", BOOT)
        self._say("system_reset")
        self._await(before)

    def inventory(self, bundle: Path, **values: object) -> Path:
        """An inventory of it alone."""
        host = {
            "ansible_host": "127.0.0.1",
            "ansible_port": self.port,
            "ansible_user": "root",
            "ansible_pipelining": True,
            "ansible_ssh_timeout": 600,
            "ansible_ssh_common_args": shlex.join(self._options()),
            "ansible_python_interpreter": "/usr/bin/python3",
            "mesh_bundle": str(bundle),
            **values,
        }
        path = self.directory / "inventory.json"
        path.write_text(json.dumps({"mesh": {"hosts": {NAME: host}}, "mesh_control": {"hosts": {NAME: {}}}}, indent=2))
        return path

    # ---- making it

    @property
    def _key(self) -> Path:
        return self.directory / "key"

    @property
    def _root(self) -> Path:
        return self.directory / f"{self.suite}-{_made_of(self.suite)}.ext4"

    @property
    def _monitor(self) -> Path:
        return self.directory / "monitor"

    def _options(self) -> tuple[str, ...]:
        settings = {
            "StrictHostKeyChecking": "no", "UserKnownHostsFile": "/dev/null", "LogLevel": "ERROR",
            "ConnectTimeout": "600", "ControlMaster": "auto", "ControlPath": str(self.directory / "%C"),
            "ControlPersist": "600s",
        }  # fmt: skip
        return ("-i", str(self._key), *(f"-o{key}={value}" for key, value in settings.items()))

    def _hang_up(self) -> None:
        """Ends the connection that commands share."""
        run("ssh", *self._options(), "-p", str(self.port), "-O", "exit", "root@127.0.0.1", check=False)

    def _install(self) -> None:
        """The distribution's packages, kernel and all, in a file system that lets this directory's key in."""
        tree, fresh = self.directory / "tree", self.directory / "fresh.ext4"
        run("rm", "-rf", str(tree), str(fresh))
        wanted = ("--variant=minbase", f"--components={SUITES[self.suite]}", f"--include={_packages(self.suite)}")
        source = (self.mirror,) if self.mirror else ()
        run("mmdebstrap", "--format=directory", *wanted, self.suite, str(tree), *source, seconds=1800)
        for name, content in SETTINGS.items():
            (tree / name).unlink(missing_ok=True)
            (tree / name).write_text(content)
        (tree / "root/.ssh").mkdir(mode=0o700, exist_ok=True)
        (tree / "root/.ssh/authorized_keys").write_text(self._key.with_suffix(".pub").read_text())
        run("systemctl", f"--root={tree}", "enable", "systemd-networkd.service")
        run("systemctl", f"--root={tree}", "disable", *OFF)
        for kind in ("vmlinuz", "initrd.img"):
            (found,) = (tree / "boot").glob(f"{kind}-*")
            run("cp", str(found), str(self._root.with_suffix(f".{kind}")))
        run("mkfs.ext4", "-q", "-d", str(tree), str(fresh), "12G", seconds=600)
        run("rm", "-rf", str(tree))
        fresh.rename(self._root)

    def _start(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        processor = KVM if accelerated() else EMULATION
        # The disk is written to a file without a name, which QEMU makes in TMPDIR.
        self.process = subprocess.Popen([
            "qemu-system-x86_64", *processor, "-m", "4G",
            "-display", "none", "-nodefaults",
            "-kernel", str(self._root.with_suffix(".vmlinuz")), "-initrd", str(self._root.with_suffix(".initrd.img")),
            "-append", "root=/dev/vda rw console=ttyS0 quiet",
            "-drive", f"file={self._root},format=raw,if=virtio,snapshot=on,cache=unsafe",
            "-netdev", f"user,id=outside,hostfwd=tcp:127.0.0.1:{self.port}-:22",
            "-device", "virtio-net-pci,netdev=outside,romfile=", "-device", "virtio-rng-pci",
            "-serial", f"file:{self.directory / 'console'}", "-monitor", f"unix:{self._monitor},server=on,wait=off",
        ], env={**os.environ, "TMPDIR": str(self.directory)})  # fmt: skip

    def _say(self, command: str) -> None:
        """A command of QEMU's own."""
        with socket.socket(socket.AF_UNIX) as told:
            told.settimeout(60)
            told.connect(str(self._monitor))
            said = b""
            for line in ("", f"{command}\n"):
                told.sendall(line.encode())
                said = b""
                while not said.endswith(b"(qemu) "):
                    said += told.recv(4096)

    def _await(self, before: str = "", *, settled: bool = True) -> None:
        """Returns when it has booted, and not as `before`."""
        end = time.monotonic() + PATIENCE
        while True:
            self._hang_up()
            boot = self.ssh("cat", BOOT, check=False)
            state = self.ssh("systemctl", "is-system-running", check=False).strip() if boot not in {"", before} else ""
            if state in {"running", "degraded"} or (state and not settled):
                return
            if time.monotonic() > end:
                said = (self.directory / "console").read_text(errors="replace")
                raise Failed(f"{self.suite} does not boot: {said[-2000:]}")
            time.sleep(1)


def _packages(suite: str) -> str:
    """With those of the role: an emulated processor unpacks them for a quarter of an hour."""
    role = ",".join(yaml.safe_load(ROLE.read_text())["mesh_packages"])
    return f"{PACKAGES},udev,initramfs-tools,kmod,apparmor,{role},{KERNELS[suite]}"


def _made_of(suite: str) -> str:
    """Changes with what a root file system is made of."""
    return f"{zlib.crc32(f'{_packages(suite)}{SETTINGS}'.encode()):08x}"
