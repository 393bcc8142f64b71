"""What a host needs: its own pods, without a status, under a digest that tells when to send them."""

from collections.abc import Callable

from mesh.fleet.needs import digest_of, needs_of, ordered_alike, refers
from mesh.fleet.ranges import Ranges
from mesh.model.kinds import Object
from mesh.store.port import Snapshot
from mesh.v1.core_pb2 import ConfigMap, Node, Pod
from mesh.view import View
from tests.harness import objects

CLUSTER = "10.244.0.0/16"


def node(name: str, cidr: str = "10.244.0.0/24") -> Node:
    made = Node()
    made.metadata.name = name
    made.spec.pod_cidr = cidr
    return made


def on(name: str, host: str, uid: str) -> Pod:
    pod = objects.pod(name, node_name=host)
    pod.metadata.uid, pod.metadata.generation = uid, 1
    pod.status.phase = "Running"
    return pod


def view_of(*objs: Object) -> View:
    return View(Snapshot(7, list(objs)))


def test_only_its_own_pods_and_no_status() -> None:
    mirror = on("static-a", "a", "3")
    mirror.metadata.annotations["kubernetes.io/config.mirror"] = "3"
    view = view_of(node("a"), on("web", "a", "1"), on("db", "b", "2"), mirror, objects.pod("pending"))
    needs = needs_of("a", view, CLUSTER, 5)
    assert needs is not None
    assert [p.metadata.name for p in needs.pods] == ["web"]
    assert not needs.pods[0].HasField("status")
    assert (needs.fence.epoch, needs.fence.revision, needs.pod_cidr) == (5, 7, "10.244.0.0/24")
    assert needs.digest == digest_of("a", view, CLUSTER)


def test_the_labels_of_its_node_travel_along_and_are_no_reason_to_send() -> None:
    plain, labelled = node("a"), node("a")
    labelled.metadata.labels["disk"] = "ssd"
    needs = needs_of("a", view_of(labelled), CLUSTER, 5)
    assert needs is not None
    assert dict(needs.node_labels) == {"disk": "ssd"}
    assert needs.digest == digest_of("a", view_of(plain), CLUSTER)


def test_no_node_no_assignment() -> None:
    assert needs_of("a", view_of(on("web", "a", "1")), CLUSTER, 5) is None
    assert needs_of("a", view_of(node("a", "")), CLUSTER, 5) is None
    assert digest_of("a", view_of(), CLUSTER) == ""


def test_a_status_alone_is_no_other_order_and_everything_else_is() -> None:
    web = on("web", "a", "1")

    def changed(change: Callable[[Pod], object]) -> bool:
        other = Pod()
        other.CopyFrom(web)
        change(other)
        return not (ordered_alike(web, other) and ordered_alike(other, web))

    assert not changed(lambda p: p.status.conditions.add(type="Ready", status="True"))
    assert not changed(lambda p: setattr(p.metadata, "resource_version", "9"))
    assert changed(lambda p: setattr(p.status, "phase", "Succeeded"))  # its ConfigMaps and Secrets are taken away
    assert changed(lambda p: setattr(p.metadata, "uid", "2"))
    assert changed(lambda p: setattr(p.metadata, "generation", 2))
    assert changed(lambda p: p.metadata.labels.update({"a": "b"}))
    assert changed(lambda p: p.metadata.annotations.update({"a": "b"}))
    assert changed(lambda p: setattr(p.spec, "node_name", "b"))
    assert changed(lambda p: setattr(p.spec.containers[0], "image", "other"))
    assert changed(lambda p: setattr(p.metadata.deletion_timestamp, "seconds", 5))
    deleting = on("web", "a", "1")
    deleting.metadata.deletion_timestamp.seconds = 5
    assert not ordered_alike(deleting, deleting)  # who waits for its connections is asked each time


def test_the_digest_follows_the_spec_and_not_the_status() -> None:
    web = on("web", "a", "1")
    before = digest_of("a", view_of(node("a"), web), CLUSTER)
    web.status.phase = "Failed"
    assert digest_of("a", view_of(node("a"), web), CLUSTER) == before
    web.metadata.generation = 2
    changed = digest_of("a", view_of(node("a"), web), CLUSTER)
    web.metadata.deletion_timestamp.seconds = 9
    assert len({before, changed, digest_of("a", view_of(node("a"), web), CLUSTER)}) == 3
    assert digest_of("a", view_of(node("a")), CLUSTER) not in ("", before)


def test_ranges_are_the_lowest_free_and_kept() -> None:
    ranges = Ranges(CLUSTER, 24)
    view = view_of(node("b", "10.244.0.0/24"), node("c", "10.244.2.0/24"))
    assert ranges.of("b", view) == "10.244.0.0/24"
    assert ranges.of("a", view) == "10.244.1.0/24"
    assert ranges.of("d", view) == "10.244.3.0/24"  # promised ones count
    assert ranges.of("a", view) == "10.244.1.0/24"
    stolen = view_of(node("x", "10.244.1.0/24"))
    assert ranges.of("a", stolen) == "10.244.2.0/24"  # what "b" and "d" were promised stays theirs


def config(name: str, version: str = "1", namespace: str = "default") -> ConfigMap:
    made = objects.config_map(name, namespace, key="value")
    made.metadata.uid, made.metadata.resource_version = f"uid-{name}", version
    made.metadata.annotations["mesh/last-applied-configuration"] = "{}"
    return made


def using(name: str, host: str, uid: str, config_name: str) -> Pod:
    pod = on(name, host, uid)
    pod.spec.volumes.add(name="v").config_map.name = config_name
    return pod


def test_config_maps_go_to_hosts_whose_pods_refer_to_them() -> None:  # V12
    nodes = node("a"), node("b", "10.244.1.0/24")
    pods = using("web", "a", "1", "c"), using("db", "b", "2", "d")
    given = config("c"), config("d"), config("e"), config("c", namespace="other")
    needs = needs_of("a", view_of(*nodes, *pods, *given), CLUSTER, 5)
    assert needs is not None
    assert [(c.metadata.namespace, c.metadata.name, dict(c.data)) for c in needs.config_maps] == [
        ("default", "c", {"key": "value"})
    ]
    assert not needs.config_maps[0].metadata.annotations
    before = view_of(*nodes, *pods, *given)
    after = view_of(*nodes, *pods, config("c", "2"), *given[1:])
    assert digest_of("a", before, CLUSTER) != digest_of("a", after, CLUSTER)
    assert digest_of("b", before, CLUSTER) == digest_of("b", after, CLUSTER)
    assert needs.digest == digest_of("a", before, CLUSTER)
    assert [refers(n, before, config("c")) for n in ("a", "b")] == [True, False]
    assert not refers("a", before, config("c", namespace="other"))


def test_a_pod_that_has_ended_needs_no_config_maps() -> None:  # V12
    pod = using("web", "a", "1", "c")
    pod.status.phase = "Succeeded"
    needs = needs_of("a", view_of(node("a"), pod, config("c")), CLUSTER, 5)
    assert needs is not None
    assert not needs.config_maps
