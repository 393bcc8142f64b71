"""Summaries and pages of figures out of samples (G7, G8, P20)."""

import json
from dataclasses import replace

import pytest

from mesh.exposition.text import Page
from mesh.model import quantity
from mesh.v1.core_pb2 import Container, ContainerStatus, Pod, PodSpec, PodStatus, ResourceRequirements
from mesh.v1.meta_pb2 import ObjectMeta
from nodeagent.probes.counts import Count
from nodeagent.probes.state import Kind, Outcome, Result
from nodeagent.runtime.seen import Role, SeenContainer, SeenPod, SeenSandbox, State
from nodeagent.stats import cadvisor, groupfiles, hostfiles, kubelet, nodefigures
from nodeagent.stats.operations import Operations
from nodeagent.stats.subjects import Subject, subject_of
from nodeagent.stats.summary import Summarizer, as_json
from nodeagent.stats.values import Filesystem, Group, Held, Interface, Sample
from tests.harness.figures import PROC, V1, V2, Figures, parse

SECOND = 10**9
AT = 1_700_000_100 * SECOND


def subject(name: str = "web", *, host_network: bool = False, **limits: str) -> Subject:
    container = Container(name="main", image="example:1", resources=ResourceRequirements(limits=limits))
    pod = Pod(
        metadata=ObjectMeta(name=name, namespace="default", uid=f"uid-{name}"), spec=PodSpec(containers=[container])
    )
    seen = SeenPod(
        f"uid-{name}", "default", name, SeenSandbox(f"uid-{name}", "default", name, "10.0.0.1", AT, host_network),
        (SeenContainer("dead", f"uid-{name}", "main", 0, Role.APP, State.EXITED, "h", "example:1", "i"),
         SeenContainer("cid", f"uid-{name}", "main", 1, Role.APP, State.RUNNING, "h", "example:1", "i", started_at=AT)),
    )  # fmt: skip
    status = PodStatus(container_statuses=[ContainerStatus(name="main", ready=True, restart_count=1)])
    return subject_of(pod, status, seen, {})


def sample(*subjects: Subject, version: int = 1, at: int = AT) -> Sample:
    group = groupfiles.version_1(V1) if version == 1 else groupfiles.version_2(V2)
    host = hostfiles.reading(PROC, [Filesystem("/dev/sda1", "ext4", "/", 1000, 600, 500, 100, 60)])
    links = {s.link: Interface(10, 1, 0, 0, 20, 2, 0, 0) for s in subjects if s.link}
    host = replace(host, interfaces={**host.interfaces, **links})
    return Sample(at, host, {path: group for s in subjects for path in s.groups()})


def page_of(one: Sample, *subjects: Subject) -> Figures:
    page = Page()
    cadvisor.cadvisor(page, one, subjects, {"cid": (4096, 2)})
    return parse(page.render())


def test_containers_by_cadvisors_names_with_its_labels() -> None:
    web = subject(memory="64Mi", cpu="250m")
    figures = page_of(sample(web), web)
    of = {"container": "main", "namespace": "default", "pod": "web", "image": "example:1", "name": "cid",
          "id": "/mesh/guaranteed/poduid-web/libpod-cid"}  # fmt: skip
    assert figures.of("container_cpu_usage_seconds_total", cpu="total", **of) == pytest.approx(0.220687121)
    assert figures.of("container_cpu_user_seconds_total", **of) == pytest.approx(0.19)
    assert figures.of("container_cpu_cfs_throttled_periods_total", **of) == 9
    assert figures.of("container_cpu_cfs_throttled_seconds_total", **of) == pytest.approx(0.722140793)
    assert figures.of("container_memory_working_set_bytes", **of) == 946176 - 28672
    assert figures.of("container_memory_rss", **of) == 118784
    assert figures.of("container_memory_max_usage_bytes", **of) == 2072576
    assert figures.of("container_memory_failures_total", failure_type="pgmajfault", **of) == 2
    assert figures.of("container_oom_events_total", **of) == 1
    assert figures.of("container_fs_writes_bytes_total", device="8:0", **of) == 8192
    assert figures.of("container_fs_usage_bytes", **of) == 4096
    assert figures.of("container_spec_memory_limit_bytes", **of) == 64 << 20
    assert figures.of("container_spec_cpu_quota", **of) == 25_000
    assert figures.of("container_start_time_seconds", **of) == AT // SECOND
    assert figures.of("container_processes", **of) == 2
    assert figures.kinds["container_cpu_usage_seconds"] == "counter"


def test_a_pods_own_group_and_its_network_are_labelled_without_a_container() -> None:
    web = subject()
    figures = page_of(sample(web), web)
    of = {"container": "", "pod": "web", "namespace": "default"}
    assert figures.of("container_memory_working_set_bytes", **of) == 946176 - 28672
    assert figures.of("container_network_receive_bytes_total", interface="eth0", **of) == 20  # what the host sent to it
    assert figures.of("container_network_transmit_bytes_total", interface="eth0", **of) == 10


