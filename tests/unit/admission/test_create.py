"""Creating: what is filled in, what only the mesh writes, what is refused."""

from collections.abc import Callable

import pytest

from mesh.admission import admit
from mesh.admission.admit import Stamp
from mesh.errors import AlreadyExists, Invalid
from mesh.model import manifest, times
from mesh.model.kinds import Object
from mesh.store.port import Snapshot
from mesh.v1.core_pb2 import Namespace, Pod, Secret
from mesh.view import View

Read = Callable[[str], Object]

POD = "{apiVersion: v1, kind: Pod, metadata: {name: web}, spec: {containers: [{name: a, image: nginx}]}}"


def pod_of(admitted: admit.Admitted) -> Pod:
    assert isinstance(admitted.object, Pod)
    return admitted.object


def test_identity_is_the_stamps(view: View, stamp: Stamp, read: Read) -> None:
    made = pod_of(admit.create(read(POD), view, stamp))
    assert made.metadata.uid == stamp.uid
    assert made.metadata.creation_timestamp == times.whole_seconds(stamp.now)
    assert made.metadata.generation == 1
    assert not made.metadata.resource_version
    assert (made.status.phase, made.status.qos_class) == ("Pending", "BestEffort")


def test_what_the_mesh_writes_is_not_taken_from_the_user(view: View, stamp: Stamp, read: Read) -> None:
    given = read(POD)
    assert isinstance(given, Pod)
    given.metadata.uid = "mine"
    given.metadata.resource_version = "5"
    given.metadata.generation = 9
    given.metadata.deletion_timestamp.seconds = 1
    given.status.phase = "Running"
    before = Pod()
    before.CopyFrom(given)
    admitted = admit.create(given, view, stamp)
    made = pod_of(admitted)
    assert given == before  # nothing given is mutated
    assert (made.metadata.uid, made.metadata.resource_version, made.metadata.generation) == (stamp.uid, "", 1)
    assert not made.metadata.HasField("deletion_timestamp")
    assert made.status.phase == "Pending"
    assert admitted.warnings == ('Pod "web": status is the mesh\'s to write and was left out',)


def test_generated_names_have_five_characters_more(view: View, stamp: Stamp, read: Read) -> None:
    text = POD.replace("name: web", "generateName: job-")
    assert pod_of(admit.create(read(text), view, stamp)).metadata.name == "job-x7k2p"
    long = POD.replace("name: web", f"generateName: {'a' * 100}")
    assert pod_of(admit.create(read(long), view, stamp)).metadata.name == "a" * 58 + "x7k2p"


def test_a_name_that_is_taken(view: View, stamp: Stamp, read: Read) -> None:
    made = admit.create(read(POD), view, stamp).object
    with pytest.raises(AlreadyExists, match=r'^Pod "web" exists already$'):
        admit.create(read(POD), View(Snapshot(8, [*view.of_kind("Namespace"), made])), stamp)


def test_an_absent_namespace_is_default(view: View, stamp: Stamp) -> None:
    (given,) = manifest.load(POD, "a").objects
    assert pod_of(admit.create(given, view, stamp)).metadata.namespace == "default"


@pytest.mark.parametrize(
    ("image", "policy"),
    [
        ("nginx", "Always"),
        ("nginx:latest", "Always"),
        ("nginx:1.27", "IfNotPresent"),
        ("registry:5000/nginx", "Always"),
        ("registry:5000/nginx:1", "IfNotPresent"),
        ("nginx@sha256:" + "0" * 64, "IfNotPresent"),
        ("nginx:latest@sha256:" + "0" * 64, "IfNotPresent"),
    ],
)
def test_pull_policy(view: View, stamp: Stamp, read: Read, image: str, policy: str) -> None:
    made = pod_of(admit.create(read(POD.replace("nginx", f"'{image}'")), view, stamp))
    assert made.spec.containers[0].image_pull_policy == policy  # (I1)


