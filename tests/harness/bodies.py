"""An agent under test, whichever kind it is: what it is told and what it says, through the port alone."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from mesh.fleet.port import AgentPort
from mesh.v1.core_pb2 import Container, Pod, PodSpec
from mesh.v1.meta_pb2 import ObjectMeta
from mesh.v1.node_pb2 import (
    Assignment,
    Channel,
    Observed,
    ObserveRequest,
    PodReport,
    StreamBatch,
    StreamOpen,
    StreamRead,
)
from tests.harness.fake_runtime import FakeHost, Program
from tests.harness.podman import IMAGE

DEADLINE = 30.0
NUMBERS = itertools.count(1)


@dataclass
class Body:
    """An agent, and how to make its containers do something."""

    agent: AgentPort
    node: str
    pod_cidr: str
    fake: FakeHost | None
    revision: int = 0

    def pod(self, script: str = "sleep 100000", *, program: Program | None = None, **spec: Any) -> Pod:
        """A pod whose container runs a shell script; over the fake, `program`."""
        uid = f"00000000-0000-4000-8000-{next(NUMBERS):012d}"
        name = f"pod-{uid[-4:]}"
        if self.fake is not None:
            self.fake.programs[f"{name}/main"] = program or Program()
        container = Container(name="main", image=IMAGE, image_pull_policy="IfNotPresent", command=["sh", "-c", script])
        spec.setdefault("termination_grace_period_seconds", 1)
        metadata = ObjectMeta(name=name, namespace="default", uid=uid, generation=1)
        return Pod(metadata=metadata, spec=PodSpec(containers=[container], node_name=self.node, **spec))

    async def assign(self, *pods: Pod) -> str:
        """The host's whole set; returns the digest that it says to hold."""
        self.revision += 1
        order = Assignment(node=self.node, digest=f"d{self.revision}", pod_cidr=self.pod_cidr, pods=pods)
        order.cluster_cidr = "10.199.0.0/16"
        order.fence.epoch, order.fence.revision = 1, self.revision
        return (await self.agent.assign(order)).run_digest

    async def until(self, pod: Pod, true: Any) -> PodReport:
        """What is said of a pod once `true(report)`."""
        boot, version = "", 0
        async with asyncio.timeout(DEADLINE):
            while True:
                observed = await self.observe(boot, version, wait=5000)
                boot, version = observed.boot, observed.version
                for report in observed.pods:
                    if report.uid == pod.metadata.uid and true(report):
                        return report

    async def observe(self, boot: str = "", version: int = 0, wait: int = 0) -> Observed:
        """One observe."""
        return await self.agent.observe(ObserveRequest(boot=boot, after_version=version, wait_milliseconds=wait))

    async def running(self, script: str = "sleep 100000", **fields: Any) -> Pod:
        """A pod that runs."""
        pod = self.pod(script, **fields)
        await self.assign(pod)
        await self.until(pod, lambda r: r.status.phase == "Running")
        return pod

    async def open(self, pod: Pod, **what: Any) -> str:
        """A stream."""
        return (await self.agent.open_stream(StreamOpen(pod_uid=pod.metadata.uid, **what))).id

    async def batches(self, stream: str) -> AsyncIterator[StreamBatch]:
        """All batches until the last."""
        async with asyncio.timeout(DEADLINE):
            while True:
                batch = await self.agent.read_stream(StreamRead(id=stream, wait_milliseconds=2000))
                yield batch
                if batch.done:
                    return

    async def drained(self, stream: str) -> tuple[bytes, bytes, StreamBatch]:
        """Everything of both channels, and the last batch."""
        out = {Channel.STDOUT: b"", Channel.STDERR: b""}
        last = StreamBatch()
        async for batch in self.batches(stream):
            last = batch
            for chunk in batch.chunks:
                out[chunk.channel] += chunk.data
        return out[Channel.STDOUT], out[Channel.STDERR], last

    async def read_until(self, stream: str, text: bytes) -> bytes:
        """What comes on stdout until it holds `text`."""
        got = b""
        async for batch in self.batches(stream):
            got += b"".join(c.data for c in batch.chunks)
            if text in got:
                return got
        raise AssertionError(f"the stream ended with {got!r}")
