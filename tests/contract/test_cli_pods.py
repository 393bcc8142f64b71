"""`mesh` against a real meshd: logs, exec, port-forward with a scripted host; connections that fail."""

import asyncio
import fcntl
import os
import pty
import signal
import struct
import termios
from pathlib import Path

import pytest

from mesh import pki
from mesh.cli.port_forward import through
from mesh.errors import Invalid
from mesh.model.manifest import load
from mesh.sdk import context
from mesh.v1.net_pb2 import Service
from tests.harness.cli import Cli, run_here
from tests.harness.control import DEADLINE, RunningMeshd
from tests.harness.hollow import Script
from tests.harness.scripted_host import ScriptedHost, says

POD = """
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec:
  containers:
  - name: app
    image: hello:1
    ports: [{name: http, containerPort: 8080}]
  - {name: side, image: "hello:1"}
"""


@pytest.fixture(autouse=True)
async def _pod(cli: Cli, scripted: ScriptedHost) -> None:
    scripted.logs = {"web/app": b"one\ntwo\nthree\n", "web/side": b"side\n"}
    scripted.commands = {
        "hostname": says(b"web\n"),
        "false": says(stderr=b"oops\n", exit_code=3),
        "cat": Script(echo=True, exit_code=0),
    }
    result = await cli("apply", "--wait", "-f", "-", stdin=POD)
    assert result.code == 0, result.err


async def test_logs_of_the_default_container(cli: Cli) -> None:
    result = await cli("logs", "web")
    assert (result.code, result.out) == (0, "one\ntwo\nthree\n")
    assert result.err == 'Defaulted container "app" out of: app, side\n'
    assert (await cli("logs", "pod/web", "-c", "side")).out == "side\n"
    assert (await cli("logs", "web", "side")).out == "side\n"


async def test_logs_are_cut_stamped_and_prefixed(cli: Cli) -> None:
    assert (await cli("logs", "web", "-c", "app", "--tail", "1")).out == "three\n"
    assert (await cli("logs", "web", "-c", "app", "--tail", "0")).out == ""
    stamped = await cli("logs", "web", "-c", "side", "--timestamps")
    assert stamped.out == "2026-01-31T12:00:00Z side\n"
    every = await cli("logs", "-l", "app=web", "--all-containers", "--prefix")
    assert every.out.splitlines()[0] == "[pod/web/app] one"
    assert every.out.splitlines()[-1] == "[pod/web/side] side"


async def test_logs_options_reach_the_host(cli: Cli, scripted: ScriptedHost) -> None:
    await cli("logs", "web", "-c", "app", "--since", "1m30s", "--limit-bytes", "10")
    asked = list(scripted.streams.values())[-1].opening.logs
    assert (asked.container, asked.since_seconds, asked.limit_bytes) == ("app", 90, 10)
    await cli("logs", "web", "-c", "app", "--since-time", "2026-01-31T12:00:00Z")
    assert list(scripted.streams.values())[-1].opening.logs.since_unix_nanos == 1769860800 * 10**9


async def test_logs_follow_goes_on_and_ends_cleanly_on_ctrl_c(cli: Cli, scripted: ScriptedHost) -> None:
    async with cli.program("logs", "-f", "web", "-c", "app", "--tail", "1") as program:
        assert await program.line() == "three"
        scripted.more_log(b"four\n")
        assert await program.line() == "four"
        program.process.send_signal(signal.SIGINT)
        code, err = await program.end()
    assert code == 130
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("logs",), "a name, or -l LABELS"),
        (("logs", "nope"), '"nope"'),
        (("logs", "node/host1"), "is a Node"),
        (("logs", "web", "-c", "nope"), 'pod "web" has no container "nope"; it has app, side'),
        (("logs", "web", "--since", "1y"), "--since"),
        (("logs", "web", "--since-time", "yesterday"), "--since-time"),
        (("logs", "web", "--since", "1m", "--since-time", "2026-01-31T12:00:00Z"), "can't be combined"),
        (("logs", "web", "--tail", "-2"), "--tail"),
        (("exec", "web", "ls"), "behind two dashes"),
        (("exec", "web", "--"), "behind two dashes"),
        (("exec", "nope", "--", "ls"), '"nope"'),
        (("exec", "web", "-c", "nope", "--", "ls"), 'no container "nope"'),
        (("port-forward", "web"), "REMOTE"),
        (("port-forward", "web", "0"), '"0" is no pair of ports'),
        (("port-forward", "web", "1:65536"), '"1:65536" is no pair of ports'),
        (("port-forward", "web", "x:80"), '"x:80" is no pair of ports'),
        (("port-forward", "web", "https"), "the pod names http"),
        (("port-forward", "nope", "80"), '"nope"'),
    ],
)
async def test_mistakes_are_told_in_a_sentence(cli: Cli, args: tuple[str, ...], said: str) -> None:
    result = await cli(*args)
    assert result.code == 1
    assert said in result.err
    assert "Traceback" not in result.err


