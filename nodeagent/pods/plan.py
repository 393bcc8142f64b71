"""What to do next for one pod: look, plan, one step, look again.

Rule: pure. It names the next step only (several when they are independent of each other); it never counts on a step to
have worked, and is safe to ask again after any of them failed or the agent was restarted.
"""

from collections.abc import Sequence
from itertools import chain

from mesh.model.restarts import again
from mesh.model.times import SECOND
from nodeagent.pods.actions import (
    REMOVAL,
    RESIZE,
    SANDBOX,
    VOLUMES,
    Action,
    CreateContainer,
    Decision,
    Facts,
    Fail,
    Forget,
    Greet,
    MakeSandbox,
    PrepareVolumes,
    ProjectVolumes,
    RemoveContainer,
    RemoveSandbox,
    RemoveVolumes,
    Resize,
    ResolveImage,
    Settle,
    StartContainer,
    Volumes,
)
from nodeagent.pods.draining import drain
from nodeagent.pods.imagevolumes import ATTEMPT, image_volumes
from nodeagent.pods.resize import lagging, needs_restart
from nodeagent.pods.restart import FAILED, grown, next_start, over, should_restart
from nodeagent.pods.standing import Standing, init_turn, initialized, standings
from nodeagent.pods.stopping import both, earliest, sooner, stop, terminate
from nodeagent.probes.state import Kind, Verdict
from nodeagent.probes.wanted import has_greeted, probe_of, verdict_of
from nodeagent.runtime.seen import SeenContainer, State

DEADLINE_MESSAGE = "Pod was active on the node longer than the specified deadline"


def next_actions(facts: Facts) -> Decision:
    """The next step of the pod's life, or how long to rest."""
    if facts.ending:
        return _end(facts)
    if facts.record.final:
        return _retire(facts)
    if facts.record.reason:
        grace = min(facts.record.evicted_grace, facts.grace) if facts.record.evicted_at else None
        words = f"Stopping container {{}}, the pod failed: {facts.record.reason}"
        return stop(facts, words, grace) or Decision((Settle(),))
    if facts.halted is not None:
        words = "Stopping container {}, the host is shutting down"
        return stop(facts, words, min(facts.halted, facts.grace)) or Decision()
    deadline = _deadline(facts)
    if deadline and facts.now >= deadline:
        return Decision((Fail("DeadlineExceeded", DEADLINE_MESSAGE),))
    if over(facts.pod, facts.seen, facts.record, facts.hashes):
        return stop(facts, "Stopping container {}") or Decision((Settle(),))
    return sooner(_run(facts), deadline)


# ---- a pod that is to run


def _run(facts: Facts) -> Decision:
    sandbox = facts.seen.sandbox if facts.seen else None
    if facts.seen and (sandbox.lost if sandbox else facts.seen.containers):
        return _abandon(facts)
    init, apps = standings(facts.pod, facts.seen, facts.record, facts.hashes)
    unfit = _unfit(facts, (*init, *apps))
    if unfit:
        return Decision(unfit)
    lasting = [*(i for i in init if i.sidecar), *apps]
    changed = [a.seen for a in lasting if a.seen and a.running and a.seen.spec_hash != a.spec_hash]
    stopping = (
        terminate(facts, changed, "Container {} definition changed, will be restarted") if changed else Decision()
    )
    resizing = _resize(facts, [s for s in lasting if s.seen not in changed])
    stopping = both(stopping, Decision() if stopping.actions else resizing)
    for standing in (*init, *apps):
        if standing.seen not in changed and _verdict(facts, standing).failed:
            stopping = both(stopping, _condemn(facts, standing))
    if stopping.actions:
        return stopping
    greeting, greet = _greet(facts, (*init, *apps))
    if greet:
        return Decision(greet)
    refresh = _refresh(facts)
    if refresh.actions:
        return refresh
    start = sooner(Decision() if greeting else _start(facts, init, apps), refresh.wake_at)
    if not start.actions:
        start = Decision(_outdated(facts), start.wake_at)
    return sooner(start, stopping.wake_at)


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


def _resize(facts: Facts, lasting: Sequence[Standing]) -> Decision:
    """Containers whose cgroups lag behind what is granted; those that must be restarted for it are (L20)."""
    failure = facts.memory.failures.get(RESIZE)
    due = failure.retry_at if failure else 0
    decision = Decision()
    for standing in lasting:
        old = lagging(standing, facts.record)
        if old is None or standing.seen is None:
            continue
        if needs_restart(standing.container, old, facts.record.allocated.get(standing.name, old)):
            stopped = terminate(facts, [standing.seen], "Container {} resize requires restart")
            decision = both(decision, stopped)
        else:
            decision = both(decision, _at(due, facts.now, Resize(standing.name, standing.seen.id)))
    return decision


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
        will = standing.sidecar or again(facts.pod.spec, standing.container, FAILED)
        words = f"Container {{}} failed {failed.lower()} probe{', will be restarted' if will else ''}"
    return terminate(facts, [standing.seen] if standing.seen else [], words, grace)


