"""One host with a fake runtime, and the agents that live on it one after another.

    world = World(tmp_path)
    await world.start(); await world.assign(a_pod("web")); await world.until(lambda: world.phase("web") == "Running")

Rule: the clock is FakeRuntime's, so on a bent loop a World has bent time. `world.heard` is what a reader of `observe`
knows, across agents.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from mesh.model.times import to_timestamp
from mesh.sealing import Context, PublicKey, seal
from mesh.v1.core_pb2 import ConfigMap, Container, Event, Pod, PodSpec, PodStatus, Secret
from mesh.v1.meta_pb2 import ObjectMeta
from mesh.v1.node_pb2 import (
    Assignment,
    Flows,
    FlowsRequest,
    HeldPod,
    HostSide,
    IngressSecrets,
    LocalVolume,
    Observed,
    ObserveRequest,
    PodReport,
    SealedSecret,
    ServiceTable,
    WithheldSecret,
)
from nodeagent.agent import Agent
from nodeagent.config import AgentConfig
from nodeagent.pressure import Usage
from nodeagent.proxy import OnHeld
from nodeagent.runtime.seen import SeenPod
from nodeagent.usage import NONE
from nodeagent.vitals import Vitals
from tests.harness.fake_checks import FakeChecks
from tests.harness.fake_runtime import FakeHost, FakeRuntime
from tests.harness.news import News
from tests.harness.unproven import Unproven

VITALS = Vitals(4, 8 << 30, 6 << 30, 100 << 30, 50 << 30, 1 << 20, 1 << 19, 200, 32768)
NODE, NODE_IP = "node1", "192.0.2.1"


def a_container(name: str = "main", **fields: Any) -> Container:
    """A container of a local image."""
    return Container(**{"name": name, "image": "example:1", "image_pull_policy": "IfNotPresent", **fields})


def a_pod(name: str, *, containers: tuple[Container, ...] = (), init: tuple[Container, ...] = (), **spec: Any) -> Pod:
    """A pod with a uid, as it comes in an Assignment."""
    return Pod(
        metadata=ObjectMeta(name=name, namespace="default", uid=f"uid-{name}", generation=1),
        spec=PodSpec(containers=containers or (a_container(),), init_containers=init, node_name=NODE, **spec),
    )


def a_secret(name: str, revision: int = 1, **values: str | bytes) -> Secret:
    """A Secret of the default namespace."""
    made = Secret(type="Opaque")
    made.metadata.name, made.metadata.namespace = name, "default"
    made.metadata.uid, made.metadata.resource_version = f"uid-{name}", str(revision)
    made.data.update({k: v.encode() if isinstance(v, str) else v for k, v in values.items()})
    return made


def sealed(node: str, to: PublicKey, secrets: Iterable[Secret]) -> Iterator[SealedSecret]:
    """The Secrets as meshd would give them to a host."""
    for secret in secrets:
        meta = secret.metadata
        entry = SealedSecret(namespace=meta.namespace, name=meta.name, uid=meta.uid, revision=meta.resource_version)
        entry.key_id = to.id
        context = Context(node, to.id, entry.namespace, entry.name, entry.uid, entry.revision)
        entry.box = seal(Secret(data=secret.data, type=secret.type).SerializeToString(), to, context)
        yield entry


class FakeMeasure:
    """What pods hold: by name, or by "name/volume"."""

    def __init__(self) -> None:
        self.used: dict[str, Usage] = {}
        self.volume: dict[str, int] = {}

    def pod(
        self, pod: Pod, seen: SeenPod | None, *, disk: bool = True, claims: Mapping[str, LocalVolume] = NONE
    ) -> Usage:
        volumes = {v.name: self.volume.get(f"{pod.metadata.name}/{v.name}", 0) for v in pod.spec.volumes}
        return replace(self.used.get(pod.metadata.name, Usage()), volumes=volumes)


class FakeProxy:
    """The proxy of a host, as its agent knows it."""

    def __init__(self) -> None:
        self.side = HostSide()
        self.entrusted: IngressSecrets | None = None
        self.pieces: list[ServiceTable] = []
        self.say: OnHeld = lambda _held: None

    def connected(self, on_held: OnHeld) -> "FakeProxy":
        self.say = on_held
        return self

    def program(self, table: ServiceTable) -> None:
        self.pieces.append(table)

    def host(self, side: HostSide) -> None:
        self.side = side

    def secrets(self, secrets: IngressSecrets) -> None:
        self.entrusted = secrets

    async def flows(self, request: FlowsRequest) -> Flows:
        return Flows()

    async def run(self) -> None:
        await asyncio.Future()


class World:
    """See the module."""

    def __init__(self, root: Path, host: FakeHost | None = None, runtime: type[FakeRuntime] = FakeRuntime) -> None:
        self.root = root
        self.host = host or FakeHost()
        self.config = AgentConfig(NODE, NODE_IP, root)
        self.pods: dict[str, Pod] = {}
        self.volumes: list[LocalVolume] = []
        self.configs: dict[str, ConfigMap] = {}  # of the default namespace, by name
        self.secrets: dict[str, Secret] = {}  # likewise
        self.withheld: dict[str, str] = {}  # names of Secrets that this host is not given, and why
        self.heard: dict[str, PodReport] = {}
        self.events: dict[str, Event] = {}
        self.statuses: list[PodReport] = []  # every report heard, in order
        self.report = Observed()
        self.revision = 0
        self.agent: Agent | None = None
        self.runtime: FakeRuntime | None = None
        self.checks = FakeChecks()
        self.exposure = ""  # why secrets in memory could reach a disk
        self.vitals = VITALS
        self.read: Callable[[], Vitals] | None = None  # instead of `vitals`, when it is set
        self.held: dict[str, str] = {}  # names of pods that must not be stopped yet, and what they wait for
        self.order = Assignment()  # what else every order says
        self.carried: Callable[[Assignment], Assignment] = lambda order: order  # what the way makes of an order
        self.proxy: FakeProxy | None = None
        self.measure = FakeMeasure()
        self._runtime_class = runtime
        self._tasks: list[asyncio.Task[None]] = []
        self._news = News()

    # ---- life of agents

    async def start(self) -> Agent:
        """A new agent on this host."""
        self.runtime = self._runtime_class(self.host)
        proven = (self.config.pki_dir / "ca.crt").exists()
        self.agent = Agent(
            self.config, self.runtime, clock=FakeRuntime.now, checks=self.checks, measure=self.measure,
            vitals=lambda: self.read() if self.read else self.vitals, exposure=lambda _: self.exposure,
            proxy=self.proxy.connected if self.proxy else None, identity=None if proven else Unproven.at(self.config),
        )  # fmt: skip
        self._tasks = [asyncio.create_task(self.agent.run()), asyncio.create_task(self._listen(self.agent))]
        return self.agent

    async def kill(self) -> None:
        """The agent dies; nothing on the host does."""
        for task in self._tasks:
            task.cancel()
        for outcome in await asyncio.gather(*self._tasks, return_exceptions=True):
            if isinstance(outcome, Exception):
                raise outcome
        if self.runtime is not None:
            await self.runtime.close()
        self.agent = None

    async def restart(self, *, assign: bool = True) -> None:
        """The agent dies and another one begins; without an order it has the last one from its disk."""
        if not assign and self.agent is not None:
            await self.agent.kept()
        await self.kill()
        await self.start()
        if assign:
            await self.assign()

    async def _listen(self, agent: Agent) -> None:
        boot, version = "", 0
        while True:
            request = ObserveRequest(boot=boot, after_version=version, wait_milliseconds=30_000)
            observed = await agent.observe(request)
            boot, version = observed.boot, observed.version
            self.report = observed if observed.HasField("report") else self.report
            for pod in observed.pods:
                self.heard[pod.uid] = pod
                self.statuses.append(pod)
            self.events.update({e.metadata.name: e for e in observed.events})
            self._news.ring()

    # ---- orders

    async def assign(self, *pods: Pod) -> None:
        """Adds or replaces pods, and gives the host its whole set."""
        self.pods.update({p.metadata.uid: p for p in pods})
        await self._assign()

    async def remove(self, *names: str) -> None:
        """Takes pods off the host's set at once, as a forced deletion does."""
        for name in names:
            del self.pods[f"uid-{name}"]
        await self._assign()

    async def delete(self, name: str, grace: int = 30) -> None:
        """Asks for a graceful deletion."""
        pod = self.pods[f"uid-{name}"]
        changed = Pod()
        changed.CopyFrom(pod)
        changed.metadata.deletion_timestamp.CopyFrom(to_timestamp(FakeRuntime.now()))
        changed.metadata.deletion_grace_period_seconds = grace
        await self.assign(changed)

    async def _assign(self) -> None:
        assert self.agent is not None
        self.revision += 1
        assignment = Assignment(node=NODE, digest=f"digest-{self.revision}", pods=self.pods.values())
        assignment.pod_cidr, assignment.cluster_cidr = "10.244.1.0/24", "10.244.0.0/16"
        assignment.MergeFrom(self.order)
        assignment.held.extend(HeldPod(uid=f"uid-{name}", waits_for=why) for name, why in self.held.items())
        assignment.volumes.extend(self.volumes)
        assignment.config_maps.extend(self.configs.values())
        assignment.sealed_secrets.extend(sealed(NODE, self.agent.vault.public, self.secrets.values()))
        withheld = (WithheldSecret(namespace="default", name=name, reason=why) for name, why in self.withheld.items())
        assignment.withheld_secrets.extend(withheld)
        assignment.fence.epoch, assignment.fence.revision = 1, self.revision
        await self.agent.assign(self.carried(assignment))

    async def hold(self, **pods: str) -> None:
        """Says which pods are held, by name, and what they wait for; "": not any more."""
        self.held = {name: why for name, why in {**self.held, **pods}.items() if why}
        await self._assign()

    async def configure(self, *configs: ConfigMap) -> None:
        """Adds or replaces ConfigMaps, and gives the host its whole set."""
        self.configs.update({c.metadata.name: c for c in configs})
        await self._assign()

    async def reveal(self, *secrets: Secret) -> None:
        """Adds or replaces Secrets, and gives the host its whole set."""
        self.secrets.update({s.metadata.name: s for s in secrets})
        await self._assign()

    def receipts(self, pod: str) -> dict[tuple[str, str], str]:
        """The revisions that a pod has, by where and name."""
        report = self.heard.get(f"uid-{pod}")
        return {(r.where, r.name): r.revision for r in (report.secrets if report else ())}

    def volume(self, pod: str, name: str) -> Path:
        """Where a volume of a pod lies on disk."""
        return self.config.state_dir / "pods" / f"uid-{pod}" / "volumes" / name

    def hidden(self, pod: str, name: str) -> Path:
        """Where a volume of a pod lies whose content could be secret."""
        return self.config.memory_dir / f"uid-{pod}" / name

    # ---- what is known

    def status(self, name: str) -> PodStatus:
        """What was last heard of a pod; an empty status for nothing."""
        report = self.heard.get(f"uid-{name}")
        return report.status if report else PodStatus()

    def phase(self, name: str) -> str:
        """Its phase."""
        return self.status(name).phase

    def gone(self, name: str) -> bool:
        """Whether the host said that nothing of it is left."""
        report = self.heard.get(f"uid-{name}")
        return bool(report and report.gone)

    def waiting(self, name: str, container: str = "main") -> str:
        """The waiting reason of one container."""
        every = [*self.status(name).init_container_statuses, *self.status(name).container_statuses]
        return next((s.state.waiting.reason for s in every if s.name == container), "")

    def restarts(self, name: str, container: str = "main") -> int:
        """The restartCount of one container."""
        return next((s.restart_count for s in self.status(name).container_statuses if s.name == container), -1)

    def reasons(self, name: str) -> list[str]:
        """The reasons of the events about a pod, in the order they were first told."""
        mine = [e for e in self.events.values() if e.involved_object.uid == f"uid-{name}"]
        return [e.reason for e in sorted(mine, key=lambda e: e.first_timestamp.ToNanoseconds())]

    def event(self, name: str, reason: str) -> Event:
        """The newest event of this reason about a pod; KeyError for none."""
        mine = [e for e in self.events.values() if e.involved_object.uid == f"uid-{name}" and e.reason == reason]
        if not mine:
            raise KeyError(reason)
        return mine[-1]

    def host_event(self, reason: str) -> Event:
        """The newest event of this reason about the host; KeyError for none."""
        mine = [e for e in self.events.values() if (e.involved_object.kind, e.reason) == ("Node", reason)]
        if not mine:
            raise KeyError(reason)
        return mine[-1]

    async def until(self, true: Callable[[], bool], seconds: float = 60.0) -> None:
        """Waits for news that make it true; TimeoutError after so many seconds of the loop's time."""
        await self._news.until(true, seconds)
