"""What a host's news write, and above all what they do not."""

from mesh.fleet.report import writes_for
from mesh.model.kinds import Object, key_of
from mesh.model.times import SECOND, to_timestamp
from mesh.store.port import Event as Change
from mesh.store.port import Snapshot, Write
from mesh.v1.core_pb2 import Event, Node, NodeCondition, Pod, PodCondition, PodStatus
from mesh.v1.node_pb2 import NodeReport, Observed, PodReport
from mesh.view import View
from tests.harness import objects

NOW = 1_790_000_000 * SECOND
CIDR = "10.244.3.0/24"


def view_of(*objs: Object) -> View:
    for i, obj in enumerate((objects.namespace("default"), *objs), 1):
        obj.metadata.resource_version = str(i)
    return View(Snapshot(10, [objects.namespace("default"), *objs]))


def node_report(ready: str = "True", **allocatable: str) -> NodeReport:
    report = NodeReport(labels={"kubernetes.io/hostname": "a"})
    report.status.allocatable.update(allocatable or {"cpu": "4"})
    report.status.conditions.append(NodeCondition(type="Ready", status=ready, reason="AgentReady"))
    return report


def bound_pod(uid: str = "u1", node: str = "a") -> Pod:
    pod = objects.pod("web", node_name=node)
    pod.metadata.uid = uid
    pod.status.phase = "Pending"
    pod.status.qos_class = "BestEffort"
    pod.status.conditions.append(PodCondition(type="PodScheduled", status="True"))
    return pod


def said(pod: Pod, phase: str = "Running", *, gone: bool = False) -> PodReport:
    status = PodStatus(phase=phase, conditions=[PodCondition(type="Ready", status="True")])
    return PodReport(uid=pod.metadata.uid, namespace="default", name=pod.metadata.name, status=status, gone=gone)


def news(
    *pods: PodReport, full: bool = False, report: NodeReport | None = None, events: tuple[Event, ...] = ()
) -> Observed:
    observed = Observed(node="a", boot="b", version=1, full=full, pods=pods, events=events)
    if report is not None:
        observed.report.CopyFrom(report)
    return observed


def written(observed: Observed, view: View, now: int = NOW) -> list[Write]:
    """The writes; carried out, the same news write nothing more."""
    writes = writes_for(observed, view, now, CIDR)
    after = view.copy()
    after.apply([Change(11, w.key, _at(w.object, 11), None) for w in writes])
    assert writes_for(observed, after, now, CIDR) == []
    return writes


def _at(obj: Object | None, revision: int) -> Object | None:
    if obj is None:
        return None
    copy = type(obj)()
    copy.CopyFrom(obj)  # type: ignore[arg-type]  # its own type
    copy.metadata.resource_version = str(revision)
    return copy


# ---- nodes


def test_a_new_host_becomes_a_node_with_labels_and_a_range() -> None:
    [write] = written(news(report=node_report()), view_of())
    node = write.object
    assert isinstance(node, Node)
    assert (write.expect, node.spec.pod_cidr, list(node.spec.pod_cidrs)) == (0, CIDR, [CIDR])
    assert node.metadata.labels["kubernetes.io/hostname"] == "a"
    assert node.metadata.uid
    assert node.status.conditions[0].last_transition_time.seconds == NOW // SECOND


def test_a_host_without_a_word_of_itself_is_no_node_yet() -> None:
    assert written(news(), view_of()) == []


def test_a_node_keeps_its_range_its_taints_and_its_own_labels() -> None:
    held = Node()
    held.metadata.name = "a"
    held.metadata.labels["disk"] = "ssd"
    held.spec.pod_cidr = "10.244.9.0/24"
    held.spec.unschedulable = True
    [write] = written(news(report=node_report()), view_of(held))
    node = write.object
    assert isinstance(node, Node)
    assert (node.spec.pod_cidr, node.spec.unschedulable) == ("10.244.9.0/24", True)
    assert dict(node.metadata.labels) == {"disk": "ssd", "kubernetes.io/hostname": "a"}


def test_heartbeats_are_written_every_five_minutes_only_changes_at_once() -> None:
    [first] = written(news(report=node_report()), view_of())
    assert first.object is not None
    view = view_of(first.object)
    assert writes_for(news(report=node_report()), view, NOW + 299 * SECOND, CIDR) == []
    assert len(writes_for(news(report=node_report()), view, NOW + 300 * SECOND, CIDR)) == 1
    [changed] = writes_for(news(report=node_report(cpu="2")), view, NOW + SECOND, CIDR)
    assert isinstance(changed.object, Node)
    assert changed.object.status.conditions[0].last_transition_time.seconds == NOW // SECOND
    [turned] = writes_for(news(report=node_report("False")), view, NOW + 9 * SECOND, CIDR)
    assert isinstance(turned.object, Node)
    assert turned.object.status.conditions[0].last_transition_time.seconds == NOW // SECOND + 9


