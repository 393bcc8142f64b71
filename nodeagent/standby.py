"""`python -m nodeagent.standby`: waits until nobody has this host, then becomes its agent.

Rules: who holds the host's lock has the host (app.py). As long as an actor has it, this process waits at the lock and
costs nothing. A lock that is free is left free for a while, for an actor that died is started again by Ray; only then
it is taken. An actor that finds it held knocks at the door: that is answered by `nodeagent serve` alone, which ends.
Only what Python has by itself is imported here.
"""

import fcntl
import os
import select
import socket
import sys
import threading
import time
from pathlib import Path

from nodeagent.lock import opened, try_lock

GRACE = 10.0  # seconds that a free host is left to Ray; an actor that was killed is back after about one


class Door:
    """Where an actor knocks. `shut`: who comes from then on waits for who has the host."""

    def __init__(self, path: Path) -> None:
        path.unlink(missing_ok=True)
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.bind(str(path))
        self.socket.listen()
        self._gate = threading.Lock()
        self._open = True
        threading.Thread(target=self._turn_away, name="door", daemon=True).start()

    def shut(self) -> None:
        """Nobody is turned away any more."""
        with self._gate:
            self._open = False

    def open(self) -> None:
        """Who comes is turned away again: another has the host."""
        with self._gate:
            self._open = True
        threading.Thread(target=self._turn_away, name="door", daemon=True).start()

    def _turn_away(self) -> None:
        while True:
            select.select([self.socket], [], [])
            with self._gate:
                if not self._open:
                    return
                self.socket.accept()[0].close()


def without_agent(lock: Path, door: Door, grace: float) -> int:
    """The lock of a host that nobody has had for so many seconds."""
    while True:
        probe = opened(lock)
        fcntl.flock(probe, fcntl.LOCK_EX)
        os.close(probe)
        time.sleep(grace)
        door.shut()
        held = try_lock(lock)
        if held is not None:
            return held
        door.open()


def main(lock: str, path: str, config: str, grace: float = GRACE) -> None:
    """Waits, then becomes the agent."""
    os.umask(0o077)
    door = Door(Path(path))
    held = without_agent(Path(lock), door, grace)
    for fd in (held, door.socket.fileno()):
        os.set_inheritable(fd, True)
    fds = ("--lock", str(held), "--door", str(door.socket.fileno()))
    os.execv(sys.executable, (sys.executable, "-m", "nodeagent", "serve", "--config", config, *fds))  # noqa: S606 - a fixed argv


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], float(sys.argv[4]) if len(sys.argv) > 4 else GRACE)
