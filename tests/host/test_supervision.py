"""runit keeps programs alive: what is killed is back, what is stopped stays down, and nothing is left in the end."""

import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from mesh.supervision.layout import Layout
from mesh.supervision.port import Status
from mesh.supervision.programs import Host, Program, Ready
from mesh.supervision.runit import Runit
from tests.harness.hosts import until

pytestmark = pytest.mark.host

HELD = Ready("/nowhere")
ONE = Program("one", "the first", ("sleep", "1000"), HELD, {"WORD": "a b'c"})
TWO = Program("two", "the second", ("sh", "-c", 'echo "says $WORD"; exec sleep 1001'), HELD, {"WORD": "a b'c"})


@pytest.fixture
def host(tmp_path: Path) -> Host:
    layout = Layout(tmp_path / "root")
    for directory in (layout.root, layout.log):
        directory.mkdir(mode=0o700)
    return Host(layout, "host1", "127.0.0.1", ("127.0.0.1:1",), python=Path("/bin/true"))  # prepares by doing nothing


@pytest.fixture
def runit(host: Host) -> Iterator[Runit]:
    made = Runit(host.layout)
    yield made
    made.uninstall()


def state(runit: Runit, name: str) -> Status:
    (status,) = [status for status in runit.status() if status.name == name]
    return status


def running(runit: Runit, name: str) -> Status:
    return until(lambda: (s := state(runit, name)).running and s, 20, f"{name} runs")


def test_installed_is_not_started(host: Host, runit: Runit) -> None:
    assert runit.install(host, [ONE, TWO]) == {"one", "two"}
    assert [status.running for status in runit.status()] == [False, False]


def test_killed_is_back_in_a_moment_again_and_again(host: Host, runit: Runit) -> None:
    runit.install(host, [ONE])
    runit.start(["one"])
    for _ in range(3):
        pid = running(runit, "one").pid
        os.kill(pid, signal.SIGKILL)
        until(lambda killed=pid: state(runit, "one").pid not in (0, killed), 20, "another one")


def test_stopped_stays_down_and_starts_again(host: Host, runit: Runit) -> None:
    runit.install(host, [ONE, TWO])
    runit.start(["one", "two"])
    running(runit, "one")
    runit.stop(["one"])
    assert not state(runit, "one").running
    assert running(runit, "two")
    runit.start(["one"])
    assert running(runit, "one")


def test_only_a_changed_program_is_said_to_have_changed(host: Host, runit: Runit) -> None:
    runit.install(host, [ONE, TWO])
    runit.start(["one", "two"])
    assert runit.install(host, [ONE, TWO]) == set()
    assert runit.install(host, [replace(ONE, argv=("sleep", "1002")), TWO]) == {"one"}
    before = running(runit, "one").pid
    runit.restart(["one"])
    pid = until(lambda: (p := state(runit, "one").pid) not in (0, before) and p, 5, "the new one")
    until(lambda: b"1002" in Path(f"/proc/{pid}/cmdline").read_bytes(), 5, "the new argv")


def test_a_program_that_is_no_more_is_taken_away(host: Host, runit: Runit) -> None:
    runit.install(host, [ONE, TWO])
    runit.start(["one", "two"])
    pid = running(runit, "two").pid
    runit.install(host, [ONE])
    assert [status.name for status in runit.status()] == ["one"]
    assert not Path(f"/proc/{pid}").exists()


def test_output_goes_to_a_log_and_the_environment_is_only_what_was_said(host: Host, runit: Runit) -> None:
    runit.install(host, [TWO])
    runit.start(["two"])
    log = host.layout.log / "two" / "current"
    until(lambda: log.exists() and "says a b'c" in log.read_text(), 15, "the log has it")
    environment = Path(f"/proc/{running(runit, 'two').pid}/environ").read_bytes().split(b"\0")
    assert {line.partition(b"=")[0] for line in environment if line} <= {b"WORD", b"PWD", b"OLDPWD", b"SHLVL", b"_"}


def test_what_keeps_the_logs_is_exchanged_while_the_program_runs(host: Host, runit: Runit) -> None:
    runit.install(host, [ONE])
    keeper = host.layout.services / "one" / "log"
    (keeper / "run").write_text("#!/bin/sh\nexec sleep 1003\n")  # of another release
    runit.start(["one"])
    pid, former = running(runit, "one").pid, until(lambda: argv_of(keeper, b"1003"), 20, "the former one")
    assert runit.install(host, [ONE]) == set()
    until(lambda: argv_of(keeper, b"./run") not in (0, former), 20, "this release's")
    assert running(runit, "one").pid == pid


def argv_of(service: Path, word: bytes) -> int:
    """The pid of a service that has this word in its argv, else 0."""
    try:
        pid = int((service / "supervise" / "pid").read_text())
        return pid if word in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0") else 0
    except (OSError, ValueError):
        return 0


def test_a_dead_runsvdir_takes_nobody_along_and_up_again_finds_them(host: Host, runit: Runit) -> None:
    runit.install(host, [ONE])
    runit.start(["one"])
    pid = running(runit, "one").pid
    (tree,) = runit._runsvdir()
    os.kill(tree, signal.SIGKILL)
    until(lambda: not runit._runsvdir(), 5, "runsvdir is dead")
    runit.start(["one"])
    assert running(runit, "one").pid == pid


def test_nothing_is_left(host: Host) -> None:
    runit = Runit(host.layout)
    runit.install(host, [ONE, TWO])
    runit.start(["one", "two"])
    pids = [running(runit, name).pid for name in ("one", "two")]
    runit.uninstall()
    assert not host.layout.services.exists()
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
    runit.uninstall()  # again: no error
