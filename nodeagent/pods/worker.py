"""One pod's loop: look, plan, one step, look again; rest until something pokes.

Rule: a poke carries no news, it only makes the worker look. What the pod is to be is set by `want`; what it is, is on
the host. The worker ends when nothing of the pod is left.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace

import structlog

from mesh.model.digest import pod_spec_hash
from mesh.model.pods import containers, grace_seconds, is_deleting
from mesh.model.restarts import backoff_of
from mesh.v1.core_pb2 import Pod, PodStatus
from mesh.v1.node_pb2 import PodReport, SecretReceipt
from nodeagent.board import Board
from nodeagent.desired import Given
from nodeagent.events import backoffs, statuses_of
from nodeagent.pods.actions import Action, Facts
from nodeagent.pods.admit import Answer, Door
from nodeagent.pods.asked import Asked
from nodeagent.pods.environment import expand
from nodeagent.pods.execute import Executor
from nodeagent.pods.plan import next_actions
from nodeagent.pods.podstate import PodState
from nodeagent.pods.receipts import receipts
from nodeagent.pods.record import Record, from_json, remember, unheard
from nodeagent.pods.resize import decide, granted, wanted_of
from nodeagent.pods.status import next_change, status_of
from nodeagent.pods.stopping import EVICTED
from nodeagent.probes.prober import Bench, Prober
from nodeagent.probes.state import Kind
from nodeagent.probes.wanted import Place, verdict_of, wanted_probes
from nodeagent.runtime.port import RuntimeFailure
from nodeagent.runtime.seen import SeenPod, State

log = structlog.get_logger()

SLOW = 0.25  # seconds of work after which a status is told in between
HELD = (State.CREATED, State.RUNNING)  # made with the resources of their time
NOTHING = Given()
AWAY = 10.0  # seconds at most until the runtime, once away, is looked for again


class Worker(Asked):
    """See the module. `may_kill` says whether an Assignment came yet; `away` is told when the runtime is not there.
    `door` says whether the host takes the pod."""

    def __init__(  # noqa: PLR0913 - what a worker works with
        self, pod: Pod, executor: Executor, board: Board, may_kill: Callable[[], bool], away: Callable[[], None],
        bench: Bench, *, door: Door, given: Given,
        seen: SeenPod | None, mirror: bool = False,
        quiet: bool = False,
    ) -> None:  # fmt: skip
        self._executor = executor
        self._board = board
        self._may_kill = may_kill
        self._away = away
        self._door = door
        self._quiet = quiet  # a leftover that nobody knows: nothing is told of it
        self._poked = asyncio.Event()
        self.still = asyncio.Event()  # nothing of it runs, and its record says so
        self.changed = asyncio.Event()  # the pod is to be something else; whoever waits for it clears it
        self._recalled = False  # what the disk had of it is known
        self._late: asyncio.TimerHandle | None = None
        self._receipts: list[SecretReceipt] = []
        super().__init__(pod, PodState(pod, _hashes(pod), given, seen=seen, stale=False), mirror=mirror, absent=quiet)
        self.state.revisions = executor.revisions(self.state)
        self._resting = False
        self.prober = Prober(bench, lambda: self.state.pod, self._judged)

    def evict(self, message: str, grace: int, *, disrupted: bool, reason: str = EVICTED) -> None:
        """The pod stops within so many seconds, and fails with these words (R10)."""
        state, now = self.state, self._executor.clock()
        if state.record.reason or state.record.final:
            return
        state.record = replace(state.record, reason=reason, message=message, evicted_at=now)
        state.record = replace(state.record, evicted_grace=grace, disrupted=disrupted)
        self._executor.events.warning(state.pod, reason, message)
        self._poked.set()

    def halt(self, reason: str, message: str, grace: int) -> None:
        """The host shuts down: the pod stops within so many seconds and fails; a static one only stops (L19)."""
        if self.mirror:
            self.state.halted = grace
            self._poked.set()
        else:
            self.evict(message, grace, disrupted=True, reason=reason)
        if not self.state.gone:
            self.still.clear()
            self._poked.set()

    def resume(self) -> None:
        """The host does not shut down after all: a static pod goes on."""
        if self.state.halted is not None:
            self.state.halted = None
            self._poked.set()

    def want(self, pod: Pod | None, given: Given = NOTHING) -> None:
        """What the pod is to be from now on, and what it refers to; None: it is not wanted here."""
        if pod is None:
            self.absent = True
        else:
            self.absent = self._quiet = False
            if pod != self.wanted:
                self.state.hashes = _hashes(pod)
                self.wanted = pod
                self.state.pod = granted(pod, self.state.record.allocated)
            self._configure(given)
        self.changed.set()
        self._poked.set()

    def _configure(self, given: Given) -> None:
        state = self.state
        if given != state.given:
            state.given = given
            state.memory = state.memory.reconfigured()
        state.revisions = self._executor.revisions(state)

    def poke(self, *, look: bool = True) -> None:
        """Something may have changed."""
        self.state.stale |= look
        self._poked.set()

    async def run(self) -> None:
        """The loop; returns when the pod is gone. Raises what a bug raises: it may be run again, and looks first."""
        async with asyncio.TaskGroup() as probes:
            try:
                await self._run(probes)
            finally:
                self.prober.stop()
                self._quiet_later()
                self._resting, self.state.stale = False, True

    async def _run(self, probes: asyncio.TaskGroup) -> None:
        state = self.state
        if not self._recalled:
            state.record = state.saved = await asyncio.to_thread(self._read_record)
            self._recalled = True
        state.pod = granted(self.wanted, state.record.allocated)
        await self._remember()
        while not state.gone:
            if state.stale and not await self._look():
                continue
            if not state.record.started_at and not self.ending and not self._take():
                await self._rest(0)
                continue
            self._grant()
            facts = self._facts()
            decision = next_actions(facts)
            self._probe(facts, probes)
            if decision.actions:
                self._tell_later()
                await self._perform(decision.actions, facts)
                continue
            if state.record.verdicts != state.saved.verdicts:  # or a new agent would say otherwise for a moment (P21)
                await self._executor.save(state)
                facts = self._facts()
            self._tell(facts)
            await self._executor.save(state)
            if not any(c.state is State.RUNNING for c in (state.seen.containers if state.seen else ())):
                self.still.set()
            if not self.admitted:
                self._door.freed()
            await self._rest(min((t for t in (decision.wake_at, next_change(facts)) if t), default=0))
        self._door.freed()
        self.still.set()
        self._tell_gone()

    async def _perform(self, actions: Sequence[Action], facts: Facts) -> None:
        """Side by side; a bug in one ends them all, so that none goes on when the worker is run again."""
        steps = [self._executor.perform(action, self.state, facts) for action in actions]
        if len(steps) == 1:
            await steps[0]
            return
        async with asyncio.TaskGroup() as group:
            for step in steps:
                group.create_task(step)

    def _take(self) -> bool:
        """The pod is this host's from now on, or rejected for good (S7); what was found running is not asked. False:
        it has to wait."""
        state, events = self.state, self._executor.events
        answer = self._door.admit(state.pod) if state.seen is None else Answer()
        if answer.wait:
            if not self.queued:
                events.normal(state.pod, "WaitingForRoom", f"Waiting for pods that are stopping: {answer.message}")
            self.queued = True
            return False
        self.queued = False
        state.record = replace(state.record, started_at=self._executor.clock())
        if answer.reason:
            state.record = replace(state.record, reason=answer.reason, message=f"Pod was rejected: {answer.message}")
            events.warning(state.pod, answer.reason, answer.message)
        return True

    def _grant(self) -> None:
        """What the pod wants in cpu and memory is granted, or it is said why not (L20)."""
        state, before = self.state, self.state.record
        if not before.started_at or before.final or before.reason or self.ending:
            return
        if before.allocated and wanted_of(self.wanted) == before.allocated and not before.resize[0]:
            return
        running = {c.name: c.attempt for c in (state.seen.containers if state.seen else ()) if c.state in HELD}
        state.record = decide(before, self.wanted, running, self._door.space(self.wanted), self._executor.clock())
        state.pod = granted(self.wanted, state.record.allocated)
        if state.record.resize[0] and state.record.resize != before.resize:
            reason, message = state.record.resize
            self._executor.events.warning(state.pod, f"Resize{reason}", message)

    # ---- look

    async def _look(self) -> bool:
        """Sees what is there; when that can't be known, rests and returns False."""
        self.state.stale = False
        try:
            self.state.seen = await self._executor.runtime.pod(self.state.uid)
        except RuntimeFailure as failure:
            log.warning("runtime_away", pod=self.state.uid, why=failure.message)
            self.state.stale = True
            self._away()
            self._quiet_later()
            await self._rest(self._executor.clock() + int(AWAY * 1e9))
            return False
        await self._remember()
        return True

    async def _remember(self) -> None:
        state = self.state
        ended = unheard(state.record, state.seen)
        words = await self._executor.last_words(state.pod, ended) if ended else {}
        state.record = remember(state.record, state.seen, self._executor.clock(), words)

    def _read_record(self) -> Record:
        text = self._executor.tree.read_record(self.state.uid)
        try:
            return from_json(text) if text else Record()
        except ValueError as error:
            log.warning("record_unreadable", pod=self.state.uid, why=str(error))
            return Record()

    # ---- facts

    def _facts(self) -> Facts:
        state, executor = self.state, self._executor
        return Facts(
            pod=state.pod, hashes=state.hashes, seen=state.seen, record=state.record, memory=state.memory,
            now=executor.clock(), ending=self.ending, may_kill=self._may_kill(),
            grace=grace_seconds(state.pod), halted=state.halted, host_ip=executor.host.ip,
            held=executor.held(state.uid) if is_deleting(state.pod) and not self.absent else "",
            revisions=state.revisions, may_begin=self._may_kill() or self.mirror,
            backoff=backoff_of(state.pod.metadata.annotations, executor.host.crash_loop),
        )  # fmt: skip

    # ---- probes

    def _probe(self, facts: Facts, group: asyncio.TaskGroup) -> None:
        """Sees to it that the probes run which the pod wants now."""
        if self._quiet:
            return
        running = {c.name: c for c in (facts.seen.containers if facts.seen else ()) if c.state is State.RUNNING}
        sandbox = facts.seen.sandbox if facts.seen else None
        ip = facts.host_ip if facts.pod.spec.host_network else sandbox.ip if sandbox else ""
        ending = facts.ending or bool(facts.record.reason) or bool(facts.record.final)
        wanted = wanted_probes(Place(facts.pod, ip), running, facts.record.verdicts, ending=ending, expand=expand)
        self.prober.want(wanted, group)

    def _judged(self, container_id: str, kind: Kind, good: bool) -> None:
        """A threshold is reached: readiness is told at once, whatever else is being done."""
        state = self.state
        ours = state.newest(container_id)
        if ours is None:
            return
        before = verdict_of(state.record.verdicts, ours)
        after = before.after(kind, good, self._executor.clock())
        if after == before:
            return
        state.record = state.record.with_verdict(ours.name, after)
        if not self._resting:
            self._tell(self._facts())
        self._poked.set()

    # ---- rest

    async def _rest(self, wake_at: int) -> None:
        """Until a poke, or `wake_at`."""
        timer = None
        if wake_at and not self._poked.is_set():
            seconds = max(0.0, (wake_at - self._executor.clock()) / 1e9)
            timer = asyncio.get_running_loop().call_later(seconds, self._poked.set)
        self._resting = True
        await self._poked.wait()
        self._resting = False
        self._poked.clear()
        if timer:
            timer.cancel()

    # ---- tell

    def _tell_later(self) -> None:
        """Should the steps take long, says in between how the pod stands."""
        if self._late is None:
            self._late = asyncio.get_running_loop().call_later(SLOW, self._tell_now)

    def _tell_now(self) -> None:
        self._late = None
        self._tell(self._facts())

    def _quiet_later(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _tell(self, facts: Facts) -> None:
        self._quiet_later()
        if self._quiet or not facts.record.started_at:
            return
        status = status_of(facts)
        if status == self.told and not self._received():
            return
        backoffs(self._executor.events, self.state.pod, self.told, status)
        self.told = status
        self._received()
        self._board.put_pod(self._report(status))
        unready = {s.container_id.rpartition("/")[2] for s in statuses_of(status) if s.started and not s.ready}
        self.prober.hurry(unready)

    def _tell_gone(self) -> None:
        self._quiet_later()
        if self._quiet:
            return
        report = self._report(self.told)
        if self.state.record.final:
            report.status.CopyFrom(status_of(self._facts()))
        report.gone = True
        self._board.put_pod(report)

    def _received(self) -> bool:
        """Takes down which Secrets are in the pod by now; says whether there is news."""
        state, before = self.state, self._receipts
        self._receipts = receipts(
            state.pod, state.seen, state.given.secrets, state.revisions, state.memory.projected,
            before=before, now=self._executor.clock(),
        )  # fmt: skip
        return self._receipts != before

    def _report(self, status: PodStatus | None) -> PodReport:
        meta = self.state.pod.metadata
        report = PodReport(uid=meta.uid, namespace=meta.namespace, name=meta.name)
        if status is not None:
            report.status.CopyFrom(status)
        report.secrets.extend(self._receipts)
        report.steps.extend(self.state.steps.done)
        if self.mirror:
            report.mirror.CopyFrom(self.state.pod)
        return report


def _hashes(pod: Pod) -> dict[str, str]:
    return {c.name: pod_spec_hash(c, pod) for c in containers(pod.spec)}
