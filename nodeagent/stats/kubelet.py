"""/metrics/kubelet and /metrics/probes: the agent itself, by the kubelet's names, and its probes (P20).

Rule: pure. Probes are labelled as the kubelet does; how late this host was to send them is told apart, under our name.
"""

from collections import Counter
from collections.abc import Sequence

from mesh.exposition.text import Family, Page, labels
from nodeagent.probes.counts import Count
from nodeagent.probes.state import Kind, Result
from nodeagent.runtime.seen import State
from nodeagent.stats.operations import Operations
from nodeagent.stats.subjects import Subject

_NODE = Family("kubelet_node_name", "gauge", "The node's name.")
_PODS = Family("kubelet_running_pods", "gauge", "Pods that have a running container.")
_DESIRED = Family("kubelet_desired_pods", "gauge", "Pods that this host is to run.")
_CONTAINERS = Family("kubelet_running_containers", "gauge", "Containers by their state.")
_OPERATIONS = Family("kubelet_runtime_operations_total", "counter", "Calls of the container runtime.")
_ERRORS = Family("kubelet_runtime_operations_errors_total", "counter", "Calls of the container runtime that failed.")
_TOOK = Family("kubelet_runtime_operations_duration_seconds", "histogram", "How long calls of the runtime took.")
_STARTS = Family("kubelet_pod_start_duration_seconds", "histogram", "From making a pod's sandbox until all of it runs.")
_EVICTIONS = Family("kubelet_evictions", "counter", "Pods evicted by this host.")
_STARTED = Family("kubelet_started_containers_total", "counter", "Containers begun.")
_STARTED_ERRORS = Family("kubelet_started_containers_errors_total", "counter", "Containers that could not be begun.")
_PULLED = Family("kubelet_image_pull_duration_seconds", "histogram", "How long pulls of images took.")
_RESTARTS = Family("mesh_container_restarts_total", "counter", "Times that a container was started again.")
_REFUSED = Family("mesh_agent_refused_calls_total", "counter", "What came as the control service's and was refused.")
_FAILED = Family("mesh_agent_pod_failures_total", "counter", "Bugs of the agent that a pod brought out.")
_READY = Family("mesh_container_ready", "gauge", "1 when the container is ready.")

_PROBES = Family("prober_probe_total", "counter", "Probes by their result.")
_DURATION = Family("prober_probe_duration_seconds", "histogram", "Seconds until probes were answered.")
_LAG = Family("mesh_probe_lag_seconds_total", "counter", "Seconds that this host was late to send probes, in all.")
_WORST = Family("mesh_probe_worst_lag_seconds", "gauge", "The longest that this host was late to send one.")
_RESULTS = {
    Result.SUCCESS: "successful", Result.WARNING: "successful", Result.FAILURE: "failed", Result.ERROR: "unknown",
    Result.STARVED: "unknown",
}  # fmt: skip


def kubelet(page: Page, node: str, subjects: Sequence[Subject], operations: Operations) -> None:
    """The agent."""
    page.one(_NODE, 1, labels({"node": node}))
    page.one(_DESIRED, len(subjects))
    page.one(_PODS, sum(bool(s.containers) for s in subjects))
    states = Counter(c.state for s in subjects for c in (s.seen.containers if s.seen else ()))
    page.put(_CONTAINERS, [(labels({"container_state": state}), states[state]) for state in State])
    for name, took in operations.took.items():
        of = labels({"operation_type": name})
        page.one(_OPERATIONS, took.count, of)
        page.one(_ERRORS, operations.errors[name], of)
        page.histogram(_TOOK, of, took)
    page.histogram(_STARTS, "", operations.starts)
    page.one(_EVICTIONS, operations.evictions)
    page.one(_FAILED, operations.failed)
    page.put(_REFUSED, [(labels({"method": method}), times) for method, times in operations.refused.items()])
    starts, pulls = operations.took.get("start_container"), operations.took.get("pull_image")
    page.one(_STARTED, starts.count if starts else 0)
    page.one(_STARTED_ERRORS, operations.errors["start_container"])
    if pulls:
        page.histogram(_PULLED, "", pulls)
    told = [(s, c) for s in subjects for c in (*s.status.init_container_statuses, *s.status.container_statuses)]
    rows = [(labels({"container": c.name}) + "," + s.short, c) for s, c in told]
    page.put(_RESTARTS, [(of, c.restart_count) for of, c in rows])
    page.put(_READY, [(of, int(c.ready)) for of, c in rows])


def probes(page: Page, subjects: Sequence[Subject]) -> None:
    """What probes came to (P20)."""
    for subject in subjects:
        for (container, kind), count in subject.probes.items():
            _probe(page, subject, container, kind, count)


def _probe(page: Page, subject: Subject, container: str, kind: Kind, count: Count) -> None:
    of = labels({"probe_type": str(kind), "container": container}) + "," + subject.short
    results: Counter[str] = Counter()
    for result, times in count.results.items():
        results[_RESULTS[Result(result)]] += times
    uid = labels({"pod_uid": subject.uid})
    page.put(_PROBES, [(f'{of},{uid},result="{result}"', times) for result, times in results.items()])
    page.histogram(_DURATION, of, count.took)
    page.one(_LAG, count.lag, of)
    page.one(_WORST, count.worst_lag, of)
