"""Checks by a command: exit codes, output, time, and what must not be left of it (P16, P18)."""

import asyncio
import os
import select
import sys
from pathlib import Path

import pytest

from nodeagent.probes import checks as rooms
from nodeagent.probes import spawn
from nodeagent.probes.checks import RealChecks
from nodeagent.probes.state import Result
from nodeagent.probes.wanted import ExecCheck
from nodeagent.runtime.port import RuntimeFailure
from tests.harness.asked_checks import CONTAINER, Commands, perform


@pytest.fixture(autouse=True)
def a_busy_machine_changes_no_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rooms, "LATE", 60.0)


async def test_exec_answers_with_its_exit_code() -> None:  # P16
    outcome = await perform(ExecCheck(("sh", "-c", "echo out; echo err >&2")))
    assert (outcome.result, outcome.output) == (Result.SUCCESS, "out\nerr\n")
    outcome = await perform(ExecCheck(("sh", "-c", "echo bad; exit 7")))
    assert (outcome.result, outcome.output) == (Result.FAILURE, "bad\n")
    outcome = await perform(ExecCheck(("sh", "-c", "kill -9 $$")))
    assert outcome.result is Result.FAILURE


async def test_exec_output_is_limited_and_never_blocks() -> None:  # P16
    outcome = await perform(ExecCheck(("sh", "-c", "head -c 300000 /dev/zero | tr '\\0' x")))
    assert (outcome.result, len(outcome.output)) == (Result.SUCCESS, 10240)


async def test_exec_that_can_not_be_run_is_an_error() -> None:  # P18
    assert (await perform(ExecCheck(("/no/such/program",)))).result is Result.ERROR
    commands = Commands()
    commands.failure = RuntimeFailure("RunContainerError", "it is gone")
    outcome = await RealChecks(commands).perform(ExecCheck(("true",)), CONTAINER, 1)
    assert (outcome.result, outcome.output) == (Result.ERROR, "it is gone")


async def test_exec_out_of_time_is_killed_with_all_its_kin(tmp_path: Path) -> None:  # P16
    pids = tmp_path / "pids"
    script = f"setsid sh -c 'echo $$ >>{pids}; sleep 99' & echo $! >>{pids}; echo $$ >>{pids}; sleep 99"
    outcome = await perform(ExecCheck(("sh", "-c", script)), 2.0)
    assert outcome.result is Result.FAILURE
    assert "timed out after 2s" in outcome.output
    numbers = [int(n) for n in pids.read_text().split()]
    assert len(numbers) == 3
    assert all([await asyncio.to_thread(_ends, number) for number in numbers])


def _ends(pid: int) -> bool:
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    with open(fd) as process:  # noqa: PTH123 - a descriptor
        return bool(select.select([process], [], [], 30)[0])


async def test_a_command_that_never_came_to_run_was_starved() -> None:
    # the OCI runtime forks, and until the child becomes the command it bears the runtime's name
    argv = [sys.executable, "-c", "import os, time; os.fork(); time.sleep(60)"]
    assert (await perform(ExecCheck(tuple(argv)), 1)).result is Result.STARVED


async def test_spawn_gives_nothing_of_ours() -> None:
    os.environ["MESH_SECRET"] = "x"
    try:
        ended = await spawn.run(["env"], 5, 10000)
    finally:
        del os.environ["MESH_SECRET"]
    assert {line.partition(b"=")[0] for line in ended.output.split()} <= {b"PATH", b"PWD"}
