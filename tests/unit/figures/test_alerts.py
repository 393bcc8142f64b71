"""What needs somebody: each alert comes with its cause and goes with it."""

import asyncio

import pytest

from mesh.figures.alerts import DAY, alerts
from mesh.figures.telling import Telling
from mesh.model.keys import Key
from mesh.model.kinds import Object
from mesh.store.feed import Feed
from mesh.store.memory import MemoryStore
from mesh.store.port import Snapshot, Write
from mesh.v1.apps_pb2 import Deployment
from mesh.v1.control_pb2 import AlertStatus
from mesh.v1.core_pb2 import Event, Namespace, Node, Pod, Secret
from mesh.v1.node_pb2 import SecretReceipt
from mesh.view import View

NOW = 1_700_000_000


def node(**conditions: str) -> Node:
    made = Node(metadata={"name": "h"})
    for name, status in {"Ready": "True", **conditions}.items():
        made.status.conditions.add(type=name, status=status)
    return made


def pod(reason: str) -> Pod:
    made = Pod(metadata={"name": "web", "namespace": "a"}, spec={"containers": [{"name": "c"}]})
    status = made.status.container_statuses.add(name="c")
    if reason:
        status.state.waiting.reason = reason
    else:
        status.state.running.SetInParent()
    return made


def deployment(progressing: str) -> Deployment:
    made = Deployment(metadata={"name": "d", "namespace": "a"})
    made.status.conditions.add(type="Progressing", status=progressing)
    return made


def names(*objects: Object, **certificates: int) -> list[str]:
    return [a.name for a in alerts(View(Snapshot(1, objects)), certificates, NOW)]


@pytest.mark.parametrize(
    ("bad", "good", "name"),
    [
        (node(Ready="Unknown"), node(), "HostLost"),
        (node(Ready="False"), node(), "HostNotReady"),
        (node(DiskPressure="True"), node(DiskPressure="False"), "DiskNearlyFull"),
        (node(MemoryPressure="True"), node(MemoryPressure="False"), "MemoryLow"),
        (pod("CrashLoopBackOff"), pod(""), "PodCrashLooping"),
        (pod("ImagePullBackOff"), pod("ContainerCreating"), "PodStuck"),
        (deployment("False"), deployment("True"), "RolloutStuck"),
    ],
)
def test_it_comes_with_its_cause_and_goes_with_it(bad: Object, good: Object, name: str) -> None:
    assert names(bad) == [name]
    assert names(good) == []


def test_certificates_near_their_end() -> None:
    assert names(meshd=NOW + DAY // 2) == ["CertificateNearEnd"]
    assert names(meshd=NOW - 5) == ["CertificateNearEnd"]
    assert names(meshd=NOW + 2 * DAY, ca=NOW + 31 * DAY) == []
    assert names(ca=NOW + 20 * DAY) == ["CertificateNearEnd"]


def test_the_critical_come_first_and_say_what_to_do() -> None:
    found = alerts(View(Snapshot(1, [pod("CrashLoopBackOff"), node(Ready="Unknown")])), {}, NOW)
    assert [a.severity for a in found] == ["critical", "warning"]
    assert all("`mesh " in a.message for a in found)


def test_a_secret_that_does_not_reach_a_pod_in_time() -> None:
    made = pod("")
    made.spec.node_name, made.metadata.uid = "h", "u"
    made.metadata.creation_timestamp.seconds = NOW - 61
    made.spec.volumes.add(name="v").secret.secret_name = "key"
    view = View(Snapshot(1, [node(), made, Secret(metadata={"name": "key", "namespace": "a"})]))
    receipts = [SecretReceipt(name="key", where="volume v")]
    late = [a.name for a in alerts(view, {}, NOW, lambda _host, _uid: [])]
    assert late == ["SecretUndelivered"]
    assert alerts(view, {}, NOW, lambda _host, _uid: receipts) == []
    assert alerts(view, {}, NOW - 2, lambda _host, _uid: []) == []  # it has a minute
    assert alerts(view, {}, NOW) == []


async def test_it_is_told_as_an_event_when_it_begins_and_when_it_is_over() -> None:
    store = MemoryStore()
    feed = Feed(store)
    present = [AlertStatus(name="HostLost", kind="Node", object="h", message="host h is away; do something")]
    telling = Telling(store, feed, lambda: present, lambda: NOW * 10**9)
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(feed.run())]
        await store.commit([Write(Key("Namespace", "", "default"), Namespace(metadata={"name": "default"}), 0),
                            Write(Key("Node", "", "h"), node(), 0)])  # fmt: skip
        await feed.reached(1)
        running.append(tasks.create_task(telling.run()))
        assert await told(feed, 1) == [("Warning", "HostLost", "host h is away; do something")]
        present.clear()
        held = feed.view.node("h")
        assert held is not None
        await store.commit([Write(Key("Node", "", "h"), held, int(held.metadata.resource_version))])
        assert (await told(feed, 2))[1:] == [("Normal", "HostLost", "over: host h is away")]
        for task in running:
            task.cancel()


async def told(feed: Feed, count: int) -> list[tuple[str, str, str]]:
    """The events, once there are so many, in the order in which they came."""
    more = asyncio.Event()
    leave = feed.on_events(lambda _events: more.set())
    async with asyncio.timeout(60):
        while feed.view.count("Event") < count:
            more.clear()
            await more.wait()
    leave()
    events = sorted((e for e in feed.view.of_kind("Event") if isinstance(e, Event)), key=lambda e: e.type == "Normal")
    return [(e.type, e.reason, e.message) for e in events]
