"""The roster: which hosts there are, a link for each, and word of those that fall silent.

Rule: a host is known by its name; when its agent is another one than before, the old link ends and a new one begins.
Silence is counted from a host's last answer; heartbeats never reach the store. As long as no host can be reached at all
(Ray is away, meshd has just started) it is we who are deaf, not the hosts who are silent: that is borne for a minute.
An agent that dies makes the call that waits for it fail at once, and the link asks for its successor; only silence
counts, for Ray takes longer than that to call a host dead. While a host is silent, its `witness` is asked.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from mesh.controllers.nodes import SPARED, silent
from mesh.errors import MeshError
from mesh.fleet.link import Fleet, Link
from mesh.fleet.needs import address_of
from mesh.fleet.port import AgentPort, Hosts
from mesh.fleet.witness import EVERY, LEAD, Witness, Witnesses
from mesh.store.change import change
from mesh.store.port import Write
from mesh.v1.node_pb2 import SecretReceipt
from mesh.view import View

_log = structlog.get_logger("mesh.fleet.roster")

GREETING = 15.0  # seconds that a host has to answer for the first time once it can be heard: agents may be starting
LEAST = 0.1  # seconds between two looks
HELD_UP = 1.0  # seconds that this process may be late before it takes silence for its own fault
DEAF = 60.0  # seconds that meshd may hear no host at all before it says that it knows nothing of them
CONNECTED = "connected"  # how the state of Hosts begins as long as they can be reached


@dataclass(frozen=True, slots=True)
class HostState:
    """One host as the roster knows it; `last_seen` is nanoseconds since the epoch, 0 for never."""

    name: str
    connected: bool
    message: str
    last_seen: int
    settled: bool
    boot: str
    barred: bool = False  # it was removed from the mesh
    protocol: int = 0  # that its agent speaks; 0: not known
    skew: str = ""  # why it is given nothing, its agent being of a version too far away


class Roster:
    """`silence` is how many seconds without an answer make a host's state Unknown; more than the links' `wait`. For
    `spared` seconds more the `witness`, if there is one, is asked whether the host lives."""

    def __init__(
        self, hosts: Hosts, fleet: Fleet, silence: float, witness: Witness | None = None, spared: float = SPARED
    ) -> None:
        if silence <= fleet.wait:
            raise ValueError("the silence must be longer than an idle observe")
        self._hosts = hosts
        self._fleet = fleet
        self._silence = silence
        self._witness = witness if spared else None
        self._spared = spared
        self._links: dict[str, Link] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._last: dict[str, float] = {}  # when hosts without a link now answered last, by the loop's clock
        self._hears = False
        self._since = 0.0  # when hearing, or deafness, began
        self._awake = 0.0  # when this process was last held up

    def agent(self, node: str) -> AgentPort | None:
        """The agent of a host, or None when the host is not joined."""
        link = self._links.get(node)
        return link.line.agent if link is not None else None

    def receipts(self, node: str, uid: str) -> Sequence[SecretReceipt]:
        """Which Secrets are in a pod on a host, as the host last said; nothing of a host that is not joined."""
        link = self._links.get(node)
        return link.receipts(uid) if link is not None else ()

    def hosts(self) -> list[HostState]:
        """Every host that is joined or has a Node, by name."""
        names = sorted({*self._links, *(n.metadata.name for n in self._fleet.feed.view.nodes())})
        return [self._state(name) for name in names]

    @property
    def state(self) -> str:
        """ "connected", or in words why no host can be reached."""
        return self._hosts.state

    async def run(self) -> None:
        """For ever; only a bug ends it."""
        self._since = asyncio.get_running_loop().time()
        await self._fleet.feed.reached(0)
        async with asyncio.TaskGroup() as tasks:
            witnesses = Witnesses(self._witness, tasks)
            tasks.create_task(self._watch_silence(witnesses), name="silence")
            while True:
                self._listen()
                await self._meet(tasks)
                await self._hosts.changed()

    def _listen(self) -> None:
        hears = self._hosts.state.startswith(CONNECTED)
        if hears != self._hears:
            self._hears, self._since = hears, asyncio.get_running_loop().time()

    async def _meet(self, tasks: asyncio.TaskGroup) -> None:
        there = self._hosts.agents()
        for name in [n for n, link in self._links.items() if there.get(n) is not link.line.agent]:
            await self._part(name)
        for name, agent in there.items():
            if name not in self._links:
                _log.info("host_joined", node=name)
                self._links[name] = Link(name, agent, self._fleet)
                self._tasks[name] = tasks.create_task(self._links[name].run(), name=f"link {name}")

    async def _part(self, name: str) -> None:
        _log.info("host_parted", node=name)
        link, task = self._links.pop(name), self._tasks.pop(name)
        if link.line.last_seen is not None:
            self._last[name] = link.line.last_seen
        task.cancel()
        await asyncio.wait({task})

    async def _watch_silence(self, witnesses: Witnesses) -> None:
        while True:
            now = asyncio.get_running_loop().time()
            nodes = {n.metadata.name: n for n in self._fleet.feed.view.nodes()}
            ends = {name: self._heard(name) + self._silence for name in nodes}
            quiet = [name for name, end in ends.items() if end - LEAD <= now < end + self._spared]
            witnesses.ask((name, address_of(nodes[name])) for name in quiet)
            try:
                await self._mark([name for name, end in ends.items() if end <= now], witnesses)
            except MeshError as error:
                _log.warning("cannot_mark_silent_hosts", error=str(error))
            pause = self._pause([end - now for end in ends.values()], bool(quiet))
            await asyncio.sleep(pause)
            self._overslept(asyncio.get_running_loop().time() - now - pause)

    def _pause(self, waits: Sequence[float], asking: bool) -> float:
        """Until the next host counts as silent, `waits` from now (those in the past do already), or is to be asked."""
        if self._witness is None:
            asking, moments = False, [w for w in waits if w > 0]
        else:
            moments = [w - LEAD if w > LEAD else w for w in waits if w > 0]
        # never longer than the silence itself: a wait reckoned while meshd was deaf must not outlast its deafness
        pause = min([*moments, self._silence, *([EVERY] if asking else [])])
        return max(LEAST if asking else EVERY, pause)

    def _overslept(self, seconds: float) -> None:
        """When this process could not run, or was held up, it heard nobody: that is nobody's silence."""
        if seconds > HELD_UP:
            _log.warning("was_held_up", seconds=round(seconds, 1))
            self._awake = asyncio.get_running_loop().time()

    async def _mark(self, names: Sequence[str], witnesses: Witnesses) -> None:
        now_ns = self._fleet.clock()

        def compute(view: View) -> list[Write]:
            lost = [name for name in names if self._still_silent(name)]
            return [write for name in lost for write in silent(name, view, now_ns, witnesses.answers(name))]

        await change(self._fleet.store, self._fleet.feed, compute)

    def _still_silent(self, name: str) -> bool:
        return asyncio.get_running_loop().time() - self._heard(name) >= self._silence

    def _heard(self, name: str) -> float:
        """From when on a host's silence counts."""
        link = self._links.get(name)
        seen = link.line.last_seen if link is not None else None
        last = seen if seen is not None else self._last.get(name, -1.0)
        if not self._hears:
            return max(last, self._since + DEAF - self._silence)
        greeted = last if last >= self._since else self._since + max(0.0, GREETING - self._silence)
        return max(greeted, self._awake)

    def _state(self, name: str) -> HostState:
        link = self._links.get(name)
        if link is None:
            return HostState(name, False, "is not joined", 0, False, "")
        line = link.line
        return HostState(
            name, not line.message, line.message, line.last_seen_ns, link.settled, link.picture.boot, link.barred,
            link.picture.protocol, link.picture.skew,
        )  # fmt: skip
