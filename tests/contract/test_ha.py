"""Several meshd over an etcd of three members: one leads, the others follow, and nobody's death loses anything."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mesh.errors import Unavailable
from mesh.sdk.client import AsyncClient
from mesh.start import EPOCH
from mesh.v1.core_pb2 import ConfigMap, Namespace
from tests.harness.etcd import EtcdCluster, etcd_cluster
from tests.harness.members import members


@pytest.fixture(scope="module")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdCluster]:
    with etcd_cluster(tmp_path_factory.mktemp("etcd"), members=3) as cluster:
        yield cluster


def config(name: str) -> str:
    return f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\ndata: {{x: '1'}}\n"


async def epoch(client: AsyncClient) -> int:
    return int((await client.get(Namespace, "kube-system")).metadata.annotations[EPOCH])


async def test_leader_and_follower_change_places_and_nothing_is_lost(tmp_path: Path, etcd: EtcdCluster) -> None:
    async with members(tmp_path, etcd, "a", "b") as mesh, AsyncClient(mesh.context(), timeout=10) as client:
        await client.apply(config("one"))
        first = await epoch(client)
        assert await mesh.leader() == "a"

        async with AsyncClient(mesh.context("b")) as follower:  # it shows, and says who leads
            assert (await follower.get(ConfigMap, "one")).data["x"] == "1"
            with pytest.raises(Unavailable, match=rf"a leads, at 127.0.0.1:{mesh.ports['a']}"):
                await follower.apply(config("two"))
            status = await follower.status()
            assert {(m.name, m.leads, m.answers) for m in status.control_members} == {
                ("a", True, False), ("b", False, True)}  # fmt: skip
            assert sorted(m.state for m in status.store_members) == ["follows", "follows", "leads"]

        await mesh.kill("a")  # nobody said goodbye: its lease ends
        await mesh.writes(client, config("two"))
        assert await mesh.leader() == "b"
        assert await epoch(client) > first

        await mesh.start("a")
        second = await epoch(client)
        assert await mesh.stop("b") == 0  # in good order: its lease is given back
        await mesh.writes(client, config("three"))
        assert await mesh.leader() == "a"
        assert await epoch(client) > second
        assert {"one", "two", "three"} <= {o.metadata.name for o in await client.list(ConfigMap)}


async def test_one_etcd_member_killed_and_the_majority_lost_and_back(tmp_path: Path, etcd: EtcdCluster) -> None:
    async with members(tmp_path, etcd, "c") as mesh, AsyncClient(mesh.context(), timeout=30) as client:
        await client.apply(config("before"))
        etcd.kill(0)
        for number in range(5):
            await client.apply(config(f"with-two-{number}"))  # none is refused

        etcd.kill(1)
        began = time.monotonic()
        with pytest.raises(Unavailable, match=r"lost its majority|no member of etcd"):
            await client.apply(config("refused"))
        assert time.monotonic() - began < 25
        assert (await client.get(ConfigMap, "before")).data["x"] == "1"  # what is known is shown

        etcd.start(0, 1)
        await mesh.writes(client, config("after"))
        names = {o.metadata.name for o in await client.list(ConfigMap)}
        assert {"before", "after", *(f"with-two-{n}" for n in range(5))} <= names
        assert mesh.processes["c"].returncode is None