def test_kubernetes_defaults_show(view: View, stamp: Stamp, read: Read) -> None:
    spec = pod_of(
        admit.create(read(POD.replace("image: nginx", "image: nginx, ports: [{containerPort: 80}]")), view, stamp)
    ).spec
    container = spec.containers[0]
    assert (spec.restart_policy, spec.dns_policy, spec.scheduler_name) == (
        "Always",
        "ClusterFirst",
        "default-scheduler",
    )
    assert (spec.termination_grace_period_seconds, spec.enable_service_links) == (30, True)
    assert spec.HasField("security_context") and container.HasField("resources")
    assert (container.termination_message_path, container.termination_message_policy) == (
        "/dev/termination-log",
        "File",
    )
    assert container.ports[0].protocol == "TCP"


def test_defaults_change_nothing_that_is_said(view: View, stamp: Stamp, read: Read) -> None:
    text = POD.replace(
        "containers:", "terminationGracePeriodSeconds: 0, restartPolicy: Never, enableServiceLinks: false, containers:"
    )
    spec = pod_of(admit.create(read(text), view, stamp)).spec
    assert (spec.termination_grace_period_seconds, spec.restart_policy, spec.enable_service_links) == (
        0,
        "Never",
        False,
    )


def test_a_limit_is_a_request_and_amounts_are_canonical(view: View, stamp: Stamp, read: Read) -> None:
    resources = "resources: {limits: {cpu: 0.5, memory: 1024Mi}, requests: {cpu: 0.0001}}"
    made = pod_of(admit.create(read(POD.replace("image: nginx", f"image: nginx, {resources}")), view, stamp))
    given = made.spec.containers[0].resources
    assert dict(given.limits) == {"cpu": "500m", "memory": "1Gi"}
    assert dict(given.requests) == {"cpu": "1m", "memory": "1Gi"}  # (R1, R2)
    assert made.status.qos_class == "Burstable"


@pytest.mark.parametrize(
    ("own", "container", "requests"),
    [
        ("limits: {cpu: 2, memory: 1Gi}", "", {"cpu": "2", "memory": "1Gi"}),
        ("limits: {cpu: 2, memory: 1Gi}", "requests: {cpu: 300m, memory: 64Mi}", {"cpu": "300m", "memory": "64Mi"}),
        ("limits: {cpu: 2}", "limits: {memory: 64Mi}", {"cpu": "2", "memory": "64Mi"}),
        ("limits: {cpu: 2}, requests: {cpu: 0.5}", "requests: {cpu: 100m}", {"cpu": "500m"}),
        ("requests: {cpu: 0.5}", "requests: {memory: 1Mi}", {"cpu": "500m"}),  # a request alone adds nothing
    ],
)
def test_what_a_whole_pod_asks_for_by_default(  # R2
    view: View, stamp: Stamp, read: Read, own: str, container: str, requests: dict[str, str]
) -> None:
    text = POD.replace("image: nginx", f"image: nginx, resources: {{{container}}}")
    text = text.replace("containers:", f"resources: {{{own}}}, containers:")
    made = pod_of(admit.create(read(text), view, stamp))
    assert dict(made.spec.resources.requests) == requests
    assert made.spec.containers[0].resources.limits.get("cpu") is None  # the pod's limit is not the container's


def test_a_volume_without_source_is_an_empty_dir(view: View, stamp: Stamp, read: Read) -> None:
    made = pod_of(admit.create(read(POD.replace("containers:", "volumes: [{name: v}], containers:")), view, stamp))
    assert made.spec.volumes[0].HasField("empty_dir")


def test_ports_of_host_network_pods_are_host_ports(view: View, stamp: Stamp, read: Read) -> None:
    text = POD.replace("containers:", "hostNetwork: true, containers:").replace(
        "nginx", "nginx, ports: [{containerPort: 80}]"
    )
    made = pod_of(admit.create(read(text), view, stamp))
    assert made.spec.containers[0].ports[0].host_port == 80  # (E12)
    again = admit.apply(made, made, view, stamp)
    assert "hostPort" not in str(again.warnings)


def test_string_data_goes_over_data(view: View, stamp: Stamp, read: Read) -> None:
    text = "{apiVersion: v1, kind: Secret, metadata: {name: s}, data: {a: b2xk, b: b2xk}, stringData: {a: new}}"
    made = admit.create(read(text), view, stamp).object
    assert isinstance(made, Secret)
    assert dict(made.data) == {"a": b"new", "b": b"old"}  # (V8)
    assert not made.string_data
    assert made.type == "Opaque"  # (V10)
    assert not made.metadata.HasField("generation")


