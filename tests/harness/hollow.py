"""A host without anything on it: an AgentPort that says its pods run as soon as they are assigned.

Rule: it keeps the contract of an agent (versions, boots, fences, full and partial answers, leases are its own), so the
control side can't tell. Tests script its streams and turn its faults on.

    agent = HollowAgent("a")                      # 4 cores, 8 GiB, 110 pods
    agent.say("web", "Failed")                    # the pod of that name ends
    agent.scripts["exec"] = Script(chunks=[(STDOUT, b"hi")], exit_code=3)
"""

import asyncio
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

from mesh.errors import Conflict, Invalid, NotFound, Unavailable
from mesh.v1 import node_pb2
from mesh.v1.core_pb2 import Event, NodeCondition, Pod, PodCondition, PodStatus
from mesh.v1.node_pb2 import Observed, PodReport

_BOOTS = itertools.count(1)


@dataclass(slots=True)
class Script:
    """What a stream does: gives `chunks`, then echoes its input when `echo`, then ends with `exit_code`, or never.

    `repeats`: it gives its chunks to every read anew, however much is read.
    """

    chunks: Sequence[tuple[int, bytes]] = ()
    exit_code: int | None = None
    error: str = ""
    echo: bool = False
    endless: bool = False
    repeats: bool = False
    refuse: Exception | None = None


@dataclass(slots=True)
class Stream:
    """One open stream as the host sees it."""

    opening: node_pb2.StreamOpen
    script: Script
    out: list[node_pb2.Chunk] = field(default_factory=list)
    received: bytes = b""
    sizes: list[tuple[int, int]] = field(default_factory=list)
    input_closed: bool = False
    closed: asyncio.Event = field(default_factory=asyncio.Event)
    changed: asyncio.Event = field(default_factory=asyncio.Event)


