"""The control plane at scale, on hollow hosts: real meshd, store, links and bridge; pods run once they are assigned.

    python benchmarks/scale.py [--hosts 1000] [--pods 10000] [--watchers 500] [--only apply,watch,schedule,churn]

Prints: from apply to all Running reported, scheduled pods a second in a batch and one by one, how late watchers of a
quiet system hear of an event, CPU and memory of meshd, and how large the store's file grows. meshd, its hosts and the
client are three processes; what else runs on the machine makes the figures worse, never better.
"""

import argparse
import asyncio
import itertools
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from grpc import aio

from benchmarks.hollow_meshd import Process, started
from mesh.model.kinds import key_of, pack, unpack
from mesh.model.manifest import load
from mesh.scheduler.scheduler import ALL, Scheduler
from mesh.store.encrypted import EncryptedCodec
from mesh.store.keyring import Keyring
from mesh.store.port import Event, Snapshot, Write
from mesh.store.sqlite import SqliteStore
from mesh.v1 import control_pb2 as pb
from mesh.v1.control_pb2_grpc import ControlStub, ResourcesStub
from mesh.v1.core_pb2 import ConfigMap, Node, Pod
from mesh.view import View
from tests.harness import objects

DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {{name: web-{number}, namespace: default}}
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{app: web-{number}}}}}
  template:
    metadata: {{labels: {{app: web-{number}}}}}
    spec:
      containers:
        - name: main
          image: registry.example/app:1
          resources: {{requests: {{cpu: 10m, memory: 16Mi}}}}
