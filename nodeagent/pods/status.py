"""What is said of a pod: phase, conditions, container states (S1, S2, S3, S5, S6), from what is seen and remembered.

Rule: pure, and without a memory of its own: a restarted agent says the same to the nanosecond, because every time in a
status is the time of something that is seen or recorded.
"""

from mesh.model.pods import is_sidecar, qos_class
from mesh.model.restarts import again
from mesh.model.times import SECOND, to_timestamp
from mesh.v1.core_pb2 import (
    ContainerState,
    ContainerStateRunning,
    ContainerStateTerminated,
    ContainerStateWaiting,
    ContainerStatus,
    HostIP,
    Pod,
    PodCondition,
    PodIP,
    PodStatus,
)
from nodeagent.pods.actions import RESIZE, VOLUMES, Facts
from nodeagent.pods.imagevolumes import image_volumes
from nodeagent.pods.record import Death
from nodeagent.pods.resize import lagging, requirements
from nodeagent.pods.restart import FAILED, next_start, over, should_restart
from nodeagent.pods.standing import Standing, init_done, initialized, standings
from nodeagent.probes.state import POST_START
from nodeagent.probes.wanted import has_greeted, has_started, is_ready, verdict_of
from nodeagent.runtime.port import PULL_FAILURES
from nodeagent.runtime.seen import Role, SeenSandbox, State

WORDS = 12 * 1024  # bytes of termination messages of a whole pod (L16)
FRESH = SECOND  # how long a failed pull reads ErrImagePull before it reads ImagePullBackOff


def status_of(facts: Facts) -> PodStatus:
    """The pod's status; once it is final, that one."""
    if facts.record.final:
        return PodStatus.FromString(facts.record.final)
    init, apps = standings(facts.pod, facts.seen, facts.record, facts.hashes)
    sandbox = facts.seen.sandbox if facts.seen else None
    begun = initialized(init, apps, sandbox)
    init_statuses = [_app_status(facts, i) if i.sidecar else _init_status(facts, i, sandbox) for i in init]
    statuses = [_app_status(facts, a) for a in apps]
    _shorten([*init_statuses, *statuses])
    phase = _phase(facts.pod, init_statuses, statuses)
    sidecars = [status for status, i in zip(init_statuses, init, strict=True) if i.sidecar]
    status = PodStatus(
        phase=phase,
        conditions=_conditions(facts, phase, begun, (init, apps), [*sidecars, *statuses]),
        init_container_statuses=init_statuses,
        container_statuses=statuses,
        qos_class=qos_class(facts.pod.spec),
        observed_generation=facts.pod.metadata.generation,
    )
    if facts.record.reason:
        status.reason, status.message = facts.record.reason, facts.record.message
    if facts.record.started_at:
        status.start_time.CopyFrom(to_timestamp(facts.record.started_at))
    if facts.host_ip:
        status.host_ip = facts.host_ip
        status.host_ips.append(HostIP(ip=facts.host_ip))
    ip = facts.host_ip if sandbox and sandbox.host_network else sandbox.ip if sandbox else ""
    if ip:
        status.pod_ip = ip
        status.pod_ips.append(PodIP(ip=ip))
    return status


def final_status(facts: Facts) -> PodStatus:
    """The last status: Failed for a reason of its own or a non-zero exit, Succeeded otherwise (S1)."""
    status = status_of(facts)
    codes = [s.state.terminated.exit_code for s in status.container_statuses if s.state.HasField("terminated")]
    complete = len(codes) == len(status.container_statuses)
    failed_init = _failed_init(facts.pod, list(status.init_container_statuses))
    good = complete and not any(codes) and not failed_init and not facts.record.reason
    status.phase = "Succeeded" if good else "Failed"
    init, apps = standings(facts.pod, facts.seen, facts.record, facts.hashes)
    begun = initialized(init, apps, facts.seen.sandbox if facts.seen else None)
    del status.conditions[:]
    status.conditions.extend(_conditions(facts, status.phase, begun, (init, apps), list(status.container_statuses)))
    if facts.record.reason and not facts.record.allocated:  # rejected: no container of it waits for anything (S7)
        del status.init_container_statuses[:], status.container_statuses[:]
    return status


# ---- containers


