"""Hosts are lost and come back, on bent time: where their pods are meanwhile, and that no name is up twice."""

import asyncio
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from mesh.controllers.nodes import OUT_OF_SERVICE
from mesh.errors import Conflict
from mesh.model.conditions import find
from mesh.model.keys import Key
from mesh.model.manifest import load
from mesh.model.pods import is_deleting, is_ready
from mesh.network.endpoints import endpoints_of
from mesh.v1.core_pb2 import Node, Pod
from mesh.v1.net_pb2 import Service
from tests.harness import bent_time
from tests.harness.bent_time import bent
from tests.harness.cluster import Cluster

_WORKLOAD = """
apiVersion: apps/v1
kind: {kind}
metadata: {{name: {name}, namespace: default}}
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}}}}}
    spec:
      terminationGracePeriodSeconds: 1
      tolerations: {tolerations}
      containers: [{{name: main, image: "example:1"}}]
"""


async def begin(root: Path, *workloads: tuple[str, str, int], tolerations: str = "[]", seed: int = 1) -> Cluster:
    """Three hosts with workloads (kind, name, replicas), all ready."""
    cluster = Cluster(root, random.Random(seed), eviction=5)
    await cluster.start()
    await cluster.until(lambda: not cluster.unsettled())
    for kind, name, replicas in workloads:
        text = _WORKLOAD.format(kind=kind, name=name, replicas=replicas, tolerations=tolerations)
        text = text.replace("  replicas: 0\n", "") if kind == "DaemonSet" else text
        await cluster.apply(*load(text, "test").objects)
    await cluster.until(lambda: len(up(cluster)) == sum(r or 3 for _, _, r in workloads))
    return cluster


def up(cluster: Cluster) -> list[Pod]:
    """Pods that are ready and not asked to go."""
    return [p for p in cluster.view.pods() if is_ready(p) and not is_deleting(p)]


def on(cluster: Cluster, host: str) -> list[str]:
    return sorted(p.metadata.name for p in cluster.view.pods_on(host))


def watch_for_twins(cluster: Cluster, name: str) -> Callable[[], int]:
    """Counts looks; fails when a pod of this name runs on two hosts at once."""
    looks = 0

    def look() -> None:
        nonlocal looks
        looks += 1
        where = [h.name for h in cluster.hosts.values() for n in h.running_names() if n == name]
        assert len(where) <= 1, f"{name} is up on {where}"

    async def ever() -> None:
        while True:
            look()
            await asyncio.sleep(0.05)

    task = asyncio.ensure_future(ever())

    def end() -> int:
        if task.done():
            task.result()
        task.cancel()
        return looks

    return end


@bent
async def test_pods_of_a_lost_host_are_ready_elsewhere_within_ten_seconds(tmp_path: Path) -> None:
    cluster = await begin(tmp_path, ("Deployment", "web", 6), ("DaemonSet", "log", 0))
    lost = len([n for n in on(cluster, "host1") if n.startswith("web")])
    assert lost
    loop = asyncio.get_running_loop()
    began = loop.time()
    await cluster.hosts["host1"].power_off()

    def replaced() -> bool:
        ready = [p for p in up(cluster) if p.spec.node_name != "host1" and p.metadata.name.startswith("web")]
        return len(ready) == 6

    await cluster.until(replaced, 30)
    assert loop.time() - began < 10
    assert [n[:3] for n in on(cluster, "host1") if not is_deleting(cluster.view.pod("default", n))] == ["log"]
    assert len(cluster.view.pods_on("host1")) == lost + 1  # they wait for their host's word
    cluster.hosts["host1"].start()
    await cluster.until(lambda: len(on(cluster, "host1")) == 1, 60)
    await cluster.until(lambda: not cluster.unsettled(), 60)
    assert len(up(cluster)) == 9
    await cluster.stop()


@bent
async def test_a_pod_stays_as_long_as_it_asks_for(tmp_path: Path) -> None:
    bears = "[{key: node.kubernetes.io/unreachable, operator: Exists, effect: NoExecute, tolerationSeconds: 60}]"
    cluster = await begin(tmp_path, ("Deployment", "web", 3), tolerations=bears)
    loop = asyncio.get_running_loop()
    began = loop.time()
    await cluster.hosts["host1"].power_off()
    await cluster.until(lambda: any(is_deleting(p) for p in cluster.view.pods()), 120)
    assert 60 < loop.time() - began < 67
    await cluster.stop()


def served(cluster: Cluster) -> list[str]:
    """Pods that a Service for "web" would ask."""
    service = Service()
    service.metadata.namespace = "default"
    service.spec.selector["app"] = "web"
    return [e.pod for e in endpoints_of(service, cluster.view) if e.ready]