def test_a_pod_on_the_hosts_network_has_none_of_its_own() -> None:
    web = subject(host_network=True)
    assert not list(page_of(sample(web), web).every("container_network_receive_bytes_total"))


def test_a_container_that_is_gone_meanwhile_is_left_out_and_said_so() -> None:
    web = subject()
    one = Sample(AT, hostfiles.reading(PROC), {})
    figures = page_of(one, web)
    assert not list(figures.every("container_cpu_usage_seconds_total", pod="web"))
    assert figures.of("container_scrape_error") == 1
    assert page_of(sample(web), web).of("container_scrape_error") == 0


def test_pressure_where_the_kernel_counts_it() -> None:
    web = subject()
    figures = page_of(sample(web, version=2), web)
    assert figures.of("container_pressure_cpu_waiting_seconds_total", container="main") == pytest.approx(0.0015)
    assert figures.of("container_pressure_cpu_stalled_seconds_total", container="main") == pytest.approx(0.0005)


def test_the_machine() -> None:
    figures = page_of(sample())
    assert (figures.of("machine_cpu_cores"), figures.of("machine_memory_bytes")) == (2, 1000 * 1024)
    assert figures.of("container_cpu_usage_seconds_total", id="/") == pytest.approx(0.5)


def test_the_short_list() -> None:
    web, page = subject(), Page()
    cadvisor.resource(page, sample(web), [web])
    figures = parse(page.render())
    assert figures.of("node_cpu_usage_seconds_total") == pytest.approx(0.5)
    assert figures.of("pod_memory_working_set_bytes", pod="web", namespace="default") == 946176 - 28672
    assert figures.of("container_cpu_usage_seconds_total", container="main") == pytest.approx(0.220687121)
    assert figures.of("resource_scrape_error") == 0


def test_the_host_by_the_node_exporters_names() -> None:
    page = Page()
    nodefigures.host(page, sample(subject()).host, frozenset((subject().link,)))
    figures = parse(page.render())
    assert figures.of("node_cpu_seconds_total", cpu="0", mode="idle") == pytest.approx(0.5)
    assert (figures.of("node_load1"), figures.of("node_load15")) == (1.5, 3.25)
    assert figures.of("node_memory_MemAvailable_bytes") == 700 * 1024
    assert figures.of("node_memory_Inactive_file_bytes") == 100 * 1024
    assert figures.of("node_memory_HugePages_Total") == 3
    assert figures.of("node_network_receive_bytes_total", device="eth0") == 1000
    assert {dict(of)["device"] for name, of in figures.samples if name == "node_network_receive_bytes_total"} == {
        "lo", "eth0",
    }  # fmt: skip
    assert figures.of("node_disk_written_bytes_total", device="sda") == 32 * 512
    assert figures.of("node_filesystem_avail_bytes", mountpoint="/", fstype="ext4", device="/dev/sda1") == 500
    assert figures.of("node_filesystem_files_free", mountpoint="/") == 60
    assert figures.of("node_pressure_io_stalled_seconds_total") == pytest.approx(0.0005)
    assert "node_pressure_cpu_stalled_seconds_total" not in figures.names()
    assert figures.of("node_boot_time_seconds") == 1_700_000_000


def test_probes_are_counted_as_the_kubelet_counts_them() -> None:  # P20
    count = Count()
    went = (
        (Result.SUCCESS, 0.02),
        (Result.WARNING, 0.02),
        (Result.FAILURE, 3.0),
        (Result.STARVED, 0),
        (Result.ERROR, 0),
    )
    for result, seconds in went:
        count.add(Outcome(result, seconds=seconds), lag=0.5)
    web, page = replace(subject(), probes={("main", Kind.LIVENESS): count}), Page()
    kubelet.probes(page, [web])
    figures = parse(page.render())
    of = {"probe_type": "Liveness", "container": "main", "pod": "web", "namespace": "default"}
    for result, times in (("successful", 2), ("failed", 1), ("unknown", 2)):
        assert figures.of("prober_probe_total", result=result, pod_uid="uid-web", **of) == times
    assert figures.of("prober_probe_duration_seconds_bucket", le="2.5", **of) == 4
    assert figures.of("prober_probe_duration_seconds_count", **of) == 5
    assert figures.of("mesh_probe_lag_seconds_total", **of) == pytest.approx(2.5)
    assert figures.of("mesh_probe_worst_lag_seconds", **of) == 0.5


