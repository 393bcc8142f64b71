"""One host of a cluster in one process: an agent over a fake runtime, which misfortune may strike at any call."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from mesh.errors import Unavailable
from mesh.v1 import node_pb2
from mesh.v1.core_pb2 import Pod
from nodeagent.agent import Agent
from nodeagent.config import AgentConfig
from nodeagent.probes.checks import Checks as ProbeChecks
from nodeagent.runtime.seen import State
from nodeagent.stats.reading import Reader
from tests.harness.agents import VITALS
from tests.harness.fake_runtime import FakeHost, FakeRuntime
from tests.harness.unproven import Unproven

T = TypeVar("T")


@dataclass
class Misfortune:
    """How often, of each call: lost on the way, lost on the way back, late, twice, unanswered."""

    rng: random.Random
    lost: float = 0.0
    unanswered: float = 0.0
    late: float = 0.0
    twice: float = 0.0
    hung: float = 0.0

    def none(self) -> None:
        """From now on all goes well."""
        self.lost = self.unanswered = self.late = self.twice = self.hung = 0.0


class SimHost:
    """One host: what is on it, the agent that lives on it now, and the line to it, an AgentPort."""

    def __init__(self, name: str, root: Path, misfortune: Misfortune) -> None:
        self.name = name
        self.host = FakeHost()
        self.accepted = (0, 0)
        self.order = node_pb2.Assignment()  # the last that was sent
        self.power_offs = 0
        self.cut_off = False  # the host lives and nobody hears of it
        self.mute = False  # the host lives, and what would bear witness to that does not answer
        self.on = False
        self.config = AgentConfig(name, f"192.0.2.{sum(name.encode()) % 200}", root)
        self.vitals = VITALS
        self.checks: ProbeChecks | None = None  # in place of real ones
        self.reader: Reader | None = None  # of files of a test, in place of this machine's
        self._misfortune = misfortune
        self._agent: Agent | None = None
        self._runtime: FakeRuntime | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """A new agent."""
        self.on = True
        self._runtime = FakeRuntime(self.host)
        self._agent = Agent(
            self.config, self._runtime, clock=FakeRuntime.now, vitals=lambda: self.vitals, exposure=lambda _: "",
            identity=Unproven.at(self.config), checks=self.checks,
        )  # fmt: skip
        self._agent.stats.meter.reader = self.reader or self._agent.stats.meter.reader
        self._task = asyncio.create_task(self._agent.run())

    async def kill(self) -> None:
        """The agent dies; nothing on the host does."""
        if self._task is not None and self._runtime is not None:
            self._agent = None
            self._task.cancel()
            await asyncio.wait({self._task})
            if not self._task.cancelled() and (error := self._task.exception()) is not None:
                raise error
            await self._runtime.close()
        self._agent = self._task = self._runtime = None

    async def power_off(self) -> None:
        """Nothing runs there any more; `start` is the boot."""
        await self.kill()
        self.on = False
        self.power_offs += 1
        self.host.containers.clear()
        self.host.sandboxes.clear()

    @property
    def held(self) -> str:
        """How many Secrets and tokens the agent has in memory, in its words; "" while there is none."""
        return repr(self._agent.vault) if self._agent is not None else ""

    def hidden(self, pod: Pod, volume: str) -> Path:
        """Where a volume lies whose content is secret."""
        return self.config.memory_dir / pod.metadata.uid / volume

    @property
    def memory(self) -> Path:
        """Where all of them lie."""
        return self.config.memory_dir

    def running_names(self) -> list[str]:
        """Names of pods of which a container runs here."""
        found = [c.id for c in self.host.containers.values() if c.state is State.RUNNING]
        return [self.host.specs[i].pod_name for i in found]

    def running(self) -> set[str]:
        """Uids of pods of which a container runs here."""
        return {c.pod_uid for c in self.host.containers.values() if c.state is State.RUNNING}

    async def figures(self) -> str:
        """What its endpoint says; raises Unavailable while there is nobody to say it."""
        if self._agent is None:
            raise Unavailable(f"nobody listens on {self.name}")
        return (await self._agent.stats.meter.answer("/metrics")).body.decode()

    # ---- the port, over a bad line

    async def assign(self, request: node_pb2.Assignment) -> node_pb2.AssignReply:
        self.order = request
        reply = await self._carry(lambda agent: agent.assign(request), again=True)
        fence = (reply.fence.epoch, reply.fence.revision)
        assert fence >= self.accepted, f"{self.name} went back from order {self.accepted} to {fence}"
        self.accepted = fence
        return reply

    async def program(self, request: node_pb2.ServiceTable) -> node_pb2.AssignReply:
        return await self._carry(lambda agent: agent.program(request), again=True)

    async def observe(self, request: node_pb2.ObserveRequest) -> node_pb2.Observed:
        return await self._carry(lambda agent: agent.observe(request), again=True)

    async def open_stream(self, request: node_pb2.StreamOpen) -> node_pb2.StreamOpened:
        return await self._carry(lambda agent: agent.open_stream(request))

    async def read_stream(self, request: node_pb2.StreamRead) -> node_pb2.StreamBatch:
        return await self._carry(lambda agent: agent.read_stream(request))

    async def write_stream(self, request: node_pb2.StreamWrite) -> node_pb2.StreamWritten:
        return await self._carry(lambda agent: agent.write_stream(request))

    async def close_stream(self, request: node_pb2.StreamClose) -> node_pb2.StreamClosed:
        return await self._carry(lambda agent: agent.close_stream(request))

    async def _carry(self, call: Callable[[Agent], Awaitable[T]], *, again: bool = False) -> T:
        bad, rng = self._misfortune, self._misfortune.rng
        if rng.random() < bad.hung:
            await asyncio.sleep(3600)
        if rng.random() < bad.late:
            await asyncio.sleep(rng.uniform(0, 2))
        agent = self._agent
        if agent is None or self.cut_off or rng.random() < bad.lost:
            raise Unavailable(f"the line to {self.name} is broken")
        if again and rng.random() < bad.twice:
            await self._answer(agent, call)
        answer = await self._answer(agent, call)
        if self.cut_off:
            raise Unavailable(f"the line to {self.name} broke")
        if rng.random() < bad.unanswered:
            raise Unavailable(f"the answer of {self.name} was lost")
        return answer

    async def _answer(self, agent: Agent, call: Callable[[Agent], Awaitable[T]]) -> T:
        """What the agent answers; Unavailable when it dies meanwhile."""
        assert self._task is not None
        task = asyncio.ensure_future(call(agent))
        try:
            await asyncio.wait({task, self._task}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            if not task.done():
                task.cancel()
                await asyncio.wait({task})
            task.cancelled() or task.exception()  # who asked may be gone as well
        if task.cancelled() or self._agent is not agent:  # a process that ends answers nothing any more
            raise Unavailable(f"the agent of {self.name} died")
        return task.result()
