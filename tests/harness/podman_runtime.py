"""A runtime over a real Podman with a few shorthands, for tests of what it does to the host."""

import asyncio
import itertools
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from nodeagent.runtime.podman import PodmanRuntime
from nodeagent.runtime.port import ContainerSpec, SandboxSpec
from nodeagent.runtime.seen import Role, SeenContainer, SeenSandbox, State
from tests.harness.podman import IMAGE, PodmanHost

DEADLINE = 30.0
NUMBERS = itertools.count(1)
FOREVER = ["sleep", "100000"]


class Agent:
    """A runtime with a few shorthands; `changed` is set at every poke."""

    def __init__(self, host: PodmanHost) -> None:
        self.host = host
        self.runtime = PodmanRuntime(host.config)
        self.pokes: list[str] = []
        self.waiting: set[asyncio.Event] = set()
        self.runtime.on_change(self._poked)

    def _poked(self, uid: str) -> None:
        self.pokes.append(uid)
        for event in self.waiting:
            event.set()

    @contextmanager
    def poke(self) -> Iterator[asyncio.Event]:
        """An event of one's own that every poke sets."""
        event = asyncio.Event()
        self.waiting.add(event)
        yield event
        self.waiting.discard(event)

    async def sandbox(self, **kwargs: bool) -> SeenSandbox:
        uid = f"{next(NUMBERS):08x}-aaaa-4000-8000-000000000000"
        return await self.runtime.make_sandbox(SandboxSpec(uid, "default", "pod", "web", **kwargs))

    async def run(self, command: Sequence[str], sandbox: SeenSandbox | None = None, **kwargs: object) -> SeenContainer:
        """A started container of a pod."""
        uid = (sandbox or await self.sandbox()).pod_uid
        container_id = await self.runtime.create(replace(spec(uid, command), **kwargs))
        await self.runtime.start(container_id)
        return await self.see(uid, container_id)

    async def see(self, uid: str, container_id: str) -> SeenContainer:
        pod = await self.runtime.pod(uid)
        assert pod
        return next(c for c in pod.containers if c.id == container_id)

    async def until(self, container: SeenContainer, *states: State) -> SeenContainer:
        with self.poke() as poked:
            async with asyncio.timeout(DEADLINE):
                while True:
                    poked.clear()
                    seen = await self.see(container.pod_uid, container.id)
                    if seen.state in states:
                        return seen
                    await poked.wait()

    async def ended(self, container: SeenContainer) -> SeenContainer:
        return await self.until(container, State.EXITED, State.LOST)

    async def exec(self, container: SeenContainer, *command: str) -> str:
        argv = self.runtime.exec_command(container, command)
        done = await asyncio.to_thread(subprocess.run, argv, capture_output=True, text=True, check=True, timeout=30)
        return done.stdout

    async def clear(self) -> None:
        for pod in (await self.runtime.pods()).values():
            for container in pod.containers:
                await self.runtime.remove(container.id)
            await self.runtime.remove_sandbox(pod.uid)


def spec(uid: str, command: Sequence[str], name: str = "main") -> ContainerSpec:
    return ContainerSpec(
        pod_uid=uid, namespace="default", pod_name="pod", name=name, attempt=0, role=Role.APP, spec_hash="h",
        image=IMAGE, image_id=IMAGE, command=command,
    )  # fmt: skip
