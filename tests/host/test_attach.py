"""Attaching to containers of a real Podman: input, terminals, who leaves what open (G4)."""

import asyncio

import pytest

from mesh.v1.core_pb2 import Pod
from mesh.v1.node_pb2 import AttachOptions, StreamClose, StreamOpen, StreamRead, StreamWrite
from tests.harness.podman_node import DEADLINE, Node, a_container, a_pod

pytestmark = pytest.mark.host
ECHO = ["sh", "-c", "while read l; do echo got $l; echo err $l >&2; done; echo over; exec sleep 100000"]


class Client:
    """One that is attached."""

    def __init__(self, node: Node, stream: str) -> None:
        self.node = node
        self.stream = stream
        self.heard = b""

    async def hears(self, words: bytes) -> None:
        async with asyncio.timeout(DEADLINE):
            while words not in self.heard:
                batch = await self.node.agent.read_stream(StreamRead(id=self.stream, wait_milliseconds=5000))
                self.heard += b"".join(c.data for c in batch.chunks)
                assert not batch.done, self.heard

    async def says(self, data: bytes = b"", **more: int) -> None:
        await self.node.agent.write_stream(StreamWrite(id=self.stream, data=data, **more))

    async def leaves(self) -> None:
        await self.node.agent.close_stream(StreamClose(id=self.stream))


async def attached(node: Node, pod: Pod, container: str, **options: int) -> Client:
    wanted = AttachOptions(container=container, stdin=True, **options)
    return Client(node, (await node.agent.open_stream(StreamOpen(pod_uid=pod.metadata.uid, attach=wanted))).id)


async def test_input_stays_open_unless_it_is_for_one_client(node: Node) -> None:
    pod = a_pod(
        1, a_container("lasting", command=ECHO, stdin=True), a_container("once", command=ECHO, stdin=True,
        stdin_once=True), a_container("none", command=ECHO),
    )  # fmt: skip
    await node.running(pod)
    for name, lasts in (("lasting", True), ("once", False)):
        first, second = await attached(node, pod, name), await attached(node, pod, name)
        await first.says(b"one\n")
        for client in (first, second):
            await client.hears(b"got one\n")
            await client.hears(b"err one\n")
        await first.leaves()
        if lasts:
            await second.says(b"two\n")
            await second.hears(b"got two\n")
            await second.leaves()
            third = await attached(node, pod, name)
            await third.says(b"three\n", close=1)
            await third.hears(b"got three\n")
            await node.kill()  # and whoever comes after it finds the same
            await node.start()
            await node.assign(pod)
            fourth = await attached(node, pod, name)
            await fourth.says(b"four\n")
            await fourth.hears(b"got four\n")
            assert b"over" not in fourth.heard
            await fourth.leaves()
        else:
            await second.hears(b"over\n")
    log = node.host.config.log_dir / f"default_p1_{pod.metadata.uid}" / "none" / "0.log"
    assert " stdout F over\n" in log.read_text()  # nobody could ever have said anything to that one


async def test_a_terminal(node: Node) -> None:
    script = "stty size; while read l; do stty size; echo got $l; done"
    pod = a_pod(2, a_container("main", command=["sh", "-c", script], stdin=True, tty=True))
    await node.running(pod)
    client = await attached(node, pod, "main", tty=True, rows=33, columns=77)
    await client.says(b"one\n")
    await client.hears(b"33 77\r\ngot one\r\n")
    await client.says(rows=44, columns=88)
    await client.says(b"two\n")
    await client.hears(b"44 88\r\ngot two\r\n")
    await client.leaves()
    again = await attached(node, pod, "main", tty=True)
    await again.says(b"three\n")
    await again.hears(b"got three\r\n")
    assert node.heard[pod.metadata.uid].status.container_statuses[0].restart_count == 0
