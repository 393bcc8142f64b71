"""What to do next for one pod: look, plan, one step, look again.

Rule: pure. It names the next step only (several when they are independent of each other); it never counts on a step to
have worked, and is safe to ask again after any of them failed or the agent was restarted.
"""

from collections.abc import Iterable, Sequence
from itertools import chain

from mesh.model.pods import container_named
from mesh.model.times import SECOND
from nodeagent.pods.actions import (
    REMOVAL,
    SANDBOX,
    STOP,
    VOLUMES,
    Action,
    CreateContainer,
    Decision,
    Facts,
    Fail,
    Forget,
    Greet,
    Kill,
    Leave,
    MakeSandbox,
    PrepareVolumes,
    ProjectVolumes,
    RemoveContainer,
    RemoveSandbox,
    RemoveVolumes,
    ResolveImage,
    Settle,
    StartContainer,
    Term,
    Terminate,
    Volumes,
)
from nodeagent.pods.restart import grown, next_start, over, policy_of, should_restart
from nodeagent.pods.standing import Standing, init_done, initialized, standings
from nodeagent.probes.state import Kind, Verdict
from nodeagent.probes.wanted import has_greeted, probe_of, verdict_of
from nodeagent.runtime.seen import SeenContainer, State

SHORTEST_GRACE = 2  # seconds that TERM always has before KILL (L9)
KILL_AGAIN = 5 * SECOND
DEADLINE_MESSAGE = "Pod was active on the node longer than the specified deadline"


def next_actions(facts: Facts) -> Decision:
    """The next step of the pod's life, or how long to rest."""
    if facts.ending:
        return _end(facts)
    if facts.record.final:
        return _retire(facts)
    if facts.record.reason:
        return _stop(facts, f"Stopping container {{}}, the pod failed: {facts.record.reason}") or Decision((Settle(),))
    deadline = _deadline(facts)
    if deadline and facts.now >= deadline:
        return Decision((Fail("DeadlineExceeded", DEADLINE_MESSAGE),))
    if over(facts.pod, facts.seen, facts.record, facts.hashes):
        return Decision((Settle(),))
    return _sooner(_run(facts), deadline)


# ---- a pod that is to run


def _run(facts: Facts) -> Decision:
    sandbox = facts.seen.sandbox if facts.seen else None
    if sandbox is None and facts.seen and facts.seen.containers:
        return _abandon(facts)
    init, apps = standings(facts.pod, facts.seen, facts.record, facts.hashes)
    unfit = _unfit(facts, (*init, *apps))
    if unfit:
        return Decision(unfit)
    changed = [a.seen for a in apps if a.seen and a.running and a.seen.spec_hash != a.spec_hash]
    stop = _terminate(facts, changed, "Container {} definition changed, will be restarted") if changed else Decision()
    for standing in (*init, *apps):
        if standing.seen not in changed and _verdict(facts, standing).failed:
            stop = _both(stop, _condemn(facts, standing))
    if stop.actions:
        return stop
    greeting, greet = _greet(facts, (*init, *apps))
    if greet:
        return Decision(greet)
    refresh = _refresh(facts)
    if refresh.actions:
        return refresh
    start = _sooner(Decision() if greeting else _start(facts, init, apps), refresh.wake_at)
    if not start.actions:
        start = Decision(_outdated(facts), start.wake_at)
    return _sooner(start, stop.wake_at)


def _refresh(facts: Facts) -> Decision:
    """Volumes that show other files than they should, of containers that run or may be started soon (V6)."""
    memory = facts.memory
    running = any(c.state is State.RUNNING for c in (facts.seen.containers if facts.seen else ()))
    if memory.volumes is not Volumes.READY and not (running and memory.volumes is Volumes.UNKNOWN):
        return Decision()
    if all(revision in ("", memory.projected.get(name)) for name, revision in facts.revisions.items()):
        return Decision()
    failure = memory.failures.get(VOLUMES)
    return _at(failure.retry_at if failure else 0, facts.now, ProjectVolumes())


