"""A log that is rotated under conmon's hands: no line is lost, none comes twice, a follower reads them all (G2)."""

import asyncio
import gzip
import itertools
import time
from dataclasses import replace
from pathlib import Path

import pytest

from mesh.v1.node_pb2 import Channel, LogOptions
from nodeagent.following import FileWatch, LogSource
from nodeagent.logs import Reader
from nodeagent.rotation import LogRotation
from nodeagent.runtime.podman import PodmanRuntime
from nodeagent.runtime.port import ContainerSpec, SandboxSpec
from nodeagent.runtime.seen import Role, State
from tests.harness.podman import IMAGE, podman_host

pytestmark = pytest.mark.host
WRITER = "i=0; while [ $i -lt 30000 ]; do echo line $i; i=$((i+1)); done; sleep 1000"


class Followed:
    name = "main"
    waits = False
    running = True

    def runs(self, attempt: int) -> bool:
        return self.running


async def test_no_line_is_lost_by_a_rotation() -> None:
    with podman_host() as host:
        runtime = PodmanRuntime(host.config)
        await runtime.configure(host.pod_cidr, host.cluster_cidr)
        await runtime.make_sandbox(SandboxSpec("u1", "default", "web", "web"))
        image = await runtime.image(IMAGE)
        assert image is not None
        container_id = await runtime.create(
            ContainerSpec("u1", "default", "web", "main", 0, Role.APP, "h", IMAGE, image.id, ["sh", "-c", WRITER])
        )
        await runtime.start(container_id)
        pod = await runtime.pod("u1")
        assert pod is not None
        container = pod.containers[0]
        assert container.state is State.RUNNING
        path = Path(container.log_path)
        lines: list[bytes] = []
        last = asyncio.Event()

        async def put(_channel: "Channel.ValueType", data: bytes) -> None:
            lines.append(data)
            if b"line 29999\n" in data:
                last.set()

        followed = Followed()
        source = LogSource(put, LogOptions(follow=True), path.parent.parent, followed, FileWatch())
        await source.begin()
        following = asyncio.create_task(source.run())
        seconds = itertools.count(int(time.time()))
        config = replace(host.config, container_log_max_size="100k", container_log_max_files=50)
        rotation = LogRotation(config, runtime, lambda: [container], lambda: next(seconds) * 10**9)
        async with asyncio.timeout(60):
            while not last.is_set():
                await rotation.look()
                await asyncio.sleep(0)
        followed.running = False
        await following
        source.end()
        numbers = [int(line.split()[1]) for line in b"".join(lines).splitlines()]
        kept = sorted(path.parent.glob("0.log.*"), key=lambda p: p.name.removesuffix(".gz"))
        assert len(kept) >= 2
        texts = [gzip.decompress(p.read_bytes()) if p.suffix == ".gz" else p.read_bytes() for p in kept]
        reader = Reader()
        shown = filter(None, map(reader.show, b"".join([*texts, path.read_bytes()]).splitlines()))
        assert b"".join(data for _, data in shown) == b"".join(b"line %d\n" % n for n in range(30000))
        assert numbers == list(range(30000))
        await runtime.remove(container_id)
        await runtime.remove_sandbox("u1")
        await runtime.close()