class HollowAgent:
    """See the module. `calls` counts calls by name; `away` makes every call fail."""

    def __init__(self, name: str, cpu: str = "4", memory: str = "8Gi", pods: str = "110") -> None:
        self.name = name
        self.allocatable = {"cpu": cpu, "memory": memory, "pods": pods}
        self.address = f"10.77.0.{ord(name[0])}"
        self.away = False
        self.scripts: dict[str, Script] = {}
        self.streams: dict[str, Stream] = {}
        self.calls: dict[str, int] = {}
        self.assignments: list[node_pb2.Assignment] = []
        self.lingers = False  # what is deleted goes on running
        self.release = ""  # that it says it is of
        self._restart()

    def restart(self) -> None:
        """A new process: nothing is remembered but what "runs"."""
        pods = {uid: report for uid, report in self._pods.items() if not report.gone}
        self._restart()
        self._pods = pods
        self._wake()

    def _restart(self) -> None:
        self.boot = f"boot-{next(_BOOTS)}"
        self.version = 1
        self.fence = node_pb2.Fence()
        self.digest = ""
        self.route = ""
        self.proxy = f"proxy-{self.boot}"  # its boot; empty: the proxy is away
        self.table: dict[str, node_pb2.ProxyService] = {}
        self.pieces: list[node_pb2.ServiceTable] = []
        self.draining: set[str] = set()  # pods that its proxy still has connections to
        self.deaf = False  # takes tables and applies none
        self.error = ""
        self._pods: dict[str, PodReport] = {}
        self._changed_at: dict[str, int] = {}
        self._events: list[tuple[int, Event]] = []
        self._report_at = 1
        self._moved = asyncio.Event()

    # ---- the port

    async def observe(self, request: node_pb2.ObserveRequest) -> Observed:
        self._called("observe")
        same = request.boot == self.boot
        if same and request.after_version >= self.version:
            try:
                async with asyncio.timeout(request.wait_milliseconds / 1000):
                    while request.after_version >= self.version and request.boot == self.boot:
                        moved = self._moved
                        await moved.wait()
            except TimeoutError:
                pass
        self._check()
        return self._observed(request.after_version if request.boot == self.boot else 0)

    async def assign(self, assignment: node_pb2.Assignment) -> node_pb2.AssignReply:
        self._called("assign")
        if assignment.HasField("signed"):  # whose signature is no matter of a hollow host
            assignment = node_pb2.Assignment.FromString(assignment.signed.assignment)
        if (assignment.fence.epoch, assignment.fence.revision) < (self.fence.epoch, self.fence.revision):
            raise Conflict("the fence is older than the one held")
        self.assignments.append(assignment)
        self.fence, self.digest = assignment.fence, assignment.digest
        wanted = {pod.metadata.uid: pod for pod in assignment.pods}
        for uid, pod in wanted.items():
            if pod.metadata.HasField("deletion_timestamp"):
                if not self.lingers and uid not in {h.uid for h in assignment.held}:
                    self._end(uid, pod)
            elif uid not in self._pods:
                self._set(uid, _running(pod))
        for uid in [uid for uid, r in self._pods.items() if uid not in wanted and not r.HasField("mirror")]:
            del self._pods[uid]
        self._wake()
        return node_pb2.AssignReply(fence=self.fence, run_digest=self.digest)

    async def program(self, table: node_pb2.ServiceTable) -> node_pb2.AssignReply:
        self._called("program")
        if not self.proxy:
            raise Unavailable("the proxy is away")
        self.pieces.append(table)
        if not self.deaf:
            self._apply(table)
        return node_pb2.AssignReply(fence=self.fence, run_digest=self.digest)

    def _apply(self, table: node_pb2.ServiceTable) -> None:
        if table.base not in ("", self.route):
            self.error = f"the table {table.base} is not held"
        else:
            self.error = ""
            if not table.base and table.piece == 0:
                self.table.clear()
            self.table |= {f"{s.namespace}/{s.name}": s for s in table.services}
            for gone in table.gone:
                self.table.pop(gone, None)
            if table.last:
                self.route = table.digest
        self._wake()

    async def serves(self, name: str) -> None:
        """Returns once its proxy has a Service with endpoints; "namespace/name"."""
        while name not in self.table or not self.table[name].endpoints:
            moved = self._moved
            await moved.wait()

    def proxied(self, boot: str) -> None:
        """Its proxy is another process, which holds nothing; empty: it is away."""
        self.proxy, self.route, self.table = boot, "", {}
        self._wake()

    def carries(self, *uids: str) -> None:
        """Its proxy has connections to these pods, which serve no more."""
        self.draining = set(uids)
        self._wake()

    async def flows(self, request: node_pb2.FlowsRequest) -> node_pb2.Flows:
        self._called("flows")
        if not self.proxy:
            raise Unavailable("the proxy is away")
        return node_pb2.Flows(services=[node_pb2.ServiceFlows(service=request.service)])

    async def open_stream(self, request: node_pb2.StreamOpen) -> node_pb2.StreamOpened:
        self._called("open_stream")
        what = request.WhichOneof("what") or ""
        script = self.scripts.get(what, Script())
        if script.refuse is not None:
            raise script.refuse
        if what != "measure" and request.pod_uid not in self._pods:
            raise NotFound("no such pod on this host")
        stream = Stream(request, script, [node_pb2.Chunk(channel=c, data=d) for c, d in script.chunks])
        stream_id = f"s{len(self.streams)}"
        self.streams[stream_id] = stream
        return node_pb2.StreamOpened(id=stream_id)

    async def read_stream(self, request: node_pb2.StreamRead) -> node_pb2.StreamBatch:
        self._called("read_stream")
        stream = self._stream(request.id)
        if not stream.out and not self._finished(stream):
            stream.changed.clear()
            try:
                async with asyncio.timeout(request.wait_milliseconds / 1000):
                    await stream.changed.wait()
            except TimeoutError:
                pass
        self._check()
        chunks = stream.out
        if not stream.script.repeats:
            stream.out = []
        batch = node_pb2.StreamBatch(chunks=chunks)
        if self._finished(stream):
            batch.done, batch.error = True, stream.script.error
            if stream.script.exit_code is not None:
                batch.exit_code = stream.script.exit_code
        return batch

    async def write_stream(self, request: node_pb2.StreamWrite) -> node_pb2.StreamWritten:
        self._called("write_stream")
        stream = self._stream(request.id)
        stream.received += request.data
        if request.rows or request.columns:
            stream.sizes.append((request.rows, request.columns))
        if stream.script.echo and request.data:
            stream.out.append(node_pb2.Chunk(channel=node_pb2.STDOUT, data=request.data))
        stream.input_closed |= request.close
        stream.changed.set()
        return node_pb2.StreamWritten()

    async def close_stream(self, request: node_pb2.StreamClose) -> node_pb2.StreamClosed:
        self._called("close_stream")
        if request.id in self.streams:
            self.streams[request.id].closed.set()
        return node_pb2.StreamClosed()

    # ---- the script

    def say(self, pod_name: str, phase: str, exit_code: int | None = None) -> None:
        """The host says that the pod of this name is in another phase, and how its containers have ended."""
        for uid, report in self._pods.items():
            if report.name == pod_name:
                fresh = PodReport()
                fresh.CopyFrom(report)
                fresh.status.phase = phase
                for status in fresh.status.container_statuses if exit_code is not None else ():
                    status.state.terminated.exit_code = exit_code
                    status.state.ClearField("running")
                self._set(uid, fresh)
        self._wake()

    def show_static(self, pod: Pod, *, gone: bool = False) -> None:
        """The host has, or has no longer, a static pod."""
        report = _running(pod)
        report.mirror.CopyFrom(pod)
        report.gone = gone
        self._set(pod.metadata.uid, report)
        self._wake()

    def tell(self, event: Event) -> None:
        """The host reports an event."""
        self._events.append((self.version + 1, event))
        self._wake()

    def resize(self, **allocatable: str) -> None:
        """The host's resources change."""
        self.allocatable.update(allocatable)
        self._report_at = self.version + 1
        self._wake()

    def runs(self) -> set[str]:
        """Names of the pods that are there."""
        return {report.name for report in self._pods.values() if not report.gone}

    # ---- inside

    def _end(self, uid: str, pod: Pod) -> None:
        report = PodReport(uid=uid, namespace=pod.metadata.namespace, name=pod.metadata.name, gone=True)
        held = self._pods.get(uid)
        if held is not None:
            report.status.CopyFrom(held.status)
            report.status.phase = "Succeeded"
        self._set(uid, report)

    def _set(self, uid: str, report: PodReport) -> None:
        self._pods[uid] = report
        self._changed_at[uid] = self.version + 1

    def _wake(self) -> None:
        self.version += 1
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()

    def _observed(self, after: int) -> Observed:
        full = after == 0
        observed = Observed(node=self.name, boot=self.boot, version=self.version, full=full, fence=self.fence)
        observed.run_digest, observed.route_digest = self.digest, self.route
        observed.proxy_boot, observed.proxy_error = self.proxy, self.error
        observed.draining.extend(sorted(self.draining))
        if full or self._report_at > after:
            observed.report.labels.update({"kubernetes.io/hostname": self.name, "kubernetes.io/os": "linux"})
            observed.report.status.addresses.add(type="InternalIP", address=self.address)
            observed.report.status.capacity.update(self.allocatable)
            observed.report.status.node_info.kubelet_version = self.release
            observed.report.status.allocatable.update(self.allocatable)
            observed.report.status.conditions.append(NodeCondition(type="Ready", status="True", reason="AgentReady"))
        observed.pods.extend(r for uid, r in self._pods.items() if full or self._changed_at.get(uid, 0) > after)
        observed.events.extend(e for version, e in self._events if full or version > after)
        return observed

    def _called(self, name: str) -> None:
        self.calls[name] = self.calls.get(name, 0) + 1
        self._check()

    def _check(self) -> None:
        if self.away:
            raise Unavailable(f"the host {self.name} is away")

    def _stream(self, stream_id: str) -> Stream:
        stream = self.streams.get(stream_id)
        if stream is None or stream.closed.is_set():
            raise NotFound("the stream is over")
        return stream

    @staticmethod
    def _finished(stream: Stream) -> bool:
        if stream.script.endless:
            return False
        return stream.input_closed if stream.script.echo else not stream.out


def _running(pod: Pod) -> PodReport:
    if not pod.spec.containers:
        raise Invalid("a pod without containers was assigned")
    status = PodStatus(phase="Running", pod_ip="10.244.0.2", host_ip="192.0.2.1")
    status.conditions.append(PodCondition(type="Ready", status="True"))
    for container in pod.spec.containers:
        state = status.container_statuses.add(name=container.name, ready=True, started=True)
        state.state.running.started_at.seconds = 1
    return PodReport(uid=pod.metadata.uid, namespace=pod.metadata.namespace, name=pod.metadata.name, status=status)