def _verdict(facts: Facts, standing: Standing) -> Verdict:
    """What is decided of the instance that runs."""
    if standing.seen is None or not standing.running:
        return Verdict("")
    return verdict_of(facts.record.verdicts, standing.seen)


def _condemn(facts: Facts, standing: Standing) -> Decision:
    """Stops a container that its own probe (P7) or hook (L7) has condemned, in the time that the probe gives."""
    failed = _verdict(facts, standing).failed
    grace = facts.grace
    words = "FailedPostStartHook"
    if failed in tuple(Kind):
        probe = probe_of(standing.container, Kind(failed))
        if probe is not None and probe.HasField("termination_grace_period_seconds"):
            grace = probe.termination_grace_period_seconds
        again = "" if policy_of(facts.pod) == "Never" else ", will be restarted"
        words = f"Container {{}} failed {failed.lower()} probe{again}"
    return _terminate(facts, [standing.seen] if standing.seen else [], words, grace)


def _greet(facts: Facts, all_of_them: Sequence[Standing]) -> tuple[bool, tuple[Action, ...]]:
    """Whether a postStart hook is awaited, which nothing else of the pod overtakes (L6, L7); and those to begin."""
    awaited = [s for s in all_of_them if s.running and not has_greeted(s.container, _verdict(facts, s))]
    awaited = [s for s in awaited if not _verdict(facts, s).failed]
    begun = facts.memory.hooks
    return bool(awaited), tuple(
        Greet(s.name, s.seen.id) for s in awaited if s.seen and (s.seen.id, "postStart") not in begun
    )


def _abandon(facts: Facts) -> Decision:
    """The sandbox is lost while containers of it are left: all of them go before a new one is made."""
    if not facts.may_kill:
        return Decision()
    return _stop(facts, "Stopping container {}, the pod sandbox changed") or _remove(facts) or Decision()


def _unfit(facts: Facts, all_of_them: Sequence[Standing]) -> tuple[Action, ...]:
    """Containers that must go before anything is started in their place: lost ones, and created ones that won't do."""
    failure = facts.memory.failures.get(REMOVAL)
    if failure and failure.retry_at > facts.now:
        return ()
    return tuple(
        RemoveContainer(s.name, s.seen.id)
        for s in all_of_them
        if s.seen
        and (
            (s.seen.state is State.LOST and facts.may_kill)
            or (s.seen.state is State.CREATED and s.ready_to_start is None)
        )
    )  # fmt: skip


def _outdated(facts: Facts) -> tuple[Action, ...]:
    """Dead containers but the last of each name (I6)."""
    failure = facts.memory.failures.get(REMOVAL)
    if facts.seen is None or (failure and failure.retry_at > facts.now):
        return ()
    dead: dict[str, list[SeenContainer]] = {}
    for container in facts.seen.containers:
        if container.state is State.EXITED:
            dead.setdefault(container.name, []).append(container)
    return tuple(RemoveContainer(c.name, c.id) for c in chain.from_iterable(d[:-1] for d in dead.values()))


def _start(facts: Facts, init: list[Standing], apps: list[Standing]) -> Decision:
    """The next step towards everything running that should."""
    sandbox = facts.seen.sandbox if facts.seen else None
    if initialized(init, apps, sandbox):
        waiting = [a for a in apps if not a.running and should_restart(facts.pod, a, facts.record)]
    else:
        first = next(i for i in init if not init_done(i, sandbox))
        waiting = [] if first.running else [first]
    waiting = [s for s in waiting if not (s.seen and s.seen.state is State.LOST)]  # it may still run: it goes first
    due = [s for s in waiting if _due_at(facts, s) <= facts.now]
    wake_at = _earliest(_due_at(facts, s) for s in waiting if s not in due)
    if not due:
        return Decision(wake_at=wake_at)
    ground = _ground(facts)
    if ground is not None:
        steps = ground.actions
        if steps and due[0].name not in facts.memory.images:
            steps = (*steps, ResolveImage(due[0].name, due[0].next_attempt))  # needs neither sandbox nor volumes
        return _sooner(Decision(steps, ground.wake_at), wake_at)
    for standing in due:
        step = _step(facts, standing)
        if step.actions or not step.wake_at:  # it moves, or it waits for its image: the next one waits behind it (L6)
            return _sooner(step, wake_at)
        wake_at = _earliest((wake_at, step.wake_at))
    return Decision(wake_at=wake_at)


