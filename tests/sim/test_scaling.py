"""An autoscaler over real meshd and agents, on bent time: pods share a load, there are as many as it takes (C16)."""

import random
from pathlib import Path

from mesh.model.manifest import load
from mesh.model.workloads import is_active
from mesh.v1 import node_pb2
from mesh.v1.stats_pb2 import Summary
from tests.harness.bent_time import bent
from tests.harness.cluster import Cluster
from tests.harness.simhost import SimHost

WEB = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: default}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 1
      containers: [{name: main, image: "example:1", imagePullPolicy: IfNotPresent, resources: {requests: {cpu: 200m}}}]
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: web, namespace: default}
spec:
  scaleTargetRef: {kind: Deployment, name: web}
  maxReplicas: 8
  metrics: [{type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 50}}}]
"""


class Loaded(SimHost):
    """A host whose pods share what `cluster_load` says, in thousandths of a processor."""

    load = {"millis": 0}
    cluster: Cluster

    async def open_stream(self, request: node_pb2.StreamOpen) -> node_pb2.StreamOpened:
        if request.HasField("measure"):
            return node_pb2.StreamOpened(id="measured")
        return await super().open_stream(request)

    async def read_stream(self, request: node_pb2.StreamRead) -> node_pb2.StreamBatch:
        if request.id != "measured":
            return await super().read_stream(request)
        chunk = node_pb2.Chunk(channel=node_pb2.STDOUT, data=self._summary().SerializeToString())
        return await self._carry(lambda _: _at_once(node_pb2.StreamBatch(chunks=[chunk], done=True, exit_code=0)))

    def _summary(self) -> Summary:
        serving = [p for p in self.cluster.view.pods() if is_active(p) and p.status.phase == "Running"]
        summary = Summary()
        for pod in serving:
            if pod.spec.node_name == self.name:
                told = summary.pods.add()
                told.pod_ref.uid = pod.metadata.uid
                share = self.load["millis"] * 10**6 // len(serving)
                told.containers.add(name=pod.spec.containers[0].name).cpu.usage_nano_cores = share
        return summary


async def _at_once(batch: node_pb2.StreamBatch) -> node_pb2.StreamBatch:
    return batch


@bent
async def test_pods_come_with_the_load_and_go_with_it(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path, random.Random(3))
    cluster.hosts = {name: Loaded(name, tmp_path / name, cluster.misfortune) for name in cluster.hosts}
    for host in cluster.hosts.values():
        host.cluster = cluster
    await cluster.start()
    await cluster.until(lambda: len(cluster.view.nodes()) == 3)
    Loaded.load["millis"] = 200
    await cluster.apply(*load(WEB, "test").objects)
    await cluster.until(lambda: running(cluster) == 2)
    await cluster.settled()

    Loaded.load["millis"] = 690  # 100m for each pod are wanted
    cluster.misfortune.lost = 0.1
    await cluster.until(lambda: running(cluster) == 7, 200)
    assert scaled(cluster).status.desired_replicas == 7
    cluster.misfortune.none()

    Loaded.load["millis"] = 90
    quiet = now(cluster)
    await cluster.until(lambda: running(cluster) < 7, 600)
    assert 285 <= now(cluster) - quiet <= 340, "pods are given up only after five minutes"
    await cluster.until(lambda: running(cluster) == 1, 600)
    await cluster.settled()
    sizes = [e.message.split(";")[0] for e in cluster.view.of_kind("Event") if e.reason == "SuccessfulRescale"]
    assert "New size: 7" in sizes
    assert "New size: 1" in sizes
    await cluster.stop()


def running(cluster: Cluster) -> int:
    return sum(is_active(p) and p.status.phase == "Running" for p in cluster.view.pods())


def scaled(cluster: Cluster):  # type: ignore[no-untyped-def] # of the observer's view
    return cluster.view.of_kind("HorizontalPodAutoscaler")[0]


def now(cluster: Cluster) -> float:
    return cluster.settings.clock() / 1e9