async def test_exec_passes_output_and_exit_code_on(cli: Cli) -> None:
    well = await cli("exec", "web", "-c", "app", "--", "hostname")
    assert (well.code, well.out, well.err) == (0, "web\n", "")
    ill = await cli("exec", "web", "-q", "--", "false", "-c", "--help")
    assert (ill.code, ill.out, ill.err) == (3, "", "oops\n")
    loud = await cli("exec", "web", "-c", "app", "--", "false")
    assert loud.err == "oops\ncommand terminated with exit code 3\n"


async def test_what_follows_the_dashes_is_the_command_untouched(cli: Cli, scripted: ScriptedHost) -> None:
    scripted.commands["sh"] = says()
    await cli("exec", "web", "-c", "app", "--", "sh", "-c", "ls -n x", "--namespace", "--", "y")
    asked = list(scripted.streams.values())[-1].opening.exec
    assert list(asked.command) == ["sh", "-c", "ls -n x", "--namespace", "--", "y"]


async def test_exec_passes_input_on(cli: Cli) -> None:
    result = await cli("exec", "-i", "web", "-c", "app", "--", "cat", stdin="hello\n")
    assert (result.code, result.out) == (0, "hello\n")


async def test_exec_without_a_terminal_says_so_and_runs(cli: Cli) -> None:
    result = await cli("exec", "-t", "web", "-c", "app", "--", "hostname")
    assert (result.code, result.out) == (0, "web\n")
    assert "not a terminal" in result.err


async def test_port_forward_carries_connections(cli: Cli, scripted: ScriptedHost) -> None:
    async with cli.program("port-forward", "web", ":http", ":9000") as program:
        ports = [int((await program.line()).split(" -> ")[0].rsplit(":", 1)[1]) for _ in range(2)]
        for port in ports:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"ping")
            async with asyncio.timeout(DEADLINE):
                assert await reader.readexactly(4) == b"ping"
            writer.write_eof()
            async with asyncio.timeout(DEADLINE):
                assert await reader.read() == b""
            writer.close()
        assert [s.opening.port_forward.port for s in scripted.streams.values()] == [8080, 9000]
        program.process.send_signal(signal.SIGINT)
        code, err = await program.end()
    assert (code, "Traceback" in err) == (130, False)


async def test_a_local_port_that_is_taken_is_named(cli: Cli) -> None:
    taken = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = taken.sockets[0].getsockname()[1]
    result = await cli("port-forward", "web", f"{port}:80")
    taken.close()
    assert (result.code, f"cannot listen on 127.0.0.1:{port}" in result.err) == (1, True)


async def test_nobody_there_is_one_sentence_with_a_hint(tmp_path: Path, served: RunningMeshd) -> None:
    files = {name: str(path) for name, path in served.write_pki(tmp_path).items()}
    config = tmp_path / "nobody"
    lonely = context.Context(("127.0.0.1:1",), **files, name="lonely")
    context.write(context.Contexts().having(lonely), config)
    result = await asyncio.to_thread(run_here, ["get", "pods"], b"", {"MESHCONFIG": str(config)})
    assert result.code == 1
    assert result.err == (
        "error: cannot reach meshd at 127.0.0.1:1: connection refused; "
        "is meshd running there? `mesh status` and `mesh doctor` tell more\n"
    )


async def test_another_authority_is_not_trusted(tmp_path: Path, served: RunningMeshd) -> None:
    files = {name: str(path) for name, path in served.write_pki(tmp_path).items()}
    (tmp_path / "other.pem").write_bytes(pki.make_ca("other", 1_700_000_000).certificate)
    other = context.Context(
        (served.address,), str(tmp_path / "other.pem"), files["certificate"], files["key"], name="x"
    )
    context.write(context.Contexts().having(other), tmp_path / "other")
    result = await asyncio.to_thread(run_here, ["get", "pods"], b"", {"MESHCONFIG": str(tmp_path / "other")})
    assert (result.code, "cannot trust meshd at" in result.err) == (1, True), result.err


async def test_without_a_context_file_it_says_where_one_comes_from(tmp_path: Path) -> None:
    result = await asyncio.to_thread(run_here, ["get", "pods"], b"", {"MESHCONFIG": str(tmp_path / "none")})
    assert (result.code, "`mesh up` writes one" in result.err) == (1, True)


TALKING = """
apiVersion: v1
kind: Pod
metadata: {name: talk}
spec: {containers: [{name: main, image: "hello:1", stdin: true}]}
"""


