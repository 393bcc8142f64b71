"""The order to shut down, on a real host: it is heard at once, pods end, the giver is told (L19)."""

import asyncio

import pytest

from nodeagent.shutdown import Order, carry_out, path_of
from tests.harness.podman import podman_host
from tests.harness.podman_node import DEADLINE, Node, a_pod

pytestmark = pytest.mark.host


async def test_pods_end_when_their_host_is_told_to_shut_down() -> None:
    with podman_host() as host:
        node = Node(host)
        await node.start()
        pod = a_pod(1)
        await node.running(pod)
        run_dir = host.config.run_dir
        order = asyncio.create_task(asyncio.to_thread(carry_out, run_dir, Order(20, 5)))
        await node.until(lambda heard: heard[pod.metadata.uid].status.phase == "Failed")
        assert node.heard[pod.metadata.uid].status.reason == "Terminated"
        async with asyncio.timeout(DEADLINE):
            while not order.done():  # reads on, as meshd does
                await node.once(100)
        assert await order
        path_of(run_dir).unlink()
        await node.assign()
        async with asyncio.timeout(DEADLINE):
            await node.agent.emptied()
        await node.kill()
