"""The Resources service: objects read from the view, written through admission into one atomic commit.

Rule: a client reads its own writes: an answer to a write comes after the view has reached it. A merge that meets
someone else's write is computed again; only a conflict that the client itself asked for reaches the client.
"""

import secrets
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from google.protobuf import json_format
from grpc import aio

from mesh.access.asks import on_object, written
from mesh.admission import admit, allocate, podstatus
from mesh.admission.admit import Admitted, Deletion, Stamp
from mesh.admission.evict import evict
from mesh.errors import AlreadyExists, Conflict, Invalid, NotFound, Violation
from mesh.model.keys import Key
from mesh.model.kinds import Object, key_of, kind_of, pack, revision_of, unpack
from mesh.model.pods import is_mirror
from mesh.network import derived
from mesh.rpc.gate import current
from mesh.rpc.pages import Pages
from mesh.rpc.selection import selection_of, served
from mesh.rpc.watch import Encoded, watch, watch_derived
from mesh.store.change import change
from mesh.store.feed import Feed
from mesh.store.port import Event, Store, Write
from mesh.v1 import control_pb2 as pb
from mesh.v1.control_pb2_grpc import ResourcesServicer
from mesh.v1.core_pb2 import Pod
from mesh.view import View

_SUFFIX = "bcdfghjklmnpqrstvwxz2456789"  # no vowels, so that no words arise
_MOST_OBJECTS = 2000  # of one Apply
Context = aio.ServicerContext[Any, Any]


@dataclass(slots=True)
class _Outcome:
    """What one computation of a write came to."""

    admitted: list[Admitted]
    previous: list[Object | None]


