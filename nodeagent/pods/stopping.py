"""How containers stop: preStop hook, TERM, grace, KILL, and which of them go before others (L8, L9, L10, L13).

Rule: pure; says the next step only, as plan.py does.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from mesh.model.pods import container_named, is_sidecar
from mesh.model.times import SECOND
from nodeagent.pods.actions import STOP, Decision, Facts, Kill, Leave, Term, Terminate
from nodeagent.runtime.seen import SeenContainer, State

SHORTEST_GRACE = 2  # seconds that TERM always has before KILL (L9)
KILL_AGAIN = 5 * SECOND
EVICTED = "Evicted"  # a reason (R10)


def stop(facts: Facts, message: str, seconds: int | None = None) -> Decision | None:
    """Stops whatever runs; None when nothing does. Arguments as `terminate`."""
    running = _running(facts)
    return terminate(facts, running, message, seconds, ordered=True) if running else None


def terminate(
    facts: Facts,
    containers: Sequence[SeenContainer],
    message: str,
    seconds: int | None = None,
    *,
    ordered: bool = False,
) -> Decision:
    """TERM to all in parallel, KILL at expiry; a shorter grace counts from now, a longer one is ignored (L9, L10).

    Where there is a preStop hook, it comes first and eats the grace; TERM then has what is left, at least 2 s (L8).
    `message`: "{}" stands for the container. `seconds`: another grace than the pod's. `ordered`: the whole pod stops,
    so sidecars wait for their turn, within the grace (L13).
    """
    if not facts.may_kill:
        return Decision()
    failure = facts.memory.failures.get(STOP)
    if failure and failure.retry_at > facts.now:
        return Decision(wake_at=failure.retry_at)
    grace = facts.grace if seconds is None else seconds
    decision = Decision()
    for container in containers:
        waits = ordered and not _has_turn(facts, container)
        decision = both(decision, _terminate(facts, container, message.replace("{}", container.name), grace, waits))
    return decision


def _terminate(facts: Facts, container: SeenContainer, message: str, grace: int, waits: bool) -> Decision:
    deadline = facts.record.stops.get(container.id)
    leaving = container.id in facts.record.leaving
    later = deadline is None and grace > 0 and (waits or _says_goodbye(facts, container))
    wanted = facts.now + (grace if later or leaving else max(grace, SHORTEST_GRACE)) * SECOND
    if deadline is None or wanted < deadline:
        again = deadline is not None
        return Decision((Terminate(container.name, container.id, wanted, message, again=again, later=later),))
    if leaving:
        return _leave(facts, container, deadline, waits)
    killed = facts.memory.killed.get(container.id)
    due = deadline if killed is None else killed + KILL_AGAIN
    return Decision((Kill(container.name, container.id),)) if facts.now >= due else Decision(wake_at=due)


def _leave(facts: Facts, container: SeenContainer, deadline: int, waits: bool) -> Decision:
    """Before TERM: it follows once the preStop hook is over (L8) and the turn has come (L13), or the grace ends."""
    done = facts.memory.hooks.get((container.id, "preStop")) if _says_goodbye(facts, container) else True
    if facts.now >= deadline or (done and not waits):
        return Decision((Term(container.name, container.id, facts.now + SHORTEST_GRACE * SECOND),))
    if done is None:
        return Decision((Leave(container.name, container.id, deadline),))
    return Decision(wake_at=deadline)


def _says_goodbye(facts: Facts, container: SeenContainer) -> bool:
    """Whether the container has a preStop hook."""
    spec = container_named(facts.pod.spec, container.name)
    return spec is not None and spec.lifecycle.HasField("pre_stop")


def _has_turn(facts: Facts, container: SeenContainer) -> bool:
    """Whether it may have TERM: a sidecar goes after all that are none, and after the sidecars begun after it."""
    sidecars = [c.name for c in facts.pod.spec.init_containers if is_sidecar(c)]
    if container.name not in sidecars:
        return True
    before = sidecars[: sidecars.index(container.name) + 1]
    return all(c.name in before for c in _running(facts))


def _running(facts: Facts) -> list[SeenContainer]:
    return [c for c in (facts.seen.containers if facts.seen else ()) if c.state is State.RUNNING]


# ---- decisions put together


def both(one: Decision, other: Decision) -> Decision:
    """Both at once."""
    return Decision((*one.actions, *other.actions), earliest((one.wake_at, other.wake_at)))


def earliest(times: Iterable[int]) -> int:
    """The first of some times, of which 0 is none."""
    return min((t for t in times if t), default=0)


def sooner(decision: Decision, wake_at: int) -> Decision:
    """The decision, and awake at that time at the latest."""
    return replace(decision, wake_at=earliest((decision.wake_at, wake_at)))
