"""The command `mesh` in tests: run to its end in this process, or as a program of its own that goes on.

cli = Cli(mesh, tmp_path)                       # writes a context file for the running meshd
result = await cli("get", "pods")               # result.code, result.out, result.err
async with cli.program("get", "pods", "-w") as program:
    line = await program.line()                 # waits for it, with a deadline
"""

import asyncio
import contextlib
import io
import os
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO, cast

from mesh.cli.main import run
from mesh.sdk import context
from tests.harness.control import DEADLINE, RunningMeshd

# by a program, not between fork and exec: there gRPC's own threads may end the child before it began
HEARS_CTRL_C = ("env", "--default-signal=INT")


@dataclass(frozen=True, slots=True)
class Result:
    """How a command line ended."""

    code: int
    out: str
    err: str


@dataclass(slots=True)
class Program:
    """A running `mesh`."""

    process: asyncio.subprocess.Process

    async def line(self) -> str:
        """The next line of its standard output."""
        assert self.process.stdout is not None
        async with asyncio.timeout(DEADLINE):
            return (await self.process.stdout.readline()).decode().rstrip("\n")

    async def line_with(self, text: str) -> str:
        """The next line of its standard output with this text in it."""
        while True:
            line = await self.line()
            if text in line:
                return line
            if not line and self.process.returncode is not None:
                raise AssertionError(f'mesh ended before it said "{text}"')

    async def end(self) -> tuple[int, str]:
        """Waits until it ends by itself; its exit code and standard error."""
        assert self.process.stderr is not None
        async with asyncio.timeout(DEADLINE):
            err = await self.process.stderr.read()
            return await self.process.wait(), err.decode()


class Cli:
    """Runs `mesh` against one meshd."""

    def __init__(self, mesh: RunningMeshd, directory: Path) -> None:
        self.directory = directory
        self.config = directory / "config"
        files = mesh.write_pki(directory)
        texts = {name: str(path) for name, path in files.items()}
        chosen = context.Context((mesh.address,), **texts, name="test")
        context.write(context.Contexts().having(chosen), self.config)

    async def __call__(self, *args: str, stdin: str = "") -> Result:
        """Runs one command line to its end."""
        return await asyncio.to_thread(run_here, list(args), stdin.encode(), {"MESHCONFIG": str(self.config)})

    @contextlib.asynccontextmanager
    async def program(self, *args: str, terminal: int | None = None) -> AsyncIterator[Program]:
        """A program of its own, ended afterwards; its streams are pipes, or all three are the terminal."""
        env = {**os.environ, "MESHCONFIG": str(self.config), "HOME": str(self.directory)}
        pipe = asyncio.subprocess.PIPE if terminal is None else terminal
        process = await asyncio.create_subprocess_exec(
            *HEARS_CTRL_C, sys.executable, "-m", "mesh.cli", *args, env=env, stdin=pipe, stdout=pipe, stderr=pipe,
        )  # fmt: skip
        try:
            yield Program(process)
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()


def run_here(args: list[str], stdin: bytes, env: dict[str, str]) -> Result:
    """Runs one command line to its end, in this process."""
    with _streams(stdin) as (out, err), _environment(env):
        code = run(args)
        sys.stdout.flush()
        sys.stderr.flush()
        return Result(code, out.getvalue().decode(), err.getvalue().decode())


class _OfThread:
    """A standard stream that is one thing for the thread that made it, and what it was before for all others."""

    def __init__(self, mine: io.TextIOWrapper, others: Any) -> None:
        self._thread, self._mine, self._others = threading.get_ident(), mine, others

    def __getattr__(self, name: str) -> Any:
        return getattr(self._mine if threading.get_ident() == self._thread else self._others, name)


_KEPT: list[object] = []  # print() of another thread may still be in a stream that is replaced: it holds no reference


@contextlib.contextmanager
def _streams(stdin: bytes) -> Iterator[tuple[io.BytesIO, io.BytesIO]]:
    before = sys.stdin, sys.stdout, sys.stderr
    read, write = os.pipe()
    os.write(write, stdin)  # tests give less than a pipe holds
    os.close(write)
    out, err = io.BytesIO(), io.BytesIO()
    sys.stdin = io.TextIOWrapper(io.BufferedReader(io.FileIO(read, closefd=True)))
    sys.stdout = cast("TextIO", _OfThread(io.TextIOWrapper(out), before[1]))  # meshd here logs to the old one
    sys.stderr = cast("TextIO", _OfThread(io.TextIOWrapper(err), before[2]))
    _KEPT.extend((sys.stdout, sys.stderr))
    try:
        yield out, err
    finally:
        sys.stdin, sys.stdout, sys.stderr = before


@contextlib.contextmanager
def _environment(env: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in env}
    os.environ.update(env)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
