"""Where every row plays: three hosts with a Service that is asked all the time, and a witness of all pods.

Rule: a row says what strikes; plumbing is here alone. Each host has a disk of its own (a file system in a file), so
that it can be full, unless `disks` is False; name servers and the witness are on the switch, so that no host takes
them along.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any, Self, TypeVar

from tests.harness.hosts import NETWORK, ROOT, Failed, FakeHost, Machines, enter, until
from tests.harness.pythonpod import IMAGE, REPOSITORY
from tests.matrix.census import Census
from tests.matrix.row import Row, Seen
from tests.matrix.workloads import ADDRESS, DATABASE, manifests

SWITCH = f"{NETWORK}.254"  # the address of the witness and of the name servers
WORKERS, RATE = 4, 40  # requests at once, and in a second, of each asking host
STEADY = 3.0  # seconds for which all must be well
PATIENCE = 300.0
DISK = "3G"
REGISTRY = "127.0.0.1:5077"  # on each host: where somebody serves one
# what a host is told beside what `mesh up` says: pressure is over soon, or rows would wait five minutes for nothing
SETTINGS = f"""
[eviction]
pressure_transition_seconds = 5
[[registries]]
name = "{REGISTRY}"
plain_http = true
"""


T = TypeVar("T")


class Stage:
    """Use it as a `with`. `hosts[0]` has meshd and Ray's head."""

    def __init__(self, directory: Path, archive: Path, *, disks: bool = True) -> None:
        self.directory = directory
        self._disks = disks
        self.archive = archive
        self._machines = Machines(directory / "hosts", 3)
        self._stack = ExitStack()
        self._witness: subprocess.Popen[str] | None = None
        self.hosts: list[FakeHost] = []
        self._census = Census(())

    @property
    def first(self) -> FakeHost:
        """The control host."""
        return self.hosts[0]

    def __enter__(self) -> Self:
        try:
            self.hosts = self._stack.enter_context(self._machines).hosts
            self._census = Census(self.hosts)
            enter(self._machines.switch, "ip", "addr", "add", f"{SWITCH}/24", "dev", "switch")
            for host in self.hosts:
                if self._disks:
                    self.new_disk(host)
                self.plug(host)
                self.come_in(host)
                host.import_image(self.archive, IMAGE)
            self.first.mesh("apply", "-f", "-", text=manifests())
            self.watch(self.first)
            self.all_well()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    # ---- hosts

    def plug(self, host: FakeHost) -> None:
        """After a boot: the host's disk is there, and so are its name servers."""
        if self._disks:
            host.run("mount", "-o", "loop", str(self._disk(host)), str(ROOT))
            host.run("chmod", "700", str(ROOT))
            host.run("rmdir", str(ROOT / "lost+found"), check=False)
        servers = self.directory / "resolv.conf"
        servers.write_text(f"nameserver {SWITCH}\n")
        host.run("mount", "--bind", str(servers), "/etc/resolv.conf")

    def come_in(self, host: FakeHost) -> None:
        """The first time: the host's part of the mesh is made."""
        if host is self.first:
            host.up(f"--listen={host.ip}:7443")
        else:
            self.join(host)

    def configure(self) -> None:
        """Hosts are told SETTINGS, once."""
        for host in self.hosts:
            path = host.path(ROOT / "agent" / "agent.toml")
            if "pressure_transition_seconds" not in path.read_text():
                with path.open("a") as file:
                    file.write(SETTINGS)
                host.up()

    def join(self, host: FakeHost) -> None:
        """By a new token, as a person does it."""
        token = self.first.mesh("token", "create", "--node", host.name, "-o", "token").strip()
        host.context.parent.mkdir(mode=0o700, exist_ok=True)
        told = (f"--node-name={host.name}", f"--node-ip={host.ip}", "--token=-")
        host.mesh("node", "join", f"{self.first.ip}:7444", *told, text=token + "\n", timeout=180)

    def power_on(self, host: FakeHost) -> None:
        """Boots it again, with all that it had on its disk."""
        host.boot()
        self.plug(host)
        host.up()

    def new_disk(self, host: FakeHost) -> None:
        """An empty one, in place of that of a host that is off."""
        self._disk(host).unlink(missing_ok=True)
        subprocess.run(["truncate", "-s", DISK, self._disk(host)], check=True)
        subprocess.run(["mkfs.ext4", "-q", self._disk(host)], check=True)

    def cable(self, host: FakeHost, plugged: bool) -> None:
        """The host's network cable, at the switch."""
        enter(self._machines.switch, "ip", "link", "set", host.port, "up" if plugged else "down")

    def running(self, host: FakeHost) -> set[str]:
        """Uids of the pods of which a container runs on the host, whatever the API says."""
        return {one.uid for one in self._census.look() if one.host == host.name}

    def at_switch(self, *argv: str) -> list[str]:
        """The argv that runs `argv` where the switch is."""
        return ["nsenter", "-t", str(self._machines.switch), "-n", "--", *argv]

    def _disk(self, host: FakeHost) -> Path:
        return self.directory / "hosts" / f"{host.name}.disk"

    # ---- one row

    def play(self, row: "Row[Stage]") -> Seen:
        """Strikes, waits until everything is well, and says what was seen."""
        if row.before:
            row.before(self)
        self._level()
        before, objects = self._census.look(), self._ask("mark")["objects"]
        told: list[dict[str, Any]] = []
        with self._census.twins(DATABASE) as twice, ExitStack() as loads:
            for number in row.asking:
                loads.enter_context(load(self.hosts[number], told))
            began = time.monotonic()
            row.strike(self)
            seconds = self.all_well() - began
            loads.close()
        after, found = self._census.look(), self._ask("seen")
        stayed = {one.uid for one in before} & {one.uid for one in after}
        failed = {reason: count for answers in told for reason, count in answers["failed"].items()}
        return Seen(
            asked=sum(answers["asked"] for answers in told), failed=sum(failed.values()),
            slowest=max(answers["slowest"] for answers in told),
            restarts=len({one for one in before - after if one.uid in stayed}),
            replaced=len({one.uid for one in before} - stayed), flips=found["flips"], seconds=seconds,
            load=os.getloadavg()[0], twice=sorted(twice), why=next(iter(failed), ""),
            lost=[key for key, uid in objects.items() if found["objects"].get(key) != uid],
        )  # fmt: skip

    def all_well(self) -> float:
        """Returns once all has been well for a while; since when, by the monotonic clock."""
        end, since, answer = time.monotonic() + PATIENCE, 0.0, {}
        while not since or time.monotonic() - since < STEADY:
            answer = self._ask("well")
            since = (since or time.monotonic()) if answer["well"] else 0.0
            if time.monotonic() > end:
                raise Failed(f"not well within {PATIENCE:.0f} s: {answer['why']}")
            time.sleep(0.1)  # nobody says when all is well
        return since

    def _level(self) -> None:
        """Each host has pods of the Service again: rows that lose one leave it without."""
        pods = self.first.mesh_json("get", "pods", "-l", "app=web")["items"]
        if {pod["spec"]["nodeName"] for pod in pods} != {host.name for host in self.hosts}:
            self.first.mesh("rollout", "restart", "deployment/web")
            self.first.mesh("rollout", "status", "deployment/web", "--timeout=120s", timeout=150)
        self.all_well()

    # ---- the witness

    def keep(self, thing: AbstractContextManager[T]) -> T:
        """Until the stage is taken down, before its hosts are."""
        return self._stack.enter_context(thing)

    def watch(self, *control: FakeHost) -> None:
        """The witness asks the meshd of these hosts from now on."""
        if self._witness is not None:
            self._end_witness(self._witness)
        servers = ", ".join(f'"{host.ip}:7443"' for host in control)
        context = self.directory / "context"
        pki = self.directory / "pki"
        pki.mkdir(mode=0o700, exist_ok=True)
        for name in ("ca.crt", "admin.crt", "admin.key"):
            (pki / name).touch(0o600)
            (pki / name).write_bytes((self.first.path(ROOT) / "pki" / name).read_bytes())
        context.write_text(
            f"current: outside\ncontexts:\n  outside:\n    servers: [{servers}]\n    ca: {pki}/ca.crt\n"
            f"    certificate: {pki}/admin.crt\n    key: {pki}/admin.key\n"
        )
        context.chmod(0o600)
        self._witness = subprocess.Popen(
            self.at_switch(sys.executable, "-m", "tests.matrix.witness"), stdin=subprocess.PIPE, cwd=REPOSITORY,
            stdout=subprocess.PIPE, text=True, env={**self.first.environment(), "MESHCONFIG": str(context)},
        )  # fmt: skip
        self._stack.callback(self._end_witness, self._witness)

    @staticmethod
    def _end_witness(witness: "subprocess.Popen[str]") -> None:
        witness.kill()
        witness.communicate()

    def _ask(self, word: str) -> dict[str, Any]:
        assert self._witness is not None
        assert self._witness.stdin is not None
        assert self._witness.stdout is not None
        self._witness.stdin.write(f"{word}\n")
        self._witness.stdin.flush()
        answer: dict[str, Any] = json.loads(self._witness.stdout.readline())
        return answer


@contextmanager
def load(host: FakeHost, told: list[dict[str, Any]]) -> Iterator[None]:
    """The host asks the Service all the while, on a connection for each request; what it came to is added to `told`."""
    program = str(REPOSITORY / "tests" / "harness" / "http_load.py")
    asking = (sys.executable, program, ADDRESS, "80", str(WORKERS), "close", str(RATE))
    with subprocess.Popen(
        ["nsenter", "-t", str(host.init), "-n", "--", *asking], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        text=True, cwd="/",
    ) as process:  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        if process.stdout.readline() != "ready\n":
            raise Failed(f"the load of {host.name} does not begin")
        try:
            yield
        finally:
            process.stdin.close()
            told.append(json.loads(process.stdout.read()))


def back(host: FakeHost, words: Sequence[str], strike: Callable[[FakeHost], object]) -> None:
    """Strikes, and waits until the host has another process with the words."""
    gone = set(host.pids(*words))
    strike(host)
    until(lambda: set(host.pids(*words)) - gone, 60, f"another process with {words} on {host.name}")
