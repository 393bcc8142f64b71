"""The mesh by kube-state-metrics' names."""

import time

from mesh.exposition.text import Page
from mesh.figures.cluster import cluster
from mesh.figures.meshd import targets
from mesh.model.kinds import Object
from mesh.v1.apps_pb2 import DaemonSet, Deployment, StatefulSet
from mesh.v1.batch_pb2 import CronJob, Job
from mesh.v1.core_pb2 import Namespace, Node, Pod, Secret
from mesh.v1.net_pb2 import Service
from mesh.v1.policy_pb2 import HorizontalPodAutoscaler
from tests.harness.figures import Figures, parse


def shown(**objects: list[Object]) -> Figures:
    page = Page()
    cluster(page, objects)
    return parse(page.render())


def pod(name: str = "web", **status: object) -> Pod:
    made = Pod(metadata={"name": name, "namespace": "a", "uid": f"uid-{name}", "creation_timestamp": {"seconds": 100}})
    made.spec.node_name = "h"
    made.spec.containers.add(
        name="c", resources={"requests": {"cpu": "250m", "memory": "64Mi"}, "limits": {"cpu": "1"}}
    )
    made.status.MergeFrom(type(made.status)(**status))
    return made


def test_a_pod_that_runs() -> None:
    container = {"name": "c", "ready": True, "restart_count": 3, "image": "i", "state": {"running": {}}}
    one = pod(
        phase="Running", pod_ip="10.0.0.9", host_ip="192.0.2.1", start_time={"seconds": 110},
        conditions=[{"type": "Ready", "status": "True"}], container_statuses=[container],
    )  # fmt: skip
    one.metadata.owner_references.add(kind="ReplicaSet", name="web-1", controller=True)
    figures = shown(Pod=[one])
    of = {"namespace": "a", "pod": "web", "uid": "uid-web"}
    assert figures.of("kube_pod_info", node="h", pod_ip="10.0.0.9", created_by_kind="ReplicaSet", **of) == 1
    assert figures.of("kube_pod_status_phase", phase="Running", **of) == 1
    assert sum(figures.every("kube_pod_status_phase", **of)) == 1
    assert figures.of("kube_pod_status_ready", condition="true", **of) == 1
    assert figures.of("kube_pod_status_ready", condition="false", **of) == 0
    assert (figures.of("kube_pod_created", **of), figures.of("kube_pod_start_time", **of)) == (100, 110)
    assert figures.of("kube_pod_container_status_restarts_total", container="c", **of) == 3
    assert figures.of("kube_pod_container_status_running", container="c") == 1
    assert figures.of("kube_pod_container_status_waiting", container="c") == 0
    assert figures.of("kube_pod_container_resource_requests", resource="cpu", unit="core", node="h") == 0.25
    assert figures.of("kube_pod_container_resource_requests", resource="memory", unit="byte") == 64 << 20
    assert figures.of("kube_pod_container_resource_limits", resource="cpu") == 1
    assert not list(figures.every("kube_pod_deletion_timestamp"))


def test_a_pod_that_crashes_says_why() -> None:
    waiting = {"waiting": {"reason": "CrashLoopBackOff"}}
    status = {"name": "c", "state": waiting, "last_state": {"terminated": {"reason": "OOMKilled"}}}
    figures = shown(Pod=[pod(phase="Running", container_statuses=[status])])
    assert figures.of("kube_pod_container_status_waiting_reason", reason="CrashLoopBackOff", container="c") == 1
    assert figures.of("kube_pod_container_status_last_terminated_reason", reason="OOMKilled") == 1


def test_a_new_pod_is_pending() -> None:
    assert shown(Pod=[pod()]).of("kube_pod_status_phase", phase="Pending") == 1


def test_a_host() -> None:
    node = Node(metadata={"name": "h"}, spec={"unschedulable": True, "taints": [{"key": "k", "effect": "NoSchedule"}]})
    node.status.capacity["memory"] = "1Gi"
    node.status.allocatable["cpu"] = "1500m"
    node.status.allocatable["ephemeral-storage"] = "10Ki"
    node.status.conditions.add(type="Ready", status="Unknown")
    figures = shown(Node=[node])
    assert figures.of("kube_node_status_capacity", node="h", resource="memory", unit="byte") == 1 << 30
    assert figures.of("kube_node_status_allocatable", resource="cpu", unit="core") == 1.5
    assert figures.of("kube_node_status_allocatable", resource="ephemeral_storage") == 10240
    assert figures.of("kube_node_status_condition", condition="Ready", status="unknown") == 1
    assert figures.of("kube_node_status_condition", condition="Ready", status="true") == 0
    assert figures.of("kube_node_spec_unschedulable", node="h") == 1
    assert figures.of("kube_node_spec_taint", key="k", effect="NoSchedule") == 1


