"""The blocking twin of `AsyncClient`: the same verbs, for scripts.

    with Client() as mesh:
        pod = mesh.get(Pod, "web")

Rule: it only forwards to an AsyncClient on an event loop in a thread of its own; it may be used from any thread.
"""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine, Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar, overload

from mesh.errors import MeshError
from mesh.model.kinds import Object
from mesh.sdk.client import Applicable, Applied, AsyncClient
from mesh.sdk.context import Context
from mesh.sdk.streams import ExecResult, PortForward
from mesh.sdk.watch import Change, Listing
from mesh.v1.core_pb2 import Pod

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from mesh.v1 import control_pb2

T = TypeVar("T", bound=Object)
A = TypeVar("A")
Changes = list[Applied]
Kinds = Sequence["control_pb2.KindInfo"]


class Client:
    """A connection to meshd whose verbs block. Use it as a `with`, or `close` it. See AsyncClient for each verb."""

    def __init__(
        self,
        context: Context | str = "",
        *,
        namespace: str = "",
        timeout: float | None = 60.0,
        on_warning: Callable[[str], None] | None = None,
    ) -> None:
        more = {"on_warning": on_warning} if on_warning is not None else {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="mesh-client", daemon=True)
        self._thread.start()
        try:
            self._inner = self._run(_make(context, namespace, timeout, more))
        except BaseException:
            self._stop()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the connection and the thread; closing twice is fine."""
        if not self._loop.is_closed():
            self._run(self._inner.close())
            self._stop()

    def apply(self, what: Applicable, *, dry_run: bool = False) -> Changes:
        """Creates or merges objects, all or none: messages, YAML text (with a line end), or a file's path."""
        return self._run(self._inner.apply(what, dry_run=dry_run))

    def create(self, obj: T, *, dry_run: bool = False) -> T:
        """Creates an object; raises AlreadyExists."""
        return self._run(self._inner.create(obj, dry_run=dry_run))

    def update(self, obj: T, *, dry_run: bool = False) -> T:
        """Replaces an object; raises Conflict when its resourceVersion is set and not the stored one."""
        return self._run(self._inner.update(obj, dry_run=dry_run))

    @overload
    def patch(
        self, kind: type[T], name: str, patch: Mapping[str, Any], *, namespace: str | None = None, subresource: str = ""
    ) -> T: ...
    @overload
    def patch(
        self, kind: str, name: str, patch: Mapping[str, Any], *, namespace: str | None = None, subresource: str = ""
    ) -> Object: ...
    def patch(
        self, kind: Any, name: str, patch: Mapping[str, Any], *, namespace: str | None = None, subresource: str = ""
    ) -> Any:
        """Merges a JSON merge patch (RFC 7386), with field names as in a manifest. With `subresource` "status" the
        conditions that a Pod's readiness gates name are set instead."""
        return self._run(self._inner.patch(kind, name, patch, namespace=namespace, subresource=subresource))

    @overload
    def get(self, kind: type[T], name: str, *, namespace: str | None = None) -> T: ...
    @overload
    def get(self, kind: str, name: str, *, namespace: str | None = None) -> Object: ...
    def get(self, kind: Any, name: str, *, namespace: str | None = None) -> Any:
        """One object; raises NotFound."""
        return self._run(self._inner.get(kind, name, namespace=namespace))

    @overload
    def list(
        self, kind: type[T], *, namespace: str | None = None, labels: str = "", fields: str = ""
    ) -> Listing[T]: ...
    @overload
    def list(
        self, kind: str, *, namespace: str | None = None, labels: str = "", fields: str = ""
    ) -> Listing[Object]: ...
    def list(self, kind: Any, *, namespace: str | None = None, labels: str = "", fields: str = "") -> Any:
        """All objects that the selectors match, of one namespace, or with namespace="" of all."""
        return self._run(self._inner.list(kind, namespace=namespace, labels=labels, fields=fields))

    @overload
    def delete(self, kind: type[T], name: str, *, namespace: str | None = None, grace: int | None = None) -> T: ...
    @overload
    def delete(self, kind: str, name: str, *, namespace: str | None = None, grace: int | None = None) -> Object: ...
    def delete(
        self, kind: Any, name: str, *, namespace: str | None = None, grace: int | None = None, **options: Any
    ) -> Any:
        """Begins the deletion of an object, whose last state it returns; `wait(…, delete=True)` sees its end."""
        return self._run(self._inner.delete(kind, name, namespace=namespace, grace=grace, **options))

    def evict(self, pod: str, *, namespace: str | None = None, grace: int | None = None, **options: Any) -> Pod:
        """Asks a pod to go, if its disruption budgets let it; raises Conflict, naming the budget, when not now."""
        return self._run(self._inner.evict(pod, namespace=namespace, grace=grace, **options))

    @overload
    def watch(
        self, kind: type[T], *, namespace: str | None = None, labels: str = "", fields: str = "", after: int = 0
    ) -> Iterator[Change[T]]: ...
    @overload
    def watch(
        self, kind: str, *, namespace: str | None = None, labels: str = "", fields: str = "", after: int = 0
    ) -> Iterator[Change[Object]]: ...
    def watch(self, kind: Any, **options: Any) -> Any:
        """Changes after a revision, without end; 0 tells the present objects first. Disconnects are healed."""
        return self._iterate(self._inner.watch(kind, **options))

    @overload
    def wait(
        self, kind: type[T], name: str, *, condition: str = "", phase: str = "", jsonpath: str = "",
        delete: bool = False, namespace: str | None = None, timeout: float = 60.0,
    ) -> T | None: ...  # fmt: skip
    @overload
    def wait(
        self, kind: str, name: str, *, condition: str = "", phase: str = "", jsonpath: str = "",
        delete: bool = False, namespace: str | None = None, timeout: float = 60.0,
    ) -> Object | None: ...  # fmt: skip
    def wait(self, kind: Any, name: str, **options: Any) -> Any:
        """Waits for condition="Ready", phase="Running", jsonpath="{.a}=b" or delete=True; raises TimeoutError."""
        return self._run(self._inner.wait(kind, name, **options))

    def logs(self, pod: str, **options: Any) -> Iterator[str]:
        """A container's log line by line; options as of AsyncClient.log_bytes."""
        return self._iterate(self._inner.logs(pod, **options))

    def exec(self, pod: str, command: Sequence[str], **options: Any) -> ExecResult:
        """Runs a command in a container to its end; options as of AsyncClient.exec."""
        return self._run(self._inner.exec(pod, command, **options))

    @contextlib.contextmanager
    def port_forward(self, pod: str, port: int, **options: Any) -> Generator[PortForward, None, None]:
        """A local port (`.port`) that leads to a pod's port, while the `with` lasts."""
        forward = self._run(self._inner.port_forward(pod, port, **options))
        self._run(forward.__aenter__())
        try:
            yield forward
        finally:
            self._run(forward.__aexit__(None, None, None))

    def status(self) -> "control_pb2.StatusResponse":
        """How meshd and its hosts are."""
        return self._run(self._inner.status())

    def proxy_flows(self, service: str = "", **options: Any) -> "Sequence[control_pb2.HostFlows]":
        """What the hosts' proxies carry, of one Service ("namespace/name") or of all."""
        return self._run(self._inner.proxy_flows(service, **options))

    def kinds(self) -> Kinds:
        """The kinds that meshd knows, and which of them it serves."""
        return self._run(self._inner.kinds())

    def backup(self, path: str | Path) -> None:
        """Writes a consistent copy of the store to a file (0600)."""
        self._run(self._inner.backup_to(path))

    def _run(self, work: Coroutine[Any, Any, A]) -> A:
        if self._loop.is_closed():
            work.close()
            raise MeshError("cannot use a client that is closed")
        future: Future[A] = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()  # Ctrl-C in the caller's thread ends the call too
            raise

    def _iterate(self, items: "AsyncGenerator[A, None]") -> Generator[A, None, None]:
        try:
            while (item := self._run(_next(items))) is not None:
                yield item[0]
        finally:
            if not self._loop.is_closed():
                self._run(items.aclose())

    def _stop(self) -> None:
        asyncio.run_coroutine_threadsafe(_end_tasks(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


async def _make(context: Context | str, namespace: str, timeout: float | None, more: dict[str, Any]) -> AsyncClient:  # noqa: ASYNC109
    return AsyncClient(context, namespace=namespace, timeout=timeout, **more)


async def _end_tasks() -> None:
    """What gRPC and callers that were interrupted left to be done on this loop, as `asyncio.run` ends it."""
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)


async def _next(items: "AsyncGenerator[A, None]") -> tuple[A] | None:
    try:
        return (await anext(items),)
    except StopAsyncIteration:
        return None
