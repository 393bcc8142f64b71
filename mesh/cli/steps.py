"""What a long verb is doing: a living line on a terminal; what is done, a line each.

Rule: what is done goes to standard output, to standard error where that is for programs (`quiet`); what is being done
is seen on a terminal alone.
"""

import sys
import time
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.status import Status


class Steps:
    """What is being done, as a living line on a terminal; what is done, a line each."""

    def __init__(self, color: bool, quiet: bool = False) -> None:
        self._color = color
        self._quiet = quiet
        self._began = time.monotonic()
        self._status: Status | None = None
        if color and sys.stderr.isatty():
            from rich.console import Console

            self._status = Console(stderr=True).status("starting …")

    def __enter__(self) -> "Steps":
        if self._status:
            self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._status:
            self._status.stop()

    def say(self, text: str) -> None:
        """What is being done now."""
        if self._status:
            self._status.update(f"{text} …")

    def done(self, what: str, words: str) -> None:
        """One thing is done."""
        seconds = time.monotonic() - self._began
        mark = click.style("ok", fg="green") if self._color else "ok"
        click.echo(f"{mark}  {what:9} {words}  ({seconds:.1f} s)", err=self._quiet)
