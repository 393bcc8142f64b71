"""A program that writes to a store at random until it is killed: `python -m tests.harness.store_writer STORE KEY SEED`.

Rule: a line `intend` is out before the commit begins, `done` with its revision after it is acknowledged, `refused`
when it is not. Every commit writes a ConfigMap named after it, so history tells whose each revision is.
"""

import asyncio
import json
import os
import random
import sys
from pathlib import Path

from mesh.errors import MeshError
from mesh.model.keys import Key
from mesh.model.kinds import Object
from mesh.store.encrypted import EncryptedCodec
from mesh.store.keyring import load_key_file
from mesh.store.port import Store, Write
from mesh.store.sqlite import SqliteStore
from mesh.v1.core_pb2 import ConfigMap, Secret

WRITERS = 6
NAMES = 12


def say(*words: object) -> None:
    """One line, at once and whole."""
    os.write(1, (" ".join(str(word) for word in words) + "\n").encode())


def build(key: Key, commit: str, chance: random.Random) -> Object:
    """An object that says which commit wrote it."""
    text = "x" * chance.choice((1, 100, 5000, 40_000))
    obj: Object
    if key.kind == "Secret":
        obj = Secret(data={"commit": commit.encode(), "text": text.encode()})
    else:
        obj = ConfigMap(data={"commit": commit, "text": text})
    obj.metadata.name, obj.metadata.namespace, obj.metadata.uid = key.name, key.namespace, f"uid-{key.name}"
    return obj


def plan(commit: str, mine: int, held: set[Key], chance: random.Random) -> list[Write]:
    """One to five writes of keys that are this writer's alone: creates, updates, removals; sometimes a wrong one."""
    journal = Key("ConfigMap", "journal", commit)
    writes = [Write(journal, build(journal, commit, chance), 0)]
    for n in chance.sample(range(NAMES), chance.randint(0, 4)):
        key = Key(chance.choice(("Secret", "ConfigMap")), "default", f"w{mine}-{n}")
        if key in held and chance.random() < 0.4:
            writes.append(Write(key, None))
        else:
            writes.append(Write(key, build(key, commit, chance), None if key in held else 0))
    if chance.random() < 0.1:
        writes.append(Write(Key("ConfigMap", "default", "never"), None))  # is not there: refuses the whole commit
    return writes


async def write(store: Store, run: str, mine: int, held: set[Key]) -> None:
    """One writer's life."""
    chance = random.Random(f"{run}-{mine}")
    for number in range(1_000_000):
        commit = f"{run}-{mine}-{number}"
        writes = plan(commit, mine, held, chance)
        say("intend", commit, json.dumps([[*w.key, w.object is not None] for w in writes]))
        try:
            revision = await store.commit(writes)
        except MeshError:
            say("refused", commit)
            continue
        say("done", commit, revision)
        for w in writes:
            held.discard(w.key) if w.object is None else held.add(w.key)


async def main(path: Path, keys: Path, run: str) -> None:
    """Opens the store and writes for ever."""
    store = await SqliteStore.open(path, EncryptedCodec(load_key_file(keys)))
    held = {Key(o.DESCRIPTOR.name, o.metadata.namespace, o.metadata.name) for o in (await store.snapshot()).objects}
    async with asyncio.TaskGroup() as group:
        for mine in range(WRITERS):
            group.create_task(write(store, run, mine, {k for k in held if k.name.startswith(f"w{mine}-")}))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]))
