"""Traces from apply to Running, as a collector gets them, and their ids among the figures; off, nothing is loaded."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from mesh.app import traced
from mesh.config import MeshdConfig, Pki
from mesh.exposition.text import CONTENT_TYPE, OPENMETRICS
from mesh.exposition.web import Request
from mesh.meshd import Settings
from mesh.model.kinds import pack
from mesh.model.manifest import load
from mesh.pki import Identity
from mesh.tracing.span import Context, parsed
from mesh.tracing.walks import Walks
from mesh.v1.control_pb2 import ApplyRequest
from nodeagent.runtime.port import Image
from tests.harness.agents import World
from tests.harness.collector import Collector
from tests.harness.control import certify, control
from tests.harness.fake_runtime import FakeHost, Program

NOWHERE = Path("/nowhere")
DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: default}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {automountServiceAccountToken: false, containers: [{name: main, image: "far:1"}]}
"""
HOSTS = ("sandbox", "pull", "create", "start")  # by the host's clock, which is not meshd's
CALLER = Context("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331")


def config(endpoint: str = "") -> MeshdConfig:
    return MeshdConfig(NOWHERE, NOWHERE, Pki(NOWHERE, NOWHERE, NOWHERE), otlp_endpoint=endpoint)


@pytest.mark.parametrize("by_environment", [True, False])
async def test_an_apply_is_one_trace_until_its_pod_is_ready(by_environment: bool, tmp_path: Path) -> None:
    host = FakeHost(registry={"far:1": Image("sha256:far", ("far:1",), 1000)}, pull_seconds=0.05)
    host.programs["main"] = Program(create_seconds=0.02)
    world = World(tmp_path, host)
    certify("node1", world.config.pki_dir)
    agent = await world.start()
    async with Collector() as collector:
        told = config() if by_environment else config(collector.endpoint)
        environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint} if by_environment else {}
        async with traced(told, environment) as walks:
            began = time.time_ns()
            async with control(agents={"node1": agent}, settings=Settings(walks=walks)) as mesh:
                objects = [pack(o) for o in load(DEPLOYMENT, "test").objects]
                await mesh.resources.Apply(
                    ApplyRequest(objects=objects), metadata=[("traceparent", CALLER.traceparent)]
                )
                spans = await collector.until(lambda spans: "pod" in spans.names())
            ended = time.time_ns()
    call, pod = spans.one("mesh.v1.Resources/Apply"), spans.one("pod", k8s_namespace_name="default")
    assert {span.trace_id.hex() for span in spans.all} == {CALLER.trace}
    assert call.parent_span_id.hex() == CALLER.span
    made = spans.one("create ReplicaSet")
    assert {span.name for span in spans.below(call)} == {"admission", "store commit", made.name}
    assert pod.parent_span_id == made.span_id
    below = sorted(spans.below(pod), key=lambda span: span.start_time_unix_nano)
    steps = [span for span in below if span.name in HOSTS]
    assert [span.name for span in below if span not in steps] == ["schedule", "order", "ready"]
    assert [span.name for span in steps] == list(HOSTS)
    assert spans.one("pull", k8s_container_name="main").end_time_unix_nano - steps[1].start_time_unix_nano >= 50_000_000
    assert steps[2].end_time_unix_nano - steps[2].start_time_unix_nano >= 20_000_000
    for span in spans.all:
        assert span.start_time_unix_nano <= span.end_time_unix_nano
        assert span in steps or began <= span.start_time_unix_nano <= span.end_time_unix_nano <= ended
    assert world.agent is agent
    await world.kill()


async def test_a_host_keeps_no_times_of_pods_that_nobody_traces(tmp_path: Path) -> None:
    world = World(tmp_path)
    certify("node1", world.config.pki_dir)
    agent = await world.start()
    async with control(agents={"node1": agent}) as mesh:
        objects = [pack(o) for o in load(DEPLOYMENT, "test").objects]
        await mesh.resources.Apply(ApplyRequest(objects=objects))
        await world.until(lambda: any(r.status.phase == "Running" for r in world.heard.values()))
    assert not any(report.steps for report in world.statuses)
    await world.kill()


def test_what_is_no_traceparent_begins_a_trace_of_its_own() -> None:
    assert parsed(CALLER.traceparent) == CALLER
    zeros = f"00-{'0' * 32}-{CALLER.span}-01"
    for text in ("", "00-abc-def-01", zeros, CALLER.traceparent + "\n", CALLER.traceparent.upper()):
        assert parsed(text) is None


def test_without_a_collector_nothing_of_opentelemetry_is_loaded() -> None:
    look = "import sys, mesh.app, nodeagent.app; sys.exit(any(m.startswith('opentelemetry') for m in sys.modules))"
    assert subprocess.run([sys.executable, "-c", look], timeout=60, check=False).returncode == 0


@pytest.mark.parametrize("wanted", [True, False])
async def test_ids_of_traces_are_among_the_figures_when_wanted(wanted: bool) -> None:
    said = []
    walks = Walks(time.time_ns, said.append)
    async with control(settings=Settings(walks=walks, exemplars=wanted)) as mesh:
        await mesh.resources.Apply(ApplyRequest(objects=[pack(o) for o in load(DEPLOYMENT, "test").objects]))
        who = Identity("prometheus", ("mesh:monitors",), "user", 0, 0)
        answers = [
            await mesh.meshd.figures.answer(Request("/metrics", {}, who, accept))
            for accept in ("application/openmetrics-text;version=1.0.0,text/plain;q=0.5", "text/plain")
        ]
    assert [a.content_type for a in answers] == [OPENMETRICS if wanted else CONTENT_TYPE, CONTENT_TYPE]
    assert b"trace_id" not in answers[1].body
    if not wanted:
        assert b"trace_id" not in answers[0].body
        return
    families = {f.name: f for f in text_string_to_metric_families(answers[0].body.decode())}
    [call] = [span for span in said if span.name == "mesh.v1.Resources/Apply"]
    for name in ("grpc_server_handling_seconds", "mesh_store_commit_duration_seconds"):
        shown = [sample for sample in families[name].samples if sample.exemplar]
        assert {s.exemplar.labels["trace_id"] for s in shown} == {call.context.trace}
        for sample in shown:
            assert sample.exemplar.value <= float(sample.labels["le"])
    assert families["mesh_store_commits"].type == "counter"
