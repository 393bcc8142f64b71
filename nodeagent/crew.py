"""The workers of a host's pods: who is wanted here gets one, and it goes when nothing of its pod is left.

Rule: it only hires and tells; what a pod is to be comes from the newest order and the host's static pods. A bug that
one pod brings out is that pod's alone: it is logged and told, and its worker is run again after a pause.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

import structlog

from mesh.model.pauses import Pauses
from mesh.model.pods import is_deleting
from mesh.v1.core_pb2 import Pod
from nodeagent.board import Board
from nodeagent.desired import Desired, same
from nodeagent.pods.worker import Worker
from nodeagent.runtime.seen import SeenContainer, SeenPod, State
from nodeagent.static import StaticPods
from nodeagent.waiting import until

log = structlog.get_logger()

AGAIN = (1.0, 60.0)  # seconds until a worker that failed is run again
Engage = Callable[[Pod, SeenPod | None, bool], Worker]  # of a pod, what was seen of it, and whether it is a leftover


class Crew:
    """`workers` are those that there are now, `desired` what meshd wants. `blind`: nobody has looked at the host yet;
    `found` is what the last look at everything showed of pods that have no worker. `failed` is told of bugs that
    pods brought out."""

    def __init__(
        self, static: StaticPods, board: Board, engage: Engage, spawn: Callable[[Coroutine[Any, Any, None]], None],
        failed: Callable[[Pod, Exception], None],
    ) -> None:  # fmt: skip
        self.desired = Desired()
        self.workers: dict[str, Worker] = {}
        self.found: dict[str, SeenPod] = {}
        self.blind = True
        self.empty = asyncio.Event()
        self.empty.set()
        self._gone: set[str] = set()
        self._static = static
        self._board = board
        self._engage = engage
        self._spawn = spawn
        self._failed = failed

    def wanted(self) -> Mapping[str, Pod]:
        """What is to be here, by uid."""
        return {**self.desired.pods, **self._static.pods}

    def spread(self) -> None:
        """Tells every worker what its pod is to be."""
        wanted = self.wanted()
        for uid, pod in wanted.items():
            worker = self.workers.get(uid)
            given = self.desired.given(pod)
            if worker is not None:
                if (worker.pod is not pod and worker.pod != pod) or worker.absent or not same(worker.given, given):
                    worker.want(pod, given)
            elif uid not in self._gone or not is_deleting(pod):
                self._gone.discard(uid)
                self.hire(pod)
        for uid, worker in self.workers.items():
            if uid not in wanted and not worker.absent:
                worker.want(None)
        for uid in [u for u in self._gone if u not in wanted]:
            self._gone.discard(uid)
            self._board.drop_pod(uid)

    def hire(self, pod: Pod, *, leftover: bool = False) -> None:
        """A worker for a pod; of a `leftover` nobody knows more than what lies on the host."""
        uid = pod.metadata.uid
        worker = self._engage(pod, self.found.pop(uid, None), leftover)
        if self.blind:
            worker.poke()
        self.workers[uid] = worker
        self.empty.clear()
        self._spawn(self._employ(uid, worker))

    async def _employ(self, uid: str, worker: Worker) -> None:
        await self._toil(uid, worker)
        del self.workers[uid]
        self._gone.add(uid)
        if not self.workers:
            self.empty.set()
        if worker.absent and uid in self.wanted():
            self.spread()

    async def _toil(self, uid: str, worker: Worker) -> None:
        """Runs it to its end; after a bug again, after ever longer pauses or as soon as the pod changes."""
        now, pauses = asyncio.get_running_loop().time, Pauses(*AGAIN)
        while True:
            began = now()
            worker.changed.clear()
            try:
                await worker.run()
            except Exception as error:
                if now() - began > AGAIN[1]:
                    pauses.reset()
                wait = pauses.next()
                log.exception("pod_failed", pod=uid, seconds=wait)
                self._failed(worker.pod, error)
                await until(worker.changed, wait)
            else:
                return

    def poke_timer(self, uid: str) -> None:
        """The worker is to think again, without a look at the host."""
        if uid in self.workers:
            self.workers[uid].poke(look=False)

    def placed(self) -> list[tuple[Pod, str]]:
        """Pods of this host that have an address of their own."""
        seen = ((worker.pod, worker.seen) for worker in self.workers.values())
        return [(pod, found.sandbox.ip) for pod, found in seen if found and found.sandbox]

    def running(self) -> list[SeenContainer]:
        """Every container that runs."""
        seen = (worker.seen.containers for worker in self.workers.values() if worker.seen)
        return [c for containers in seen for c in containers if c.state is State.RUNNING]
