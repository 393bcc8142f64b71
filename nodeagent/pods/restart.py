"""Whether and when a container that ended is started again (L1 to L4).

Rule: pure; times are nanoseconds since the epoch. The key of a back-off is pod, container and spec hash.
"""

from collections.abc import Mapping

from mesh.model.restarts import Backoff, again
from mesh.model.times import SECOND
from mesh.v1.core_pb2 import Pod
from nodeagent.pods.record import Death, Record, Streak
from nodeagent.pods.standing import Standing, standings
from nodeagent.probes.state import Kind
from nodeagent.runtime.seen import SeenPod, State

FAILED = 1  # the code of a container that its own probe ended, whatever its own
RESET = 600 * SECOND  # however long a pod or its host lets a back-off grow (L3)
USUAL = Backoff()


def should_restart(pod: Pod, standing: Standing, record: Record) -> bool:
    """Whether an ended container runs again: by policy (L1), because a new definition stopped it (L5), because a probe
    of its own did, however it ended then (P7), or because it is a sidecar (L13)."""
    death = standing.death
    if death is None or standing.sidecar:
        return True
    if death.container_id in record.stops and death.spec_hash != standing.spec_hash:
        return True
    verdict = record.verdicts.get(standing.name)
    condemned = verdict is not None and verdict.failed in tuple(Kind) and verdict.container_id == death.container_id
    return again(pod.spec, standing.container, death.exit_code or (FAILED if condemned else 0))


def next_start(streak: Streak | None, death: Death, spec_hash: str) -> int:
    """The earliest time of the next start: at once the first time, then back-off from when it ended (L2)."""
    streak = _current(streak, death, spec_hash)
    if streak is None or streak.attempt > death.attempt:
        return death.finished_at  # let through already, and it never came to a start
    return death.finished_at + streak.delay


def grown(streak: Streak | None, death: Death, spec_hash: str, now: int, backoff: Backoff = USUAL) -> Streak:
    """The back-off once a restart is let through: 10, 20, 40 … 300 s; asked again for the same end, the same."""
    streak = _current(streak, death, spec_hash)
    if streak is not None and streak.attempt > death.attempt:
        return streak
    delay = backoff.initial * SECOND if streak is None else min(streak.delay * 2, backoff.longest * SECOND)
    return Streak(delay, now, death.attempt + 1, spec_hash)


def _current(streak: Streak | None, death: Death, spec_hash: str) -> Streak | None:
    if streak is None or streak.spec_hash != spec_hash:
        return None
    return None if death.finished_at - streak.updated_at > RESET else streak


def over(pod: Pod, seen: SeenPod | None, record: Record, hashes: Mapping[str, str]) -> bool:
    """Whether the pod's work is over, done or failed for good (S1); only sidecars may be left running (L13)."""
    init, apps = standings(pod, seen, record, hashes)
    init = [i for i in init if not i.sidecar]
    if any(s.running for s in (*init, *apps)):
        return False
    if any(s.death and s.death.exit_code and not again(pod.spec, s.container, s.death.exit_code) for s in init):
        return True
    return all(_ended(pod, standing, record) for standing in apps)


def _ended(pod: Pod, standing: Standing, record: Record) -> bool:
    waits = standing.seen is not None and standing.seen.state is State.CREATED and standing.ready_to_start
    return standing.death is not None and not waits and not should_restart(pod, standing, record)
