"""Progress of a wait: one living line on a terminal, a line for each thing that is done anywhere else.

Rule: nothing is drawn where nobody looks; results go to standard output, the living line to standard error.
"""

import sys
from types import TracebackType
from typing import TYPE_CHECKING, Self

import click

if TYPE_CHECKING:
    from rich.status import Status


class Progress:
    """How far `total` things are; use it as a `with`. Quiet: what is done is not told on standard output."""

    def __init__(self, total: int, color: bool, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._total = total
        self._finished = 0
        self._states: dict[str, str] = {}
        self._status: Status | None = None
        self._draws = color and sys.stderr.isatty() and total > 0

    def __enter__(self) -> Self:
        if self._draws:
            from rich.console import Console

            self._status = Console(stderr=True).status("waiting …")
            self._status.start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Takes the living line away."""
        if self._status is not None:
            self._status.stop()
            self._status = None

    def say(self, what: str, state: str) -> None:
        """How one thing is now."""
        self._states[what] = state
        self._draw()

    def done(self, what: str, word: str) -> None:
        """One thing is as wanted."""
        self._states.pop(what, None)
        self._finished += 1
        if not self._quiet:
            if self._status is not None:
                self._status.stop()
            click.echo(f"{what} {word}")
            if self._status is not None and self._finished < self._total:
                self._status.start()
        self._draw()

    def _draw(self) -> None:
        if self._status is None:
            return
        shown = [f"{what}: {state}" for what, state in list(self._states.items())[:3]]
        rest = len(self._states) - len(shown)
        self._status.update(
            f"{self._finished}/{self._total}  " + ", ".join(shown) + (f" and {rest} more" if rest > 0 else "")
        )
