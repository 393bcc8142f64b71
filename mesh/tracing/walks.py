"""Follows what users write, by way of what controllers make of it, to pods that are ready: one trace for each call.

Rule: everything is read off the commits of the store and the hosts' reports; nobody else has to know. What is followed
is kept in memory, bounded (MOST), and for FRESH at most: a meshd that starts anew forgets it, and loses nothing else.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TypeVar

from mesh.model.conditions import find
from mesh.model.kinds import Object
from mesh.model.pods import is_terminal
from mesh.model.times import SECOND
from mesh.store.port import Write
from mesh.tracing.span import Context, Span, new_context, parsed
from mesh.v1.core_pb2 import Pod
from mesh.v1.node_pb2 import PodReport

T = TypeVar("T")
MOST = 10_000
FRESH = 600 * SECOND  # what controllers do later than this is no consequence of the call any more


@dataclass(slots=True)
class Call:
    """A call of the API that is under way."""

    context: Context
    parent: str
    began: int
    committed: bool = False


@dataclass(slots=True)
class _Walk:
    """A pod on its way."""

    context: Context
    parent: str
    began: int
    made: int  # when it was in the store
    node: str = ""
    ordered: bool = False
    last: int = 0  # the end of the host's latest step
    steps: set[tuple[str, str, int]] = field(default_factory=set)


_current: ContextVar[Call | None] = ContextVar("call", default=None)


class Walks:
    """Of one meshd. `clock` is nanoseconds since the epoch; `emit` takes spans that have ended, and never waits."""

    def __init__(self, clock: Callable[[], int], emit: Callable[[Span], None]) -> None:
        self._clock = clock
        self._emit = emit
        self._made: OrderedDict[str, tuple[Context, int]] = OrderedDict()  # by uid of what makes others: whose, when
        self._walks: OrderedDict[str, _Walk] = OrderedDict()  # by uid of pods that are not ready yet

    def now(self) -> int:
        """By the clock."""
        return self._clock()

    # ---- calls

    @contextmanager
    def call(self, method: str, traceparent: str) -> Iterator[Call]:
        """A call of the API; what it commits belongs to it."""
        above = parsed(traceparent)
        context = above.child() if above is not None else new_context()
        call = Call(context, above.span if above is not None else "", self._clock())
        token, error = _current.set(call), ""
        try:
            yield call
        except BaseException as raised:
            error = str(raised) or type(raised).__name__
            raise
        finally:
            _current.reset(token)
            of = {"rpc.system": "grpc", "rpc.method": method.strip("/")}
            self._emit(Span(method.strip("/"), call.context, call.parent, call.began, self._clock(), of, error))

    # ---- commits

    def committed(self, writes: Sequence[Write], began: int) -> None:
        """A commit that went well."""
        call, ended = _current.get(), self._clock()
        if call is not None:
            if not call.committed:
                self._child("admission", call.context, call.began, began)
                call.committed = True
            self._child("store commit", call.context, began, ended, {"mesh.writes": str(len(writes))})
        for write in writes:
            if write.object is not None:
                self._written(write.object, write.expect == 0, call, began, ended)

    def _written(self, obj: Object, new: bool, call: Call | None, began: int, ended: int) -> None:
        uid = obj.metadata.uid
        context = call.context if call is not None else self._of_owner(obj, ended)
        if isinstance(obj, Pod):
            if new and context is not None:
                self._keep(self._walks, uid, _Walk(context.child(), context.span, began, ended))
            elif uid in self._walks:
                self._moved(self._walks[uid], obj, ended)
        elif context is not None:
            if new and call is None:
                context = self._child(f"create {obj.kind}", context, began, ended, _named(obj))
            self._keep(self._made, uid, (context, ended))

    def _of_owner(self, obj: Object, now: int) -> Context | None:
        owner = next((o.uid for o in obj.metadata.owner_references if o.controller), "")
        context, at = self._made.get(owner, (None, 0))
        return context if at + FRESH > now else None

    def _moved(self, walk: _Walk, pod: Pod, ended: int) -> None:
        if pod.spec.node_name and not walk.node:
            walk.node = pod.spec.node_name
            self._child("schedule", walk.context, walk.made, ended, {"k8s.node.name": walk.node})
        ready = find(pod.status.conditions, "Ready")
        if is_terminal(pod) or (ready is not None and ready.status == "True"):
            failed = pod.status.phase == "Failed"
            if walk.last and not is_terminal(pod):
                self._child("ready", walk.context, min(walk.last, ended), ended)  # hosts' clocks may differ
            of = {**_named(pod), "k8s.node.name": walk.node, "mesh.phase": pod.status.phase}
            error = (pod.status.reason or "the pod failed") if failed else ""
            self._emit(Span("pod", walk.context, walk.parent, walk.began, ended, of, error))
            del self._walks[pod.metadata.uid]

    # ---- hosts

    def traceparents(self, uids: Iterable[str]) -> dict[str, str]:
        """Of those pods that are on their way: what their host is told."""
        return {uid: self._walks[uid].context.traceparent for uid in uids if uid in self._walks}

    def ordered(self, uids: Iterable[str], began: int) -> None:
        """A host has taken an order with these pods."""
        for uid in uids:
            walk = self._walks.get(uid)
            if walk is not None and not walk.ordered:
                walk.ordered = True
                self._child("order", walk.context, began, self._clock(), {"k8s.node.name": walk.node})

    def reported(self, reports: Iterable[PodReport]) -> None:
        """What hosts did for pods that are on their way; a step may be told any number of times."""
        for report in reports:
            walk = self._walks.get(report.uid)
            for step in report.steps if walk is not None else ():
                key = step.name, step.container, step.began_unix_nanos
                if walk is None or key in walk.steps or step.traceparent != walk.context.traceparent:
                    continue
                walk.steps.add(key)
                walk.last = max(walk.last, step.ended_unix_nanos)
                of = {"k8s.container.name": step.container} if step.container else {}
                self._child(step.name, walk.context, step.began_unix_nanos, step.ended_unix_nanos, of, step.error)

    # ---- inside

    def _child(
        self, name: str, of: Context, began: int, ended: int, attributes: dict[str, str] | None = None, error: str = ""
    ) -> Context:  # fmt: skip
        context = of.child()
        self._emit(Span(name, context, of.span, began, ended, attributes or {}, error))
        return context

    @staticmethod
    def _keep(kept: OrderedDict[str, T], uid: str, value: T) -> None:
        kept[uid] = value
        kept.move_to_end(uid)
        while len(kept) > MOST:
            kept.popitem(last=False)


def _named(obj: Object) -> dict[str, str]:
    meta = obj.metadata
    return {"k8s.namespace.name": meta.namespace, f"k8s.{obj.kind.lower()}.name": meta.name}


def trace_of_call() -> str:
    """The id of the trace of the call that is under way here; "" for none."""
    call = _current.get()
    return call.context.trace if call is not None else ""