class Resources(ResourcesServicer):
    """`clock` is nanoseconds since the epoch."""

    def __init__(
        self, store: Store, feed: Feed, clock: Callable[[], int], bookmark_seconds: float,
        ranges: allocate.Ranges = allocate.DEFAULT_RANGES,
    ) -> None:  # fmt: skip
        self._store = store
        self._feed = feed
        self._clock = clock
        self._bookmark_seconds = bookmark_seconds
        self._encoded = Encoded()
        self._pages = Pages()
        self._ranges = ranges

    # ---- writing

    async def Apply(self, request: pb.ApplyRequest, context: Context) -> pb.ApplyResponse:
        """Creates or merges all objects, or none."""
        objects = [_object(box) for box in request.objects]
        _check_together(objects)
        outcome = _Outcome([], [])

        def compute(view: View) -> list[Write]:
            nonlocal outcome
            outcome = self._staged(objects, view)
            return _writes(outcome, view)

        revision = await self._carry_out(compute, request.dry_run)
        response = pb.ApplyResponse(revision=revision)
        for admitted, previous in zip(outcome.admitted, outcome.previous, strict=True):
            result = response.results.add(outcome=_verdict(admitted, previous))
            result.object.CopyFrom(pack(_as_written(admitted.object, previous, revision)))
            if previous is not None:
                result.previous.CopyFrom(pack(previous))
            response.warnings.extend(admitted.warnings)
        return response

    async def Create(self, request: pb.CreateRequest, context: Context) -> pb.ObjectResponse:
        """Creates one object; a generated name that is taken is generated again."""
        obj = _object(request.object)
        generated = not obj.metadata.name and bool(obj.metadata.generate_name)
        current().require((on_object("create", obj),))

        def verb(view: View) -> tuple[Object | None, Admitted]:
            return None, admit.create(obj, view, self._stamp())

        for attempts_left in reversed(range(8 if generated else 1)):
            try:
                return await self._one(verb, request.dry_run)
            except AlreadyExists:
                if not attempts_left:
                    raise
        raise AssertionError("unreachable")

    async def Update(self, request: pb.UpdateRequest, context: Context) -> pb.ObjectResponse:
        """Replaces one object (A8)."""
        obj = _object(request.object)
        current().require((on_object("update", obj),))

        def verb(view: View) -> tuple[Object, Admitted]:
            old = found(view, key_of(obj))
            return old, admit.update(obj, old, view, self._stamp())

        return await self._one(verb, request.dry_run)

    async def Patch(self, request: pb.PatchRequest, context: Context) -> pb.ObjectResponse:
        """Merges a JSON merge patch into one object, or sets conditions of its status (P22)."""
        key, patch = _key(request.key), json_format.MessageToDict(request.patch)

        def verb(view: View) -> tuple[Object, Admitted]:
            old = found(view, key)
            _check_revision(old, request.resource_version)
            if request.subresource:
                return old, Admitted(podstatus.patch(patch, old, request.subresource, self._clock()))
            return old, admit.patch(patch, old, view, self._stamp())

        return await self._one(verb, request.dry_run)

    async def Delete(self, request: pb.DeleteRequest, context: Context) -> pb.ObjectResponse:
        """Marks an object as being deleted, or removes it; answers with its last state."""
        key = _key(request.key)
        grace = request.grace_period_seconds if request.HasField("grace_period_seconds") else None
        propagation = pb.DeleteRequest.Propagation.Name(request.propagation).capitalize()
        answer = pb.ObjectResponse()

        def compute(view: View) -> list[Write]:
            old = found(view, key)
            _check_uid(old, request.uid)
            _check_revision(old, request.resource_version)
            if isinstance(old, Pod) and is_mirror(old):
                deletion = Deletion(None)  # its host makes it again as long as the static pod is there (G10)
            else:
                deletion = admit.delete(old, grace, view, self._stamp(), propagation=propagation)
            answer.object.CopyFrom(pack(deletion.object if deletion.object is not None else old))
            return [] if deletion.object is old else [Write(key, deletion.object, revision_of(old))]

        answer.revision = await self._carry_out(compute, request.dry_run)
        return answer

    async def Evict(self, request: pb.EvictRequest, context: Context) -> pb.ObjectResponse:
        """Marks a pod as being deleted, if its disruption budgets let it go (N7)."""
        key = _key(pb.ObjectKey(kind="Pod", namespace=request.namespace or "default", name=request.pod))
        grace = request.grace_period_seconds if request.HasField("grace_period_seconds") else None
        answer = pb.ObjectResponse()

        def compute(view: View) -> list[Write]:
            old = found(view, key)
            _check_uid(old, request.uid)
            writes = evict(old, grace, view, self._stamp()) if isinstance(old, Pod) else []
            answer.object.CopyFrom(pack(next((w.object for w in writes if w.key == key and w.object), old)))
            return writes

        answer.revision = await self._carry_out(compute, request.dry_run)
        return answer

    # ---- reading

    async def Get(self, request: pb.GetRequest, context: Context) -> pb.ObjectResponse:
        """One object."""
        await self._feed.reached(0)
        key = _key(request.key)
        obj = derived.get(key, self._feed.view) or found(self._feed.view, key)
        return pb.ObjectResponse(object=pack(obj), revision=self._feed.view.revision)

    async def List(self, request: pb.ListRequest, context: Context) -> pb.ListResponse:
        """Objects of a kind, in pages of one revision when there is a limit."""
        await self._feed.reached(0)
        if not request.kind:
            raise Invalid.of("the request", [Violation("kind", "is required")])
        asked = (current().who.name, tuple(current().asks))
        if getattr(request, "continue"):
            return self._pages.next(getattr(request, "continue"), request.limit, asked)
        objects = selection_of(request).of(self._feed.view)
        return self._pages.first(objects, self._feed.view.revision, request.limit, asked)

    async def Watch(self, request: pb.WatchRequest, context: Context) -> None:  # type: ignore[override]  # it writes
        """What happens to the selected objects."""
        if request.kind in derived.KINDS:
            await watch_derived(request, context, self._feed, self._bookmark_seconds)
        else:
            await watch(request, context, self._feed, self._encoded, self._bookmark_seconds)

    # ---- in common

    async def _one(self, verb: Callable[[View], tuple[Object | None, Admitted]], dry_run: bool) -> pb.ObjectResponse:
        outcome = _Outcome([], [])

        def compute(view: View) -> list[Write]:
            nonlocal outcome
            previous, admitted = verb(view)
            current().require_grants(admitted.object, previous, view)
            outcome = _Outcome([admitted], [previous])
            return _writes(outcome, view)

        revision = await self._carry_out(compute, dry_run)
        admitted, previous = outcome.admitted[0], outcome.previous[0]
        obj = _as_written(admitted.object, previous, revision)
        return pb.ObjectResponse(object=pack(obj), warnings=admitted.warnings, revision=revision)

    async def _carry_out(self, compute: Callable[[View], list[Write]], dry_run: bool) -> int:
        if not dry_run:
            return await change(self._store, self._feed, compute)
        await self._feed.reached(0)
        compute(self._feed.view)
        return 0

    def _staged(self, objects: Sequence[Object], view: View) -> _Outcome:
        """Admits each object against the view with those before it in, so that a Namespace may come with its Pods."""
        outcome = _Outcome([], [])
        stage = view.copy() if len(objects) > 1 else view
        for obj in objects:
            previous = stage.get(key_of(obj))
            current().require(written(obj, previous))
            admitted = admit.apply(obj, previous, stage, self._stamp())
            current().require_grants(admitted.object, previous, stage)
            outcome.admitted.append(admitted)
            outcome.previous.append(previous)
            if stage is not view:
                stage.apply([Event(view.revision, key_of(admitted.object), admitted.object, previous)])
        return outcome

    def _stamp(self) -> Stamp:
        suffix = "".join(secrets.choice(_SUFFIX) for _ in range(5))
        return Stamp(self._clock(), str(uuid.uuid4()), suffix, self._ranges)


