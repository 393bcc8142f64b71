"""Any sequence of commits, compactions and reopenings leaves every store where a plain dict would be."""

import asyncio
import os
import shutil
import tempfile
from collections.abc import Coroutine, Iterator
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from mesh.errors import AlreadyExists, Conflict, NotFound, TooOld
from mesh.model.keys import Key
from mesh.model.kinds import key_of, revision_of
from mesh.store.encrypted import EncryptedCodec
from mesh.store.etcd import EtcdStore
from mesh.store.keyring import Keyring
from mesh.store.memory import MemoryStore
from mesh.store.port import Event, Store, Write
from mesh.store.sqlite import SqliteStore
from mesh.v1.core_pb2 import ConfigMap, Secret
from tests.harness.etcd import EtcdCluster, etcd_cluster

T = TypeVar("T")

KEYS = [Key(kind, "default", name) for kind in ("ConfigMap", "Secret") for name in "abc"]
EXPECT = st.sampled_from(["any", "new", "held", "wrong"])
CHANGE = st.tuples(st.sampled_from(KEYS), st.one_of(st.none(), st.text(max_size=5)), EXPECT)


def build(key: Key, text: str) -> ConfigMap | Secret:
    obj = Secret(data={"text": text.encode()}) if key.kind == "Secret" else ConfigMap(data={"text": text})
    obj.metadata.name, obj.metadata.namespace = key.name, key.namespace
    return obj


def text_of(obj: object) -> str | None:
    if isinstance(obj, Secret):
        return obj.data["text"].decode()
    return obj.data["text"] if isinstance(obj, ConfigMap) else None


class Model:
    """What a store promises, in a dict."""

    def __init__(self) -> None:
        self.revision = self.compacted = 0
        self.held: dict[Key, tuple[int, str]] = {}
        self.told: list[tuple[int, Key, str | None, str | None]] = []

    def writes(self, changes: list[tuple[Key, str | None, str]]) -> list[Write]:
        found = []
        for key, text, expect in changes:
            at = self.held.get(key, (0, ""))[0]
            number = {"any": None, "new": 0, "held": at, "wrong": at + 1}[expect]
            if text is None and number == 0:
                number = None
            found.append(Write(key, None if text is None else build(key, text), number))
        return found

    def commit(self, writes: list[Write]) -> int | type[Exception]:
        for write in writes:
            at = self.held.get(write.key, (0, ""))[0]
            if at and write.expect == 0:
                return AlreadyExists
            if not at and (write.expect or (write.object is None and write.expect is None)):
                return NotFound
            if at and write.expect not in (None, at):
                return Conflict
        self.revision += bool(writes)
        for write in writes:
            before, after = self.held.pop(write.key, (0, None))[1], text_of(write.object)
            if after is not None:
                self.held[write.key] = (self.revision, after)
            self.told.append((self.revision, write.key, after, before))
        return self.revision


class Stores(RuleBasedStateMachine):
    """Drives all bodies and the model alike."""

    cluster: EtcdCluster
    number = count()

    def __init__(self) -> None:
        super().__init__()
        self.prefix = f"/{next(self.number)}/"
        self.runner = asyncio.Runner()
        self.directory = Path(tempfile.mkdtemp(prefix="mesh-store-"))
        self.codec = EncryptedCodec(Keyring([os.urandom(32)]))
        self.model = Model()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    @property
    def stores(self) -> list[Store]:
        return [self.memory, self.sqlite, self.etcd]

    @initialize()
    def begin(self) -> None:
        self.memory = MemoryStore(self.codec)
        self.sqlite = self.run(SqliteStore.open(self.directory / "store.db", self.codec))
        self.etcd = self.run(self.open_etcd())

    async def open_etcd(self) -> EtcdStore:
        return await EtcdStore.open(self.cluster.address(), self.codec, self.prefix)

    @rule(changes=st.lists(CHANGE, max_size=4, unique_by=lambda change: change[0]))
    def commit(self, changes: list[tuple[Key, str | None, str]]) -> None:
        writes = self.model.writes(changes)
        wanted = self.model.commit(writes)
        for store in self.stores:
            try:
                got: int | type[Exception] = self.run(store.commit(writes))
            except (AlreadyExists, Conflict, NotFound) as error:
                got = type(error)
            assert got == wanted

    @rule(groups=st.lists(st.tuples(st.sampled_from(KEYS), st.text(max_size=5)), min_size=2, max_size=6))
    def commit_together(self, groups: list[tuple[Key, str]]) -> None:
        commits = [[Write(key, build(key, text))] for key, text in groups]

        async def all_at_once(store: Store) -> list[int]:
            return list(await asyncio.gather(*(store.commit(writes) for writes in commits)))

        wanted = [self.model.commit(writes) for writes in commits]
        for store in self.stores:
            assert self.run(all_at_once(store)) == wanted

    @rule(share=st.floats(0, 1.2))
    def compact(self, share: float) -> None:
        revision = round(share * self.model.revision)
        self.model.compacted = max(self.model.compacted, min(revision, self.model.revision))
        for store in self.stores:
            self.run(store.compact(revision))

    @rule()
    def reopen(self) -> None:
        self.run(self.sqlite.close())
        self.sqlite = self.run(SqliteStore.open(self.directory / "store.db", self.codec))
        self.run(self.etcd.close())
        self.etcd = self.run(self.open_etcd())

    @rule(share=st.floats(0, 1), limit=st.integers(1, 10))
    def read_history(self, share: float, limit: int) -> None:
        after = round(share * self.model.revision)
        for store in self.stores:
            try:
                events = self.run(store.since(after, limit))
            except TooOld:
                assert after < self.model.compacted
                continue
            assert after >= self.model.compacted
            self.check_page(events, after, limit)

    def check_page(self, events: list[Event], after: int, limit: int) -> None:
        wanted = [e for e in self.model.told if e[0] > after]
        page = [(e.revision, e.key, text_of(e.object), text_of(e.previous)) for e in events]
        assert page == wanted[: len(page)]
        assert bool(page) == bool(wanted)
        whole = not page or len(page) == len(wanted) or wanted[len(page)][0] != page[-1][0]
        assert whole
        assert len(page) <= limit or page[0][0] == page[-1][0]

    @invariant()
    def hold_what_the_model_holds(self) -> None:
        for store in self.stores if hasattr(self, "etcd") else []:
            snapshot = self.run(store.snapshot())
            assert snapshot.revision == self.model.revision == self.run(store.wait(-1))
            found = {key_of(o): (revision_of(o), text_of(o)) for o in snapshot.objects}
            assert found == self.model.held

    def teardown(self) -> None:
        self.run(self.sqlite.close())
        self.run(self.etcd.close())
        self.runner.close()
        shutil.rmtree(self.directory)


@pytest.fixture(scope="module", autouse=True)
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with etcd_cluster(tmp_path_factory.mktemp("etcd")) as Stores.cluster:
        yield


TestStores = Stores.TestCase
TestStores.settings = settings(
    max_examples=40, stateful_step_count=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
