"""A hollow host whose pods fail, and whose logs and commands answer, as a test says.

host = ScriptedHost("a")
async with control(agents={"a": host}) as mesh: …
host.logs["web/app"] = b"line\\n"                            # by pod and container
host.commands["hostname"] = Script([(STDOUT, b"web\\n")], exit_code=0)
host.refuse["web"] = ("ErrImagePull", "cannot pull image x: no such image")
"""

import time
from collections.abc import Callable
from typing import TypeVar

from mesh.v1 import node_pb2
from mesh.v1.core_pb2 import Event, Pod
from mesh.v1.node_pb2 import STDERR, STDOUT, Chunk, PodReport
from tests.harness.hollow import HollowAgent, Script
from tests.harness.news import News

T = TypeVar("T")
DEADLINE = 60.0  # seconds
STAMP = b"2026-01-31T12:00:00Z "


def says(stdout: bytes = b"", stderr: bytes = b"", exit_code: int = 0) -> Script:
    """A command that writes this and ends so."""
    chunks = [(c, d) for c, d in ((STDOUT, stdout), (STDERR, stderr)) if d]
    return Script(chunks, exit_code=exit_code)


class ScriptedHost(HollowAgent):
    """See the module. `hold` are pods that stay in ContainerCreating."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.logs: dict[str, bytes] = {}
        self.commands: dict[str, Script] = {}
        self.refuse: dict[str, tuple[str, str]] = {}
        self.hold: set[str] = set()
        self._touched = News()

    async def assign(self, assignment: node_pb2.Assignment) -> node_pb2.AssignReply:
        reply = await super().assign(assignment)
        for uid, report in list(self._pods.items()):
            if not report.gone and (report.name in self.refuse or report.name in self.hold):
                self._set(uid, self._not_running(report))
        self._wake()
        return reply

    async def open_stream(self, request: node_pb2.StreamOpen) -> node_pb2.StreamOpened:
        kind = request.WhichOneof("what") or ""
        if kind == "logs":
            self.scripts[kind] = self._log(request)
        elif kind == "exec":
            missing = says(stderr=b"not found\n", exit_code=127)
            self.scripts[kind] = self.commands.get(request.exec.command[0], missing)
        elif kind == "port_forward":
            self.scripts[kind] = Script(echo=True)
        opened = await super().open_stream(request)
        self._touched.ring()
        return opened

    async def write_stream(self, request: node_pb2.StreamWrite) -> node_pb2.StreamWritten:
        written = await super().write_stream(request)
        self._touched.ring()
        return written

    async def until(self, found: Callable[[], T]) -> T:
        """What `found` says once it says something; asked again whenever a stream is opened or written to."""
        await self._touched.until(found, DEADLINE)
        return found()

    def start(self, name: str) -> None:
        """A held or refused pod starts after all."""
        self.hold.discard(name)
        self.refuse.pop(name, None)
        for uid, report in list(self._pods.items()):
            if report.name == name:
                self._set(uid, _started(report))
        self._wake()

    def event(self, pod: Pod, reason: str, message: str, kind: str = "Warning") -> None:
        """The host tells an event of a pod."""
        event = Event(reason=reason, message=message, type=kind, count=1)
        event.metadata.name = f"{pod.metadata.name}.{reason.lower()}"
        event.metadata.namespace = event.involved_object.namespace = pod.metadata.namespace
        event.involved_object.kind, event.involved_object.name = "Pod", pod.metadata.name
        event.involved_object.uid = pod.metadata.uid
        event.first_timestamp.seconds = event.last_timestamp.seconds = int(time.time())
        event.source.component, event.source.host = "agent", self.name
        self.tell(event)

    def _log(self, request: node_pb2.StreamOpen) -> Script:
        options = request.logs
        lines = self.logs.get(f"{self._pods[request.pod_uid].name}/{options.container}", b"").splitlines(keepends=True)
        if options.HasField("tail_lines"):
            lines = lines[max(len(lines) - options.tail_lines, 0) :]
        text = b"".join((STAMP if options.timestamps else b"") + line for line in lines)
        return Script([(STDOUT, text)] if text else [], endless=options.follow)

    def more_log(self, data: bytes) -> None:
        """Every open log goes on with this."""
        for stream in self.streams.values():
            if stream.opening.HasField("logs"):
                stream.out.append(Chunk(channel=STDOUT, data=data))
                stream.changed.set()

    def _not_running(self, report: PodReport) -> PodReport:
        fresh = PodReport()
        fresh.CopyFrom(report)
        fresh.status.phase = "Pending"
        for condition in fresh.status.conditions:
            condition.status = "False"
        reason, message = self.refuse.get(report.name, ("ContainerCreating", ""))
        for status in fresh.status.container_statuses:
            status.ready = status.started = False
            status.state.Clear()
            status.state.waiting.reason, status.state.waiting.message = reason, message
        return fresh


def _started(report: PodReport) -> PodReport:
    fresh = PodReport()
    fresh.CopyFrom(report)
    fresh.status.phase = "Running"
    for condition in fresh.status.conditions:
        condition.status = "True"
    for status in fresh.status.container_statuses:
        status.ready = status.started = True
        status.state.Clear()
        status.state.running.started_at.seconds = int(time.time())
    return fresh