def found(view: View, key: Key) -> Object:
    """The object of this key; raises NotFound, Invalid for a kind that is not served."""
    obj = view.get(key)
    if obj is not None:
        return obj
    if derived.get(key, view) is not None:
        raise Invalid(f'the {key.kind} "{key.name}" is derived from pods: change its Service or its pods instead')
    where = f' in namespace "{key.namespace}"' if key.namespace else ""
    raise NotFound(f'there is no {key.kind} "{key.name}"{where}')


def _object(box: Any) -> Object:
    """The object sent; without a namespace it means the one called default."""
    obj = unpack(box)
    if served(kind_of(obj).name).namespaced and not obj.metadata.namespace:
        obj.metadata.namespace = "default"
    return obj


def _key(key: pb.ObjectKey) -> Key:
    kind = served(key.kind)
    if not key.name:
        raise Invalid.of("the request", [Violation("key.name", "is required")])
    if kind.namespaced and not key.namespace:
        raise Invalid.of("the request", [Violation("key.namespace", f"is required: a {kind.name} lies in a namespace")])
    return Key(kind.name, key.namespace if kind.namespaced else "", key.name)


def _check_together(objects: Sequence[Object]) -> None:
    if len(objects) > _MOST_OBJECTS:
        raise Invalid(f"cannot apply {len(objects)} objects in one commit: at most {_MOST_OBJECTS}")
    seen: set[Key] = set()
    for obj in objects:
        key = key_of(obj)
        if key in seen:
            raise Invalid(f"{key} is twice in the request")
        seen.add(key)


def _check_uid(obj: Object, uid: str) -> None:
    if uid and obj.metadata.uid != uid:
        raise Conflict(f"cannot change {key_of(obj)}: its uid is {obj.metadata.uid}, not {uid}")


def _check_revision(obj: Object, revision: str) -> None:
    if revision and obj.metadata.resource_version != revision:
        held = obj.metadata.resource_version
        raise Conflict(f"cannot change {key_of(obj)}: it is at resourceVersion {held}, not {revision}")


def _writes(outcome: _Outcome, view: View) -> list[Write]:
    pairs = list(zip((a.object for a in outcome.admitted), outcome.previous, strict=True))
    writes = [
        Write(key_of(obj), None if admit.is_gone(obj) else obj, revision_of(previous) if previous is not None else 0)
        for obj, previous in pairs
        if obj is not previous
    ]
    guard = allocate.guard(view, pairs)
    return writes if guard is None else [*writes, guard]


def _verdict(admitted: Admitted, previous: Object | None) -> pb.ApplyResult.Outcome.ValueType:
    if previous is None:
        return pb.ApplyResult.CREATED
    return pb.ApplyResult.UNCHANGED if admitted.object is previous else pb.ApplyResult.CONFIGURED


def _as_written(obj: Object, previous: Object | None, revision: int) -> Object:
    """The object with the revision of its commit; as it is when nothing was written."""
    if obj is previous or not revision:
        return obj
    written = type(obj)()
    written.CopyFrom(obj)  # type: ignore[arg-type]  # the copy is of the object's own type
    written.metadata.resource_version = str(revision)
    return written
