"""What the tests of every container runtime share: the fake or a real Podman as a World, containers that do as told."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from nodeagent.runtime.port import ContainerSpec, Limits, Runtime, SandboxSpec
from nodeagent.runtime.seen import Role, SeenContainer, SeenPod, State
from tests.harness.fake_runtime import FakeHost, Program
from tests.harness.podman import IMAGE
from tests.harness.waiting import wait_for_text

DEADLINE = 60.0
NUMBERS = itertools.count(1)


@dataclass
class Pokes:
    """Collects pokes; `until` waits for the state that a test wants, looking again at every poke."""

    seen: list[str] = field(default_factory=list)
    more: asyncio.Event = field(default_factory=asyncio.Event)

    def __call__(self, uid: str) -> None:
        self.seen.append(uid)
        self.more.set()

    async def until(self, look: Callable[[], Awaitable[bool]]) -> None:
        async with asyncio.timeout(DEADLINE):
            while not await look():
                self.more.clear()
                await self.more.wait()


class World:
    """One kind of runtime: how to make agents on its host, and containers that do as told."""

    def __init__(self, make: Callable[[], Runtime], cidr: str, fake: FakeHost | None) -> None:
        self.make = make
        self.cidr = cidr
        self.fake = fake
        self.image = IMAGE
        self.runtimes: list[Runtime] = []

    async def agent(self) -> Runtime:
        runtime = self.make()
        self.runtimes.append(runtime)
        await runtime.configure(self.cidr, "10.199.0.0/16")
        return runtime

    async def close(self, runtime: Runtime) -> None:
        self.runtimes.remove(runtime)
        await runtime.close()

    def container(
        self, uid: str, name: str = "main", attempt: int = 0, program: Program | None = None
    ) -> ContainerSpec:
        program = program or Program()
        if self.fake:
            self.fake.programs[f"pod-{uid}/{name}"] = program
        return ContainerSpec(
            pod_uid=uid, namespace="default", pod_name=f"pod-{uid}", name=name, attempt=attempt, role=Role.APP,
            spec_hash="h", image=self.image, image_id=self.image, command=script(program),
            limits=Limits(memory=32 << 20) if program.oom else Limits(),
        )  # fmt: skip


def script(program: Program) -> list[str]:
    """The program as a real command."""
    if program.start_failure:
        return ["no-such-command"]
    if program.oom:
        return ["sh", "-c", "tail /dev/zero"]
    handler = f"trap 'exit {program.on_term}' TERM; " if program.on_term is not None else "trap '' TERM; "
    wait = "sleep 100000" if program.exit_after is None else f"sleep {program.exit_after}"
    return ["sh", "-c", f"{handler}{wait} & echo ready; wait $!; exit {program.exit_code}"]


def new_uid() -> str:
    return f"00000000-0000-4000-8000-{next(NUMBERS):012x}"


def sandbox(uid: str, **kwargs: bool) -> SandboxSpec:
    return SandboxSpec(pod_uid=uid, namespace="default", name=f"pod-{uid}", hostname="web", **kwargs)


async def look(agent: Runtime, uid: str) -> SeenPod:
    pod = await agent.pod(uid)
    assert pod
    return pod


async def run(agent: Runtime, world: World, program: Program, **kwargs: int) -> SeenContainer:
    """A started container in a pod of its own."""
    uid = new_uid()
    await agent.make_sandbox(sandbox(uid))
    container_id = await agent.create(world.container(uid, program=program, **kwargs))
    await agent.start(container_id)
    return (await look(agent, uid)).containers[-1]


async def ended(agent: Runtime, pokes: Pokes, container: SeenContainer) -> SeenContainer:
    """The container once it has ended, which the pokes must tell."""
    found: list[SeenContainer] = []

    async def over() -> bool:
        found[:] = [c for c in (await look(agent, container.pod_uid)).containers if c.id == container.id]
        return found[0].state not in (State.CREATED, State.RUNNING)

    await pokes.until(over)
    return found[0]


def listen(agent: Runtime) -> Pokes:
    pokes = Pokes()
    agent.on_change(pokes)
    return pokes


async def settled(world: World, container: SeenContainer) -> None:
    """Returns when a real shell has set its traps."""
    if not world.fake:
        await asyncio.to_thread(wait_for_text, Path(container.log_path), "ready", DEADLINE)