def _due_at(facts: Facts, standing: Standing) -> int:
    """When back-off lets the container start; what never ended may start now."""
    if standing.death is None or standing.ready_to_start:
        return 0
    return next_start(facts.record.streaks.get(standing.name), standing.death, standing.spec_hash)


def _ground(facts: Facts) -> Decision | None:
    """What the containers stand on: volumes and sandbox. None when all of it is there."""
    needs_volumes = bool(facts.pod.spec.volumes) and facts.memory.volumes is not Volumes.READY
    needs_sandbox = facts.seen is None or facts.seen.sandbox is None
    if not needs_volumes and not needs_sandbox:
        return None
    steps: list[Action] = []
    wake_at = 0
    for needed, subject, step in (
        (needs_volumes, VOLUMES, PrepareVolumes()),
        (needs_sandbox, SANDBOX, MakeSandbox(changed=bool(facts.record.attempts))),
    ):
        failure = facts.memory.failures.get(subject)
        if needed and failure and failure.retry_at > facts.now:
            wake_at = _earliest((wake_at, failure.retry_at))
        elif needed:
            steps.append(step)
    return Decision(tuple(steps), wake_at)


def _step(facts: Facts, standing: Standing) -> Decision:
    """Image, create, start: one of them. Without action and wake time, its image is being pulled."""
    created = standing.ready_to_start
    if created:
        return _unless_failed(facts, standing, StartContainer(standing.name, created.id, created.attempt))
    fact = facts.memory.images.get(standing.name)
    if fact is None or fact.attempt != standing.next_attempt or fact.reference != standing.container.image:
        return Decision((ResolveImage(standing.name, standing.next_attempt),))
    if fact.pulling:
        return Decision()
    if fact.image is None:
        retry_at = fact.failure.retry_at if fact.failure else 0
        return _at(retry_at, facts.now, ResolveImage(standing.name, standing.next_attempt))
    death = standing.death
    streak = None
    if death is not None:
        streak = grown(facts.record.streaks.get(standing.name), death, standing.spec_hash, facts.now)
    return _unless_failed(facts, standing, CreateContainer(standing.name, standing.next_attempt, standing.role, streak))


def _unless_failed(facts: Facts, standing: Standing, action: Action) -> Decision:
    failure = facts.memory.failures.get(standing.name)
    return _at(failure.retry_at if failure else 0, facts.now, action)


def _at(due: int, now: int, action: Action) -> Decision:
    return Decision(wake_at=due) if due > now else Decision((action,))


# ---- a pod that stops


def _end(facts: Facts) -> Decision:
    """Stop, keep the last word, remove everything."""
    if not facts.may_kill:
        return Decision()
    stop = _stop(facts, "Stopping container {}")
    if stop:
        return stop
    if not facts.record.final and facts.record.started_at:
        return Decision((Settle(),))
    return _remove(facts) or Decision((Forget(),))


def _retire(facts: Facts) -> Decision:
    """A pod that is over keeps its status and its logs; containers, network and volumes are given back."""
    if not facts.may_kill:
        return Decision()
    left = _stop(facts, "Stopping container {}") or _remove(facts)
    if left:
        return left
    if facts.pod.spec.volumes and facts.memory.volumes is not Volumes.REMOVED:
        failure = facts.memory.failures.get(REMOVAL)
        return _at(failure.retry_at if failure else 0, facts.now, RemoveVolumes())
    return Decision()


