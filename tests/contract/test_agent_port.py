"""What every agent promises the control side: one suite over AgentPort.

Bodies: an Agent in this process over the fake runtime, the same as meshd has it (sealed, through the actor), and one
over a real Podman.
"""

import asyncio

import pytest

from mesh.errors import Conflict, Invalid, Unavailable
from mesh.v1.node_pb2 import (
    Fence,
    ServiceTable,
)
from tests.harness.bodies import DEADLINE, Body
from tests.harness.fake_runtime import Program

# ---- orders and what is observed


async def test_the_first_observe_is_full_and_tells_of_the_host(body: Body) -> None:
    observed = await body.observe()
    assert (observed.full, observed.run_digest, observed.route_digest) == (True, "", "")
    async with asyncio.timeout(DEADLINE):
        while not observed.HasField("report"):
            observed = await body.observe(observed.boot, observed.version, wait=1000)
    status = observed.report.status
    assert set(status.capacity) == {"cpu", "memory", "ephemeral-storage", "pods"}
    assert observed.report.labels["kubernetes.io/os"] == "linux"
    assert {c.type for c in status.conditions} == {"Ready", "MemoryPressure", "DiskPressure", "PIDPressure"}


async def test_an_order_is_acknowledged_by_its_digest(body: Body) -> None:
    assert await body.assign() == f"d{body.revision}"
    observed = await body.observe()
    assert (observed.run_digest, observed.fence.revision) == (f"d{body.revision}", body.revision)


async def test_an_older_order_is_refused_and_the_same_again_is_not(body: Body) -> None:
    await body.assign()
    body.revision -= 1
    await body.assign()
    body.revision -= 2
    with pytest.raises(Conflict):
        await body.assign()
    body.revision += 2


async def test_an_order_for_another_host_is_refused(body: Body) -> None:
    body.node, mine = "elsewhere", body.node
    with pytest.raises(Invalid):
        await body.assign()
    body.node = mine


async def test_a_waiting_observe_is_answered_by_news(body: Body) -> None:
    await body.assign()
    seen = await body.observe()
    pod = body.pod()
    async with asyncio.timeout(DEADLINE):
        waiting = asyncio.create_task(body.observe(seen.boot, seen.version, wait=20000))
        await body.assign(pod)
        answer = await waiting
    assert not answer.full
    assert answer.version > seen.version


async def test_an_observe_without_news_waits_and_answers_empty(body: Body) -> None:
    await body.assign()
    seen = await body.observe()
    async with asyncio.timeout(DEADLINE):
        while True:  # what the host says of itself may still settle
            again = await body.observe(seen.boot, seen.version, wait=300)
            if again.version == seen.version:
                break
            seen = again
    assert not again.full
    assert not again.pods
    assert not again.HasField("report")


async def test_a_cursor_of_another_boot_gets_everything(body: Body) -> None:
    pod = await body.running()
    observed = await body.observe("another", 10_000)
    assert observed.full
    assert [p.uid for p in observed.pods] == [pod.metadata.uid]


async def test_a_deleted_pod_is_gone_with_its_last_status(body: Body) -> None:
    pod = await body.running("trap 'exit 7' TERM; sleep 100000 & wait $!", program=Program(on_term=7))
    pod.metadata.deletion_timestamp.seconds = 1
    pod.metadata.deletion_grace_period_seconds = 20
    await body.assign(pod)
    report = await body.until(pod, lambda r: r.gone)
    assert report.status.phase == "Failed"
    assert report.status.container_statuses[0].state.terminated.exit_code == 7


async def test_a_pod_of_a_finished_command_succeeds(body: Body) -> None:
    pod = body.pod("exit 0", program=Program(exit_after=0), restart_policy="Never")
    await body.assign(pod)
    report = await body.until(pod, lambda r: r.status.phase == "Succeeded")
    assert report.status.container_statuses[0].state.terminated.reason == "Completed"


async def test_without_a_proxy_a_table_is_refused_for_now(body: Body) -> None:
    with pytest.raises(Unavailable):
        await body.agent.program(ServiceTable(fence=Fence(revision=1), digest="x"))
