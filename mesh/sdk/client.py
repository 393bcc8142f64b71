"""The async client of meshd: objects in, objects out, typed.

    async with AsyncClient() as mesh:
        pod = await mesh.get(Pod, "web")

Rule: every failure is a `mesh.errors` error. A namespace not named is the context's; "" means all of them.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Self, TypeVar, cast, overload

from google.protobuf import json_format, struct_pb2

from mesh.errors import Invalid, TooOld
from mesh.files import whole_file
from mesh.model import kinds
from mesh.model.kinds import Kind, Object
from mesh.sdk import context as contexts
from mesh.sdk import wait as waiting
from mesh.sdk.connection import Connection
from mesh.sdk.context import Context
from mesh.sdk.sources import complete, objects_of
from mesh.sdk.streams import ExecResult, ExecStream, PortForward, attach_options, exec_options, run_to_end
from mesh.sdk.watch import Change, Listing, watch
from mesh.v1 import control_pb2, control_pb2_grpc, node_pb2
from mesh.v1.core_pb2 import Pod

T = TypeVar("T", bound=Object)
Changes = list["Applied"]
Applicable = str | Path | Object | Sequence[Object]
_PAGE = 500
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Applied:
    """What became of one applied object: `outcome` is "created", "configured" or "unchanged"."""

    outcome: str
    object: Object
    previous: Object | None


def kind_of(kind: type[Object] | str) -> Kind:
    """The kind meant by a message class, or by a word such as "pods"; raises NotFound."""
    return kinds.kind_for_word(kind) if isinstance(kind, str) else kinds.kind_of(kind())


class AsyncClient:
    """A connection to meshd, made when it is first needed. Use it as an `async with`, or `close` it."""

    def __init__(
        self,
        context: Context | str = "",
        *,
        namespace: str = "",
        timeout: float | None = 60.0,
        on_warning: Callable[[str], None] = _log.warning,
    ) -> None:
        """`context` is one, or the name of one in the context file; `timeout` is of each request, in seconds."""
        self.context = contexts.load(context) if isinstance(context, str) else context
        self.namespace = namespace or self.context.namespace
        self.over = Connection(self.context, self.namespace, timeout)
        self._timeout = timeout
        self._warn = on_warning

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Ends the connection and every stream on it."""
        await self.over.close()

    # ---- objects ---------------------------------------------------------------------------------------------------

    async def apply(self, what: Applicable, *, dry_run: bool = False) -> Changes:
        """Creates or merges objects, all or none: messages, YAML text (with a line end), or a file's path."""
        objects, warnings = objects_of(what, self.namespace)
        request = control_pb2.ApplyRequest(objects=[kinds.pack(o) for o in objects], dry_run=dry_run)
        response = await self.over.call((await self._resources()).Apply(request, timeout=self._timeout))
        self._tell([*warnings, *response.warnings])
        return [_applied(r) for r in response.results]

    async def create(self, obj: T, *, dry_run: bool = False) -> T:
        """Creates an object; raises AlreadyExists."""
        request = control_pb2.CreateRequest(object=kinds.pack(complete(obj, self.namespace)), dry_run=dry_run)
        return cast(
            "T", self._object(await self.over.call((await self._resources()).Create(request, timeout=self._timeout)))
        )

    async def update(self, obj: T, *, dry_run: bool = False) -> T:
        """Replaces an object; raises Conflict when its resourceVersion is set and not the stored one."""
        request = control_pb2.UpdateRequest(object=kinds.pack(complete(obj, self.namespace)), dry_run=dry_run)
        return cast(
            "T", self._object(await self.over.call((await self._resources()).Update(request, timeout=self._timeout)))
        )

    @overload
    async def patch(
        self, kind: type[T], name: str, patch: Mapping[str, Any], *, namespace: str | None = None, subresource: str = ""
    ) -> T: ...
    @overload
    async def patch(
        self, kind: str, name: str, patch: Mapping[str, Any], *, namespace: str | None = None, subresource: str = ""
    ) -> Object: ...
    async def patch(
        self, kind: Any, name: str, patch: Mapping[str, Any], *, namespace: str | None = None, subresource: str = ""
    ) -> Any:
        """Merges a JSON merge patch (RFC 7386), with field names as in a manifest. With `subresource` "status" the
        conditions that a Pod's readiness gates name are set instead."""
        body = struct_pb2.Struct()
        json_format.ParseDict(dict(patch), body)
        key = self._key(kind, name, namespace)
        request = control_pb2.PatchRequest(key=key, patch=body, subresource=subresource)
        return self._object(await self.over.call((await self._resources()).Patch(request, timeout=self._timeout)))

    @overload
    async def get(self, kind: type[T], name: str, *, namespace: str | None = None) -> T: ...
    @overload
    async def get(self, kind: str, name: str, *, namespace: str | None = None) -> Object: ...
    async def get(self, kind: Any, name: str, *, namespace: str | None = None) -> Any:
        """One object; raises NotFound."""
        request = control_pb2.GetRequest(key=self._key(kind, name, namespace))
        return self._object(await self.over.call((await self._resources()).Get(request, timeout=self._timeout)))

    @overload
    async def list(
        self, kind: type[T], *, namespace: str | None = None, labels: str = "", fields: str = ""
    ) -> Listing[T]: ...
    @overload
    async def list(
        self, kind: str, *, namespace: str | None = None, labels: str = "", fields: str = ""
    ) -> Listing[Object]: ...
    async def list(self, kind: Any, *, namespace: str | None = None, labels: str = "", fields: str = "") -> Any:
        """All objects that the selectors match, of one namespace, or with namespace="" of all."""
        request = self._list_request(kind, namespace, labels, fields)
        stub = await self._resources()
        found: Listing[Object] = Listing()
        while True:
            try:
                page = await self.over.call(stub.List(request, timeout=self._timeout))
            except TooOld:
                if not getattr(request, "continue"):
                    raise
                found.clear()  # the pages' revision is forgotten: begin again
                request.ClearField("continue")
                continue
            found.extend(kinds.unpack(box) for box in page.objects)
            found.revision = found.revision or page.revision
            if not getattr(page, "continue"):
                return found
            setattr(request, "continue", getattr(page, "continue"))

    @overload
    async def delete(
        self, kind: type[T], name: str, *, namespace: str | None = None, grace: int | None = None,
        propagation: str = "background", uid: str = "", dry_run: bool = False,
    ) -> T: ...  # fmt: skip
    @overload
    async def delete(
        self, kind: str, name: str, *, namespace: str | None = None, grace: int | None = None,
        propagation: str = "background", uid: str = "", dry_run: bool = False,
    ) -> Object: ...  # fmt: skip
    async def delete(  # noqa: PLR0913 - the verb's options, all by name
        self, kind: Any, name: str, *, namespace: str | None = None, grace: int | None = None,
        propagation: str = "background", uid: str = "", dry_run: bool = False,
    ) -> Any:  # fmt: skip
        """Begins the deletion of an object, whose last state it returns; `wait(…, delete=True)` sees its end."""
        request = control_pb2.DeleteRequest(
            key=self._key(kind, name, namespace),
            grace_period_seconds=grace,
            propagation=control_pb2.DeleteRequest.Propagation.Value(propagation.upper()),
            uid=uid,
            dry_run=dry_run,
        )
        return self._object(await self.over.call((await self._resources()).Delete(request, timeout=self._timeout)))

    async def evict(
        self, pod: str, *, namespace: str | None = None, grace: int | None = None, uid: str = "", dry_run: bool = False
    ) -> Pod:
        """Asks a pod to go, if its disruption budgets let it; raises Conflict, naming the budget, when not now."""
        request = control_pb2.EvictRequest(
            namespace=self._namespace(namespace), pod=pod, grace_period_seconds=grace, uid=uid, dry_run=dry_run
        )
        found = self._object(await self.over.call((await self._resources()).Evict(request, timeout=self._timeout)))
        return cast(Pod, found)  # what else could be evicted

    @overload
    def watch(
        self, kind: type[T], *, namespace: str | None = None, labels: str = "", fields: str = "", after: int = 0
    ) -> AsyncGenerator[Change[T], None]: ...
    @overload
    def watch(
        self, kind: str, *, namespace: str | None = None, labels: str = "", fields: str = "", after: int = 0
    ) -> AsyncGenerator[Change[Object], None]: ...
    def watch(
        self, kind: Any, *, namespace: str | None = None, labels: str = "", fields: str = "", after: int = 0
    ) -> Any:
        """Changes after a revision, without end; 0 tells the present objects first. Disconnects are healed."""
        wanted = self._list_request(kind, namespace, labels, fields)

        async def source(revision: int) -> AsyncGenerator[control_pb2.WatchEvent, None]:
            request = control_pb2.WatchRequest(
                kind=wanted.kind, namespace=wanted.namespace, label_selector=labels, field_selector=fields,
                after_revision=revision,
            )  # fmt: skip
            stub = await self._resources()
            async with aclosing(self.over.stream(stub.Watch(request))) as stream:
                async for event in stream:
                    yield event

        return watch(source, after)

    @overload
    async def wait(
        self, kind: type[T], name: str, *, condition: str = "", phase: str = "", jsonpath: str = "",
        delete: bool = False, namespace: str | None = None, timeout: float = 60.0,  # noqa: ASYNC109
    ) -> T | None: ...  # fmt: skip
    @overload
    async def wait(
        self, kind: str, name: str, *, condition: str = "", phase: str = "", jsonpath: str = "",
        delete: bool = False, namespace: str | None = None, timeout: float = 60.0,  # noqa: ASYNC109
    ) -> Object | None: ...  # fmt: skip
    async def wait(  # noqa: PLR0913 - the verb's options, all by name
        self, kind: Any, name: str, *, condition: str = "", phase: str = "", jsonpath: str = "",
        delete: bool = False, namespace: str | None = None, timeout: float = 60.0,  # noqa: ASYNC109
    ) -> Any:  # fmt: skip
        """Waits for one thing, and returns the object; None once it is deleted.

        The thing: condition="Ready" (or "Ready=False"), phase="Running", jsonpath="{.status.podIP}" (or "{…}=value"),
        or delete=True.

        Raises TimeoutError, saying how the object is, after `timeout` seconds; NotFound when there is none.
        """
        goal = waiting.goal(condition=condition, phase=phase, jsonpath=jsonpath, delete=delete)
        wait = waiting.Wait(self, kind_of(kind).name, name, self._namespace(namespace), goal)
        return await wait.run(timeout)

    # ---- running pods ----------------------------------------------------------------------------------------------

    async def log_bytes(  # noqa: PLR0913 - the verb's options, all by name
        self, pod: str, *, container: str = "", namespace: str | None = None, follow: bool = False,
        previous: bool = False, tail: int | None = None, since_seconds: int | None = None,
        since: datetime | None = None, timestamps: bool = False, limit_bytes: int | None = None,
    ) -> AsyncGenerator[bytes, None]:  # fmt: skip
        """A container's log as it was written, in pieces of any size; with `follow` until the container ends."""
        options = node_pb2.LogOptions(
            container=container, follow=follow, previous=previous, tail_lines=tail, since_seconds=since_seconds,
            since_unix_nanos=int(since.timestamp() * 1e9) if since else None, timestamps=timestamps,
            limit_bytes=limit_bytes,
        )  # fmt: skip
        request = control_pb2.LogsRequest(namespace=self._namespace(namespace), pod=pod, options=options)
        stub = control_pb2_grpc.PodsStub(await self.over.channel())
        async with aclosing(self.over.stream(stub.Logs(request))) as stream:
            async for chunk in stream:
                yield chunk.data

    async def logs(self, pod: str, **options: Any) -> AsyncGenerator[str, None]:
        """A container's log line by line, without line ends; options as of `log_bytes`."""
        rest = b""
        async with aclosing(self.log_bytes(pod, **options)) as chunks:
            async for chunk in chunks:
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    yield line.decode(errors="replace")
        if rest:
            yield rest.decode(errors="replace")

    async def exec(
        self, pod: str, command: Sequence[str], *, container: str = "", namespace: str | None = None,
        stdin: bytes | None = None, timeout: float | None = None,  # noqa: ASYNC109
    ) -> ExecResult:  # fmt: skip
        """Runs a command in a container to its end; raises TimeoutError after `timeout` seconds."""
        stream = await self.exec_stream(pod, command, container=container, namespace=namespace, stdin=stdin is not None)
        async with asyncio.timeout(timeout):
            return await run_to_end(stream, stdin)

    async def exec_stream(  # noqa: PLR0913 - the verb's options, all by name
        self, pod: str, command: Sequence[str], *, container: str = "", namespace: str | None = None,
        stdin: bool = False, tty: bool = False, size: tuple[int, int] = (0, 0),
    ) -> ExecStream:  # fmt: skip
        """A command to talk with, to be entered with `async with`; `size` is the terminal's (rows, columns)."""
        options = exec_options(list(command), container, stdin, tty, size)
        start = control_pb2.ExecStart(namespace=self._namespace(namespace), pod=pod, options=options)
        stub = control_pb2_grpc.PodsStub(await self.over.channel())
        return ExecStream(stub.Exec(), control_pb2.ExecInput(start=start), self.over.server)

    async def attach(
        self, pod: str, *, container: str = "", namespace: str | None = None, stdin: bool = False, tty: bool = False,
        size: tuple[int, int] = (0, 0),
    ) -> ExecStream:  # fmt: skip
        """A running container's own output, and its input with `stdin`; to be entered with `async with`."""
        options = attach_options(container, stdin, tty, size)
        start = control_pb2.AttachStart(namespace=self._namespace(namespace), pod=pod, options=options)
        stub = control_pb2_grpc.PodsStub(await self.over.channel())
        return ExecStream(stub.Attach(), control_pb2.ExecInput(attach=start), self.over.server)

    async def port_forward(
        self, pod: str, port: int, *, local_port: int = 0, address: str = "127.0.0.1", namespace: str | None = None
    ) -> PortForward:
        """A local port that leads to a pod's port, to be entered with `async with`."""
        start = control_pb2.PortForwardStart(namespace=self._namespace(namespace), pod=pod, port=port)
        stub = control_pb2_grpc.PodsStub(await self.over.channel())
        return PortForward(stub, start, self.over.server).at(address, local_port)

    # ---- the service itself ----------------------------------------------------------------------------------------

    async def status(self) -> control_pb2.StatusResponse:
        """How meshd and its hosts are."""
        stub = control_pb2_grpc.ControlStub(await self.over.channel())
        return await self.over.call(stub.Status(control_pb2.StatusRequest(), timeout=self._timeout))

    async def proxy_flows(
        self, service: str = "", *, connections: bool = False, hosts: Sequence[str] = ()
    ) -> Sequence[control_pb2.HostFlows]:
        """What the hosts' proxies carry, of one Service ("namespace/name") or of all, connections on request."""
        stub = control_pb2_grpc.ControlStub(await self.over.channel())
        request = control_pb2.ProxyFlowsRequest(service=service, connections=connections, hosts=hosts)
        return (await self.over.call(stub.Flows(request, timeout=self._timeout))).hosts

    async def kinds(self) -> Sequence[control_pb2.KindInfo]:
        """The kinds that meshd knows, and which of them it serves."""
        stub = control_pb2_grpc.ControlStub(await self.over.channel())
        return (await self.over.call(stub.Kinds(control_pb2.KindsRequest(), timeout=self._timeout))).kinds

    async def backup(self) -> AsyncGenerator[bytes, None]:
        """A consistent copy of the store, in pieces. Secrets in it are encrypted; the key is not part of it."""
        stub = control_pb2_grpc.ControlStub(await self.over.channel())
        async with aclosing(self.over.stream(stub.Backup(control_pb2.BackupRequest()))) as stream:
            async for chunk in stream:
                yield chunk.data

    async def backup_to(self, path: str | Path) -> None:
        """Writes `backup` to a file (0600), which appears whole or not at all; raises Invalid when it can't."""
        try:
            with whole_file(path) as file:
                async with aclosing(self.backup()) as pieces:
                    async for piece in pieces:
                        file.write(piece)
        except OSError as error:
            raise Invalid(f"cannot write {path}: {error.strerror or error}") from error

    # ---- inside ----------------------------------------------------------------------------------------------------

    async def _resources(self) -> "control_pb2_grpc.ResourcesAsyncStub":
        return control_pb2_grpc.ResourcesStub(await self.over.channel())

    def _object(self, response: control_pb2.ObjectResponse) -> Any:
        self._tell(response.warnings)
        return kinds.unpack(response.object)

    def _tell(self, warnings: Sequence[str]) -> None:
        for warning in warnings:
            self._warn(warning)

    def _namespace(self, namespace: str | None) -> str:
        return self.namespace if namespace is None else namespace

    def _key(self, kind: type[Object] | str, name: str, namespace: str | None) -> control_pb2.ObjectKey:
        found = kind_of(kind)
        where = self._namespace(namespace) if found.namespaced else ""
        return control_pb2.ObjectKey(kind=found.name, namespace=where, name=name)

    def _list_request(
        self, kind: type[Object] | str, namespace: str | None, labels: str, fields: str
    ) -> control_pb2.ListRequest:
        found = kind_of(kind)
        where = self._namespace(namespace) if found.namespaced else ""
        return control_pb2.ListRequest(
            kind=found.name, namespace=where, label_selector=labels, field_selector=fields, limit=_PAGE
        )


def _applied(result: control_pb2.ApplyResult) -> Applied:
    outcome = control_pb2.ApplyResult.Outcome.Name(result.outcome).lower()
    previous = kinds.unpack(result.previous) if result.HasField("previous") else None
    return Applied(outcome, kinds.unpack(result.object), previous)
