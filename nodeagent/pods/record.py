"""What must be known of a pod and can't be read off its containers: one small value, kept on disk beside its volumes.

Rule: pure. A record only ever grows: attempts never go back, a final status never changes. Times are nanoseconds since
the epoch. Whatever the labels of containers tell is not in here, except to outlive the container.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from types import MappingProxyType
from typing import Any

from nodeagent.kept import made
from nodeagent.probes.state import Verdict
from nodeagent.runtime.seen import SeenContainer, SeenPod, State

_NOTHING: Mapping[str, Any] = MappingProxyType({})
LOST_EXIT_CODE = 137  # S5: how it ended is not known


@dataclass(frozen=True, slots=True)
class Death:
    """How one attempt of a container ended; `reason` as S5."""

    attempt: int
    exit_code: int
    reason: str
    message: str = ""
    started_at: int = 0
    finished_at: int = 0
    container_id: str = ""
    spec_hash: str = ""
    image: str = ""
    image_id: str = ""


@dataclass(frozen=True, slots=True)
class Streak:
    """A container's crash-loop back-off (L2): at `updated_at` the start of `attempt` was let through."""

    delay: int
    updated_at: int
    attempt: int
    spec_hash: str


@dataclass(frozen=True, slots=True)
class Allocation:
    """Resources of a container, as the spec writes them; of one `attempt` where they are what is in force."""

    requests: Mapping[str, str] = field(default_factory=dict)
    limits: Mapping[str, str] = field(default_factory=dict)
    attempt: int = -1


@dataclass(frozen=True, slots=True)
class Draining:
    """A deleted pod that runs on for its connections' sake: since when, what it waits for, whether that is over."""

    since: int = 0
    waits_for: str = ""
    over: bool = False


@dataclass(frozen=True, slots=True)
class Record:
    """One pod's. `stops`: by container id, when KILL follows the TERM that was sent. `leaving`: ids of those in `stops`
    that have had no TERM yet: a preStop hook (L8) or others of the pod (L13) come first. `verdicts`: what probes and
    hooks have decided, by container. `allocated`: resources that this host has granted; `in_force`: the older ones of
    attempts that run, which have yet to follow (L20); `resize`: why the spec's are not granted. `final`: a PodStatus,
    once nothing of the pod runs any more and never will."""

    started_at: int = 0  # when this host took the pod: startTime (S6)
    attempts: Mapping[str, int] = field(default_factory=lambda: _NOTHING)  # newest that was started, by container
    deaths: Mapping[str, Death] = field(default_factory=lambda: _NOTHING)  # the newest, by container
    previous: Mapping[str, Death] = field(default_factory=lambda: _NOTHING)  # the one before
    streaks: Mapping[str, Streak] = field(default_factory=lambda: _NOTHING)
    stops: Mapping[str, int] = field(default_factory=lambda: _NOTHING)
    leaving: tuple[str, ...] = ()
    verdicts: Mapping[str, Verdict] = field(default_factory=lambda: _NOTHING)
    reason: str = ""  # why the whole pod failed, "DeadlineExceeded"
    message: str = ""
    evicted_at: int = 0
    evicted_grace: int = 1  # seconds that its containers then have at most (R10)
    disrupted: bool = False  # it was evicted for the host's sake, not for a limit of its own
    allocated: Mapping[str, Allocation] = field(default_factory=lambda: _NOTHING)
    in_force: Mapping[str, Allocation] = field(default_factory=lambda: _NOTHING)
    resize: tuple[str, str] = ("", "")  # reason, message
    resize_at: int = 0  # when that was last decided
    drain: Draining = Draining()
    final: bytes = b""

    def with_death(self, name: str, death: Death) -> "Record":
        """The record after this end of a container; an older one than is known changes nothing."""
        known = self.deaths.get(name)
        if known and known.attempt >= death.attempt:
            return self
        previous = {**self.previous, name: known} if known else self.previous
        attempts = {**self.attempts, name: max(death.attempt, self.attempts.get(name, 0))}
        return replace(self, deaths={**self.deaths, name: death}, previous=previous, attempts=attempts)

    def with_stop(self, container_id: str, deadline: int) -> "Record":
        """TERM was sent; KILL follows at `deadline`, which can only come nearer (L9)."""
        known = self.stops.get(container_id, deadline)
        return replace(self, stops={**self.stops, container_id: min(known, deadline)})

    def with_leaving(self, container_id: str) -> "Record":
        """A container is to stop, and something comes before its TERM."""
        return replace(self, leaving=tuple(dict.fromkeys((*self.leaving, container_id))))

    def with_term(self, container_id: str, deadline: int) -> "Record":
        """TERM comes at last; it gets what is left of the grace, and at least its minimum (L8, L9)."""
        left = max(self.stops.get(container_id, deadline), deadline)
        rest = tuple(i for i in self.leaving if i != container_id)
        return replace(self, stops={**self.stops, container_id: left}, leaving=rest)

    def with_verdict(self, name: str, verdict: Verdict) -> "Record":
        """What is decided of a container's newest instance."""
        return replace(self, verdicts={**self.verdicts, name: verdict})

    def followed(self, name: str) -> "Record":
        """A container has what is granted to it."""
        return replace(self, in_force={k: v for k, v in self.in_force.items() if k != name})

    def with_streak(self, name: str, streak: Streak) -> "Record":
        """A restart was let through."""
        return replace(self, streaks={**self.streaks, name: streak})


