"""Rows of `mesh top`, in kubectl's units and order."""

from mesh.cli import usage
from mesh.cli.usage import Row, Used
from mesh.v1.control_pb2 import HostUsage
from mesh.v1.core_pb2 import Node, NodeStatus
from mesh.v1.stats_pb2 import ContainerStats, CPUStats, MemoryStats, NodeStats, PodReference, PodStats, Summary


def container(name: str, cpu: int | None, memory: int) -> ContainerStats:
    used = CPUStats() if cpu is None else CPUStats(usage_nano_cores=cpu)
    return ContainerStats(name=name, cpu=used, memory=MemoryStats(working_set_bytes=memory))


def pod(name: str, *containers: ContainerStats) -> PodStats:
    return PodStats(pod_ref=PodReference(name=name, namespace="default", uid=name), containers=containers)


HOST = HostUsage(
    host="a",
    summary=Summary(
        node=NodeStats(cpu=CPUStats(usage_nano_cores=1_500_000_000), memory=MemoryStats(working_set_bytes=3 << 30)),
        pods=[pod("small", container("c", 1, 5 << 20)),
              pod("big", container("one", 200_000_000, 10 << 20), container("two", 50_500_000, 20 << 20))],
    ),
)  # fmt: skip


def test_a_pod_is_the_sum_of_its_containers() -> None:
    rows = usage.ordered(usage.pod_rows([HOST], containers=False), "")
    assert [(r.name, r.used.cpu_words, r.used.memory_words) for r in rows] == [
        ("big", "251m", "30Mi"), ("small", "1m", "5Mi"),
    ]  # fmt: skip


def test_each_container_for_itself() -> None:
    rows = usage.ordered(usage.pod_rows([HOST], containers=True), "memory")
    assert [(r.name, r.container, r.used.memory_words) for r in rows] == [
        ("big", "two", "20Mi"), ("big", "one", "10Mi"), ("small", "c", "5Mi"),
    ]  # fmt: skip


def test_the_biggest_users_first() -> None:
    rows = [Row("", name, "", Used(cpu, memory)) for name, cpu, memory in (("a", 1, 9), ("b", 5, 1), ("c", None, 5))]
    assert [r.name for r in usage.ordered(rows, "cpu")] == ["b", "a", "c"]
    assert [r.name for r in usage.ordered(rows, "memory")] == ["a", "c", "b"]


def test_shares_are_of_what_a_host_can_give() -> None:
    node = Node(status=NodeStatus(allocatable={"cpu": "2", "memory": "4Gi"}))
    row = usage.node_rows([HOST])[0]
    assert usage.shares(row, node) == ("75%", "75%")
    assert usage.shares(row, None) == (usage.UNKNOWN, usage.UNKNOWN)


def test_what_is_not_known_is_not_nothing() -> None:
    row = usage.pod_rows(
        [HostUsage(summary=Summary(pods=[pod("new", container("c", None, 1 << 20))]))], containers=False
    )
    assert (row[0].used.cpu_words, row[0].used.memory_words) == (usage.UNKNOWN, "1Mi")
    assert row[0].used.quantities() == {"memory": "1024Ki"}


def test_lists_of_the_metrics_api() -> None:
    rows = usage.ordered(usage.pod_rows([HOST], containers=False), "cpu")
    document = usage.pod_documents([HOST], rows)
    assert (document["kind"], document["apiVersion"]) == ("PodMetricsList", "metrics.k8s.io/v1beta1")
    assert document["items"][0]["metadata"] == {"name": "big", "namespace": "default"}
    assert document["items"][0]["containers"][0] == {"name": "one", "usage": {"cpu": "200000000n", "memory": "10240Ki"}}
    nodes = usage.node_documents([HOST], usage.node_rows([HOST]))
    assert nodes["items"][0]["usage"] == {"cpu": "1500000000n", "memory": "3145728Ki"}