def _shorten(statuses: list[ContainerStatus]) -> None:
    """Termination messages of all containers together stay below 12 KiB (L16)."""
    longest = WORDS // max(len(statuses), 1)
    for status in statuses:
        for state in (status.state, status.last_state):
            if len(state.terminated.message) * 4 > longest:
                cut = state.terminated.message.encode()[:longest]
                state.terminated.message = cut.decode(errors="ignore")


def _app_status(facts: Facts, standing: Standing) -> ContainerStatus:
    status = _container_status(facts, standing)
    if standing.running and standing.seen:
        verdict = verdict_of(facts.record.verdicts, standing.seen)
        status.started = has_started(standing.container, verdict)
        status.ready = is_ready(standing.container, verdict)
    else:
        status.started = status.ready = False
    return status


def _init_status(facts: Facts, standing: Standing, sandbox: SeenSandbox | None) -> ContainerStatus:
    status = _container_status(facts, standing)
    status.ready = init_done(standing, sandbox)
    status.started = standing.running
    return status


def _container_status(facts: Facts, standing: Standing) -> ContainerStatus:
    name = standing.name
    state, last = _states(facts, standing)
    status = ContainerStatus(
        name=name,
        state=state,
        restart_count=max(standing.attempts, 0),
        image=standing.container.image,
    )
    allocated = facts.record.allocated.get(name)
    if allocated is not None:
        status.allocated_resources.update(allocated.requests)
        status.resources.CopyFrom(requirements(lagging(standing, facts.record) or allocated))
    if last is not None:
        status.last_state.CopyFrom(ContainerState(terminated=_terminated(last)))
    if standing.seen is not None and standing.seen.state is not State.CREATED:
        status.image, status.image_id = standing.seen.image, standing.seen.image_id
        status.container_id = _full_id(standing.seen.id)
    elif standing.death is not None and standing.death.container_id:
        status.image, status.image_id = standing.death.image, standing.death.image_id
        status.container_id = _full_id(standing.death.container_id)
    return status


def _states(facts: Facts, standing: Standing) -> tuple[ContainerState, Death | None]:
    """The state and the end before it."""
    previous = facts.record.previous.get(standing.name)
    if standing.running and standing.seen:
        verdict = verdict_of(facts.record.verdicts, standing.seen)
        if verdict.failed == POST_START:
            return ContainerState(waiting=_ungreeted()), standing.death
        if not has_greeted(standing.container, verdict):
            return ContainerState(waiting=_unbegun(facts)), standing.death
        started_at = to_timestamp(standing.seen.started_at)
        return ContainerState(running=ContainerStateRunning(started_at=started_at)), standing.death
    waiting = _trouble(facts, standing)
    if waiting is None and standing.death is not None and not standing.ready_to_start:
        return ContainerState(terminated=_terminated(standing.death)), previous
    if waiting is None:
        waiting = _unbegun(facts)
        mount = facts.memory.failures.get(VOLUMES)
        if mount is not None:
            waiting.message = f"{mount.reason}: {mount.message}"
    return ContainerState(waiting=waiting), standing.death


def _unbegun(facts: Facts) -> ContainerStateWaiting:
    return ContainerStateWaiting(reason="PodInitializing" if facts.pod.spec.init_containers else "ContainerCreating")


def _ungreeted() -> ContainerStateWaiting:
    """Its postStart hook has failed (L7); what the hook said is for no one but the host's log."""
    return ContainerStateWaiting(reason="PostStartHookError", message="PostStartHook failed")


def _trouble(facts: Facts, standing: Standing) -> ContainerStateWaiting | None:
    """Why a container that should start does not (S4)."""
    if facts.ending or facts.record.reason or not _wants_to_run(facts, standing):
        return None
    backoff = _crash_loop(facts, standing)
    if backoff is not None:
        return backoff
    verdict, death = facts.record.verdicts.get(standing.name), standing.death
    if verdict and death and (verdict.failed, verdict.container_id) == (POST_START, death.container_id):
        return _ungreeted()
    failure = facts.memory.failures.get(standing.name)
    if failure is not None:
        return ContainerStateWaiting(reason=failure.reason, message=failure.message)
    of_volumes = [facts.memory.images.get(user.name) for user in image_volumes(facts.pod.spec)]
    fact = next((f for f in of_volumes if f and f.failure), None)  # every container waits for it (I7)
    if fact is None:
        fact = facts.memory.images.get(standing.name)
        if fact is None or fact.attempt != standing.next_attempt:
            return None
    if fact.failure is None:
        return None
    reason, message = fact.failure.reason, fact.failure.message
    if reason in PULL_FAILURES and facts.now >= fact.failure.at + FRESH:
        reason, message = "ImagePullBackOff", f'Back-off pulling image "{fact.reference}": {message}'
    return ContainerStateWaiting(reason=reason, message=message)


