"""The order of a deletion: proxies let go first, open connections finish, and only then containers are stopped.

Rule: pure; says the next step only, as plan.py does. Whether a pod is held is meshd's word; how long it may be is
decided here, so that a pod ends in time whoever else is away. The grace period begins when this is over. What was over
once is never begun again.
"""

from mesh.model.pods import drain_seconds
from mesh.model.times import SECOND
from nodeagent.pods.actions import Decision, Drain, EndDrain, Facts
from nodeagent.runtime.seen import State

_WORDS = {
    "proxies": "Waiting until no host sends new connections to the pod",
    "connections": "Waiting until the pod's open connections have finished",
}


def drain(facts: Facts) -> Decision | None:
    """What comes before stopping a deleted pod; None when nothing does, or does any more."""
    state, seconds = facts.record.drain, drain_seconds(facts.pod)
    running = any(c.state is State.RUNNING for c in (facts.seen.containers if facts.seen else ()))
    if state.over or facts.record.stops or facts.record.reason or not running:
        return None
    if not facts.held or not seconds:
        return Decision((EndDrain(_after(facts)),)) if state.since else None
    if not state.since or state.waits_for != facts.held:
        return Decision((Drain(facts.held, _WORDS.get(facts.held, f"Waiting for {facts.held}")),))
    due = state.since + seconds * SECOND
    if facts.now < due:
        return Decision(wake_at=due)
    left = "open connections" if facts.held == "connections" else "hosts that have not answered"
    return Decision((EndDrain(f"Stopping after {seconds} s in spite of {left}", late=True),))


def _after(facts: Facts) -> str:
    seconds = (facts.now - facts.record.drain.since) / SECOND
    return f"No host sends anything to the pod any more, after {seconds:.1f} s"
