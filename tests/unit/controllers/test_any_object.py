"""Whatever is admitted, and whatever hosts say, no controller fails on it, and all of them come to rest."""

import os
import random
import uuid
from pathlib import Path
from typing import Any

import pytest

from mesh.admission import admit
from mesh.admission.admit import Stamp
from mesh.controllers import daemonset, deployment, jobpods, victims
from mesh.errors import MeshError
from mesh.meshd import Settings, controllers
from mesh.model import manifest, workloads
from mesh.model.conditions import set_condition
from mesh.model.fields import copy_of
from mesh.model.kinds import Object, key_of
from mesh.model.times import SECOND, to_timestamp
from mesh.model.yamltext import documents, plain
from mesh.simulate.machine import Machine
from mesh.store.port import Snapshot
from mesh.v1.core_pb2 import Pod
from mesh.view import View
from tests.harness import objects
from tests.harness.spoiling import spoilt
from tests.harness.workshop import START, ready_node

GOLDEN = (Path(__file__).parents[2] / "golden" / "manifests").glob("*.yaml")
SOURCES = (*sorted(GOLDEN), Path(__file__).parent / "everything.yaml")
VALUES = tuple(plain(document) for source in SOURCES for document in documents(source.read_text()))
WRITTEN = (deployment.LIMIT, deployment.DESIRED, workloads.REVISION, daemonset.FAILURES, jobpods.INDEX,
           jobpods.INDEX_FAILURES, victims.COST)  # fmt: skip
TEXTS = ("", "abc", "\u00b2", "-1", "0", "3", "9" * 30, "9" * 5000)
SEEDS = int(os.environ.get("MESH_SEEDS") or "36")
AT_ONCE = 12


class Play:
    """One user, one host and time, as the dice fall."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        view = View(Snapshot(1, objects.namespaces()))
        self.machine = Machine(view, controllers(Settings(clock=lambda: START)), START)
        for name in "ab":
            self.machine.put(ready_node(name))
        self.machine.begin()

    def settle(self) -> None:
        self.machine.settle(2000)

    def user(self) -> int:
        """Applies something, good or spoilt; returns how many objects were admitted."""
        value = self.dice.choice(VALUES)
        try:
            self._apply(value if self.dice.random() < 0.3 else spoilt(value, self.dice))
        except MeshError:
            return 0
        return 1

    def _apply(self, value: Any) -> None:
        obj = manifest.from_dict(value, "x")
        obj.metadata.namespace = obj.metadata.namespace or "default"
        stamp = Stamp(
            self.machine.now, str(uuid.UUID(int=self.dice.getrandbits(128))), f"{self.dice.randrange(9**5):05}"
        )
        held = self.machine.view.get(key_of(obj))
        made = admit.apply(obj, held, self.machine.view, stamp).object
        if made is not held:
            self.machine.put(made)

    def scribbler(self) -> None:
        """Overwrites what a controller has noted on an object."""
        told = copy_of(self._any())
        told.metadata.annotations[self.dice.choice(WRITTEN)] = self.dice.choice(TEXTS)
        self.machine.put(told)

    def remover(self) -> None:
        """Asks an object to go."""
        held, way = self._any(), self.dice.choice(("Background", "Foreground", "Orphan"))
        try:
            left = admit.delete(held, None, self.machine.view, Stamp(self.machine.now, "", ""), propagation=way).object
        except MeshError:
            return
        self.machine.put(left, key_of(held))

    def host(self) -> None:
        """Tells anything of a pod."""
        held = self._any("Pod")
        if not isinstance(held, Pod):
            return
        told = copy_of(held)
        told.status.phase = self.dice.choice(("Pending", "Running", "Succeeded", "Failed", ""))
        set_condition(
            told.status.conditions, "Ready", self.dice.choice(("True", "False", "Unknown", "")), now=self.machine.now
        )
        status = told.status.container_statuses.add(
            name=self.dice.choice(("c", "")), restart_count=self.dice.choice((0, 2**31 - 1))
        )
        if self.dice.random() < 0.5:
            status.state.terminated.exit_code = self.dice.choice((0, 1, 42, -1))
            status.state.terminated.finished_at.CopyFrom(to_timestamp(self.machine.now))
        self.machine.put(told)

    def clock(self) -> None:
        """Goes on."""
        self.machine.move_to(self.machine.now + self.dice.choice((1, 60, 3600, 86_400)) * SECOND)

    def _any(self, kind: str = "") -> Object:
        every = sorted(self.machine.view.objects(), key=lambda obj: str(key_of(obj)))
        return self.dice.choice([o for o in every if not kind or key_of(o).kind == kind] or every)


def play(seed: int) -> int:
    """Returns how much was admitted."""
    made, admitted = Play(seed), 0
    for _ in range(14):
        admitted += made.user()
        made.settle()
        made.dice.choice((made.scribbler, made.remover, made.host, made.host, made.clock))()
        made.settle()
    return admitted


@pytest.mark.parametrize("first", range(0, SEEDS, AT_ONCE))
def test_fails_no_controller(first: int) -> None:
    assert sum(play(seed) for seed in range(first, first + AT_ONCE)) > AT_ONCE