def _remove(facts: Facts) -> Decision | None:
    """Containers, then their sandbox. None when nothing is left."""
    failure = facts.memory.failures.get(REMOVAL)
    if failure and failure.retry_at > facts.now:
        return Decision(wake_at=failure.retry_at)
    if facts.seen and facts.seen.containers:
        return Decision(_remove_all(facts))
    if facts.seen and facts.seen.sandbox:
        return Decision((RemoveSandbox(),))
    return None


def _remove_all(facts: Facts) -> tuple[Action, ...]:
    return tuple(RemoveContainer(c.name, c.id) for c in (facts.seen.containers if facts.seen else ()))


def _stop(facts: Facts, message: str) -> Decision | None:
    """Stops whatever runs; None when nothing does."""
    running = [c for c in (facts.seen.containers if facts.seen else ()) if c.state is State.RUNNING]
    return _terminate(facts, running, message) if running else None


def _terminate(facts: Facts, containers: Sequence[SeenContainer], message: str, seconds: int | None = None) -> Decision:
    """TERM to all in parallel, KILL at expiry; a shorter grace counts from now, a longer one is ignored (L9, L10).

    Where there is a preStop hook, it comes first and eats the grace; TERM then has what is left, at least 2 s (L8).
    `message`: "{}" stands for the container. `seconds`: another grace than the pod's.
    """
    if not facts.may_kill:
        return Decision()
    failure = facts.memory.failures.get(STOP)
    if failure and failure.retry_at > facts.now:
        return Decision(wake_at=failure.retry_at)
    grace = facts.grace if seconds is None else seconds
    actions: list[Action] = []
    wake_at = 0
    for container in containers:
        deadline = facts.record.stops.get(container.id)
        leaving = container.id in facts.record.leaving
        hook = deadline is None and grace > 0 and _says_goodbye(facts, container)
        wanted = facts.now + (grace if hook or leaving else max(grace, SHORTEST_GRACE)) * SECOND
        if deadline is None or wanted < deadline:
            words = message.replace("{}", container.name)
            again = deadline is not None
            actions.append(Terminate(container.name, container.id, wanted, words, again=again, hook=hook))
            continue
        if leaving:
            step = _leave(facts, container, deadline)
            actions += step.actions
            wake_at = _earliest((wake_at, step.wake_at))
            continue
        killed = facts.memory.killed.get(container.id)
        due = deadline if killed is None else killed + KILL_AGAIN
        if facts.now >= due:
            actions.append(Kill(container.name, container.id))
        else:
            wake_at = _earliest((wake_at, due))
    return Decision(tuple(actions), wake_at)


def _says_goodbye(facts: Facts, container: SeenContainer) -> bool:
    """Whether the container has a preStop hook."""
    spec = container_named(facts.pod.spec, container.name)
    return spec is not None and spec.lifecycle.HasField("pre_stop")


def _leave(facts: Facts, container: SeenContainer, deadline: int) -> Decision:
    """While a preStop hook runs: TERM once it is over or the grace is (L8)."""
    done = facts.memory.hooks.get((container.id, "preStop"))
    if done or facts.now >= deadline:
        return Decision((Term(container.name, container.id, facts.now + SHORTEST_GRACE * SECOND),))
    if done is None:
        return Decision((Leave(container.name, container.id, deadline),))
    return Decision(wake_at=deadline)


def _deadline(facts: Facts) -> int:
    """When activeDeadlineSeconds is over (L15), 0 for never."""
    seconds = facts.pod.spec.active_deadline_seconds
    return facts.record.started_at + seconds * SECOND if seconds and facts.record.started_at else 0


def _both(one: Decision, other: Decision) -> Decision:
    return Decision((*one.actions, *other.actions), _earliest((one.wake_at, other.wake_at)))


def _earliest(times: Iterable[int]) -> int:
    return min((t for t in times if t), default=0)


def _sooner(decision: Decision, wake_at: int) -> Decision:
    return Decision(decision.actions, _earliest((decision.wake_at, wake_at)))
