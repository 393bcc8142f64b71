"""Figures of applications: labelled with their pod, bounded, and never mistaken for the host's."""

import pytest

from mesh.exposition.text import Page
from nodeagent.stats.foreign import Foreign, read
from tests.harness.figures import Figures, parse


def shown(foreign: Foreign) -> Figures:
    page = Page()
    foreign.show(page)
    return parse(page.render())


def test_samples_get_the_pods_labels_and_keep_their_own() -> None:
    text = (
        '# HELP calls_total Calls of it.\n# TYPE calls_total counter\ncalls_total{code="200",path="/a,b\\"}"} 7\n'
        "calls_total{code=\"500\"} 1 1700000000000\n\nplain 1.5\n"
    )  # fmt: skip
    figures = shown(read(text, "a", "web"))
    assert figures.of("calls_total", code="200", path='/a,b"}', namespace="a", pod="web") == 7
    assert figures.of("calls_total", code="500") == 1
    assert figures.of("plain", namespace="a") == 1.5
    assert figures.kinds["calls"] == "counter"


def test_a_histogram_stays_one_family() -> None:
    text = '# TYPE t histogram\nt_bucket{le="1"} 1\nt_bucket{le="+Inf"} 2\nt_sum 3\nt_count 2\n'
    figures = shown(read(text, "a", "web"))
    assert figures.kinds == {"t": "histogram"}
    assert figures.of("t_bucket", le="+Inf", pod="web") == 2


def test_labels_of_ours_that_it_uses_itself_are_renamed() -> None:
    figures = shown(read('m{namespace="evil",pod="other"} 1\n', "a", "web"))
    assert figures.of("m", namespace="a", pod="web", exported_namespace="evil", exported_pod="other") == 1


@pytest.mark.parametrize(
    "line",
    ["kubelet_running_pods 9", 'container_cpu_usage_seconds_total{pod="x"} 1', "mesh_application_up 1", "kube_x 1",
     "no value", "m{a=b} 1", 'm{a="b} 1', "m one", "9m 1", 'm{a="x"}1 2 3 4', "\x00 1"],
)  # fmt: skip
def test_what_is_no_sample_or_is_named_as_ours_is_dropped(line: str) -> None:
    found = read(f"good 1\n{line}\ngood2 2\n", "a", "web")
    assert (found.samples, found.dropped, found.cut) == (2, 1, False)


def test_a_greedy_pod_is_cut() -> None:
    found = read("".join(f'm{{i="{i}"}} 1\n' for i in range(50)), "a", "web", most=10)
    assert (found.samples, found.cut) == (10, True)
    assert len(list(shown(found).every("m"))) == 10
