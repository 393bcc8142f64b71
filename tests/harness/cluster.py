"""A whole cluster in one process, on bent time: meshd without its API, and agents over fake runtimes, with misfortune.

    cluster = Cluster(tmp_path, random.Random(seed), hosts=3)
    await cluster.start(); await cluster.apply(pod("web")); await cluster.settled()

Rule: what must hold always is checked at every change of the store and at every call, not only at rest.
"""

import asyncio
import hashlib
import random
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from mesh.access.who import Who
from mesh.errors import MeshError
from mesh.meshd import Meshd, Settings
from mesh.model.fit import allocatable_of, used_by
from mesh.model.kinds import Object, pack
from mesh.pki import ADMINS
from mesh.rpc.audit import NoAudit
from mesh.rpc.gate import Call, Gate, begin
from mesh.rpc.resources import Resources
from mesh.store.feed import Feed
from mesh.store.memory import MemoryStore
from mesh.store.port import Event
from mesh.v1 import control_pb2 as pb
from mesh.v1 import node_pb2
from mesh.v1.core_pb2 import Event as Told
from mesh.v1.core_pb2 import Node, Pod
from tests.harness.control import StaticHosts
from tests.harness.fake_runtime import FakeRuntime
from tests.harness.simhost import Misfortune, SimHost

T = TypeVar("T")
_NO_CONTEXT: Any = None  # the handlers of Resources do not look at it


