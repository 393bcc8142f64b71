"""Logs, exec and port-forward over the wire, against a host that plays a script."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import grpc
import pytest

from mesh.config import Limits
from mesh.errors import NotFound, Unavailable
from mesh.meshd import Settings
from mesh.model.kinds import pack
from mesh.v1 import control_pb2 as pb
from mesh.v1 import node_pb2
from mesh.v1.core_pb2 import Pod
from tests.harness import objects
from tests.harness.control import RunningMeshd, control
from tests.harness.hollow import HollowAgent, Script
from tests.harness.refusals import refused

OUT, ERR = node_pb2.STDOUT, node_pb2.STDERR


@pytest.fixture
def agent() -> HollowAgent:
    return HollowAgent("a")


@pytest.fixture
async def mesh(agent: HollowAgent) -> AsyncIterator[RunningMeshd]:
    async with control({"a": agent}) as running:
        yield running


async def started(mesh: RunningMeshd, *pods: Pod) -> None:
    """Applies the pods and waits until they run."""
    await mesh.resources.Apply(pb.ApplyRequest(objects=[pack(p) for p in pods]))
    view = mesh.meshd.feed.view
    async with asyncio.timeout(30):
        while any(_phase(mesh, p) != "Running" for p in pods):
            await mesh.meshd.feed.reached(view.revision + 1)


def _phase(mesh: RunningMeshd, pod: Pod) -> str:
    held = mesh.meshd.feed.view.pod(pod.metadata.namespace, pod.metadata.name)
    return held.status.phase if held is not None else ""


def logs(mesh: RunningMeshd, pod: str = "web", **options: object) -> grpc.aio.UnaryStreamCall:  # type: ignore[type-arg]
    wanted = node_pb2.LogOptions(**options)  # type: ignore[arg-type]
    return mesh.pods.Logs(pb.LogsRequest(namespace="default", pod=pod, options=wanted))


def execute(mesh: RunningMeshd, *inputs: pb.ExecInput, pod: str = "web", command: Sequence[str] = ("sh",)) -> object:
    start = pb.ExecStart(namespace="default", pod=pod, options=node_pb2.ExecOptions(command=command, stdin=True))
    return mesh.pods.Exec(iter([pb.ExecInput(start=start), *inputs]))


async def all_of(call: object) -> list[object]:
    async with asyncio.timeout(30):
        return [message async for message in call]  # type: ignore[attr-defined]


# ---- logs


async def test_logs_arrive_in_order_and_the_stream_is_closed(mesh: RunningMeshd, agent: HollowAgent) -> None:
    await started(mesh, objects.pod("web"))
    agent.scripts["logs"] = Script([(OUT, b"one\n"), (ERR, b"two\n"), (OUT, b"three\n")])
    chunks = await all_of(logs(mesh, tail_lines=3, timestamps=True))
    assert b"".join(c.data for c in chunks) == b"one\ntwo\nthree\n"  # type: ignore[attr-defined]
    stream = agent.streams["s0"]
    assert stream.opening.logs.container == "main"  # the default container was filled in
    assert stream.opening.logs.tail_lines == 3
    assert stream.closed.is_set()


async def test_a_client_that_goes_away_closes_the_stream_at_once(mesh: RunningMeshd, agent: HollowAgent) -> None:
    await started(mesh, objects.pod("web"))
    agent.scripts["logs"] = Script([(OUT, b"one\n")], endless=True)
    call = logs(mesh, follow=True)
    await call.read()
    call.cancel()
    await asyncio.wait_for(agent.streams["s0"].closed.wait(), 30)


async def test_a_host_that_ends_the_stream_early_is_told(mesh: RunningMeshd, agent: HollowAgent) -> None:
    await started(mesh, objects.pod("web"))
    agent.scripts["logs"] = Script([(OUT, b"one\n")], error="the agent was restarted")
    refusal = await refused(all_of(logs(mesh)))
    assert (refusal.code, refusal.kind) == (grpc.StatusCode.UNAVAILABLE, "Unavailable")
    assert "the agent was restarted" in refusal.message


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        ({"container": "nope"}, grpc.StatusCode.INVALID_ARGUMENT, 'has no container "nope"; it has: main'),
        ({"previous": True}, grpc.StatusCode.NOT_FOUND, "has not been restarted"),
        ({"tail_lines": -1}, grpc.StatusCode.INVALID_ARGUMENT, "must not be negative"),
    ],
)
async def test_what_cannot_be_shown_is_said(
    mesh: RunningMeshd, options: dict[str, object], code: grpc.StatusCode, words: str
) -> None:
    await started(mesh, objects.pod("web"))
    refusal = await refused(all_of(logs(mesh, **options)))
    assert refusal.code is code
    assert words in refusal.message


async def test_pods_that_are_not_there_or_have_no_node_are_said(mesh: RunningMeshd) -> None:
    assert (await refused(all_of(logs(mesh, "ghost")))).code is grpc.StatusCode.NOT_FOUND
    huge = objects.pod("huge", cpu="1000")
    await mesh.resources.Apply(pb.ApplyRequest(objects=[pack(huge)]))
    async with asyncio.timeout(30):
        while not any(c.message for c in mesh.meshd.feed.view.pod("default", "huge").status.conditions):  # type: ignore[union-attr]
            await mesh.meshd.feed.reached(mesh.meshd.feed.view.revision + 1)
    refusal = await refused(all_of(logs(mesh, "huge")))
    assert refusal.code is grpc.StatusCode.ABORTED
    assert "has no node yet: 0/1 nodes are available: 1 Insufficient cpu." in refusal.message


async def test_a_host_that_is_away_is_unavailable(mesh: RunningMeshd, agent: HollowAgent) -> None:
    await started(mesh, objects.pod("web"))
    agent.away = True
    assert (await refused(all_of(logs(mesh)))).code is grpc.StatusCode.UNAVAILABLE
    mesh.hosts.part("a")
    await mesh.hosts.noticed()
    refusal = await refused(all_of(logs(mesh)))
    assert refusal.message == 'the host "a" of pod "web" cannot be reached'


# ---- attach


def with_input(name: str, **fields: bool) -> Pod:
    pod = objects.pod(name)
    pod.spec.containers[0].stdin = True
    pod.spec.containers[0].tty = fields.get("tty", False)
    return pod


async def test_attach_carries_both_ways_and_ends_without_a_code(mesh: RunningMeshd, agent: HollowAgent) -> None:
    await started(mesh, with_input("web", tty=True))
    agent.scripts["attach"] = Script([(OUT, b"out"), (ERR, b"err")], echo=True, exit_code=0)
    options = node_pb2.AttachOptions(stdin=True, tty=True, rows=10, columns=20)
    start = pb.ExecInput(attach=pb.AttachStart(namespace="default", pod="web", options=options))
    inputs = [start, pb.ExecInput(stdin=b"in"), pb.ExecInput(resize=pb.TerminalSize(rows=3, columns=4)),
              pb.ExecInput(close_stdin=True)]  # fmt: skip
    answers = await all_of(mesh.pods.Attach(iter(inputs)))
    assert [a.WhichOneof("what") for a in answers][:3] == [None, "stdout", "stderr"]  # type: ignore[attr-defined]
    assert all(a.WhichOneof("what") != "exit_code" for a in answers)  # type: ignore[attr-defined]
    stream = agent.streams["s0"]
    assert stream.opening.attach == node_pb2.AttachOptions(container="main", stdin=True, tty=True, rows=10, columns=20)
    assert stream.closed.is_set()


@pytest.mark.parametrize(
    ("options", "words"),
    [({"stdin": True}, "takes no input: its spec must say stdin: true"), ({"tty": True}, "has no terminal")],
)
async def test_attach_to_what_has_no_input(mesh: RunningMeshd, options: dict[str, bool], words: str) -> None:
    await started(mesh, objects.pod("web"))
    wanted = node_pb2.AttachOptions(**options)
    start = pb.ExecInput(attach=pb.AttachStart(namespace="default", pod="web", options=wanted))
    refusal = await refused(all_of(mesh.pods.Attach(iter([start]))))
    assert refusal.code is grpc.StatusCode.INVALID_ARGUMENT
    assert words in refusal.message
    refusal = await refused(all_of(mesh.pods.Attach(iter([pb.ExecInput(stdin=b"x")]))))
    assert "must be its start" in refusal.message


# ---- exec


async def test_exec_carries_output_apart_and_the_exit_code_last(mesh: RunningMeshd, agent: HollowAgent) -> None:
    await started(mesh, objects.pod("web"))
    agent.scripts["exec"] = Script([(OUT, b"out"), (ERR, b"err")], exit_code=3)
    answers = await all_of(execute(mesh, command=("ls", "-l")))
    assert [a.WhichOneof("what") for a in answers] == [None, "stdout", "stderr", "exit_code"]  # type: ignore[attr-defined]
    assert answers[-1].exit_code == 3  # type: ignore[attr-defined]
    assert list(agent.streams["s0"].opening.exec.command) == ["ls", "-l"]
    assert agent.streams["s0"].closed.is_set()


async def test_exec_carries_input_sizes_and_the_end_of_input(mesh: RunningMeshd, agent: HollowAgent) -> None:
    await started(mesh, objects.pod("web"))
    agent.scripts["exec"] = Script(echo=True, exit_code=0)
    big = b"x" * 600_000
    inputs = [
        pb.ExecInput(resize=pb.TerminalSize(rows=24, columns=80)),
        pb.ExecInput(stdin=b"hello "),
        pb.ExecInput(stdin=big),
        pb.ExecInput(close_stdin=True),
    ]
    answers = await all_of(execute(mesh, *inputs))
    assert b"".join(a.stdout for a in answers) == b"hello " + big  # type: ignore[attr-defined]
    assert answers[-1].WhichOneof("what") == "exit_code"  # type: ignore[attr-defined]
    assert agent.streams["s0"].sizes == [(24, 80)]


async def test_exec_wants_a_start_a_command_and_a_running_pod(mesh: RunningMeshd, agent: HollowAgent) -> None:
    await started(mesh, objects.pod("web"))
    late = mesh.pods.Exec(iter([pb.ExecInput(stdin=b"x")]))
    assert (await refused(all_of(late))).code is grpc.StatusCode.INVALID_ARGUMENT
    assert (await refused(all_of(execute(mesh, command=())))).fields == {"start.options.command": "is required"}
    agent.scripts["exec"] = Script(refuse=NotFound("the container is not running"))
    assert (await refused(all_of(execute(mesh)))).code is grpc.StatusCode.NOT_FOUND
    agent.scripts["exec"] = Script(refuse=Unavailable("the runtime is away"))
    assert (await refused(all_of(execute(mesh)))).code is grpc.StatusCode.UNAVAILABLE
    agent.say("web", "Succeeded")
    async with asyncio.timeout(30):
        while _phase(mesh, objects.pod("web")) != "Succeeded":
            await mesh.meshd.feed.reached(mesh.meshd.feed.view.revision + 1)
    refusal = await refused(all_of(execute(mesh)))
    assert refusal.code is grpc.StatusCode.ABORTED
    assert "it has ended (Succeeded)" in refusal.message


async def test_an_exec_whose_end_is_unknown_is_no_success(mesh: RunningMeshd, agent: HollowAgent) -> None:
    await started(mesh, objects.pod("web"))
    agent.scripts["exec"] = Script([(OUT, b"half")])
    assert (await refused(all_of(execute(mesh)))).code is grpc.StatusCode.UNAVAILABLE


async def test_a_client_that_goes_away_ends_the_command(mesh: RunningMeshd, agent: HollowAgent) -> None:
    await started(mesh, objects.pod("web"))
    agent.scripts["exec"] = Script([(OUT, b"$ ")], endless=True)
    call = execute(mesh)
    await call.read()  # type: ignore[attr-defined]
    call.cancel()  # type: ignore[attr-defined]
    await asyncio.wait_for(agent.streams["s0"].closed.wait(), 30)


# ---- port-forward


async def test_a_forwarded_connection_carries_both_ways_and_half_closes(mesh: RunningMeshd, agent: HollowAgent) -> None:
    await started(mesh, objects.pod("web"))
    agent.scripts["port_forward"] = Script(echo=True)
    start = pb.PortForwardStart(namespace="default", pod="web", port=80)
    inputs = [pb.PortForwardInput(start=start), pb.PortForwardInput(data=b"ping"), pb.PortForwardInput(close=True)]
    answers = await all_of(mesh.pods.PortForward(iter(inputs)))
    assert b"".join(a.data for a in answers) == b"ping"  # type: ignore[attr-defined]
    assert agent.streams["s0"].opening.port_forward.port == 80
    assert agent.streams["s0"].closed.is_set()


async def test_a_port_that_is_none_is_refused(mesh: RunningMeshd) -> None:
    await started(mesh, objects.pod("web"))
    start = pb.PortForwardStart(namespace="default", pod="web", port=70_000)
    refusal = await refused(all_of(mesh.pods.PortForward(iter([pb.PortForwardInput(start=start)]))))
    assert refusal.fields == {"start.port": "must be between 1 and 65535"}


# ---- readers that do not read


async def drained(reading: AsyncIterator[object]) -> None:
    """Takes what was under way, until the end."""
    async for _ in reading:
        pass


async def test_a_reader_that_takes_nothing_is_cut_and_its_stream_closed(agent: HollowAgent) -> None:
    flood = Script([(OUT, b"x" * 100_000)] * 20, endless=True, repeats=True)  # more than any buffers between take
    agent.scripts["logs"] = agent.scripts["exec"] = flood
    async with control({"a": agent}, settings=Settings(limits=Limits(reader_seconds=1))) as mesh:
        await started(mesh, objects.pod("web"))
        for number, start in enumerate((lambda: logs(mesh, follow=True), lambda: execute(mesh))):
            reading = aiter(start())  # type: ignore[call-overload]  # one after the other: streams are numbered
            await anext(reading)
            async with asyncio.timeout(30):
                await agent.streams[f"s{number}"].closed.wait()
            refusal = await refused(asyncio.wait_for(drained(reading), 20))
            assert (refusal.code, "took nothing for 1 s" in refusal.message) == (grpc.StatusCode.UNAVAILABLE, True)
        quick = logs(mesh, follow=True)  # whoever reads is not
        taken = 0
        while taken < 200 * 100_000:
            taken += len((await quick.read()).data)
        quick.cancel()
