"""What controllers never do, whatever happens and in whatever order they look: checked at every commit.

`MESH_SEEDS=1000` runs as many seeds of each instead of a few.
"""

import os
from collections.abc import Callable

import pytest

from mesh.model.conditions import is_true
from mesh.model.pods import is_deleting, is_ready, is_terminal
from mesh.v1.batch_pb2 import Job
from mesh.v1.core_pb2 import Pod
from mesh.view import View
from tests.harness.workshop import World
from tests.unit.controllers.test_cronjobs import cron_job
from tests.unit.controllers.test_jobs import job
from tests.unit.controllers.test_workloads import workload

SEEDS = range(int(os.environ.get("MESH_SEEDS") or "12"))


class Watched:
    """A world whose controllers' own commits are told apart from what users and hosts do."""

    def __init__(self, seed: int, check: Callable[[View, View], None]) -> None:
        self.world = World(seed=seed)
        self.rng = self.world.rng
        self.controllers_turn = False
        self.before = self.world.view.copy()
        self.check = check
        self.world.watch = self._look

    def _look(self, view: View) -> None:
        if self.controllers_turn:
            self.check(self.before, view)
        self.before = view.copy()

    def turn(self) -> None:
        """Controllers look at a few keys, in any order."""
        self.controllers_turn = True
        for _ in range(self.rng.randint(0, 8)):
            self.world.any_step()
        self.controllers_turn = False

    def misfortune(self, *, may_fail: bool = True) -> None:
        """Hosts and users do something to some pods."""
        world, rng = self.world, self.rng
        world.bind()
        for pod in world.view.pods():
            what = rng.random()
            if is_deleting(pod):
                if what < 0.5 and not (is_terminal(pod) and pod.metadata.finalizers):
                    world.gone(pod)
            elif is_terminal(pod) or not pod.spec.node_name:
                continue
            elif what < 0.4:
                world.ready(pod)
            elif what < 0.45:
                world.ready(pod, ready=False)
            elif what < 0.5 and may_fail:
                world.ends(pod, 1)
            elif what < 0.53:
                world.delete(pod)
        world.pass_time(rng.choice([0, 0, 1, 30]))

    def rest(self) -> None:
        """Nothing bad happens any more."""
        self.controllers_turn = True
        for _ in range(60):
            self.world.obey()
            self.world.pass_time(600)
        self.world.obey()


def available(view: View) -> int:
    return sum(is_ready(p) and not is_deleting(p) and not is_terminal(p) for p in view.pods())


def active(view: View) -> list[Pod]:
    return [p for p in view.pods() if not is_deleting(p) and not is_terminal(p)]


@pytest.mark.parametrize("seed", SEEDS)
def test_a_rolling_update_keeps_its_promises(seed: int) -> None:
    def check(before: View, now: View) -> None:
        assert len(active(now)) <= 6 + 2
        assert available(now) >= min(available(before), 6 - 1), "the rollout gave up what it had promised to keep"

    it = Watched(seed, check)
    spec = {"replicas": 6, "strategy": "{rollingUpdate: {maxSurge: 2, maxUnavailable: 1}}"}
    for round_ in range(12):
        if it.rng.random() < 0.4:
            it.world.apply(workload("Deployment", image=f"example:{it.rng.randint(1, 3)}", **spec))
        elif not round_:
            it.world.apply(workload("Deployment", **spec))
        it.turn()
        it.misfortune()
    it.world.apply(workload("Deployment", image="example:9", **spec))
    it.rest()
    assert [p.spec.containers[0].image for p in active(it.world.view)] == ["example:9"] * 6
    assert available(it.world.view) == 6


@pytest.mark.parametrize("seed", SEEDS)
def test_a_stateful_set_keeps_its_order(seed: int) -> None:
    def check(before: View, now: View) -> None:
        there = {p.metadata.name: p for p in before.pods()}
        for pod in now.pods():
            number = int(pod.metadata.name.rpartition("-")[2])
            if pod.metadata.name not in there:
                lower = [there.get(f"db-{n}") for n in range(number)]
                assert all(p is not None and is_ready(p) and not is_deleting(p) for p in lower), "made out of order"
            elif is_deleting(pod) and not is_deleting(there[pod.metadata.name]):
                others = [p for p in before.pods() if is_deleting(p)]
                assert not others, f"{pod.metadata.name} was asked to go while {others[0].metadata.name} was going"

    it = Watched(seed, check)
    for round_ in range(14):
        if it.rng.random() < 0.3 or not round_:
            replicas, image = it.rng.randint(1, 4), f"example:{it.rng.randint(1, 3)}"
            it.world.apply(workload("StatefulSet", "db", image=image, replicas=replicas))
        it.turn()
        it.misfortune(may_fail=False)
    it.world.apply(workload("StatefulSet", "db", image="example:9", replicas=3))
    it.rest()
    assert [p.metadata.name for p in it.world.pods()] == ["db-0", "db-1", "db-2"]
    assert {p.spec.containers[0].image for p in it.world.pods()} == {"example:9"}


@pytest.mark.parametrize("seed", SEEDS)
def test_a_job_never_runs_more_than_its_parallelism_and_counts_each_end_once(seed: int) -> None:
    done: set[str] = set()

    def check(_before: View, now: View) -> None:
        assert len(active(now)) <= 3
        for held in now.of_kind("Job"):
            assert isinstance(held, Job)
            assert held.status.succeeded <= len(done)

    it = Watched(seed, check)
    it.world.apply(job(completions=8, parallelism=3, backoffLimit=1000))
    for _ in range(30):
        it.turn()
        it.misfortune()
        for pod in active(it.world.view):
            if pod.spec.node_name and it.rng.random() < 0.3:
                done.add(pod.metadata.uid)
                it.world.ends(pod)
    for _ in range(200):
        it.world.obey()
        for pod in active(it.world.view):
            done.add(pod.metadata.uid)
            it.world.ends(pod)
        it.world.pass_time(600)
    it.world.obey()
    held = it.world.get("Job", "work")
    assert isinstance(held, Job)
    assert is_true(held.status.conditions, "Complete")
    assert held.status.succeeded == len(done)
    assert 8 <= len(done) <= 10


@pytest.mark.parametrize("seed", SEEDS)
def test_a_cron_job_never_starts_twice_for_one_time(seed: int) -> None:
    started: list[str] = []

    def check(before: View, now: View) -> None:
        had = {j.metadata.name for j in before.of_kind("Job")}
        started.extend(j.metadata.name for j in now.of_kind("Job") if j.metadata.name not in had)
        assert len(started) == len(set(started))

    it = Watched(seed, check)
    policy = it.rng.choice(["Allow", "Forbid", "Replace"])
    it.world.apply(cron_job("*/1 * * * *", concurrencyPolicy=policy, successfulJobsHistoryLimit=1))
    for _ in range(60):
        it.turn()
        it.misfortune()
        it.world.pass_time(it.rng.choice([0, 1, 20, 61, 200]))
        for pod in active(it.world.view):
            if pod.spec.node_name and it.rng.random() < 0.5:
                it.world.ends(pod)
        if it.rng.random() < 0.1 and (found := it.world.view.of_kind("Job")):
            it.world.delete(found[0])
    assert len(started) >= 3
