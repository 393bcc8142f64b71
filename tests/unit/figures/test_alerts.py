"""What needs somebody: each alert comes with its cause and goes with it."""

import pytest

from mesh.figures.alerts import DAY, alerts
from mesh.model.kinds import Object
from mesh.store.port import Snapshot
from mesh.v1.apps_pb2 import Deployment
from mesh.v1.core_pb2 import Node, Pod
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