@bent
async def test_pods_stay_and_serve_while_ray_is_away_from_a_host_that_lives(tmp_path: Path) -> None:
    cluster = await begin(tmp_path, ("Deployment", "web", 6), ("DaemonSet", "log", 0))
    before = {p.metadata.uid: p.status.SerializeToString(deterministic=True) for p in cluster.view.pods()}
    asked, fewest = cluster.asked, 6

    def look(_: object) -> None:
        nonlocal fewest
        fewest = min(fewest, len(served(cluster)))

    cluster.watch(look)
    await cluster.hosts["host1"].kill()
    await asyncio.sleep(60)
    node = cluster.view.node("host1")
    assert {c.type: c.status for c in node.status.conditions if c.type in ("Ready", "Reachable")} == {
        "Ready": "Unknown", "Reachable": "True",
    }  # fmt: skip
    assert {p.metadata.uid: p.status.SerializeToString(deterministic=True) for p in cluster.view.pods()} == before
    assert not any(is_deleting(p) for p in cluster.view.pods())
    assert 50 < cluster.asked - asked < 70
    cluster.hosts["host1"].start()
    await cluster.until(lambda: not cluster.unsettled(), 60)
    assert {p.metadata.uid for p in up(cluster)} == before.keys()
    assert fewest == 6
    assert not any(c.type == "Reachable" for c in cluster.view.node("host1").status.conditions)
    asked = cluster.asked
    await asyncio.sleep(60)
    assert cluster.asked == asked  # nobody is asked whose agent speaks
    await cluster.stop()


@bent
async def test_pods_of_a_host_whose_witness_falls_silent_too_are_replaced(tmp_path: Path) -> None:
    cluster = await begin(tmp_path, ("Deployment", "web", 6))
    await cluster.hosts["host1"].kill()
    await asyncio.sleep(60)
    assert len(up(cluster)) == 6
    loop = asyncio.get_running_loop()
    began = loop.time()
    await cluster.hosts["host1"].power_off()
    elsewhere = lambda: len([p for p in up(cluster) if p.spec.node_name != "host1"]) == 6  # noqa: E731
    await cluster.until(elsewhere, 60)
    assert loop.time() - began < 15
    await cluster.stop()


@bent
async def test_a_host_is_not_spared_for_ever(tmp_path: Path) -> None:
    cluster = await begin(tmp_path, ("Deployment", "web", 6))
    loop = asyncio.get_running_loop()
    began = loop.time()
    await cluster.hosts["host1"].kill()
    await cluster.until(lambda: any(is_deleting(p) for p in cluster.view.pods_on("host1")), 600)
    assert 305 < loop.time() - began < 320
    asked = cluster.asked
    await asyncio.sleep(60)
    assert cluster.asked - asked < 5
    await cluster.stop()


@bent
async def test_a_restart_of_meshd_forgets_no_witness(tmp_path: Path) -> None:
    cluster = await begin(tmp_path, ("Deployment", "web", 6))
    before = {p.metadata.uid for p in up(cluster)}
    await cluster.hosts["host1"].kill()
    await asyncio.sleep(20)
    await cluster.kill_meshd()
    await cluster.start_meshd()
    await asyncio.sleep(60)
    assert {p.metadata.uid for p in up(cluster)} == before
    await cluster.stop()


@bent
async def test_pods_that_stay_on_a_lost_host_are_not_ready_until_it_speaks(tmp_path: Path) -> None:  # N2
    bears = "[{key: node.kubernetes.io/unreachable, operator: Exists, effect: NoExecute}]"
    cluster = await begin(tmp_path, ("Deployment", "web", 3), tolerations=bears)
    before = {p.metadata.uid for p in up(cluster)}
    cluster.hosts["host1"].cut_off = True
    await asyncio.sleep(60)
    [pod] = cluster.view.pods_on("host1")
    condition = find(pod.status.conditions, "Ready")
    assert (condition.status, condition.reason, is_deleting(pod)) == ("False", "NodeNotReady", False)
    assert cluster.view.get(Key("Deployment", "default", "web")).status.available_replicas == 2
    cluster.hosts["host1"].cut_off = False
    await cluster.until(lambda: len(up(cluster)) == 3, 60)
    assert {p.metadata.uid for p in up(cluster)} == before
    await cluster.stop()


