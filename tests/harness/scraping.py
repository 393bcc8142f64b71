"""A Prometheus of the mind: scrapes what programs really expose, once a minute of bent time, for promtool to judge.

    scraped = Scraped(cluster, SHIPPED / "prometheus.yml")
    await scraped.minutes(25, every)                 # `every` makes the next minute of what goes wrong
    scraped.series()                                 # as `input_series` of a promtool test

Rule: samples are those of the pages, and labels those that the shipped configuration gives. Nothing is invented but
`up`, which is Prometheus' own. A sample that is missing is missing (`_`).
"""

import asyncio
import json
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from mesh.errors import Unavailable
from mesh.exposition.text import labels
from tests.harness.cluster import Cluster
from tests.harness.fake_runtime import EPOCH
from tests.harness.figures import parse

_SINCE_EPOCH = "mesh_certificate_expires_seconds"  # promtool's clock begins at 0, and so do these here
Labels = frozenset[tuple[str, str]]


class Scraped:
    """See the module; the newest meshd of the cluster is the one that is asked."""

    def __init__(self, cluster: Cluster, configuration: Path) -> None:
        self._cluster = cluster
        self._jobs: list[dict[str, Any]] = yaml.safe_load(configuration.read_text())["scrape_configs"]
        self._series: dict[tuple[str, Labels], dict[int, float]] = defaultdict(dict)
        self._known: dict[str, tuple[str, Labels]] = {}
        self.minute = 0

    async def minutes(self, count: int, every: Callable[[], None] = lambda: None) -> None:
        """So many scrapes, a minute apart."""
        for _ in range(count):
            every()
            for job in self._jobs:
                async for target, text in self._told(job):
                    self._take(target, text)
            self.minute += 1
            await asyncio.sleep(60)

    def series(self) -> list[dict[str, str]]:
        """All of them, from the first scrape to the last."""
        told = []
        for (name, of), values in sorted(self._series.items(), key=lambda s: (s[0][0], sorted(s[0][1]))):
            words = (repr(values[m]) if m in values else "_" for m in range(self.minute))
            told.append({"series": f"{name}{{{labels(dict(sorted(of)))}}}", "values": " ".join(words)})
        return told

    # ---- inside

    async def _told(self, job: Mapping[str, Any]) -> AsyncIterator[tuple[dict[str, str], str | None]]:
        """Each target's labels, and what it says; None: nothing."""
        figures = self._cluster.meshds[-1].figures
        if "static_configs" in job:
            path = job.get("metrics_path", "/metrics")
            yield {"job": job["job_name"], "instance": "meshd:7445"}, (await figures.raw(path)).decode()
            return
        for target in json.loads(await figures.raw("/sd")):
            of = {"job": job["job_name"], "instance": target["targets"][0]}
            of |= {rule["target_label"]: target["labels"].get(rule["source_labels"][0], "")
                   for rule in job["relabel_configs"]}  # fmt: skip
            host = self._cluster.hosts[target["labels"]["__meta_mesh_node"]]
            try:
                yield of, await host.figures()
            except Unavailable:
                yield of, None

    def _take(self, target: Mapping[str, str], text: str | None) -> None:
        self._put("up", target, int(text is not None))
        for (name, of), value in self._samples(text or ""):
            theirs = {f"exported_{k}" if k in target else k: v for k, v in of}
            self._put(name, {**theirs, **target}, value - EPOCH if name == _SINCE_EPOCH else value)

    def _samples(self, text: str) -> Iterator[tuple[tuple[str, Labels], float]]:
        """Of a page; the same name and labels come each minute, and are read but once."""
        for line in text.splitlines():
            named, _, value = line.rpartition(" ")
            if line.startswith("#"):
                continue
            if named not in self._known:
                [self._known[named]] = parse(f"{named} 0\n").samples
            yield self._known[named], float(value)

    def _put(self, name: str, of: Mapping[str, str], value: float) -> None:
        self._series[name, frozenset((k, v) for k, v in of.items() if v)][self.minute] = value


def verdict(scraped: Scraped, rules: Path, well: Sequence[int], sick: int, fires: Mapping[str, str]) -> str:
    """A test for promtool: at the minutes `well` nothing fires, at `sick` each of these alerts does, by selectors."""
    firing = 'ALERTS{{alertstate="firing",alertname="{}",{}}}'
    asked = [{"expr": f"count({firing.format(alert, of)})", "eval_time": f"{sick}m",
              "exp_samples": [{"labels": "{}", "value": 1}]} for alert, of in fires.items()]  # fmt: skip
    asked += [{"expr": 'count by (alertname) (ALERTS{alertstate="firing"})', "eval_time": f"{minute}m",
               "exp_samples": []} for minute in well]  # fmt: skip
    test = {"interval": "1m", "input_series": scraped.series(), "promql_expr_test": asked}
    return json.dumps({"rule_files": [str(rules)], "evaluation_interval": "1m", "tests": [test]})  # YAML too
