"""kill -9 in the middle of writing: what was acknowledged is there, and of the rest nothing is half there."""

import json
import random
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from mesh.model.keys import Key
from mesh.model.kinds import Object, key_of
from mesh.store.encrypted import EncryptedCodec
from mesh.store.keyring import create_key_file
from mesh.store.port import Event
from mesh.store.sqlite import SqliteStore
from mesh.v1.core_pb2 import ConfigMap, Secret

ROOT = Path(__file__).parent.parent.parent
ENOUGH, KILLS = 1000, 8  # acknowledged commits, and kills, at least


@dataclass
class Told:
    """What the killed programs said."""

    intended: dict[str, dict[Key, bool]] = field(default_factory=dict)  # whether each key is put or removed
    done: dict[str, int] = field(default_factory=dict)
    refused: set[str] = field(default_factory=set)

    def hear(self, line: str) -> None:
        word, commit, *rest = line.rstrip("\n").split(" ", 2)
        if word == "intend":
            self.intended[commit] = {Key(*write[:3]): write[3] for write in json.loads(rest[0])}
        elif word == "done":
            self.done[commit] = int(rest[0])
        else:
            self.refused.add(commit)


def write_until_killed(path: Path, keys: Path, run: str, lines: int, told: Told) -> None:
    """Runs a writer and kills it right after so many lines; every whole line that it said counts."""
    command = [sys.executable, "-m", "tests.harness.store_writer", str(path), str(keys), run]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        for number, line in enumerate(writer.stdout):
            if number == lines:
                writer.kill()
            if line.endswith("\n"):
                told.hear(line)
    assert writer.returncode == -9, "the writer ended by itself"


def commit_of(obj: Object) -> str:
    if isinstance(obj, Secret):
        return obj.data["commit"].decode()
    assert isinstance(obj, ConfigMap)
    return obj.data["commit"]


def check_revision(revision: int, events: list[Event], told: Told) -> str:
    """One revision is one intended commit, whole; returns which."""
    commits = {commit_of(e.object) for e in events if e.object is not None}
    assert len(commits) == 1, f"revision {revision} mixes commits {commits}"
    (commit,) = commits
    assert {e.key: e.object is not None for e in events} == told.intended[commit]
    assert commit not in told.refused
    return commit


@pytest.mark.timeout(400)
@pytest.mark.parametrize("seed", [1])
async def test_every_acknowledged_write_survives_and_no_other_is_half_there(tmp_path: Path, seed: int):
    chance, told = random.Random(seed), Told()
    path, keys = tmp_path / "store.db", tmp_path / "store.key"
    ring = create_key_file(keys)
    kills = 0
    while kills < KILLS or len(told.done) < ENOUGH:
        write_until_killed(path, keys, f"run{kills}", chance.randint(1, 600), told)
        kills += 1
        store = await SqliteStore.open(path, EncryptedCodec(ring))
        snapshot = await store.snapshot()
        events: dict[int, list[Event]] = {}
        for event in await store.since(0, 1_000_000):
            events.setdefault(event.revision, []).append(event)
        await store.close()

        assert list(events) == list(range(1, snapshot.revision + 1))
        found = {check_revision(revision, group, told): revision for revision, group in events.items()}
        assert len(found) == len(events), "a commit is there twice"
        assert {commit: found.get(commit) for commit in told.done} == told.done
        state: dict[Key, Object] = {}
        for event in (e for group in events.values() for e in group):
            assert event.previous == state.pop(event.key, None)
            if event.object is not None:
                state[event.key] = event.object
        assert {key_of(o): o for o in snapshot.objects} == state
    print(
        f"{kills} kills, {len(told.done)} acknowledged, {len(told.intended) - len(told.done) - len(told.refused)} cut"
    )
