"""What runs in containers, looked at on the hosts themselves: what the API says is not asked.

Rule: identity comes from control groups, so that a container whose monitor is gone counts too; names of pods, which
only monitors' command lines tell, are kept once seen. A look reads /proc once for all hosts.
"""

import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.harness.hosts import FakeHost

EVERY = 0.5  # seconds between looks for twins
_GROUP = re.compile(r"/pod(?P<uid>[0-9a-f-]{36})/libpod-(?P<container>[0-9a-f]{64})")
_LOG = re.compile(r"/pods/default_(?P<pod>[^_/]+)_(?P<uid>[0-9a-f-]{36})/")


@dataclass(frozen=True, slots=True)
class Running:
    """One container; `started`: of its oldest process, in the kernel's clock ticks."""

    host: str
    uid: str
    container: str
    started: int


@dataclass(slots=True)
class Census:
    """Of some hosts. `names` are those of pods by uid, as far as they were seen."""

    hosts: Sequence[FakeHost]
    names: dict[str, str] = field(default_factory=dict)

    def look(self) -> set[Running]:
        """What runs now."""
        homes = {}
        for host in self.hosts:
            with suppress(OSError):  # it is off
                homes[_namespace(Path(f"/proc/{host.init}"))] = host.name
        oldest: dict[tuple[str, str, str], int] = {}
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):  # it has just ended
                self._note_monitor(process)
                if (found := _GROUP.search((process / "cgroup").read_text())) is None:
                    continue
                if (home := _home(process, homes)) is None:
                    continue
                key = (home, found["uid"], found["container"])
                started = int((process / "stat").read_text().rsplit(")", 1)[1].split()[19])
                oldest[key] = min(started, oldest.get(key, started))
        return {Running(*key, started) for key, started in oldest.items()}

    def _note_monitor(self, process: Path) -> None:
        if (process / "comm").read_text() == "conmon\n":
            found = _LOG.search((process / "cmdline").read_text(errors="replace"))
            if found is not None:
                self.names[found["uid"]] = found["pod"]

    @contextmanager
    def twins(self, name: str) -> Iterator[set[str]]:
        """Pods of StatefulSet `name` of which two with one name ran at a time, told afterwards."""
        ended, twice = threading.Event(), set[str]()

        def watch() -> None:
            while not ended.wait(EVERY):
                uids = {one.uid for one in self.look()}
                running = [self.names.get(uid, "") for uid in uids]
                twice.update(pod for pod in running if pod.startswith(f"{name}-") and running.count(pod) > 1)

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            yield twice
        finally:
            ended.set()
            watcher.join()


def _home(process: Path, homes: dict[str, str]) -> str | None:
    """The host that a container's process is on: that of the first ancestor in a host's own namespace."""
    parent = process
    while parent.name not in ("0", "1"):
        if (home := homes.get(_namespace(parent))) is not None:
            return home
        parent = Path("/proc") / (parent / "stat").read_text().rsplit(")", 1)[1].split()[1]
    return None


def _namespace(process: Path) -> str:
    return str((process / "ns" / "pid").readlink())