def test_the_agent_by_the_kubelets_names() -> None:
    operations, page = Operations(), Page()
    operations.took["start_container"].observe(0.2)
    operations.errors["start_container"] += 1
    operations.refused["assign"] += 2
    operations.failed += 3
    kubelet.kubelet(page, "node1", [subject()], operations)
    figures = parse(page.render())
    assert figures.of("kubelet_node_name", node="node1") == 1
    assert figures.of("kubelet_running_pods") == 1
    assert figures.of("kubelet_running_containers", container_state="running") == 1
    assert figures.of("kubelet_running_containers", container_state="exited") == 1
    assert figures.of("kubelet_runtime_operations_total", operation_type="start_container") == 1
    assert figures.of("kubelet_started_containers_errors_total") == 1
    assert figures.of("mesh_agent_refused_calls_total", method="assign") == 2
    assert figures.of("mesh_agent_pod_failures_total") == 3
    assert figures.of("mesh_container_restarts_total", pod="web", container="main") == 1


def test_how_long_a_pod_took_to_start() -> None:
    seen = subject().seen
    assert seen is not None
    first = replace(seen.containers[1], attempt=0, started_at=AT + 3 * SECOND // 2)
    fresh = replace(subject(), seen=replace(seen, containers=(first,)))
    assert fresh.took_to_start(AT - 1) == 1.5
    assert fresh.took_to_start(AT + 1) == 0  # it was there before this agent
    assert replace(fresh, seen=replace(seen, containers=())).took_to_start(AT) == 0
    assert subject().took_to_start(AT) == 0  # a later attempt says nothing of the start


# ---- summary


def test_rates_are_those_between_the_samples() -> None:
    web = subject(memory="64Mi")
    now = sample(web)
    cpu = replace(now.groups[web.cgroup].cpu, usage=120_687_121)  # type: ignore[type-var]
    earlier = {path: replace(group, cpu=cpu) for path, group in now.groups.items()}
    before = Sample(AT - SECOND // 2, now.host, earlier)
    pod = Summarizer(before, now, {}).whole("node1", "/", [web]).pods[0]
    assert pod.containers[0].cpu.usage_nano_cores == 200_000_000  # 0.1 s of work in half a second
    assert pod.cpu.usage_core_nano_seconds == 220_687_121
    assert pod.containers[0].memory.available_bytes == quantity.parse("64Mi").whole - (946176 - 28672)


def test_without_an_earlier_sample_there_is_no_rate_and_none_is_made_up() -> None:
    web = subject()
    now = sample(web)
    for before in (None, Sample(AT - SECOND, now.host, {}), Sample(AT, now.host, now.groups)):
        pod = Summarizer(before, now, {}).whole("node1", "/", [web]).pods[0]
        assert not pod.containers[0].cpu.HasField("usage_nano_cores")
        assert pod.containers[0].cpu.HasField("usage_core_nano_seconds")


def test_a_container_that_was_started_again_between_the_samples_has_no_rate() -> None:
    web = subject()
    now = sample(web)
    cpu = replace(now.groups[web.cgroup].cpu, usage=10**15)  # type: ignore[type-var]
    before = Sample(AT - SECOND, now.host, {path: Group(cpu=cpu) for path in web.groups()})
    pod = Summarizer(before, now, {}).whole("node1", "/", [web]).pods[0]
    assert not pod.containers[0].cpu.HasField("usage_nano_cores")


def test_the_summary_reads_as_the_kubelets() -> None:
    web = subject()
    held = Held({"main": (100, 1)}, {"main": (10, 1)}, {"data": (1000, 3)})
    summary = Summarizer(None, sample(web), {"uid-web": held}, AT).whole("node1", "/var/lib/mesh", [web])
    read = json.loads(json.dumps(as_json(summary)))
    assert read["node"]["nodeName"] == "node1"
    assert read["node"]["memory"]["workingSetBytes"] == 500 * 1024
    assert read["node"]["fs"] | {"time": ""} == {
        "time": "", "availableBytes": 500, "capacityBytes": 1000, "usedBytes": 400, "inodesFree": 60, "inodes": 100,
        "inodesUsed": 40,
    }  # fmt: skip
    assert read["node"]["rlimit"]["maxpid"] == 32768
    pod = read["pods"][0]
    assert pod["podRef"] == {"name": "web", "namespace": "default", "uid": "uid-web"}
    assert pod["network"]["name"] == "eth0"
    assert (pod["network"]["rxBytes"], pod["network"]["interfaces"][0]["txBytes"]) == (20, 10)
    assert pod["containers"][0]["rootfs"]["usedBytes"] == 100
    assert pod["containers"][0]["logs"]["usedBytes"] == 10
    assert pod["volume"][0]["usedBytes"] == 1000
    assert pod["ephemeral-storage"]["usedBytes"] == 1110
    assert pod["process_stats"]["process_count"] == 3
    assert pod["containers"][0]["memory"]["rssBytes"] == 118784
