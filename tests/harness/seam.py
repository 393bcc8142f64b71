"""The seam between meshd and an agent without Ray: sealed bytes from a RayNode to a NodeActor and back, in one process.

    seam = Seam(agent, config, PKI); await seam.port.observe(request)

Rule: what crosses is what crosses Ray. `crossed` holds it, and `carry` lets a test be whoever has Ray's token.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mesh import pki
from mesh.fleet.bridge import RayNode
from mesh.fleet.secured import Secured
from mesh.sessions import Trust
from mesh.v1.node_pb2 import Observed, ObserveRequest, Refusal, Reply
from nodeagent.actor import NodeActor
from nodeagent.agent import Agent
from nodeagent.config import AgentConfig
from nodeagent.door import Door
from nodeagent.identity import Identity
from nodeagent.keeping import Keeping


@dataclass(frozen=True, slots=True)
class SeamPki:
    """An authority and meshd's certificate by it."""

    ca: pki.Pair
    meshd: pki.Pair

    @classmethod
    def made(cls) -> "SeamPki":
        now = int(time.time())
        ca = pki.make_ca("mesh", now)
        return cls(ca, pki.issue(ca, pki.server("meshd", ("localhost",)), now))

    @property
    def trust(self) -> Trust:
        return Trust(lambda: self.ca.certificate, lambda: self.meshd)

    def admit(self, node: str, directory: Path) -> None:
        """Gives a host its certificate."""
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        pair = pki.issue(self.ca, pki.node(node), int(time.time()))
        names = ("agent.crt", "agent.key", "ca.crt")
        for name, text in zip(names, (pair.certificate, pair.key, self.ca.certificate), strict=True):
            (directory / name).write_bytes(text)


class _Seated(NodeActor):
    """An actor whose agent is run by somebody else."""

    def __init__(self, agent: Any) -> None:
        self._agent = asyncio.get_running_loop().create_future()
        self._agent.set_result(agent)


class _Hosted:
    """An agent and its door."""

    def __init__(self, agent: Any, door: Door, identity: Identity) -> None:
        self._agent = agent
        self.door = door
        self._keeping = Keeping(identity, lambda work: work.close())

    async def observe(self, request: ObserveRequest) -> Observed:
        observed: Observed = await self._agent.observe(await self._keeping.asked(request))
        return observed

    def __getattr__(self, name: str) -> Any:
        return getattr(self._agent, name)


class Seam:
    """`port` is the agent as meshd has it."""

    def __init__(
        self, agent: Any, config: AgentConfig, trust: Trust, clock: Callable[[], int] = time.time_ns
    ) -> None:  # fmt: skip
        self.crossed: list[tuple[str, bytes, bytes]] = []  # method, call, answer
        self.agent = agent
        self.config, self._clock = config, clock
        self.restart()
        self.port = RayNode(config.node_name, Secured(config.node_name, self.carry, trust, clock))

    def restart(self) -> None:
        """Another process of the agent: it has no session."""
        identity = Identity.of(self.config)
        self._actor = _Seated(_Hosted(self.agent, Door(identity, self._clock, self._refused), identity))

    def _refused(self, refusal: Refusal) -> None:
        if isinstance(self.agent, Agent):
            self.agent.refusals.take(refusal)

    async def carry(self, method: str, payload: bytes, _seconds: float = 1.0) -> Reply:
        """What anybody who has Ray's token can do."""
        answer: bytes = await getattr(self._actor, method)(payload)
        self.crossed.append((method, payload, answer))
        return Reply.FromString(answer)

    def of(self, method: str) -> Sequence[tuple[bytes, bytes]]:
        """What crossed of one method."""
        return [(call, answer) for name, call, answer in self.crossed if name == method]
