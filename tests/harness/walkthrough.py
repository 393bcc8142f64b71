"""A walk through a page of documentation: its commands are run, and what they print is what the page says.

A line indented by four spaces that begins with "$ " is a command for a host of the mesh, "outside$ " one for another
machine; the indented lines below it are what it prints, "…" standing for anything in a line, and a line of "…" alone
for any lines. Commands of one page share a shell. Columns may be wider or narrower than on the page.
"""

import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.harness.hosts import FakeHost

_COMMAND = re.compile(r"    (outside)?\$ (.*)")
_END = "the command ended with"


@dataclass(frozen=True, slots=True)
class Command:
    """One command of a page, at a line, and what the page says that it prints."""

    line: int
    outside: bool
    text: str
    says: tuple[str, ...]


def commands(page: Path) -> list[Command]:
    """The commands of a page, in order."""
    found: list[Command] = []
    in_block = False
    for number, line in enumerate(page.read_text().splitlines(), 1):
        if (match := _COMMAND.fullmatch(line)) is not None:
            found.append(Command(number, bool(match[1]), match[2], ()))
            in_block = True
        elif in_block and line.startswith("    "):
            last = found[-1]
            found[-1] = Command(last.line, last.outside, last.text, (*last.says, line.strip()))
        else:
            in_block = False
    return found


def agrees(says: Sequence[str], printed: Sequence[str]) -> bool:
    """Whether what was printed is what the page says."""
    if not says:
        return not printed
    if says[0] == "…":
        return any(agrees(says[1:], printed[at:]) for at in range(len(printed) + 1))
    return bool(printed) and _alike(says[0], printed[0]) and agrees(says[1:], printed[1:])


def _alike(says: str, printed: str) -> bool:
    pattern = r"\s+".join(".*".join(map(re.escape, word.split("…"))) for word in says.split())
    return re.fullmatch(pattern + (r".*" if says.endswith("…") else r"\s*"), printed.strip()) is not None


class Shell:
    """One bash on a host, that remembers its variables; use it as a `with`."""

    def __init__(self, host: FakeHost, directory: Path, environment: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            host.command("bash", "--noprofile", "--norc"), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, env={**host.environment(), **environment}, cwd="/",
        )  # fmt: skip
        self.run(f"cd {directory}")

    def run(self, command: str) -> tuple[int, list[str]]:
        """Runs a command; its exit code and the lines that it printed."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{{ {command}\n}} < /dev/null\n_code=$?; echo; echo {_END} $_code\n")
        self._process.stdin.flush()
        lines: list[str] = []
        for line in self._process.stdout:
            if line.startswith(_END):
                while lines and not lines[-1]:
                    lines.pop()
                return int(line.split()[-1]), lines
            lines.append(line.rstrip("\n"))
        raise AssertionError(f"the shell ended at: {command}\n" + "\n".join(lines))

    def __enter__(self) -> "Shell":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate("exit\n", timeout=60)


def walk(page: Path, shell: Shell, outside: Shell) -> None:
    """Runs the page's commands; raises AssertionError at the first that does something else than the page says."""
    for command in commands(page):
        code, printed = (outside if command.outside else shell).run(command.text)
        told = "\n".join(printed)
        if code:
            _, there = shell.run("mesh get pods,events -A; mesh status")
            told += "\n" + "\n".join(there)
        assert code == 0, f"{page.name}:{command.line}: {command.text} → {code}\n{told}"
        wanted = "\n".join(command.says)
        assert agrees(command.says, printed), f"{page.name}:{command.line}: {command.text}\n{told}\nnot\n{wanted}"