# ---- pods


def test_a_status_is_written_with_what_others_said_kept() -> None:
    pod = bound_pod()
    [write] = written(news(said(pod)), view_of(pod))
    now = write.object
    assert isinstance(now, Pod)
    assert now.status.phase == "Running"
    assert [c.type for c in now.status.conditions] == ["PodScheduled", "Ready"]
    assert now.status.qos_class == "BestEffort"
    assert now.spec == pod.spec
    assert write.expect == int(pod.metadata.resource_version)


def gated(gate: str = "") -> tuple[Pod, PodReport]:
    pod = bound_pod()
    pod.spec.readiness_gates.add(condition_type="example.com/gate")
    if gate:
        pod.status.conditions.add(type="example.com/gate", status=gate)
    report = said(pod)
    report.status.conditions[0].status = "False"  # a host does not know of gates
    report.status.conditions[0].last_transition_time.CopyFrom(to_timestamp(NOW))
    report.status.conditions.add(type="ContainersReady", status="True")
    return pod, report


def ready_of(write: Write) -> PodCondition:
    assert isinstance(write.object, Pod)
    [ready] = [c for c in write.object.status.conditions if c.type == "Ready"]
    return ready


def test_a_pod_with_gates_is_ready_when_its_containers_and_all_gates_are() -> None:  # P22
    for gate, status, reason in (("", "False", "ReadinessGatesNotReady"), ("False", "False", "ReadinessGatesNotReady"),
                                 ("True", "True", "")):  # fmt: skip
        pod, report = gated(gate)
        ready = ready_of(written(news(report), view_of(pod))[0])
        assert (ready.status, ready.reason, ready.last_transition_time.seconds) == (status, reason, NOW // SECOND)
    pod, report = gated("True")
    report.status.conditions[1].status, report.status.conditions[1].reason = "False", "ContainersNotReady"
    assert ready_of(written(news(report), view_of(pod))[0]).reason == "ContainersNotReady"


def test_what_a_host_repeats_of_a_pod_with_gates_moves_no_time() -> None:  # S2
    pod, report = gated("True")
    [first] = written(news(report), view_of(pod))
    assert first.object is not None
    report.status.pod_ip = "10.244.3.7"
    [second] = written(news(report), view_of(first.object), NOW + 60 * SECOND)
    assert ready_of(second) == ready_of(first)


def test_a_resize_that_the_host_no_longer_speaks_of_is_over() -> None:  # L20
    pod = bound_pod()
    pod.status.conditions.add(type="PodResizePending", status="True")
    [write] = written(news(said(pod)), view_of(pod))
    assert isinstance(write.object, Pod)
    assert "PodResizePending" not in [c.type for c in write.object.status.conditions]


def test_news_of_strangers_mean_nothing() -> None:
    stranger, elsewhere = bound_pod("u2"), bound_pod(node="b")
    assert written(news(said(stranger)), view_of(bound_pod("u1"))) == []
    assert written(news(said(elsewhere)), view_of(elsewhere)) == []
    assert written(news(said(stranger, gone=True)), view_of()) == []


def test_a_terminal_phase_is_never_left() -> None:
    pod = bound_pod()
    pod.status.phase = "Succeeded"
    assert written(news(said(pod, "Running")), view_of(pod)) == []


def test_gone_removes_only_what_is_being_deleted() -> None:
    pod = bound_pod()
    assert all(w.object is not None for w in written(news(said(pod, "Succeeded", gone=True)), view_of(pod)))
    pod.metadata.deletion_timestamp.seconds = 1
    [write] = written(news(said(pod, gone=True)), view_of(pod))
    assert (write.key, write.object) == (key_of(pod), None)


def test_gone_with_finalizers_waits_for_them_with_no_grace_left() -> None:
    pod = bound_pod()
    pod.metadata.deletion_timestamp.seconds = 1
    pod.metadata.deletion_grace_period_seconds = 30
    pod.metadata.finalizers.append("example.com/hold")
    [write] = written(news(said(pod, gone=True)), view_of(pod))
    assert write.object is not None
    assert write.object.metadata.deletion_grace_period_seconds == 0


def test_pods_a_full_answer_does_not_name_are_left_alone() -> None:
    assert written(news(full=True), view_of(bound_pod())) == []


# ---- mirrors


def static(uid: str = "s1") -> PodReport:
    pod = objects.pod("dns-a", node_name="a")
    report = PodReport(uid=uid, namespace="default", name="dns-a", status=PodStatus(phase="Running"))
    report.mirror.CopyFrom(pod)
    return report


def mirror(uid: str = "s1") -> Pod:
    [write] = written(news(static(uid)), view_of())
    assert isinstance(write.object, Pod)
    return write.object


def test_a_static_pod_is_shown_as_a_mirror() -> None:
    pod = mirror()
    assert pod.metadata.annotations["kubernetes.io/config.mirror"] == "s1"
    assert (pod.metadata.uid, pod.spec.node_name, pod.status.phase) == ("s1", "a", "Running")


def test_another_manifest_is_another_pod_in_its_place() -> None:
    [write] = written(news(static("s2")), view_of(mirror("s1")))
    assert write.object is not None
    assert write.object.metadata.uid == "s2"


def test_a_mirror_goes_with_its_static_pod() -> None:
    gone = static()
    gone.gone = True
    [write] = written(news(gone), view_of(mirror()))
    assert write.object is None
    [write] = written(news(full=True), view_of(mirror()))
    assert write.object is None
    assert written(news(static(), full=True), view_of(mirror())) == []


def test_a_static_pod_never_takes_the_place_of_a_pod_of_the_api() -> None:
    pod = objects.pod("dns-a")
    assert written(news(static()), view_of(pod)) == []


# ---- events


def event(count: int = 1, name: str = "web.1", namespace: str = "default") -> Event:
    made = Event(reason="Started", message="Started container main", count=count, type="Normal")
    made.metadata.name, made.metadata.namespace = name, namespace
    made.first_timestamp.CopyFrom(to_timestamp(NOW))
    made.last_timestamp.CopyFrom(to_timestamp(NOW + count))
    return made


def test_events_are_stored_and_counted() -> None:
    [write] = written(news(events=(event(),)), view_of())
    first = write.object
    assert isinstance(first, Event)
    [write] = written(news(events=(event(4),)), view_of(first))
    again = write.object
    assert isinstance(again, Event)
    assert (again.count, again.metadata.uid, again.first_timestamp) == (4, first.metadata.uid, first.first_timestamp)


def test_old_events_and_events_of_nowhere_are_not_stored() -> None:
    assert writes_for(news(events=(event(),)), view_of(), NOW + 3700 * SECOND, CIDR) == []
    assert written(news(events=(event(namespace="gone"),)), view_of()) == []


# ---- hosts that were reinstalled or removed


def installed(word: str) -> NodeReport:
    report = node_report()
    report.installation = word
    return report


def node_of(word: str) -> Node:
    (write,) = written(news(report=installed(word)), view_of())
    assert isinstance(write.object, Node)
    write.object.spec.unschedulable = True
    write.object.metadata.labels["disk"] = "fast"
    return write.object


def test_a_host_reinstalled_under_the_same_name_is_a_new_host() -> None:
    held, pod, elsewhere = node_of("first"), bound_pod(), bound_pod("u2", node="b")
    elsewhere.metadata.name = "elsewhere"
    writes = written(news(report=installed("second")), view_of(held, pod, elsewhere), NOW + SECOND)
    by_kind = {w.key.kind: w for w in writes}
    assert len(writes) == 2
    assert by_kind["Pod"].key.name == "web"
    assert by_kind["Pod"].object is None
    node = by_kind["Node"].object
    assert isinstance(node, Node)
    assert node.metadata.uid != held.metadata.uid
    assert node.spec.pod_cidr == held.spec.pod_cidr
    assert not node.spec.unschedulable
    assert "disk" not in node.metadata.labels


def test_the_same_installation_keeps_node_and_pods() -> None:
    held = node_of("first")
    assert written(news(report=installed("first")), view_of(held, bound_pod())) == []


def test_a_pod_of_a_reinstalled_host_waits_for_its_finalizers() -> None:
    pod = bound_pod()
    pod.metadata.finalizers.append("example.com/mine")
    writes = written(news(report=installed("second")), view_of(node_of("first"), pod), NOW + SECOND)
    left = next(w.object for w in writes if w.key.kind == "Pod")
    assert isinstance(left, Pod)
    assert left.metadata.HasField("deletion_timestamp")
    assert left.metadata.deletion_grace_period_seconds == 0


def test_a_host_that_was_removed_does_not_come_back_by_itself() -> None:
    pod = bound_pod()
    (write,) = writes_for(news(said(pod), report=node_report()), view_of(pod), NOW, "", barred=True)
    assert write.key.kind == "Pod"