def test_workloads() -> None:
    deployment = Deployment(
        metadata={"name": "d", "namespace": "a", "generation": 4}, spec={"replicas": 3, "paused": True}
    )
    deployment.status.MergeFrom(type(deployment.status)(replicas=2, available_replicas=1, observed_generation=3))
    deployment.status.conditions.add(type="Progressing", status="False")
    daemons = DaemonSet(
        metadata={"name": "ds", "namespace": "a"}, status={"desired_number_scheduled": 5, "number_ready": 4}
    )
    stateful = StatefulSet(metadata={"name": "s", "namespace": "a"}, spec={"replicas": 2}, status={"ready_replicas": 1})
    figures = shown(Deployment=[deployment], DaemonSet=[daemons], StatefulSet=[stateful])
    of = {"namespace": "a", "deployment": "d"}
    assert figures.of("kube_deployment_spec_replicas", **of) == 3
    assert figures.of("kube_deployment_status_replicas_available", **of) == 1
    assert figures.of("kube_deployment_status_observed_generation", **of) == 3
    assert figures.of("kube_deployment_metadata_generation", **of) == 4
    assert figures.of("kube_deployment_spec_paused", **of) == 1
    assert figures.of("kube_deployment_status_condition", condition="Progressing", status="false", **of) == 1
    assert figures.of("kube_daemonset_status_desired_number_scheduled", daemonset="ds") == 5
    assert figures.of("kube_daemonset_status_number_ready", daemonset="ds") == 4
    assert (figures.of("kube_statefulset_replicas"), figures.of("kube_statefulset_status_replicas_ready")) == (2, 1)


def test_jobs() -> None:
    job = Job(metadata={"name": "j", "namespace": "a"}, spec={"completions": 2}, status={"failed": 1})
    job.status.conditions.add(type="Failed", status="True")
    cron = CronJob(metadata={"name": "c", "namespace": "a"}, spec={"suspend": True})
    cron.status.last_schedule_time.seconds = 7
    figures = shown(Job=[job], CronJob=[cron])
    assert figures.of("kube_job_status_failed", job_name="j", namespace="a") == 1
    assert figures.of("kube_job_failed", job_name="j", condition="true") == 1
    assert not list(figures.every("kube_job_complete"))
    assert not list(figures.every("kube_job_status_completion_time"))
    assert figures.of("kube_cronjob_spec_suspend", cronjob="c") == 1
    assert figures.of("kube_cronjob_status_last_schedule_time", cronjob="c") == 7


def test_the_rest_and_no_values_of_secrets() -> None:
    secret = Secret(metadata={"name": "s", "namespace": "a"}, type="Opaque", data={"password": b"hunter2"})
    service = Service(metadata={"name": "web", "namespace": "a"}, spec={"cluster_ip": "10.96.0.7"})
    page = Page()
    cluster(page, {"Secret": [secret], "Service": [service], "Namespace": [Namespace(metadata={"name": "a"})]})
    text = page.render()
    figures = parse(text)
    assert figures.of("kube_secret_type", secret="s", type="Opaque") == 1
    assert figures.of("kube_service_info", service="web", cluster_ip="10.96.0.7") == 1
    assert figures.of("kube_namespace_status_phase", namespace="a", phase="Active") == 1
    assert b"hunter2" not in text
    assert b"password" not in text


def test_ten_thousand_pods_take_seconds_at_most() -> None:
    status = {"name": "c", "ready": True, "state": {"running": {}}}
    pods: list[Object] = [pod(f"p{i}", phase="Running", container_statuses=[status]) for i in range(2000)]
    page, began = Page(), time.process_time()
    cluster(page, {"Pod": pods})
    assert len(page.render()) > 1_000_000
    assert time.process_time() - began < 4


def test_prometheus_finds_the_hosts_that_offer_figures() -> None:
    node = Node(metadata={"name": "h", "labels": {"topology.kubernetes.io/zone": "z1"}})
    node.status.addresses.add(type="InternalIP", address="192.0.2.1")
    without = Node(metadata={"name": "other"})
    without.CopyFrom(node)
    node.status.daemon_endpoints.kubelet_endpoint.port = 7446
    assert targets([node, without]) == [
        {"targets": ["192.0.2.1:7446"],
         "labels": {"__meta_mesh_node": "h", "__meta_mesh_address": "192.0.2.1",
                    "__meta_mesh_label_topology_kubernetes_io_zone": "z1"}},
    ]  # fmt: skip


def test_an_autoscaler() -> None:
    held = HorizontalPodAutoscaler(metadata={"name": "web", "namespace": "a"})
    held.spec.min_replicas, held.spec.max_replicas = 2, 6
    held.status.current_replicas, held.status.desired_replicas = 3, 4
    held.status.conditions.add(type="ScalingActive", status="True")
    figures, of = shown(HorizontalPodAutoscaler=[held]), {"namespace": "a", "horizontalpodautoscaler": "web"}
    names = ("spec_min_replicas", "spec_max_replicas", "status_current_replicas", "status_desired_replicas")
    assert [figures.of(f"kube_horizontalpodautoscaler_{name}", **of) for name in names] == [2, 6, 3, 4]
    told = "kube_horizontalpodautoscaler_status_condition"
    assert figures.of(told, **of, condition="ScalingActive", status="true") == 1
