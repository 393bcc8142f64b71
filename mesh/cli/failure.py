"""How a failure is told: one sentence, a hint, an exit code; never a traceback.

Rule: what nobody expected is told in one line too, and its details go to a file (0600) below ~/.mesh.
"""

import os
import sys
import tempfile
import traceback
from pathlib import Path

import click

from mesh.errors import MeshError

INTERRUPTED = 130


def report(error: BaseException, verbose: bool = False) -> int:
    """Says on standard error what went wrong; returns the exit code."""
    error = _innermost(error)
    if isinstance(error, click.exceptions.Exit):
        return error.exit_code
    if isinstance(error, click.Abort) and isinstance(error.__context__, EOFError):
        say("\nerror: nobody answered: standard input has ended; `--help` names the option that answers beforehand")
        return 1
    if isinstance(error, KeyboardInterrupt | click.Abort):
        return INTERRUPTED
    if isinstance(error, BrokenPipeError):
        return _broken_pipe()
    if isinstance(error, click.ClickException):
        return _usage(error)
    if isinstance(error, MeshError):
        say(_sentence(error))
    elif isinstance(error, TimeoutError):
        say(f"error: {str(error) or 'timed out'}")
    else:
        _unexpected(error, verbose)
    return 1


def say(text: str) -> None:
    """A line on standard error."""
    click.echo(text, err=True)


def _innermost(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _sentence(error: MeshError) -> str:
    server = bool(getattr(error, "__notes__", None))  # mesh.sdk.channel notes who answered
    head = f"Error from server ({error.kind}): " if server else "error: "
    lines = error.message.splitlines()
    subject, found, _ = error.message.partition(" is invalid: ")
    if len(lines) == 1 and found and len(error.violations) > 1:
        lines = [f"{subject} is invalid:", *map(str, error.violations)]
        return head + "\n  ".join(lines)
    return head + lines[0] if len(lines) == 1 else "\n  ".join([head.rstrip(), *lines])


def _usage(error: click.ClickException) -> int:
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        click.echo(error.format_message())
        return 0
    say(f"error: {' '.join(error.format_message().split())}")
    ctx = getattr(error, "ctx", None)
    if ctx is not None:
        say(f"See '{ctx.command_path} --help'.")
    return 1


def _broken_pipe() -> int:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is still buffered goes nowhere
    return 141  # as a program that SIGPIPE ends


def _unexpected(error: BaseException, verbose: bool) -> None:
    text = "".join(traceback.format_exception(error))
    line = f"error: mesh met an error it did not expect: {type(error).__name__}: {error}".splitlines()[0]
    if verbose:
        say(f"{line}\n{text}")
        return
    try:
        folder = Path("~/.mesh/crashes").expanduser()
        for directory in (folder.parent, folder):
            directory.mkdir(mode=0o700, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=folder, suffix=".txt", prefix="crash-")
        with os.fdopen(handle, "w") as file:
            file.write(text)
    except OSError:
        say(f"{line}; --verbose shows the details")
    else:
        say(f"{line}; details are in {name}")
