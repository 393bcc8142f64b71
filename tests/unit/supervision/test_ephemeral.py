"""The command of an ephemeral mesh: its exit code, its end by a signal, and what is refused before anything begins."""

import signal
import subprocess
import sys

import pytest

from mesh.cli.main import run
from mesh.supervision import ephemeral

KEEP = "import sys; from mesh.supervision import ephemeral; sys.exit(ephemeral.keep(sys.argv[1:]))"


def first_process(*command: str) -> "subprocess.Popen[str]":
    return subprocess.Popen([sys.executable, "-c", KEEP, *command], stdout=subprocess.PIPE, text=True)


def test_the_exit_code_is_the_commands() -> None:
    with first_process("sh", "-c", "exit 3") as process:
        assert process.wait(30) == 3


def test_a_signal_reaches_the_command() -> None:
    with first_process("sh", "-c", "trap 'echo told; exit 5' TERM; echo runs; sleep 100 & wait") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "runs\n"
        process.send_signal(signal.SIGTERM)
        assert process.stdout.readline() == "told\n"
        assert process.wait(30) == 5


def test_a_killed_command_is_told_as_shells_do() -> None:
    with first_process("sh", "-c", "kill -9 $$") as process:
        assert process.wait(30) == 137


def test_the_command_finds_the_mesh() -> None:
    told = ephemeral.environment({"PATH": "/bin", "MINE": "1", "MESHCONFIG": "/another"})
    assert (told["MESHCONFIG"], told["MESH_ROOT"], told["MINE"]) == (str(ephemeral.CONTEXT), "/run/mesh", "1")
    assert told["PATH"].endswith(":/bin")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--ephemeral", "--listen=0.0.0.0:7443"), "no use for --listen"),
        (("--ephemeral", "--root=/x"), "no use for --root"),
        (("--ephemeral", "--", "no-such-command-at-all"), "there is no command no-such-command-at-all"),
        (("--", "true"), "a command is run by --ephemeral alone"),
    ],
)
def test_what_makes_no_sense_is_refused(
    options: tuple[str, ...], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["up", *options]) == 1
    assert words in capsys.readouterr().err