def _greet(facts: Facts, all_of_them: Sequence[Standing]) -> tuple[bool, tuple[Action, ...]]:
    """Whether a postStart hook is awaited, which nothing else of the pod overtakes (L6, L7); and those to begin."""
    awaited = [s for s in all_of_them if s.running and not has_greeted(s.container, _verdict(facts, s))]
    awaited = [s for s in awaited if not _verdict(facts, s).failed]
    begun = facts.memory.hooks
    return bool(awaited), tuple(
        Greet(s.name, s.seen.id) for s in awaited if s.seen and (s.seen.id, "postStart") not in begun
    )


def _abandon(facts: Facts) -> Decision:
    """The sandbox is lost, or what of it is not in its namespaces: everything goes before a new one is made."""
    if not facts.may_kill:
        return Decision()
    return stop(facts, "Stopping container {}, the pod sandbox changed") or _remove(facts) or Decision()


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
            or (s.seen.state is State.CREATED and (s.ready_to_start is None or _outgrown(facts, s)))
        )
    )  # fmt: skip


def _outgrown(facts: Facts, standing: Standing) -> bool:
    """Whether something else was granted after it was made."""
    old = facts.record.in_force.get(standing.name)
    return old is not None and standing.seen is not None and standing.seen.attempt == old.attempt


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
    turn = len(init) if initialized(init, apps, sandbox) else init_turn(init, sandbox)
    waiting = [i for i in init[:turn] if i.sidecar and not i.running]
    if turn < len(init):
        waiting += [] if init[turn].running else [init[turn]]
    else:
        waiting += [a for a in apps if not a.running and should_restart(facts.pod, a, facts.record)]
    waiting = [s for s in waiting if not (s.seen and s.seen.state is State.LOST)]  # it may still run: it goes first
    due = [s for s in waiting if _due_at(facts, s) <= facts.now]
    wake_at = earliest(_due_at(facts, s) for s in waiting if s not in due)
    if not due:
        return Decision(wake_at=wake_at)
    ground = _ground(facts)
    if ground is not None:
        steps = ground.actions
        if steps and due[0].name not in facts.memory.images:
            steps = (*steps, ResolveImage(due[0].name, due[0].next_attempt))  # needs neither sandbox nor volumes
        return sooner(Decision(steps, ground.wake_at), wake_at)
    for standing in due:
        step = _step(facts, standing)
        if step.actions or not step.wake_at:  # it moves, or it waits for its image: the next one waits behind it (L6)
            return sooner(step, wake_at)
        wake_at = earliest((wake_at, step.wake_at))
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
    if needs_sandbox and not facts.may_begin:
        return Decision()  # while this host was away the pod may have been given up, and be up elsewhere (N5)
    steps: list[Action] = []
    wake_at = 0
    if needs_volumes and (images := _volume_images(facts)) is not None:
        steps, wake_at = list(images.actions), images.wake_at
        needs_volumes = False  # not yet
    for needed, subject, step in (
        (needs_volumes, VOLUMES, PrepareVolumes()),
        (needs_sandbox, SANDBOX, MakeSandbox(changed=bool(facts.record.attempts))),
    ):
        failure = facts.memory.failures.get(subject)
        if needed and failure and failure.retry_at > facts.now:
            wake_at = earliest((wake_at, failure.retry_at))
        elif needed:
            steps.append(step)
    return Decision(tuple(steps), wake_at)


def _volume_images(facts: Facts) -> Decision | None:
    """Towards the images that volumes show (I7). None when all are here."""
    missing, decision = False, Decision()
    for user in image_volumes(facts.pod.spec):
        fact = facts.memory.images.get(user.name)
        if fact is not None and fact.image is not None:
            continue
        missing = True
        if fact is None or not fact.pulling:
            due = fact.failure.retry_at if fact and fact.failure else 0
            decision = both(decision, _at(due, facts.now, ResolveImage(user.name, ATTEMPT)))
    return decision if missing else None


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
        streak = grown(facts.record.streaks.get(standing.name), death, standing.spec_hash, facts.now, facts.backoff)
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
    stopping = drain(facts) or stop(facts, "Stopping container {}")
    if stopping:
        return stopping
    if not facts.record.final and facts.record.started_at:
        return Decision((Settle(),))
    return _remove(facts) or Decision((Forget(),))


def _retire(facts: Facts) -> Decision:
    """A pod that is over keeps its status and its logs; containers, network and volumes are given back."""
    if not facts.may_kill:
        return Decision()
    left = stop(facts, "Stopping container {}") or _remove(facts)
    if left:
        return left
    if (facts.pod.spec.volumes or facts.record.evicted_at) and facts.memory.volumes is not Volumes.REMOVED:
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


def _deadline(facts: Facts) -> int:
    """When activeDeadlineSeconds is over (L15), 0 for never."""
    seconds = facts.pod.spec.active_deadline_seconds
    return facts.record.started_at + seconds * SECOND if seconds and facts.record.started_at else 0
