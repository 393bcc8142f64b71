"""A pod as a call: what it wrote comes back, it is gone afterwards, and a failure says how; in other processes too."""

import asyncio
import os
import pickle
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from mesh.errors import AlreadyExists, Invalid, NotFound, Unavailable
from mesh.model import leases
from mesh.sdk import AsyncClient, Client, Ended, PodFailed
from mesh.sdk.context import Contexts, write
from mesh.sdk.ray import host_at
from mesh.sdk.run import TASK, one_pod, run_pod, run_pod_async
from mesh.sdk.wait import Goal, Wait
from mesh.v1.core_pb2 import Node, Pod
from mesh.v1.node_pb2 import StreamOpen, StreamOpened
from tests.contract.test_sdk import context_of
from tests.harness.control import DEADLINE, RunningMeshd
from tests.harness.scripted_host import ScriptedHost

POD = """
apiVersion: v1
kind: Pod
metadata: {name: once}
spec: {containers: [{name: main, image: "example:1"}]}
"""


RUNS = Goal("its run", lambda obj: isinstance(obj, Pod) and obj.status.phase == "Running", absent=True)


async def played(served: RunningMeshd, host: ScriptedHost, phase: str, text: str = POD) -> Ended:
    """Runs the pod on a host that says its end as soon as it runs."""
    async with AsyncClient(context_of(served)) as client, asyncio.timeout(DEADLINE):
        running = asyncio.create_task(run_pod_async(client, text))
        await Wait(client, "Pod", "once", "default", RUNS).run(DEADLINE)
        host.say("once", phase)
        try:
            return await running
        finally:
            await client.wait(Pod, "once", delete=True)


async def test_its_log_comes_back_and_it_is_gone(served: RunningMeshd, scripted: ScriptedHost) -> None:
    scripted.logs["once/main"] = b"forty-two\n"
    ended = await played(served, scripted, "Succeeded")
    assert (ended.name, ended.exit_code, ended.output) == ("once", 0, "forty-two\n")
    assert ended.node


async def test_a_failure_is_an_error_that_crosses_processes(served: RunningMeshd, scripted: ScriptedHost) -> None:
    scripted.logs["once/main"] = b"alas\n"
    with pytest.raises(PodFailed, match='pod "once" failed') as failed:
        await played(served, scripted, "Failed")
    again = pickle.loads(pickle.dumps(failed.value))  # noqa: S301 - our own
    assert (again.ended.output, again.message) == ("alas\n", failed.value.message)


async def test_it_may_be_called_from_a_plain_function(served: RunningMeshd, scripted: ScriptedHost) -> None:
    context = context_of(served)
    text = POD.replace("name: once", "generateName: once-")
    calls = [asyncio.to_thread(run_pod, text, context=context, timeout=DEADLINE) for _ in range(3)]

    async def end_what_runs(client: AsyncClient) -> None:
        async for change in client.watch(Pod):
            if change.object.status.phase == "Running":
                scripted.say(change.object.metadata.name, "Succeeded")

    async with AsyncClient(context) as client:
        ending = asyncio.create_task(end_what_runs(client))
        found = await asyncio.gather(*calls)
        ending.cancel()
        await asyncio.wait({ending})
    assert len({ended.name for ended in found}) == 3


async def test_what_is_not_one_pod_that_ends_is_refused(served: RunningMeshd) -> None:
    async with AsyncClient(context_of(served)) as client:
        for text in (POD.replace("spec: {", "spec: {restartPolicy: Always, "), f"{POD}---{POD}"):
            with pytest.raises(Invalid):
                await run_pod_async(client, text)
    with Client(context_of(served)) as blocking:
        assert await asyncio.to_thread(lambda: blocking.list(Pod)) == []


def of_task(task: str) -> str:
    return POD.replace("name: once", f"name: once, annotations: {{{TASK}: {task}}}")


async def test_a_second_try_of_a_task_goes_on_with_its_pod_and_nobody_elses(
    served: RunningMeshd, scripted: ScriptedHost
) -> None:
    async with AsyncClient(context_of(served)) as client, asyncio.timeout(DEADLINE):
        before = await client.create(one_pod(of_task("mine"), "default"))
        with pytest.raises(AlreadyExists):
            await run_pod_async(client, of_task("another"))
        again = asyncio.create_task(run_pod_async(client, of_task("mine")))
        await Wait(client, "Pod", "once", "default", RUNS).run(DEADLINE)
        assert (await client.get(Pod, "once")).metadata.uid == before.metadata.uid
        scripted.logs["once/main"] = b"forty-two\n"
        scripted.say("once", "Succeeded")
        assert (await again).output == "forty-two\n"
        assert await client.list(Pod) == []


async def test_a_host_that_is_away_for_a_moment_is_asked_for_the_log_again(
    served: RunningMeshd, scripted: ScriptedHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, opened = [], scripted.open_stream

    async def busy_at_first(request: StreamOpen) -> StreamOpened:
        asked.append(request)
        if len(asked) == 1:
            raise Unavailable("the host is away")
        return await opened(request)

    monkeypatch.setattr(scripted, "open_stream", busy_at_first)
    scripted.logs["once/main"] = b"forty-two\n"
    assert (await played(served, scripted, "Succeeded")).output == "forty-two\n"
    assert len(asked) == 2


async def test_the_mesh_ends_what_nobody_renews(served: RunningMeshd, scripted: ScriptedHost) -> None:
    pod = one_pod(POD, "default")
    pod.metadata.annotations[leases.SECONDS] = "1"
    async with AsyncClient(context_of(served)) as client:
        await client.create(pod)
        await client.wait(Pod, "once", delete=True, timeout=DEADLINE)


async def test_the_host_of_an_address(served: RunningMeshd, scripted: ScriptedHost) -> None:
    async with AsyncClient(context_of(served)) as client:
        (node,) = await client.list(Node)
        (address,) = (a.address for a in node.status.addresses if a.type == "InternalIP")
        assert await host_at(client, address) == node.metadata.name
        with pytest.raises(NotFound, match=r"203\.0\.113\.9"):
            await host_at(client, "203.0.113.9")


# As a worker of Ray plays a task; a line on standard input is `ray.cancel`.
TASK_PLAYED = """
import _thread, sys, threading
from mesh.sdk.ray import play
threading.Thread(target=lambda: (sys.stdin.readline(), _thread.interrupt_main()), daemon=True).start()
try:
    play(bytes.fromhex(sys.argv[1]), "", "", None, 3600, False)
except KeyboardInterrupt:
    print("cancelled")
"""


async def test_a_cancelled_task_leaves_no_pod_and_ends_as_ray_expects(
    served: RunningMeshd, scripted: ScriptedHost, tmp_path: Path
) -> None:
    context = context_of(served)
    config = write(Contexts().having(replace(context, name="test")), tmp_path / "own" / "config")
    pod = one_pod(POD, "default").SerializeToString().hex()
    played = await asyncio.create_subprocess_exec(
        sys.executable, "-c", TASK_PLAYED, pod, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "MESHCONFIG": str(config)},
    )  # fmt: skip
    async with AsyncClient(context) as client:
        await Wait(client, "Pod", "once", "default", RUNS).run(60)
        said, _ = await asyncio.wait_for(played.communicate(b"cancel\n"), 60)
        assert said == b"cancelled\n"
        assert await client.list(Pod) == []
