"""meshd is killed over and over while workloads roll: no pod too many, none missing, and nothing begins anew.

`MESH_MESHD_KILLS=100` kills it so often in each story; 8 times without.
"""

import asyncio
import os
import random
from collections.abc import Sequence
from pathlib import Path

import pytest

from mesh.model.manifest import load
from mesh.model.pods import is_deleting, is_ready
from mesh.model.workloads import REVISION_HASH, TEMPLATE_HASH
from mesh.store.port import Event
from mesh.v1.core_pb2 import Pod
from tests.harness import bent_time
from tests.harness.cluster import Cluster

KILLS = int(os.environ.get("MESH_MESHD_KILLS") or "8")
WEB, DB = 6, 3
_WORKLOAD = """
apiVersion: apps/v1
kind: {kind}
metadata: {{name: {name}, namespace: default}}
spec:
  {replicas}
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}}}}}
    spec: {{terminationGracePeriodSeconds: 1, containers: [{{name: main, image: "example:1", env: [{round}]}}]}}
"""


def workloads(round_: int) -> str:
    """A Deployment, a StatefulSet and a DaemonSet, in a template of their own each round."""
    kinds = (
        ("Deployment", "web", f"replicas: {WEB}"),
        ("StatefulSet", "db", f"replicas: {DB}"),
        ("DaemonSet", "log", ""),
    )
    mark = f'{{name: ROUND, value: "{round_}"}}'
    return "---".join(_WORKLOAD.format(kind=k, name=n, replicas=r, round=mark) for k, n, r in kinds)


class Ledger:
    """Every pod that ever was, by the template that it was made of; looks at each change of the store."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.made: dict[tuple[str, str], set[str]] = {}

    def look(self, events: Sequence[Event]) -> None:
        for event in events:
            pod = event.object
            if isinstance(pod, Pod) and event.previous is None:
                labels = pod.metadata.labels
                template = labels.get(TEMPLATE_HASH) or labels.get(REVISION_HASH, "")
                made = self.made.setdefault((labels["app"], template), set())
                made.add(pod.metadata.uid)
                most = {"web": WEB, "db": DB, "log": len(self.cluster.hosts)}[labels["app"]]
                assert len(made) <= most, f"{labels['app']} began its rollout to {template} anew"
        there = [p for p in self.cluster.view.pods() if p.metadata.labels.get("app") == "web" and not is_deleting(p)]
        assert len(there) <= WEB + 2, "more pods than replicas and surge"


@pytest.mark.parametrize("seed", range(2))
def test_rollouts_go_on_where_they_were(seed: int, tmp_path: Path) -> None:
    bent_time.run(_story(tmp_path, random.Random(seed)), seed)


async def _story(root: Path, rng: random.Random) -> None:
    cluster = Cluster(root, rng)
    ledger = Ledger(cluster)
    await cluster.start()
    cluster.watch(ledger.look)
    await cluster.until(lambda: not cluster.unsettled())
    round_ = 0
    for _ in range(KILLS):
        if rng.random() < 0.4 or not round_:
            round_ += 1
            await cluster.apply(*load(workloads(round_), "test").objects)
        await asyncio.sleep(rng.choice([0.0, 0.01, 0.05, 0.3, 1.0, 5.0]))
        await cluster.kill_meshd()
        await asyncio.sleep(rng.choice([0.0, 0.1, 3.0]))
        await cluster.start_meshd()
    await cluster.until(lambda: _done(cluster, round_), 300)
    await cluster.settled()
    names = sorted(p.metadata.labels["app"] for p in cluster.view.pods())
    assert names == ["db"] * DB + ["log"] * len(cluster.hosts) + ["web"] * WEB
    assert len(ledger.made) >= 3
    await cluster.stop()


def _done(cluster: Cluster, round_: int) -> bool:
    """Every pod is ready and of the newest template."""
    pods = cluster.view.pods()
    wanted = WEB + DB + len(cluster.hosts)
    fine = [p for p in pods if is_ready(p) and p.spec.containers[0].env[0].value == str(round_)]
    return len(pods) == len(fine) == wanted