class Cluster:
    """See the module."""

    def __init__(
        self, root: Path, rng: random.Random, hosts: int = 3, *, eviction: float = 3600.0,
        store: MemoryStore | None = None,
    ) -> None:  # fmt: skip
        """`eviction`: how long pods stay on a silent host; long, for stories in which each pod has a name."""
        self.rng = rng
        self.misfortune = Misfortune(rng)
        self.hosts = {n: SimHost(n, root / n, self.misfortune) for n in (f"host{i}" for i in range(hosts))}
        self.store = store or MemoryStore()
        self.settings = Settings(clock=FakeRuntime.now, eviction=eviction, witness=self._lives)
        self.asked = 0  # how often a host was asked whether it lives
        self.checks = Checks(self)
        self._lines: list[StaticHosts] = []
        self._feed = Feed(self.store)  # an observer of its own, which no restart of meshd touches
        self._resources = Resources(self.store, self._feed, FakeRuntime.now, 45.0)
        self._tasks: list[asyncio.Task[None]] = []
        self.meshds: list[Meshd] = []

    # ---- life

    async def start(self) -> None:
        """Everything."""
        self._feed.on_events(self.checks.on_events)
        self._watching = asyncio.create_task(self._feed.run())
        for host in self.hosts.values():
            host.start()
        await self.start_meshd()

    async def start_meshd(self) -> Meshd:
        """One more meshd over the same store: a real one is alone, a zombie is not."""
        self._lines.append(StaticHosts(self.hosts))
        meshd = Meshd(self.store, self._lines[-1], None, self.settings)
        task = asyncio.create_task(meshd.run())
        self._tasks.append(task)
        self.meshds.append(meshd)
        serving = asyncio.ensure_future(meshd.serving.wait())
        await asyncio.wait({task, serving}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            task.result()
        return meshd

    async def _lives(self, name: str, _: str) -> bool:
        """What bears witness to a host's life without its agent: a host without power does not even refuse."""
        self.asked += 1
        host = self.hosts[name]
        if host.on and not host.cut_off and not host.mute:
            return True
        await asyncio.sleep(1)
        return False

    def receipts(self, pod: Pod) -> list[node_pb2.SecretReceipt]:
        """What the newest meshd knows of the Secrets in a pod."""
        roster = self.meshds[-1].roster
        return list(roster.receipts(pod.spec.node_name, pod.metadata.uid)) if roster is not None else []

    def say(self, state: str) -> None:
        """What the way to the hosts says of itself: "connected", or why not."""
        for line in self._lines:
            line.say(state)

    async def kill_meshd(self) -> None:
        """The oldest meshd dies."""
        await _end(self._tasks.pop(0))

    async def stop(self) -> None:
        """Everything ends; what went wrong inside is raised."""
        for host in self.hosts.values():
            await host.kill()
        while self._tasks:
            await self.kill_meshd()
        await _end(self._watching)

    # ---- users

    async def apply(self, *objects: Object) -> None:
        """As `mesh apply`."""
        self._enter()
        await self._resources.Apply(pb.ApplyRequest(objects=[pack(o) for o in objects]), _NO_CONTEXT)

    async def delete(
        self, name: str, grace: int | None = None, *, kind: str = "Pod", namespace: str = "default"
    ) -> None:  # fmt: skip
        """As `mesh delete`; nothing when it is gone already."""
        self._enter()
        held = self._feed.view.pod("default", name)
        if grace == 0 and held is not None:
            self.checks.forced.add(held.metadata.uid)
        request = pb.DeleteRequest(key=pb.ObjectKey(kind=kind, namespace=namespace, name=name))
        if grace is not None:
            request.grace_period_seconds = grace
        with suppress(MeshError):
            await self._resources.Delete(request, _NO_CONTEXT)

    def _enter(self) -> None:
        """What the border does for a call of an administrator."""
        who = Who("admin", (ADMINS,))
        begin(Call(Gate(self._feed.view, NoAudit(), FakeRuntime.now), who, "a simulated call", "nowhere"))

    def watch(self, look: Callable[[Sequence[Event]], None]) -> None:
        """Calls `look` after every change of the store; what it raises ends the story."""
        self._feed.on_events(look)

    # ---- what is known

    @property
    def view(self) -> Any:
        """The observer's view."""
        return self._feed.view

    def phase(self, name: str) -> str:
        """A pod's phase; empty when there is no such pod."""
        held = self._feed.view.pod("default", name)
        return held.status.phase if held is not None else ""

    async def until(self, true: Callable[[], bool], seconds: float = 120.0) -> None:
        """Waits until a change of the store makes it true; TimeoutError after so many bent seconds."""
        async with asyncio.timeout(seconds):
            while not true():
                await self._feed.reached(self._feed.view.revision + 1)

    async def settled(self, seconds: float = 300.0) -> None:
        """Waits until the hosts run what the store says, and nothing else."""
        end = asyncio.get_running_loop().time() + seconds
        while why := self.unsettled():
            assert asyncio.get_running_loop().time() < end, why
            await asyncio.sleep(0.5)  # of bent time: what ends on a host changes nothing in the store

    def unsettled(self) -> str:
        """In words, what is not yet as it should be."""
        for pod in self._feed.view.pods():
            if pod.metadata.HasField("deletion_timestamp"):
                return f"{pod.metadata.name} is still being deleted"
            if pod.spec.node_name and pod.status.phase != "Running":
                return f"{pod.metadata.name} is {pod.status.phase}"
            if not pod.spec.node_name and not any("nodes are available" in c.message for c in pod.status.conditions):
                return f"{pod.metadata.name} has no node, and nobody says why"
        for name, host in self.hosts.items():
            wanted = {p.metadata.uid for p in self._feed.view.pods_on(name)}
            if host.running() != wanted:
                return f"{name} runs {len(host.running())} pods, not {len(wanted)}"
            if set(host.host.sandboxes) != wanted:
                return f"{name} has sandboxes of other pods"
        for node in self._feed.view.nodes():
            if node.spec.taints or any(c.type == "Ready" and c.status != "True" for c in node.status.conditions):
                return f"{node.metadata.name} is not ready"
        return "" if len(self._feed.view.nodes()) == len(self.hosts) else "a host is missing"


@dataclass
class Checks:
    """What must hold at every revision of the store, and on the hosts at that moment."""

    cluster: Cluster
    forced: set[str] = field(default_factory=set)
    revisions: int = 0
    story: Any = field(default_factory=hashlib.sha256)  # of all that was ever written, and when

    def on_events(self, events: Sequence[Event]) -> None:
        """Looks at each change, and at the whole."""
        self.revisions += 1
        for event in events:
            before, now = event.previous, event.object
            written = now.SerializeToString(deterministic=True) if now is not None else b""
            self.story.update(f"{asyncio.get_running_loop().time()} {event.key} ".encode() + written)
            if isinstance(before, Pod) and isinstance(now, Pod) and before.metadata.uid == now.metadata.uid:
                self._pod(before, now)
            elif isinstance(before, Pod):
                self._removed(before)
            if isinstance(now, Told):
                assert now.reason != "ControllerFailed", f"{now.message}: {now.involved_object.name}"
            if isinstance(before, Node) and isinstance(now, Node):
                assert before.spec.pod_cidr in ("", now.spec.pod_cidr), "a node's range of addresses changed"
        self._whole()

    def _pod(self, before: Pod, now: Pod) -> None:
        name = now.metadata.name
        assert before.spec.node_name in ("", now.spec.node_name), f"{name} moved"
        ended = before.status.phase in ("Succeeded", "Failed")
        assert not ended or now.status.phase == before.status.phase, f"{name} came back from {before.status.phase}"
        counts = {s.name: s.restart_count for s in before.status.container_statuses}
        for status in now.status.container_statuses:
            assert status.restart_count >= counts.get(status.name, 0), f"restartCount of {name} went back"
            most = self.cluster.hosts[now.spec.node_name].power_offs
            assert status.restart_count <= most, f"a container of {name} was restarted"

    def _removed(self, pod: Pod) -> None:
        uid = pod.metadata.uid
        where = [n for n, h in self.cluster.hosts.items() if uid in h.running()]
        assert not where or uid in self.forced, f"{pod.metadata.name} was removed while it runs on {where}"

    def _whole(self) -> None:
        view = self.cluster.view
        ranges = [n.spec.pod_cidr for n in view.nodes()]
        assert len(set(ranges)) == len(ranges), "two nodes have the same range of addresses"
        for node in view.nodes():
            room, used = allocatable_of(node), used_by(view.pods_on(node.metadata.name))
            assert all(used[n] <= room.get(n, 0) for n in used), f"{node.metadata.name} has more than it can take"
        seen: set[str] = set()
        for host in self.cluster.hosts.values():
            both = seen & host.running()
            assert not both, f"pods run on two hosts: {both}"
            seen |= host.running()


async def _end(task: "asyncio.Task[None]") -> None:
    task.cancel()
    await asyncio.wait({task})
    if not task.cancelled() and (error := task.exception()) is not None:
        raise error
