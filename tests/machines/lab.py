"""Several hosts that systemd has booted on this machine: privileged containers of a distribution, reached by ssh.

Rule: all of it lies below one directory and in a Podman of its own; `close` leaves nothing but the host image, which
takes a minute to make. Needs root. What a host is given from outside is its network, and this machine's certificates of
authorities; packages come from the distribution, unless the bundle is all there is.
"""

import argparse
import json
import os
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

PACKAGES = (
    "systemd,systemd-sysv,dbus,openssh-server,iproute2,iputils-ping,python3,ca-certificates,procps,sudo,busybox-static"
)
# Ubuntu has Podman in a component of its own; `mmdebstrap` knows where each distribution is.
SUITES = {"bookworm": "main", "trixie": "main", "noble": "main,universe"}
SUITE = "bookworm"  # where none is asked for
# systemd 256 and later wants to be asked to boot on cgroups of version 1; an older one does not read it.
INIT = '["/sbin/init", "SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE=1"]'
NETWORK = "10.88"  # which Podman has by itself


class Failed(Exception):  # noqa: N818 - reads as a run's failure
    """What did not do what it should, with all that it said."""


def run(*argv: str, check: bool = True, seconds: float = 600, told: str = "", **more: str) -> str:
    """Standard output of a command that reads `told`; raises Failed. `more` is added to its environment."""
    done = subprocess.run(
        argv, input=told, capture_output=True, text=True, check=False, timeout=seconds, env={**os.environ, **more},
        cwd="/",
    )  # fmt: skip
    if check and done.returncode:
        raise Failed(f"{' '.join(argv)} → {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done.stdout


def ask_for_lab(parser: argparse.ArgumentParser) -> None:
    """What a run on such hosts wants to know."""
    parser.add_argument("directory", type=Path, help="where the hosts' image and disks are kept")
    parser.add_argument("bundle", type=Path, help="what `make bundle` wrote, for the same suite")
    parser.add_argument("--suite", choices=SUITES, default=SUITE, help="the distribution of the hosts")
    parser.add_argument("--mirror", default="", help="where that comes from; else where mmdebstrap looks by itself")
    parser.add_argument("--keep", action="store_true", help="leave the hosts running")


class Hosts(Protocol):
    """What a story is played on."""

    def close(self) -> None:
        """Ends and removes it all, however far it came."""


def played(story: Callable[[], None], hosts: Hosts, *, keep: bool) -> int:
    """The exit code of a run: 1 when the story raised Failed, or an AssertionError, which is said. The hosts are
    closed, unless they are to be kept."""
    try:
        story()
    except (Failed, AssertionError) as failure:
        print(f"FAILED: {failure}", file=sys.stderr)
        return 1
    finally:
        if not keep:
            hosts.close()
    print("all holds")
    return 0


@dataclass(slots=True)
class Lab:
    """`names` are the hosts; `close` it, however far `boot` came."""

    directory: Path
    names: Sequence[str]
    suite: str = SUITE
    mirror: str = ""  # where the suite comes from; without it, where `mmdebstrap` looks by itself
    addresses: dict[str, str] = field(default_factory=dict)

    def boot(self) -> None:
        """Returns when every host is up."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        (self.directory / "containers.conf").write_text(
            '[containers]\ndefault_ulimits = ["nofile=20000:20000","nproc=32768:32768"]\n'
        )
        self._image()
        self._key()
        for name in self.names:
            self._boot(name)
        for name in self.names:
            self._await(name)

    def close(self) -> None:
        """Powers everything off and removes the hosts."""
        for name in self.names:
            self.podman("rm", "--force", "--time", "0", name, check=False)
            run("rm", "-rf", str(self.directory / "disks" / name))

    def podman(self, *args: str, check: bool = True, seconds: float = 300) -> str:
        """The Podman that has the hosts."""
        where = ("--root", str(self.directory / "podman"), "--runroot", str(self.directory / "run"))
        conf = str(self.directory / "containers.conf")
        return run("podman", *where, *args, check=check, seconds=seconds, CONTAINERS_CONF=conf)

    def ssh(self, name: str, *argv: str, check: bool = True, seconds: float = 300, told: str = "") -> str:
        """A command on a host, as root; it reads `told`."""
        where = (*self._options(), f"root@{self.addresses[name]}")
        return run("ssh", *where, "--", *argv, check=check, seconds=seconds, told=told)

    def rules(self, name: str) -> str:
        """Of a host's packet filters, read by this machine's tools."""
        process = self.podman("inspect", name, "--format", "{{.State.Pid}}").strip()
        told = (("nft", "list", "ruleset"), ("iptables-legacy-save",))
        return "".join(run("nsenter", "-t", process, "-n", *argv) for argv in told)

    def power_off(self, name: str) -> None:
        """As if the plug were pulled."""
        self.podman("kill", name)

    def power_on(self, name: str) -> None:
        """Boots it again, at the same address."""
        self.podman("start", name)
        self._await(name)

    @contextmanager
    def without_internet(self, name: str) -> Iterator[None]:
        """It reaches its own network alone meanwhile."""
        way = self.ssh(name, "ip", "route", "show", "default").strip()
        self.ssh(name, "ip", "route", "del", way)
        try:
            yield
        finally:
            self.ssh(name, "ip", "route", "add", way)

    @contextmanager
    def unplugged(self, name: str) -> Iterator[None]:
        """Its network cable is out meanwhile."""
        number = self.podman("exec", name, "cat", "/sys/class/net/eth0/iflink").strip()
        ours = Path("/sys/class/net").glob("*/ifindex")
        (link,) = [path.parent.name for path in ours if path.read_text().strip() == number]
        run("ip", "link", "set", link, "down")
        try:
            yield
        finally:
            run("ip", "link", "set", link, "up")

    def inventory(self, bundle: Path, names: Sequence[str] = (), **values: object) -> Path:
        """An inventory of all hosts, or those named; the first is the control host."""
        hosts = {name: {"ansible_host": self.addresses[name]} for name in names or self.names}
        shared = {
            "ansible_user": "root",
            "ansible_ssh_common_args": " ".join(self._options()),
            "ansible_python_interpreter": "/usr/bin/python3",
            "mesh_bundle": str(bundle),
            **values,
        }
        groups = {"mesh": {"hosts": hosts, "vars": shared}, "mesh_control": {"hosts": {self.names[0]: {}}}}
        path = self.directory / "inventory.json"
        path.write_text(json.dumps(groups, indent=2))
        return path

    # ---- making hosts

    def _options(self) -> tuple[str, ...]:
        known = str(self.directory / "known_hosts")
        settings = {
            "StrictHostKeyChecking": "accept-new", "UserKnownHostsFile": known, "LogLevel": "ERROR",
            "ControlMaster": "auto", "ControlPath": str(self.directory / "%C"), "ControlPersist": "60s",
        }  # fmt: skip
        return ("-i", str(self.directory / "key"), *(f"-o{key}={value}" for key, value in settings.items()))

    @property
    def image(self) -> str:
        """What the hosts boot: another for other packages."""
        made_of = zlib.crc32(f"{PACKAGES} {INIT}".encode())
        return f"localhost/testhost-{self.suite}:{made_of:08x}"

    def _image(self) -> None:
        if self.podman("images", "--quiet", self.image).strip():
            return
        archive = self.directory / f"{self.image.removeprefix('localhost/').replace(':', '-')}.tar"
        if not archive.exists():
            fresh = archive.with_name("fresh.tar")
            wanted = ("--variant=minbase", f"--components={SUITES[self.suite]}", f"--include={PACKAGES}")
            source = (self.mirror,) if self.mirror else ()
            run("mmdebstrap", *wanted, self.suite, str(fresh), *source, seconds=900)
            fresh.rename(archive)
        changes = ("--change", f"CMD {INIT}", "--change", "STOPSIGNAL SIGRTMIN+3")
        self.podman("import", *changes, str(archive), self.image, seconds=600)

    def _key(self) -> None:
        for name in ("key", "key.pub", "known_hosts"):
            (self.directory / name).unlink(missing_ok=True)
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.directory / "key"))

    def _boot(self, name: str) -> None:
        disk = self.directory / "disks" / name
        self.podman("rm", "--force", "--time", "0", name, check=False)
        run("rm", "-rf", str(disk))
        disk.mkdir(parents=True)
        # On some machines crun refuses a hybrid of cgroups until the first systemd has been there.
        runtime = "crun" if self._works("crun") else "runc"
        self.podman(
            "--runtime", runtime, "run", "--detach", "--name", name, "--hostname", name, "--privileged",
            "--systemd=always", "--ip", self._address(name), "--volume", f"{disk}:/var/lib/mesh",
            "--volume", "/etc/ssl/certs:/etc/ssl/certs:ro", self.image,
        )  # fmt: skip

    def _address(self, name: str) -> str:
        """Another part of the network for another directory, so that labs can be there side by side."""
        part = 64 + zlib.crc32(str(self.directory).encode()) % 128
        return f"{NETWORK}.{part}.{10 + self.names.index(name)}"

    def _works(self, runtime: str) -> bool:
        try:
            self.podman("--runtime", runtime, "run", "--rm", self.image, "true")
        except Failed:
            return False
        return True

    def _await(self, name: str) -> None:
        self.addresses[name] = self.podman("inspect", name, "--format", "{{.NetworkSettings.IPAddress}}").strip()
        end = time.monotonic() + 120
        # After a reboot Debian's own units of Podman may have failed: its storage can't lie on the container's.
        while self.podman("exec", name, "systemctl", "is-system-running", check=False).strip() not in (
            "running", "degraded",
        ):  # fmt: skip
            if time.monotonic() > end:
                raise Failed(f"{name} does not boot: {self.podman('exec', name, 'systemctl', '--failed', check=False)}")
            time.sleep(0.5)
        key = (self.directory / "key.pub").read_text()
        script = f"mkdir -p -m 700 /root/.ssh && echo '{key.strip()}' > /root/.ssh/authorized_keys"
        self.podman("exec", name, "sh", "-c", script)