def _wants_to_run(facts: Facts, standing: Standing) -> bool:
    if standing.sidecar:
        return not over(facts.pod, facts.seen, facts.record, facts.hashes)
    if standing.role is Role.INIT:
        sandbox = facts.seen.sandbox if facts.seen else None
        death = standing.death
        if death is None:
            return True
        return not init_done(standing, sandbox) and again(facts.pod.spec, standing.container, death.exit_code or FAILED)
    return should_restart(facts.pod, standing, facts.record)


def _crash_loop(facts: Facts, standing: Standing) -> ContainerStateWaiting | None:
    death = standing.death
    if death is None or standing.ready_to_start:
        return None
    streak = facts.record.streaks.get(standing.name)
    due = next_start(streak, death, standing.spec_hash)
    if due <= facts.now:
        return None
    pod = facts.pod.metadata
    message = (
        f"back-off {(due - death.finished_at) // SECOND}s restarting failed container={standing.name} "
        f"pod={pod.name}_{pod.namespace}({pod.uid})"
    )
    if death.message and death.reason == "StartError":
        message += f": {death.message}"
    return ContainerStateWaiting(reason="CrashLoopBackOff", message=message)


def _terminated(death: Death) -> ContainerStateTerminated:
    state = ContainerStateTerminated(exit_code=death.exit_code, reason=death.reason)
    if death.message:
        state.message = death.message
    if death.started_at:
        state.started_at.CopyFrom(to_timestamp(death.started_at))
    state.finished_at.CopyFrom(to_timestamp(death.finished_at))
    if death.container_id:
        state.container_id = _full_id(death.container_id)
    return state


def _full_id(container_id: str) -> str:
    return f"podman://{container_id}"


# ---- phase and conditions


def _phase(pod: Pod, init: list[ContainerStatus], apps: list[ContainerStatus]) -> str:
    """As the kubelet counts (S1)."""
    app_began = any(s.state.HasField("running") or _ended(s) for s in apps)
    sidecars = {c.name for c in pod.spec.init_containers if is_sidecar(c)}
    if (
        any(s.name in sidecars and s.state.HasField("running") for s in init)
        and app_began
        and all(s.state.HasField("terminated") for s in apps)
    ):
        return "Running"  # they go next, and the pod is over when they are gone (L13)
    if _failed_init(pod, init):
        return "Pending" if any(s.state.HasField("running") for s in init) else "Failed"
    if not app_began and any(not (s.started if s.name in sidecars else s.ready) for s in init):
        return "Pending"
    if any(s.state.HasField("waiting") and not _ended(s) for s in apps):
        return "Pending"
    if any(s.state.HasField("running") for s in apps):
        return "Running"
    if any(s.state.HasField("waiting") for s in apps):
        return "Running"
    codes = {s.name: s.state.terminated.exit_code for s in apps}
    if any(again(pod.spec, c, codes[c.name]) for c in pod.spec.containers if c.name in codes):
        return "Running"
    return "Failed" if any(codes.values()) else "Succeeded"


def _failed_init(pod: Pod, statuses: list[ContainerStatus]) -> bool:
    """Whether an init container failed for good; how a sidecar ends says nothing (L13)."""
    regular = {c.name: c for c in pod.spec.init_containers if not is_sidecar(c)}
    ended = [(s.name, s.state.terminated.exit_code) for s in statuses if s.state.HasField("terminated")]
    return any(code and name in regular and not again(pod.spec, regular[name], code) for name, code in ended)


def _ended(status: ContainerStatus) -> bool:
    return status.state.HasField("terminated") or status.last_state.HasField("terminated")


