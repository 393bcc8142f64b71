"""One real host and the agents that live on it one after another.

Rule: it only orders and listens; the host is of tests/harness/podman.py.
"""

import asyncio
from collections.abc import Callable
from typing import Any

from mesh.v1.core_pb2 import ConfigMap, Container, Event, Pod, PodSpec, Secret
from mesh.v1.meta_pb2 import ObjectMeta
from mesh.v1.node_pb2 import (
    Assignment,
    ExecOptions,
    LocalVolume,
    NodeReport,
    ObserveRequest,
    PodReport,
    StreamOpen,
    StreamRead,
)
from nodeagent.agent import Agent
from nodeagent.runtime.podman import PodmanRuntime
from nodeagent.runtime.seen import State
from tests.harness.agents import sealed
from tests.harness.podman import IMAGE, PodmanHost
from tests.harness.unproven import Unproven

DEADLINE = 120.0
GENTLE = ["sh", "-c", "trap 'exit 0' TERM; sleep 100000 & wait $!"]


class Node:
    """One host and its agents; `configs` are the ConfigMaps of the default namespace that there are."""

    def __init__(self, host: PodmanHost) -> None:
        self.host = host
        self.pods: dict[str, Pod] = {}
        self.volumes: list[LocalVolume] = []
        self.configs: dict[str, ConfigMap] = {}
        self.secrets: dict[str, Secret] = {}  # likewise
        self.heard: dict[str, PodReport] = {}
        self.events: list[Event] = []
        self.report = NodeReport()
        self.revision = 1_000_000
        self.agent: Agent
        self.runtime: PodmanRuntime
        self._task: asyncio.Task[None]
        self._cursor = ("", 0)

    async def start(self) -> None:
        self.runtime = PodmanRuntime(self.host.config)
        self.agent = Agent(self.host.config, self.runtime, identity=Unproven.at(self.host.config))
        self._task = asyncio.create_task(self.agent.run())
        self._cursor = ("", 0)

    async def kill(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self.runtime.close()

    async def assign(self, *pods: Pod) -> None:
        self.pods = {p.metadata.uid: p for p in pods}
        self.revision += 1
        order = Assignment(node=self.host.config.node_name, digest=f"d{self.revision}", pods=pods)
        order.pod_cidr, order.cluster_cidr = self.host.pod_cidr, self.host.cluster_cidr
        order.volumes.extend(self.volumes)
        order.config_maps.extend(self.configs.values())
        order.sealed_secrets.extend(sealed(order.node, self.agent.vault.public, self.secrets.values()))
        order.fence.revision = self.revision
        await self.agent.assign(order)

    async def until(self, true: Callable[[dict[str, PodReport]], bool], seconds: float = DEADLINE) -> None:
        async with asyncio.timeout(seconds):
            while not true(self.heard):
                await self.once(5000)

    async def once(self, milliseconds: int) -> None:
        """Hears what is new, waiting so long for it."""
        boot, version = self._cursor
        request = ObserveRequest(boot=boot, after_version=version, wait_milliseconds=milliseconds)
        observed = await self.agent.observe(request)
        self._cursor = (observed.boot, observed.version)
        self.heard.update({p.uid: p for p in observed.pods})
        self.events.extend(observed.events)
        if observed.HasField("report"):
            self.report = observed.report

    async def running(self, *pods: Pod) -> None:
        await self.assign(*pods)
        await self.until(lambda heard: all(is_ready(heard.get(p.metadata.uid)) for p in pods))

    async def said(self, pod: Pod, script: str, container: str = "") -> str:
        """What a script says in one container of the pod, the first one unless named."""
        options = ExecOptions(container=container or pod.spec.containers[0].name, command=["sh", "-c", script])
        opened = await self.agent.open_stream(StreamOpen(pod_uid=pod.metadata.uid, exec=options))
        out = b""
        async with asyncio.timeout(DEADLINE):
            while True:
                batch = await self.agent.read_stream(StreamRead(id=opened.id, wait_milliseconds=2000))
                out += b"".join(c.data for c in batch.chunks)
                if batch.done:
                    return out.decode()

    async def pids(self) -> dict[tuple[str, str], int]:
        return {
            (c.pod_uid, c.name): c.pid
            for pod in (await self.runtime.pods()).values()
            for c in pod.containers
            if c.state is State.RUNNING
        }


def is_ready(report: PodReport | None) -> bool:
    """Whether every container of the pod is."""
    statuses = report.status.container_statuses if report else []
    return bool(statuses) and all(s.ready for s in statuses)


def a_pod(number: int, *containers: Container, **spec: Any) -> Pod:
    """A pod with a uid of its own; without containers, one that ends at TERM."""
    made = containers or (Container(name="main", image=IMAGE, image_pull_policy="IfNotPresent", command=GENTLE),)
    uid = f"00000000-0000-4000-9000-{number:012d}"
    return Pod(
        metadata=ObjectMeta(name=f"p{number}", namespace="default", uid=uid, generation=1),
        spec=PodSpec(containers=made, termination_grace_period_seconds=1, **spec),
    )


def a_container(name: str, **fields: Any) -> Container:
    """A container of the local image that ends at TERM."""
    return Container(**{"name": name, "image": IMAGE, "image_pull_policy": "IfNotPresent", "command": GENTLE, **fields})
