"""What hosts say of pods becomes figures: usage by container, gauges as they are, counters by the second."""

from mesh.exposition.reading import Sample, read
from mesh.model.times import SECOND
from mesh.scaling.readings import Readings, Seen, metrics_of, usage_of
from mesh.v1.meta_pb2 import LabelSelector
from mesh.v1.stats_pb2 import Summary

PAGE = """# HELP depth Waiting.
# TYPE depth gauge
depth{namespace="default",pod="a",queue="in"} 3
depth{namespace="default",pod="a",queue="o\\"ut\\\\"} 4.5
depth_total{namespace="default",pod="a"} 99
depth{namespace="default",pod="b",queue="in"} NaN
# TYPE hits counter
hits_total{namespace="default",pod="a"} 10
not a sample
"""


def test_samples_of_some_names() -> None:
    found = read(PAGE, {"depth", "hits_total"})
    assert [(s.name, s.labels.get("queue", ""), s.value, s.counter) for s in found] == [
        ("depth", "in", 3.0, False),
        ("depth", 'o"ut\\', 4.5, False),
        ("hits_total", "", 10.0, True),
    ]


def test_a_counter_is_what_it_grows_by_in_a_second() -> None:
    def hits(value: float) -> list[Sample]:
        return [Sample("hits_total", {"namespace": "default", "pod": "a"}, value, counter=True)]

    first, seen = metrics_of(hits(10), Seen(), 100 * SECOND)
    assert first == {}
    second, seen = metrics_of(hits(40), seen, 115 * SECOND)
    assert [*second["default", "a"].values()] == [2 * 10**9]
    again, _ = metrics_of(hits(15), seen, 130 * SECOND)  # its program began anew
    assert [*again["default", "a"].values()] == [10**9]


def test_a_metric_is_the_sum_of_the_series_that_are_chosen() -> None:
    metrics, _ = metrics_of(read(PAGE, {"depth"}), Seen(), SECOND)
    readings = Readings(metrics=metrics)
    assert readings.metric(("default", "a"), "depth", LabelSelector()) == 7_500_000_000
    assert readings.metric(("default", "a"), "depth", LabelSelector(match_labels={"queue": "in"})) == 3 * 10**9
    assert readings.metric(("default", "b"), "depth", LabelSelector()) is None


def test_usage_leaves_out_what_was_not_measured() -> None:
    summary = Summary()
    pod = summary.pods.add()
    pod.pod_ref.uid = "u"
    full = pod.containers.add(name="full")
    full.cpu.usage_nano_cores, full.memory.working_set_bytes = 5, 7
    pod.containers.add(name="fresh").memory.working_set_bytes = 1
    assert usage_of(summary) == {"u": {"full": {"cpu": 5, "memory": 7 * 10**9}, "fresh": {"memory": 10**9}}}