def _conditions(
    facts: Facts,
    phase: str,
    begun: bool,
    both: tuple[list[Standing], list[Standing]],
    statuses: list[ContainerStatus],
) -> list[PodCondition]:
    init, apps = both
    record, generation = facts.record, facts.pod.metadata.generation
    sandbox = facts.seen.sandbox if facts.seen else None
    made = sandbox.created_at if sandbox else record.started_at
    lasting = [*(i for i in init if i.sidecar), *apps]
    evicted = ("TerminationByKubelet", record.message)
    target = [_condition("DisruptionTarget", True, record.evicted_at, evicted, generation)]
    return [
        *_resizing(facts, lasting),
        *(target if record.disrupted else []),
        _condition("PodReadyToStartContainers", sandbox is not None, made, ("", ""), generation),
        _initialized(facts, phase, begun, init),
        *_readiness(facts, phase, lasting, statuses),
        _condition("PodScheduled", True, record.started_at, ("", ""), generation),
    ]


def _initialized(facts: Facts, phase: str, begun: bool, init: list[Standing]) -> PodCondition:
    sandbox = facts.seen.sandbox if facts.seen else None
    incomplete = [s.name for s in init if not init_done(s, sandbox)]
    ended = [s.death.finished_at for s in init if s.death and not s.sidecar]
    completed = phase == "Succeeded"
    why = ("PodCompleted", "") if completed else ("", "")
    if not begun and not completed:
        why = ("ContainersNotInitialized", f"containers with incomplete status: [{' '.join(incomplete)}]")
    at = max(ended, default=facts.record.started_at)
    return _condition("Initialized", begun or completed, at, why, facts.pod.metadata.generation)


def _readiness(
    facts: Facts, phase: str, lasting: list[Standing], statuses: list[ContainerStatus]
) -> tuple[PodCondition, PodCondition]:
    """Ready and ContainersReady."""
    unready = [s.name for s in statuses if not s.ready]
    ready = not unready and phase == "Running"
    why = _not_ready(phase, "ContainersNotReady", f"containers with unready status: [{' '.join(unready)}]")
    ended = [s.death.finished_at for s in lasting if s.death]
    ran = [s.seen.started_at for s in lasting if s.seen and s.running]
    probed = [v.changed_at for v in facts.record.verdicts.values() if v.changed_at]
    changed = max([*(ran if ready else ended), *probed], default=facts.record.started_at)
    gated = ready and bool(facts.pod.spec.readiness_gates)
    pod_why = ("ReadinessGatesNotReady", "corresponding condition of pod readiness gate does not exist")
    generation = facts.pod.metadata.generation
    return (
        _condition("Ready", ready and not gated, changed, pod_why if gated else ("", "") if ready else why, generation),
        _condition("ContainersReady", ready, changed, ("", "") if ready else why, generation),
    )


def _resizing(facts: Facts, lasting: list[Standing]) -> list[PodCondition]:
    """PodResizePending, PodResizeInProgress: there while they hold, absent else (L20)."""
    record, generation = facts.record, facts.pod.metadata.generation
    told = []
    if record.resize[0]:
        told.append(_condition("PodResizePending", True, record.resize_at, record.resize, generation))
    if any(lagging(s, record) for s in lasting):
        failure = facts.memory.failures.get(RESIZE)
        why = ("Error", failure.message) if failure else ("", "")
        told.append(_condition("PodResizeInProgress", True, record.resize_at, why, generation))
    return told


def _not_ready(phase: str, reason: str, message: str) -> tuple[str, str]:
    if phase == "Succeeded":
        return "PodCompleted", ""
    return ("PodFailed", "") if phase == "Failed" else (reason, message)


def _condition(name: str, true: bool, at: int, why: tuple[str, str], generation: int) -> PodCondition:
    condition = PodCondition(
        type=name, status="True" if true else "False", observed_generation=generation,
        last_transition_time=to_timestamp(at // SECOND * SECOND),
    )  # fmt: skip
    if why[0]:
        condition.reason = why[0]
    if why[1]:
        condition.message = why[1]
    return condition


def next_change(facts: Facts) -> int:
    """When the status will read differently though nothing happens; 0 for never."""
    failed = [f.failure.at for f in facts.memory.images.values() if f.failure and f.failure.reason in PULL_FAILURES]
    return min((at + FRESH for at in failed if at + FRESH > facts.now), default=0)
