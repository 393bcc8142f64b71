"""What runs in containers, looked at on the hosts themselves: what the API says is not asked.

Rule: identity comes from the monitors' command lines; a look reads /proc once for all hosts.
"""

import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.harness.hosts import FakeHost

EVERY = 0.5  # seconds between looks for twins
_NAME = re.compile(r"/pods/default_(?P<pod>[^_/]+)_(?P<uid>[0-9a-f-]{36})/")


@dataclass(frozen=True, slots=True)
class Running:
    """One container's process."""

    host: str
    pod: str
    uid: str
    container: str
    process: int


def running(hosts: Sequence[FakeHost]) -> set[Running]:
    """What runs now; a container whose monitor was killed is not seen."""
    homes = {_namespace(host.init): host.name for host in hosts if host.init and Path(f"/proc/{host.init}").exists()}
    found = set()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().decode(errors="replace").split("\0")
            if "--api-version" not in line or (named := _NAME.search(" ".join(line))) is None:
                continue
            home = homes.get(_namespace(int(path.parent.name)))
            children = (path.parent / "task" / path.parent.name / "children").read_text().split()
        except OSError:  # it has just ended
            continue
        if home is not None and children:
            found.add(Running(home, named["pod"], named["uid"], line[line.index("-c") + 1], int(children[0])))
    return found


def _namespace(pid: int) -> str:
    return str(Path(f"/proc/{pid}/ns/pid").readlink())


@contextmanager
def looking_for_twins(hosts: Sequence[FakeHost], name: str) -> Iterator[set[str]]:
    """Pods of StatefulSet `name` of which two with one name ran at a time, told afterwards."""
    ended, twice = threading.Event(), set[str]()

    def look() -> None:
        while not ended.wait(EVERY):
            pods = {(one.pod, one.uid) for one in running(hosts) if one.pod.startswith(f"{name}-")}
            names = [pod for pod, _ in pods]
            twice.update(pod for pod in names if names.count(pod) > 1)

    looker = threading.Thread(target=look)
    looker.start()
    try:
        yield twice
    finally:
        ended.set()
        looker.join()