async def test_attach_talks_with_a_container(cli: Cli, scripted: ScriptedHost) -> None:
    scripted.scripts["attach"] = Script(echo=True)
    assert (await cli("apply", "--wait", "-f", "-", stdin=TALKING)).code == 0
    result = await cli("attach", "-i", "talk", stdin="hello\n")
    assert (result.code, result.out, result.err) == (0, "hello\n", "")
    stream = list(scripted.streams.values())[-1]
    assert (stream.opening.attach.container, stream.opening.attach.stdin, stream.received) == ("main", True, b"hello\n")
    scripted.scripts["attach"] = says(b"seen\n", b"heard\n")
    result = await cli("attach", "-t", "talk")
    assert (result.code, result.out) == (0, "seen\n")
    assert result.err == "Unable to use a TTY - container main did not allocate one\nheard\n"
    refused = await cli("attach", "-i", "web", "-q", stdin="x")
    assert (refused.code, refused.out) == (1, "")
    assert "takes no input: its spec must say stdin: true" in refused.err


async def test_run_talks_with_its_pod_and_ends_as_it_did(cli: Cli, scripted: ScriptedHost) -> None:
    scripted.scripts["attach"] = Script(echo=True)
    arguments = ("run", "once", "--image=hello:1", "--restart=Never", "--rm", "-i")
    running = asyncio.create_task(cli(*arguments, stdin="hello\n"))
    (stream,) = await scripted.until(lambda: [s for s in scripted.streams.values() if s.input_closed])
    assert stream.received == b"hello\n"
    pod = scripted.assignments[-1].pods
    container = next(p for p in pod if p.metadata.name == "once").spec.containers[0]
    assert (container.stdin, container.stdin_once, container.tty) == (True, True, False)
    scripted.say("once", "Failed", exit_code=4)
    result = await running
    assert (result.code, result.out) == (4, "hello\n")
    assert 'pod "once" deleted' in result.err


async def test_run_follows_what_its_pod_writes_without_our_input(cli: Cli, scripted: ScriptedHost) -> None:
    scripted.logs["once/once"] = b"seen\n"
    async with cli.program("run", "once", "--image=hello:1", "--restart=Never", "--attach") as program:
        assert await program.line() == "seen"


async def test_a_terminal_is_raw_while_the_command_runs_and_as_before_afterwards(
    cli: Cli, scripted: ScriptedHost
) -> None:
    scripted.commands["sh"] = Script(echo=True, exit_code=5)
    master, slave = pty.openpty()
    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    before = termios.tcgetattr(slave)
    async with cli.program("exec", "-it", "web", "-c", "app", "--", "sh", terminal=slave) as program:
        (stream,) = await scripted.until(lambda: list(scripted.streams.values()))
        assert (stream.opening.exec.tty, stream.opening.exec.rows, stream.opening.exec.columns) == (True, 24, 80)
        os.write(master, b"\x03")  # Ctrl-C is the command's now
        await scripted.until(lambda: stream.received == b"\x03")
        assert not termios.tcgetattr(slave)[3] & termios.ECHO
        fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 132, 0, 0))
        program.process.send_signal(signal.SIGWINCH)
        await scripted.until(lambda: (50, 132) in stream.sizes)
        stream.input_closed = True
        stream.changed.set()
        async with asyncio.timeout(DEADLINE):
            assert await program.process.wait() == 5
    assert termios.tcgetattr(slave) == before
    os.close(master)
    os.close(slave)


async def test_logs_of_labels_go_on_with_the_pods_that_replace_them(cli: Cli, scripted: ScriptedHost) -> None:
    second = POD.replace("name: web,", "name: web2,", 1)
    assert second != POD
    scripted.logs["web2/app"] = b"hello\n"
    async with cli.program("logs", "-f", "-l", "app=web", "-c", "app", "--tail", "1", "--prefix") as program:
        assert await program.line() == "[pod/web/app] three"
        result = await cli("apply", "--wait", "-f", "-", stdin=second)
        assert result.code == 0, result.err
        assert await program.line() == "[pod/web2/app] hello"
        result = await cli("delete", "pod", "web", "--now")
        assert result.code == 0, result.err
        program.process.send_signal(signal.SIGINT)
        code, err = await program.end()
    assert (code, "Traceback" in err) == (130, False)


SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: front}
spec:
  selector: {app: web}
  ports: [{name: www, port: 80, targetPort: http}]
"""


async def test_a_word_may_mean_a_pod_of_a_service_or_workload(cli: Cli) -> None:
    await cli("apply", "-f", "-", stdin=SERVICE)
    assert (await cli("exec", "svc/front", "-c", "app", "--", "hostname")).out == "web\n"
    await cli("apply", "--wait", "-f", "-", stdin=POD.replace("name: web,", "name: other,"))
    several = await cli("exec", "service/front", "-c", "side", "--", "hostname")
    assert "Found 2 pods, using pod/other" in several.err
    nobody = await cli("exec", "configmap/front", "--", "hostname")
    assert (nobody.code, "ConfigMap" in nobody.err) == (1, True)


def test_a_service_s_port_is_that_of_its_pods() -> None:
    (service,) = load(SERVICE, "test").objects
    assert isinstance(service, Service)
    assert [through(text, service) for text in ("80", "8080:80", ":www")] == ["80:http", "8080:http", ":http"]
    with pytest.raises(Invalid, match="it has 80"):
        through("81", service)
