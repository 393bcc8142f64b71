"""A host comes in by a token, leaves, and comes back as another one."""

import json
from pathlib import Path

import pytest

from tests.e2e.conftest import IMAGE, join
from tests.harness.hosts import Failed, FakeHost, machines, until

pytestmark = pytest.mark.timeout(600)


def test_a_host_joins_leaves_and_is_another_one_when_it_is_back(tmp_path: Path, archive: Path) -> None:
    with machines(tmp_path, 2) as (first, second):
        first.up(f"--listen={first.ip}:7443")
        join(first, second)
        before = node(first, "host2")
        assert ready(before)
        routes = second.run("ip", "route")
        assert f"{node(first, 'host1')['spec']['podCIDR']} " in routes
        second.import_image(archive, IMAGE)
        first.mesh("apply", "-f", "-", "--wait", "--timeout=90s", text=daemon())
        table = second.state / "netproxy" / "last-table"
        until(lambda: table.exists() and table.stat().st_size, 10, "host2 has the table of Services")
        refused(first, "node", "remove", "host2", saying="pod default/lone is on it")
        first.mesh("delete", "pod", "lone", "--now", "--timeout=90s")

        first.mesh("node", "drain", "host2", "--ignore-daemonsets")
        first.mesh("node", "remove", "host2")
        until(lambda: not second.containers(), 30, "the pods of a removed host end")
        refused(first, "get", "node", "host2", saying="there is no Node")
        second.mesh("down", "--purge", "--yes")
        assert not any((second.state).iterdir())

        join(first, second)
        after = node(first, "host2")
        assert ready(after)
        assert after["metadata"]["uid"] != before["metadata"]["uid"]
        second.mesh("down", "--purge", "--yes")  # and reinstalled without a word to the mesh
        join(first, second)
        until(lambda: node(first, "host2")["metadata"]["uid"] != after["metadata"]["uid"], 30, "it is a new host")


def node(first: FakeHost, name: str) -> dict:  # type: ignore[type-arg]  # as JSON has it
    return json.loads(first.mesh("get", "node", name, "-o", "json"))


def ready(found: dict) -> bool:  # type: ignore[type-arg]
    return any(c["type"] == "Ready" and c["status"] == "True" for c in found["status"]["conditions"])


def refused(host: FakeHost, *args: str, saying: str) -> None:
    try:
        host.mesh(*args)
    except Failed as error:
        assert saying in str(error)
    else:
        raise AssertionError(f"mesh {' '.join(args)} was not refused")


def daemon() -> str:
    """A pod on each host, and one that nobody would make again."""
    container = f"{{name: main, image: {IMAGE}, imagePullPolicy: Never, command: [sleep, infinity]}}"
    return f"""
apiVersion: apps/v1
kind: DaemonSet
metadata: {{name: everywhere}}
spec:
  selector: {{matchLabels: {{app: everywhere}}}}
  template:
    metadata: {{labels: {{app: everywhere}}}}
    spec:
      nodeSelector: {{kubernetes.io/hostname: host2}}
      terminationGracePeriodSeconds: 1
      containers: [{container}]
---
apiVersion: v1
kind: Pod
metadata: {{name: lone}}
spec:
  nodeName: host2
  terminationGracePeriodSeconds: 1
  containers: [{container}]
"""
