"""Checks asked of this machine: what they find of servers on loopback, and of commands that run right here."""

from collections.abc import Sequence

from nodeagent.probes.checks import RealChecks
from nodeagent.probes.state import Outcome
from nodeagent.probes.wanted import Check
from nodeagent.runtime.port import RuntimeFailure
from nodeagent.runtime.seen import Role, SeenContainer, State

HOST = "127.0.0.1"
CONTAINER = SeenContainer("id", "uid", "main", 0, Role.APP, State.RUNNING, "", "", "")


class Commands:
    """Runs commands right here."""

    failure: RuntimeFailure | None = None

    def exec_command(self, container: SeenContainer, command: Sequence[str], *, tty: bool = False) -> list[str]:
        if self.failure:
            raise self.failure
        return list(command)


async def perform(check: Check, seconds: float = 5) -> Outcome:
    """What it finds within so many seconds."""
    return await RealChecks(Commands()).perform(check, CONTAINER, seconds)
