"""What keeps programs alive: systemd where it runs, else runit; both pass one suite of tests.

Rule: a program that ends is back within about a second, for ever: nobody gives up on it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from mesh.errors import Unavailable
from mesh.supervision.programs import Host, Program


class Failed(Unavailable):
    """The supervisor can't do what it was asked; in words for people."""


@dataclass(frozen=True, slots=True)
class Status:
    """How one program is; `since` is seconds since it was started or stopped."""

    name: str
    running: bool
    pid: int = 0
    since: float = 0.0
    words: str = ""


class Supervisor(Protocol):
    """One host's programs. Names are those of `Program`; every call raises Failed."""

    kind: str  # "systemd" or "runit"

    def install(self, host: Host, programs: Sequence[Program]) -> set[str]:
        """Writes the units, takes away those of programs that are no more; returns the names whose unit changed."""
        ...

    def start(self, names: Iterable[str]) -> None:
        """Starts those that do not run, and from now on keeps them alive, after a reboot too."""
        ...

    def restart(self, names: Iterable[str]) -> None:
        """Ends and starts them."""
        ...

    def stop(self, names: Iterable[str]) -> None:
        """Ends them, one after the other, and keeps them down, after a reboot too."""
        ...

    def status(self) -> list[Status]:
        """Of every installed program."""
        ...

    def uninstall(self) -> None:
        """Stops everything and leaves no unit and no process behind."""
        ...

    def logs(self, name: str) -> str:
        """The command that shows a program's log."""
        ...


def systemd_runs() -> bool:
    """Whether the machine was booted with systemd (sd_booted(3))."""
    return Path("/run/systemd/system").is_dir()
