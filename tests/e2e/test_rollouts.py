"""A Deployment of ten behind a Service rolls forth and back while it is asked all the time: no request fails, and a
broken image stops the rollout, says why, and takes nothing away.

MESH_ROLLOUTS=20 rolls so many times, and asks as much as goes.
"""

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import IMAGE
from tests.harness.hosts import Failed, FakeHost, machines
from tests.harness.loading import load
from tests.harness.pythonpod import python_pod

ROUNDS = int(os.environ.get("MESH_ROLLOUTS") or "0")
RATE = 0 if ROUNDS else 50
ADDRESS, REPLICAS = "10.96.0.90", 10
SERVICE = f"""
apiVersion: v1
kind: Service
metadata: {{name: web}}
spec: {{clusterIP: {ADDRESS}, selector: {{app: web}}, ports: [{{port: 80, targetPort: http}}]}}
"""

pytestmark = pytest.mark.timeout(600 + 120 * ROUNDS)


def web() -> str:
    """The Deployment's manifest: servers that know nothing of being drained, and no preStop hook."""
    pod = json.loads(python_pod("web", "http_server.py", "8080", "web", labels={"app": "web"}, ports=(8080,)))
    spec = {**pod["spec"], "terminationGracePeriodSeconds": 2}
    template = {"metadata": {"labels": {"app": "web"}}, "spec": spec}
    deployment = {"replicas": REPLICAS, "progressDeadlineSeconds": 15, "template": template,
                  "selector": {"matchLabels": {"app": "web"}}}  # fmt: skip
    return json.dumps({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": deployment})


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory, archive: Path) -> Iterator[FakeHost]:
    """One host with the Deployment and its Service."""
    with machines(tmp_path_factory.mktemp("rollouts"), 1) as (one,):
        one.up()
        one.import_image(archive, IMAGE)
        one.mesh("apply", "-f", "-", text=f"{SERVICE}---\n{web()}")
        rolled_out(one)
        yield one


def rolled_out(host: FakeHost) -> None:
    told = host.mesh("rollout", "status", "deployment/web", "--timeout=120s")
    assert "successfully rolled out" in told


def pods(host: FakeHost) -> set[str]:
    return set(host.mesh("get", "pods", "-l", "app=web", "-o", "jsonpath={.items[*].metadata.name}").split())


def test_no_request_fails_while_it_rolls_forth_and_back(host: FakeHost) -> None:
    for number in range(ROUNDS or 1):
        for mode in ("close", "keep")[: 2 if ROUNDS else 1]:
            before = pods(host)
            with load(host, ADDRESS, mode, RATE) as told:
                host.mesh("set", "env", "deployment/web", f"VERSION={number}-{mode}")
                rolled_out(host)
                between = pods(host)
                host.mesh("rollout", "undo", "deployment/web")
                rolled_out(host)
            assert not before & between
            assert not between & pods(host)
            assert told["failed"] == {}, told
            assert told["asked"] > 100
            print(f"\n{mode}: {told['asked']} requests, the slowest took {told['slowest']:.2f} s")


def test_a_broken_image_stops_the_rollout_and_takes_nothing_away(host: FakeHost) -> None:
    before = pods(host)
    with load(host, ADDRESS, "close", RATE) as told:
        host.mesh("set", "image", "deployment/web", "main=localhost/there-is-none:1")
        with pytest.raises(Failed) as failed:
            host.mesh("rollout", "status", "deployment/web", "--timeout=120s")
        available = int(host.mesh("get", "deployment", "web", "-o", "jsonpath={.status.availableReplicas}"))
        assert available >= REPLICAS * 3 // 4
        assert len(before & pods(host)) >= REPLICAS * 3 // 4
        host.mesh("rollout", "undo", "deployment/web")
        rolled_out(host)
    said = str(failed.value)
    assert re.search(r"→ 1\n", said)
    assert "exceeded its progress deadline" in said
    assert "there-is-none" in said
    assert told["failed"] == {}, told