@bent
async def test_a_short_partition_costs_nothing_and_a_longer_one_its_pods(tmp_path: Path) -> None:
    cluster = await begin(tmp_path, ("Deployment", "web", 3))
    before = {p.metadata.uid for p in up(cluster)}
    cluster.hosts["host1"].cut_off = True
    await asyncio.sleep(6)
    cluster.hosts["host1"].cut_off = False
    await asyncio.sleep(60)
    assert {p.metadata.uid for p in up(cluster)} == before
    cluster.hosts["host1"].cut_off = True
    await asyncio.sleep(20)
    assert len(up(cluster)) == 3
    assert cluster.hosts["host1"].running()  # it knows of nothing
    cluster.hosts["host1"].cut_off = False
    await cluster.until(lambda: not cluster.hosts["host1"].running() & before, 60)
    await cluster.until(lambda: not cluster.unsettled(), 60)
    assert len({p.metadata.uid for p in up(cluster)} & before) == 2
    await cluster.stop()


@bent
async def test_what_was_replaced_meanwhile_is_stopped_unasked_and_comes_back_by_no_late_order(tmp_path: Path) -> None:
    cluster = await begin(tmp_path, ("Deployment", "web", 6))
    host = cluster.hosts["host1"]
    before, late = host.running(), host.order
    replaced = {f"default/{name}" for name in on(cluster, "host1")}
    host.cut_off = True
    await asyncio.sleep(300)
    assert host.running() == before
    asked = set[str]()
    cluster.watch(lambda _: asked.update(set(served(cluster)) & replaced))
    host.cut_off = False
    await cluster.until(lambda: not host.running() & before, 60)
    assert not asked
    with pytest.raises(Conflict, match="is older than"):  # it was under way when the cable went out
        await host.assign(late)
    await asyncio.sleep(60)
    assert not host.running() & before
    assert not asked
    await cluster.stop()


@pytest.mark.parametrize("how", ["return", "deletion", "confirmed"])
def test_a_pod_with_a_name_is_never_up_twice(how: str, tmp_path: Path) -> None:  # N5
    bent_time.run(_one_of_a_name(tmp_path, how))


async def _one_of_a_name(root: Path, how: str) -> None:
    cluster = await begin(root, ("StatefulSet", "db", 2))
    home = cluster.view.pod("default", "db-0").spec.node_name
    uid = cluster.view.pod("default", "db-0").metadata.uid
    host = cluster.hosts[home]
    end = watch_for_twins(cluster, "db-0")
    if how == "confirmed":
        await host.power_off()
    else:
        host.cut_off = True
    await asyncio.sleep(300)
    held = cluster.view.pod("default", "db-0")
    assert (held.metadata.uid, is_deleting(held)) == (uid, True)  # it waits
    if how == "return":
        host.cut_off = False
    elif how == "deletion":  # by force: whoever does it answers for it, and has switched the host off
        await host.power_off()
        await cluster.delete("db-0", 0)
    else:
        node = Node()
        node.CopyFrom(cluster.view.node(home))
        node.spec.taints.add(key=OUT_OF_SERVICE, effect="NoExecute")
        await cluster.apply(node)

    def again() -> bool:
        found = cluster.view.pod("default", "db-0")
        return found is not None and found.metadata.uid != uid and is_ready(found)

    await cluster.until(again, 60)
    if how != "return":
        assert cluster.view.pod("default", "db-0").spec.node_name != home
        host.cut_off = False
        host.start()
        await cluster.until(lambda: not cluster.unsettled(), 60)
        assert not any(t.key == OUT_OF_SERVICE for t in cluster.view.node(home).spec.taints)
    assert end() > 5000
    await cluster.stop()


@bent
async def test_nothing_moves_when_every_host_is_silent(tmp_path: Path) -> None:  # N4
    cluster = await begin(tmp_path, ("Deployment", "web", 3))
    before = {p.metadata.uid for p in up(cluster)}
    for host in cluster.hosts.values():
        host.cut_off = True
    await asyncio.sleep(600)
    assert {p.metadata.uid for p in up(cluster)} == before
    for host in cluster.hosts.values():
        host.cut_off = False
    await cluster.until(lambda: not cluster.unsettled(), 60)
    assert {p.metadata.uid for p in up(cluster)} == before
    await cluster.stop()


@bent
async def test_a_host_that_dies_right_after_meshd_was_deaf_is_missed_as_soon(tmp_path: Path) -> None:
    cluster = await begin(tmp_path, ("Deployment", "web", 3))
    for host in cluster.hosts.values():
        host.cut_off = True
    cluster.say("waiting for Ray's head")
    await asyncio.sleep(6)
    for host in cluster.hosts.values():
        host.cut_off = False
    cluster.say("connected")
    await asyncio.sleep(4)
    loop = asyncio.get_running_loop()
    died = loop.time()
    await cluster.hosts["host1"].power_off()
    await cluster.until(lambda: any(is_deleting(p) for p in cluster.view.pods_on("host1")), 120)
    assert loop.time() - died < 15
    await cluster.stop()