def unheard(record: Record, seen: SeenPod | None) -> list[SeenContainer]:
    """Containers whose end is seen and not in the record yet, oldest first."""
    return [
        c
        for c in (seen.containers if seen else ())
        if c.state is State.EXITED and (c.name not in record.deaths or record.deaths[c.name].attempt < c.attempt)
    ]


def remember(
    record: Record, seen: SeenPod | None, now: int, words: Mapping[str, str] = _NOTHING
) -> Record:  # fmt: skip
    """The record after a true look at the host: what runs or ended, and what ended unseen because it is gone (137).

    `words` are termination messages by container id (L16).
    """
    record = _without_old_stops(record, seen)
    newest: dict[str, int] = {}
    for container in seen.containers if seen else ():
        newest[container.name] = max(container.attempt, newest.get(container.name, 0))
        if container.state is State.CREATED:
            continue
        if container.attempt > record.attempts.get(container.name, -1):
            record = replace(record, attempts={**record.attempts, container.name: container.attempt})
        if container.state is not State.RUNNING:
            record = record.with_death(container.name, death_of(container, now, words.get(container.id, "")))
    for name, attempt in record.attempts.items():
        if newest.get(name, -1) < attempt:
            record = record.with_death(name, _vanished(attempt, now))
    return record


def _without_old_stops(record: Record, seen: SeenPod | None) -> Record:
    """Of containers that are gone, only the last end matters: a container may be stopped any number of times (P7)."""
    there = {c.id for c in (seen.containers if seen else ())} | {d.container_id for d in record.deaths.values()}
    if there.issuperset(record.stops):
        return record
    stops = {i: at for i, at in record.stops.items() if i in there}
    return replace(record, stops=stops, leaving=tuple(i for i in record.leaving if i in there))


def death_of(container: SeenContainer, now: int, words: str = "") -> Death:
    """How a container that runs no more ended (S5); `words` are its last ones."""
    lost = container.state is State.LOST
    code = LOST_EXIT_CODE if lost else container.exit_code
    reason = "OOMKilled" if container.oom_killed else "Completed" if code == 0 else "Error"
    return Death(
        attempt=container.attempt,
        exit_code=code,
        reason="ContainerStatusUnknown" if lost else reason,
        message="the container's monitor died, so how it ended is not known" if lost else words,
        started_at=container.started_at,
        finished_at=container.finished_at or now,
        container_id=container.id,
        spec_hash=container.spec_hash,
        image=container.image,
        image_id=container.image_id,
    )


def _vanished(attempt: int, now: int) -> Death:
    message = "the container was gone when the host was looked at, so how it ended is not known"
    return Death(attempt, LOST_EXIT_CODE, "ContainerStatusUnknown", message, finished_at=now)


def to_json(record: Record) -> str:
    """The record as text."""
    plain = {
        "started_at": record.started_at,
        "attempts": dict(record.attempts),
        "deaths": {k: asdict(v) for k, v in record.deaths.items()},
        "previous": {k: asdict(v) for k, v in record.previous.items()},
        "streaks": {k: asdict(v) for k, v in record.streaks.items()},
        "stops": dict(record.stops),
        "leaving": list(record.leaving),
        "verdicts": {k: asdict(v) for k, v in record.verdicts.items()},
        "reason": record.reason,
        "message": record.message,
        "evicted_at": record.evicted_at,
        "evicted_grace": record.evicted_grace,
        "disrupted": record.disrupted,
        "allocated": {k: asdict(v) for k, v in record.allocated.items()},
        "in_force": {k: asdict(v) for k, v in record.in_force.items()},
        "resize": list(record.resize),
        "resize_at": record.resize_at,
        "drain": asdict(record.drain),
        "final": record.final.hex(),
    }
    return json.dumps(plain, separators=(",", ":"))


def from_json(text: str) -> Record:
    """The record of a text, of an older or a newer agent's too: what one does not know of the other is left out. Raises
    ValueError when it is none."""
    try:
        plain = json.loads(text)
        return Record(
            started_at=int(plain["started_at"]),
            attempts=dict(plain["attempts"]),
            deaths={k: made(Death, v) for k, v in plain["deaths"].items()},
            previous={k: made(Death, v) for k, v in plain["previous"].items()},
            streaks={k: made(Streak, v) for k, v in plain["streaks"].items()},
            stops=dict(plain["stops"]),
            leaving=tuple(plain.get("leaving", ())),  # absent in records of the first release
            verdicts={k: made(Verdict, v) for k, v in plain.get("verdicts", {}).items()},
            reason=plain["reason"],
            message=plain["message"],
            evicted_at=int(plain.get("evicted_at", 0)),
            evicted_grace=int(plain.get("evicted_grace", 1)),
            disrupted=bool(plain.get("disrupted", False)),
            allocated={k: made(Allocation, v) for k, v in plain.get("allocated", {}).items()},
            in_force={k: made(Allocation, v) for k, v in plain.get("in_force", {}).items()},
            resize=tuple(plain.get("resize", ("", ""))),
            resize_at=int(plain.get("resize_at", 0)),
            drain=made(Draining, plain.get("drain", {})),
            final=bytes.fromhex(plain["final"]),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"this is no record of a pod: {error!r}") from error