"""


async def joined(channel: aio.Channel, hosts: int) -> None:
    """Waits until so many hosts are Ready and hold what they should."""
    while True:
        status = await ControlStub(channel).Status(pb.StatusRequest())
        if sum(h.connected and h.assignment_held for h in status.hosts) == hosts:
            return
        await asyncio.sleep(0.5)


async def apply_to_running(meshd: Process, channel: aio.Channel, pods: int) -> None:
    """Deployments of a hundred pods each, until every pod is reported Running."""
    resources = ResourcesStub(channel)
    running: set[str] = set()
    watch = resources.Watch(pb.WatchRequest(kind="Pod", namespace="default"))
    await watch.read()
    text = [DEPLOYMENT.format(number=n, replicas=min(100, pods)) for n in range(max(1, pods // 100))]
    boxes = [pack(load(t, "bench").objects[0]) for t in text]
    began, cpu = time.perf_counter(), meshd.cpu
    await resources.Apply(pb.ApplyRequest(objects=boxes))
    first = half = 0.0
    while len(running) < pods:
        event = await watch.read()
        pod = unpack(event.object)
        if isinstance(pod, Pod) and pod.status.phase == "Running":
            running.add(pod.metadata.uid)
            at = time.perf_counter() - began
            first, half = first or at, half or (at if len(running) >= pods // 2 else 0.0)
    took = time.perf_counter() - began
    watch.cancel()
    print(f"apply to all {pods} Running: {took:.1f} s (first {first:.2f} s, half {half:.1f} s); "
          f"meshd's CPU {meshd.cpu - cpu:.1f} s, memory {meshd.memory} MiB")  # fmt: skip


async def event_to_watchers(channel: aio.Channel, watchers: int, times: int = 20) -> None:
    """How late each of many watchers hears of a change of one ConfigMap."""
    resources = ResourcesStub(channel)
    config = ConfigMap(api_version="v1", kind="ConfigMap", data={"n": "0"})
    config.metadata.name, config.metadata.namespace = "told", "default"
    await resources.Create(pb.CreateRequest(object=pack(config)))
    heard: dict[str, list[float]] = {}

    async def follow() -> None:
        call = resources.Watch(pb.WatchRequest(kind="ConfigMap", namespace="default"))
        async for event in call:
            if event.type == pb.WatchEvent.BOOKMARK:
                ready.release()
            found = unpack(event.object) if event.HasField("object") else None
            if isinstance(found, ConfigMap) and found.metadata.name == "told":
                heard.setdefault(found.data["n"], []).append(time.perf_counter())
                if len(heard[found.data["n"]]) == watchers:
                    everyone.set()

    ready, everyone = asyncio.Semaphore(0), asyncio.Event()
    tasks = [asyncio.create_task(follow()) for _ in range(watchers)]
    for _ in tasks:
        await ready.acquire()
    late: list[float] = []
    for number in range(1, times + 1):
        await asyncio.sleep(0.5)
        everyone.clear()
        config.data["n"] = str(number)
        began = time.perf_counter()
        await resources.Update(pb.UpdateRequest(object=pack(config)))
        await everyone.wait()
        late += [at - began for at in heard[str(number)]]
    for task in tasks:
        task.cancel()
    late.sort()
    middle, most, worst = (round(at * 1000) for at in (statistics.median(late), late[int(len(late) * 0.99)], late[-1]))
    print(f"one event to {watchers} watchers: median {middle} ms, p99 {most} ms, worst {worst} ms ({times} events)")


async def idle(meshd: Process, seconds: float) -> None:
    """What meshd uses while nothing happens."""
    cpu = meshd.cpu
    await asyncio.sleep(seconds)
    print(f"at rest for {seconds:.0f} s: {(meshd.cpu - cpu) / seconds * 100:.1f} % of a core, {meshd.memory} MiB")


# ---- the scheduler alone


def nodes(count: int) -> list[Node]:
    """Hosts of 4 cores and 110 pods."""
    found = []
    for number in range(count):
        node = Node(api_version="v1", kind="Node")
        node.metadata.name = f"host{number:04}"
        node.metadata.labels["kubernetes.io/hostname"] = node.metadata.name
        node.spec.pod_cidr = f"10.{128 + number // 250}.{number % 250}.0/24"
        node.status.conditions.add(type="Ready", status="True")
        node.status.allocatable.update({"cpu": "4", "memory": "8Gi", "pods": "110"})
        found.append(node)
    return found


def waiting(numbers: Sequence[int]) -> list[Pod]:
    """Pods of a hundred Deployments."""
    found = []
    for number in numbers:
        pod = objects.pod(f"p{number}", cpu="10m")
        pod.metadata.labels["app"] = f"web-{number % 100}"
        found.append(pod)
    return found


def schedule(hosts: int, pods: int) -> None:
    """Pods a second, all at once and one after the other."""
    there = [objects.namespace("default"), *nodes(hosts)]
    view = View(Snapshot(1, [*there, *waiting(range(pods))]))
    scheduler, bound, began = Scheduler(), 0, time.perf_counter()
    for obj in view.objects():
        scheduler.keys(Event(1, key_of(obj), obj, None))
    while bound < pods:
        bound += _commit(scheduler, view)
    took = time.perf_counter() - began
    print(f"scheduler, batch of {pods} on {hosts}: {pods / took:.0f} pods/s")
    alone, times = list(range(pods, pods + 1000)), 0.0
    for number in alone:
        [pod] = waiting([number])
        events = [Event(view.revision + 1, key_of(pod), pod, None)]
        began = time.perf_counter()
        view.apply(events)
        for event in events:
            scheduler.keys(event)
        _commit(scheduler, view)
        times += time.perf_counter() - began
    print(f"scheduler, one by one beside {pods} pods on {hosts}: {len(alone) / times:.0f} pods/s")


def _commit(scheduler: Scheduler, view: View) -> int:
    plan = scheduler.reconcile(ALL, view, time.time_ns())
    revision = view.revision + 1
    events = [Event(revision, w.key, w.object, view.get(w.key)) for w in plan.writes]
    for event in events:
        if event.object is not None:
            event.object.metadata.resource_version = str(revision)
    view.apply(events)
    for event in events:
        scheduler.keys(event)
    return sum(isinstance(e.object, Pod) for e in events)


# ---- the file


async def churn(writes: int) -> None:
    """A day's churn in one go: statuses of 2 000 pods change, pods come and go; the file must not grow with it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "store.db"
        store = await SqliteStore.open(path, EncryptedCodec(Keyring([os.urandom(32)])))
        numbers, sizes, began = itertools.count(), [], time.perf_counter()

        async def writer() -> None:
            while (number := next(numbers)) < writes:
                pod = waiting([number % 2000])[0]
                pod.status.message = f"change {number}"
                gone = number % 10 == 9
                await store.commit([Write(key_of(pod), pod)])
                if gone:
                    await store.commit([Write(key_of(pod), None)])
                if number % (writes // 5) == 0:
                    sizes.append(_size(folder))

        await asyncio.gather(*(writer() for _ in range(32)))
        sizes.append(_size(folder))
        await store.close()
        took = time.perf_counter() - began
        print(f"store after {writes} changes in {took:.0f} s: MiB on the way {sizes}, closed {_size(folder)}")


def _size(folder: str) -> int:
    """MiB of all files."""
    return sum(path.stat().st_size for path in Path(folder).iterdir()) >> 20


async def main(told: argparse.Namespace) -> None:
    """Everything that is asked for."""
    only = told.only.split(",")
    if "schedule" in only:
        schedule(told.hosts, told.pods)
    if "churn" in only:
        await churn(told.changes)
    if "apply" in only or "watch" in only:
        async with started(told.hosts) as (meshd, channel):
            began = time.perf_counter()
            await joined(channel, told.hosts)
            print(f"{told.hosts} hosts joined in {time.perf_counter() - began:.1f} s, CPU of meshd {meshd.cpu:.1f} s, "
                  f"memory {meshd.memory} MiB")  # fmt: skip
            if "watch" in only:
                await event_to_watchers(channel, told.watchers)
            if "apply" in only:
                await apply_to_running(meshd, channel, told.pods)
                await joined(channel, told.hosts)
            await idle(meshd, told.rest)
            if "watch" in only and "apply" in only:
                print(f"beside {told.pods} pods:", end=" ")
                await event_to_watchers_again(channel, told.watchers)


async def event_to_watchers_again(channel: aio.Channel, watchers: int) -> None:
    """The same once more, with everything there."""
    key = pb.ObjectKey(kind="ConfigMap", namespace="default", name="told")
    await ResourcesStub(channel).Delete(pb.DeleteRequest(key=key))
    await event_to_watchers(channel, watchers)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hosts", type=int, default=1000)
    parser.add_argument("--pods", type=int, default=10_000)
    parser.add_argument("--watchers", type=int, default=500)
    parser.add_argument("--changes", type=int, default=200_000)
    parser.add_argument("--rest", type=float, default=20.0)
    parser.add_argument("--only", default="schedule,churn,apply,watch")
    asyncio.run(main(parser.parse_args()))
