"""Waiting for an object to become what is wanted: by a watch, never by asking again and again.

Rule: a timeout says what was waited for and how the object is instead.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Protocol

from mesh.errors import Invalid, NotFound
from mesh.model import manifest
from mesh.model.kinds import Object
from mesh.sdk import jsonpath as paths
from mesh.sdk.watch import Change, Listing
from mesh.sdk.words import duration, last_failure, summary, why_waiting
from mesh.v1.core_pb2 import Pod


class Source(Protocol):
    """What a wait asks: an AsyncClient."""

    async def list(self, kind: str, *, namespace: str | None, fields: str) -> Listing[Object]: ...

    def watch(
        self, kind: str, *, namespace: str | None, fields: str, after: int
    ) -> AsyncGenerator[Change[Object], None]: ...


Seen = Callable[[Object], None]


@dataclass(frozen=True, slots=True)
class Goal:
    """What is waited for: in words, and whether an object (None: there is none) is that. `absent`: None may be met."""

    text: str
    met: Callable[[Object | None], bool]
    absent: bool = False


def goal(*, condition: str = "", phase: str = "", jsonpath: str = "", delete: bool = False) -> Goal:
    """The one goal that is named; raises Invalid when it is none or several."""
    if sum((bool(condition), bool(phase), bool(jsonpath), delete)) != 1:
        raise Invalid("wait needs exactly one of condition, phase, jsonpath and delete")
    if delete:
        return Goal("its deletion", lambda obj: obj is None, absent=True)
    if condition:
        name, _, status = condition.partition("=")
        return Goal(f"condition {condition}", lambda obj: _has_condition(obj, name, status or "True"))
    if phase:
        return Goal(f"phase {phase}", lambda obj: _phase(obj) == phase)
    return _path_goal(jsonpath)


def parse(text: str) -> Goal:
    """The goal of a command line: "condition=Ready", "condition=Ready=false", "jsonpath={.a}=b", "delete", "create"."""
    kind, _, rest = text.partition("=")
    if text.lower() == "delete":
        return goal(delete=True)
    if text.lower() == "create":
        return Goal("its creation", lambda obj: obj is not None, absent=True)
    if kind.lower() == "condition" and rest:
        return goal(condition=rest)
    if kind.lower() == "jsonpath" and rest:
        return goal(jsonpath=rest)
    raise Invalid(
        f'cannot wait for "{text}": say condition=NAME, condition=NAME=VALUE, jsonpath={{PATH}}=VALUE or delete'
    )


@dataclass(slots=True)
class Wait:
    """One wait; `seen` is told every state that is not the goal, and may raise to give up."""

    client: Source
    kind: str
    name: str
    namespace: str
    goal: Goal
    seen: Seen = lambda _obj: None
    newest: Object | None = None

    async def run(self, timeout: float | None) -> Object | None:  # noqa: ASYNC109 - part of the message
        """The object as it meets the goal; None when the goal is met by there being none.

        Raises TimeoutError; NotFound when the goal needs an object and there is none, or it goes away meanwhile.
        """
        try:
            async with asyncio.timeout(timeout):
                return await self._reach()
        except TimeoutError:
            limit = duration(timeout or 0)
            raise TimeoutError(
                f"timed out after {limit} waiting for {self.goal.text} of {self._word}: {state_of(self.newest)}"
            ) from None

    @property
    def _word(self) -> str:
        return f'{self.kind.lower()} "{self.name}"'

    async def _reach(self) -> Object | None:
        where, fields = self.namespace, f"metadata.name={self.name}"
        present = await self.client.list(self.kind, namespace=where, fields=fields)
        if not present and not self.goal.absent:
            raise NotFound(f"{self._word} not found")
        if self._met(present[0] if present else None):
            return self.newest
        changes = self.client.watch(self.kind, namespace=where, fields=fields, after=present.revision)
        async with aclosing(changes):
            async for change in changes:
                if self._met(None if change.type == "DELETED" else change.object):
                    return self.newest
                if self.newest is None and not self.goal.absent:
                    raise NotFound(f"{self._word} was deleted while {self.goal.text} was waited for")
        raise AssertionError("a watch does not end")

    def _met(self, obj: Object | None) -> bool:
        self.newest = obj
        if self.goal.met(obj):
            return True
        if obj is not None:
            self.seen(obj)
        return False


def state_of(obj: Object | None) -> str:
    """How an object is, in words for people."""
    if obj is None:
        return "there is none"
    if not isinstance(obj, Pod):
        return f"it is {_phase(obj) or 'there'}" + (", being deleted" if _deleting(obj) else "")
    container, reason, message = why_waiting(obj)
    text = f"it is {summary(obj).status}"
    if reason:
        failure = last_failure(obj, container) if reason == "CrashLoopBackOff" else ""
        return text + f" (container {container}: {failure or message or reason})"
    for condition in obj.status.conditions:
        if condition.type == "PodScheduled" and condition.status == "False" and condition.message:
            return text + f" ({condition.message})"
    return text


def _deleting(obj: Object) -> bool:
    return obj.metadata.HasField("deletion_timestamp")


def _phase(obj: Object | None) -> str:
    return str(getattr(getattr(obj, "status", None), "phase", ""))


def _has_condition(obj: Object | None, name: str, wanted: str) -> bool:
    conditions: Any = getattr(getattr(obj, "status", None), "conditions", ())
    for condition in conditions:
        if condition.type.lower() == name.lower():
            seen_generation = getattr(condition, "observed_generation", 0)
            stale = bool(seen_generation) and obj is not None and seen_generation < obj.metadata.generation
            return not stale and condition.status.lower() == wanted.lower()
    return False


def _path_goal(text: str) -> Goal:
    path, separator, value = text.partition("}=") if "{" in text else text.partition("=")
    path += "}" if separator == "}=" else ""
    nodes = paths.parse(path)
    value = value.strip("'\"")

    def met(obj: Object | None) -> bool:
        found = paths.find(nodes, manifest.to_dict(obj)) if obj is not None else []
        return any(paths.text_of(f) == value for f in found) if separator else bool(found)

    return Goal(text, met)
