"""A pod as a call: what it wrote comes back, it is gone afterwards, and a failure says how; in other processes too."""

import asyncio
import pickle

import pytest

from mesh.errors import Invalid
from mesh.sdk import AsyncClient, Client, Ended, PodFailed
from mesh.sdk.run import run_pod, run_pod_async
from mesh.sdk.wait import Goal, Wait
from mesh.v1.core_pb2 import Pod
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