@pytest.mark.parametrize(
    ("type_", "data", "missing"),
    [
        ("kubernetes.io/dockercfg", "a: b", ".dockercfg"),
        ("kubernetes.io/dockercfg", ".dockercfg: x", "must be JSON"),
        ("kubernetes.io/dockercfg", ".dockercfg: '{}'", ""),
        ("kubernetes.io/dockerconfigjson", "a: b", ".dockerconfigjson"),
        ("kubernetes.io/dockerconfigjson", ".dockerconfigjson: '{\"auths\": {}}'", ""),
        ("kubernetes.io/basic-auth", "a: b", '"username" or "password"'),
        ("kubernetes.io/basic-auth", "password: b", ""),
        ("kubernetes.io/ssh-auth", "a: b", "ssh-privatekey"),
        ("kubernetes.io/ssh-auth", "ssh-privatekey: b", ""),
        ("kubernetes.io/tls", "tls.crt: b", "tls.key"),
        ("kubernetes.io/tls", "tls.key: b", "tls.crt"),
        ("kubernetes.io/tls", "tls.key: b, tls.crt: c", ""),
        ("bootstrap.kubernetes.io/token", "token-id: b", "token-secret"),
        ("bootstrap.kubernetes.io/token", "token-id: b, token-secret: c", ""),
        ("kubernetes.io/service-account-token", "a: b", "service-account.name"),
        ("example.com/any", "a: b", ""),
    ],
)
def test_secret_types_need_their_keys(
    view: View, stamp: Stamp, read: Read, type_: str, data: str, missing: str
) -> None:
    given = read(f"{{apiVersion: v1, kind: Secret, metadata: {{name: s}}, type: {type_}, stringData: {{{data}}}}}")
    if not missing:
        assert admit.create(given, view, stamp).object
        return
    with pytest.raises(Invalid) as caught:
        admit.create(given, view, stamp)
    assert missing in str(caught.value)


def test_a_new_namespace(view: View, stamp: Stamp, read: Read) -> None:
    made = admit.create(read("{apiVersion: v1, kind: Namespace, metadata: {name: prod}}"), view, stamp).object
    assert isinstance(made, Namespace)
    assert made.status.phase == "Active"
    assert made.metadata.labels["kubernetes.io/metadata.name"] == "prod"  # (A10)
    assert list(made.spec.finalizers) == ["kubernetes"]


def test_a_port_that_two_containers_name_is_a_warning(view: View, stamp: Stamp, read: Read) -> None:
    ports = "ports: [{containerPort: 80}]"
    text = POD.replace("[{name: a, image: nginx}]", f"[{{name: a, image: b, {ports}}}, {{name: c, image: d, {ports}}}]")
    (warning,) = admit.create(read(text), view, stamp).warnings
    assert "spec.containers[1].ports[0]: the same port as spec.containers[0].ports[0]" in warning


@pytest.mark.parametrize(("kind", "field"), [("ConfigMap", "data"), ("Secret", "stringData")])
def test_configuration_is_at_most_1_mib(view: View, stamp: Stamp, read: Read, kind: str, field: str) -> None:
    room = 1024 * 1024 - (1 if kind == "ConfigMap" else 0)  # keys count in a ConfigMap, not in a Secret (V7)
    text = f"{{apiVersion: v1, kind: {kind}, metadata: {{name: c}}, {field}: {{k: {'x' * room}}}}}"
    assert admit.create(read(text), view, stamp).object
    with pytest.raises(Invalid, match="no more than 1 MiB"):
        admit.create(read(text.replace("k: x", "k: xx")), view, stamp)


def test_an_object_is_at_most_1_5_mib(view: View, stamp: Stamp, read: Read) -> None:
    given = read(POD)
    assert isinstance(given, Pod)
    given.spec.containers[0].args.append("x" * 1_572_000)
    assert admit.create(given, view, stamp).object
    given.spec.containers[0].args.append("x" * 1000)
    with pytest.raises(Invalid, match=r"is too large: 157\d{4} bytes, at most 1572864"):
        admit.create(given, view, stamp)
