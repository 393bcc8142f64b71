"""meshd in this process: a real server with real TLS on a loopback port, over a store and agents of your choice.

    async with control(agents={"a": agent}) as mesh:          # or control() without hosts, control(store=…)
        channel = mesh.channel()                              # as an administrator; mesh.channel(user("eve", ()))
        await ResourcesStub(channel).Apply(…)
        files = mesh.write_pki(tmp_path)                      # for a program that reads certificates from files

An agent is anything that fits mesh.fleet.port.AgentPort: a nodeagent.agent.Agent, or harness.hollow.HollowAgent.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

import grpc
from grpc import aio

from mesh import pki
from mesh.fleet.port import AgentPort
from mesh.meshd import Meshd, Settings
from mesh.rpc.tls import Tls
from mesh.store.memory import MemoryStore
from mesh.store.port import Store
from mesh.v1.control_pb2_grpc import ControlStub, PodsStub, ResourcesStub

DEADLINE = 60.0  # seconds that anything here may take


class StaticHosts:
    """The Hosts port over agents that the test gives and takes."""

    def __init__(self, agents: Mapping[str, AgentPort] | None = None) -> None:
        self._agents = dict(agents or {})
        self._changed = asyncio.Event()
        self._asked = asyncio.Event()
        self.state = "connected"

    def agents(self) -> dict[str, AgentPort]:
        self._asked.set()
        return dict(self._agents)

    async def changed(self) -> None:
        await self._changed.wait()
        self._changed.clear()

    async def noticed(self) -> None:
        """Returns once meshd has asked for the agents after the last `join` or `part`."""
        await asyncio.wait_for(self._asked.wait(), DEADLINE)

    def join(self, name: str, agent: AgentPort) -> None:
        self._agents[name] = agent
        self._tell()

    def part(self, name: str) -> None:
        self._agents.pop(name, None)
        self._tell()

    def say(self, state: str) -> None:
        self.state = state
        self._tell()

    def _tell(self) -> None:
        self._asked.clear()
        self._changed.set()


@dataclass(frozen=True, slots=True)
class TestPki:
    """An authority with what it issued for tests."""

    __test__ = False
    ca: pki.Pair
    server: pki.Pair
    admin: pki.Pair


@lru_cache(maxsize=1)
def test_pki() -> TestPki:
    """One authority for all tests of a run: making keys takes time."""
    now = int(time.time())
    ca = pki.make_ca("mesh test", now)
    server = pki.issue(ca, pki.server("meshd", ("localhost", "127.0.0.1")), now)
    return TestPki(ca, server, pki.issue(ca, pki.user("admin"), now))


test_pki.__test__ = False  # type: ignore[attr-defined]


def certify(node: str, directory: Path) -> None:
    """Gives a host its certificate and the authority's, as files in its `pki` directory: only then may it be given
    Secrets, a pod's own token among them."""
    directory.mkdir(parents=True, exist_ok=True)
    pair = pki.issue(test_pki().ca, pki.node(node), int(time.time()))
    for name, text in (("agent.crt", pair.certificate), ("agent.key", pair.key), ("ca.crt", test_pki().ca.certificate)):
        (directory / name).write_bytes(text)


@dataclass(slots=True)
class RunningMeshd:
    """A serving meshd; `address` is "127.0.0.1:port"."""

    meshd: Meshd
    hosts: StaticHosts
    store: Store
    task: "asyncio.Task[None]"
    certs: TestPki = field(default_factory=test_pki)
    _channels: list[aio.Channel] = field(default_factory=list)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.meshd.ports[0]}"

    def channel(self, client: pki.Pair | None = None, ca: bytes | None = None) -> aio.Channel:
        """A channel with the administrator's certificate, or another."""
        pair = client or self.certs.admin
        credentials = grpc.ssl_channel_credentials(ca or self.certs.ca.certificate, pair.key, pair.certificate)
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", 64 << 20),
                   ("grpc.max_send_message_length", 64 << 20)]  # fmt: skip
        channel = aio.secure_channel(self.address, credentials, options=options)
        self._channels.append(channel)
        return channel

    def user(self, name: str, *groups: str) -> aio.Channel:
        """A channel of a user of these groups."""
        return self.channel(pki.issue(self.certs.ca, pki.user(name, groups), int(time.time())))

    def node(self, name: str) -> aio.Channel:
        """A channel of a host."""
        return self.channel(pki.issue(self.certs.ca, pki.node(name), int(time.time())))

    @property
    def resources(self) -> ResourcesStub:
        return ResourcesStub(self.channel())

    @property
    def pods(self) -> PodsStub:
        return PodsStub(self.channel())

    @property
    def control(self) -> ControlStub:
        return ControlStub(self.channel())

    def write_pki(self, directory: Path) -> dict[str, Path]:
        """ca.pem, admin.pem and admin.key as files (0600); by the names "ca", "certificate", "key"."""
        files = {"ca": (directory / "ca.pem", self.certs.ca.certificate),
                 "certificate": (directory / "admin.pem", self.certs.admin.certificate),
                 "key": (directory / "admin.key", self.certs.admin.key)}  # fmt: skip
        for path, content in files.values():
            path.touch(mode=0o600)
            path.write_bytes(content)
        return {name: path for name, (path, _) in files.items()}

    def stop(self) -> None:
        """As SIGTERM would."""
        self.task.cancel()

    async def close(self) -> None:
        for channel in self._channels:
            await channel.close()


@contextlib.asynccontextmanager
async def control(
    agents: Mapping[str, AgentPort] | None = None,
    store: Store | None = None,
    settings: Settings | None = None,
    tls: Tls | None = None,
) -> AsyncIterator[RunningMeshd]:
    """Starts meshd, waits until it serves, and ends it in good order afterwards. The store is closed only if ours."""
    held: Store = store if store is not None else MemoryStore()
    hosts = StaticHosts(agents)
    made = test_pki()
    chosen = replace(settings or Settings(), listen=("127.0.0.1:0",))
    meshd = Meshd(held, hosts, tls or Tls(made.server, made.ca.certificate), chosen)
    task = asyncio.create_task(meshd.run())
    serving = asyncio.create_task(meshd.serving.wait())
    running = RunningMeshd(meshd, hosts, held, task, made)
    try:
        await asyncio.wait({task, serving}, timeout=DEADLINE, return_when=asyncio.FIRST_COMPLETED)
        if not serving.done():
            task.cancel()
            await task
        yield running
        if task.done() and not task.cancelled():
            task.result()
    finally:
        serving.cancel()
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        await running.close()
        if store is None:
            await held.close()
