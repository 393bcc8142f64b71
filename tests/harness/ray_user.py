"""A user with a small Ray of their own on a mesh's host: `python -m tests.harness.ray_user IP` prints one JSON object.

Its pods are futures; the test judges. At its end it is killed, like a driver whose machine fails, with a pod running.
"""

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import TaskCancelledError

from mesh.sdk import Client, PodFailed
from mesh.sdk.ray import pod_task
from mesh.v1.core_pb2 import Pod
from tests.harness.hosts import until

IMAGE = "localhost/mesh-hello:1"


def manifest(name: str, command: str, cpu: str = "10m") -> str:
    return f"""
apiVersion: v1
kind: Pod
metadata: {{name: {name}}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: main
    image: {IMAGE}
    command: [sh, -c, {json.dumps(command)}]
    resources: {{requests: {{cpu: {cpu}}}}}
"""


def running(mesh: Client, name: str) -> Pod:
    mesh.wait(Pod, name, condition="Ready", timeout=60)
    return mesh.get(Pod, name)


def names(mesh: Client) -> list[str]:
    return [pod.metadata.name for pod in mesh.list(Pod)]


def futures() -> list[str]:
    text = manifest("", "echo $HOSTNAME").replace("name: ,", "").replace("{name: }", "{generateName: share-}")
    return sorted(done.output.split("-")[0] for done in ray.get([pod_task(text) for _ in range(3)]))


def failure() -> dict[str, Any]:
    try:
        ray.get(pod_task(manifest("fails", "echo alas; exit 7")))
    except PodFailed as failed:
        return {"code": failed.ended.exit_code, "output": failed.ended.output}
    return {}


def cancelled(mesh: Client) -> dict[str, Any]:
    ref = pod_task(manifest("cancelled", "sleep 1000"))
    until(lambda: "cancelled" in names(mesh), 30, "the pod is made")
    running(mesh, "cancelled")
    ray.cancel(ref)
    mesh.wait(Pod, "cancelled", delete=True, timeout=30)
    try:
        ray.get(ref)
    except TaskCancelledError:
        return {"cancelled": True}
    return {}


def free() -> float:
    return float(ray.available_resources().get("CPU", 0))


def held(mesh: Client) -> dict[str, Any]:
    """A pod with 1.5 of two CPUs; its worker is killed; a task that wants one CPU waits for the pod's end."""
    pod = manifest("holds", "until [ -e /tmp/end ]; do sleep 0.1; done; echo ended", "1500m")
    ref = pod_task(pod, hold=True)
    until(lambda: "holds" in names(mesh), 30, "the pod is made")
    first = running(mesh, "holds")
    during = until(lambda: free() == 0.5, 20, "Ray knows that the pod's CPUs are taken")
    worker = until(lambda: _worker("pod holds"), 20, "the task's worker")
    os.kill(worker, signal.SIGKILL)
    until(lambda: _worker("pod holds") not in (0, worker), 30, "Ray has tried again")
    again = until(lambda: free() == 0.5, 20, "the CPUs are taken again")
    other = ray.remote(num_cpus=1)(_nothing).remote()
    waits = not ray.wait([other], timeout=1)[0]
    second = running(mesh, "holds")
    mesh.exec("holds", ["touch", "/tmp/end"])
    output = ray.get(ref).output
    ray.get(other, timeout=60)
    return {
        "during": during, "again": again, "waits": waits, "output": output, "left": names(mesh),
        "same": first.metadata.uid == second.metadata.uid,
        "after": until(lambda: free() == 2, 20, "Ray has its CPUs back"),
    }  # fmt: skip


def _nothing() -> None:
    pass


def _worker(task: str) -> int:
    """The pid of the worker that runs the task: Ray writes its name into the process's title."""
    for line in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if line.read_text().rstrip("\0 ") == f"ray::{task}":
                return int(line.parent.name)
        except (OSError, UnicodeDecodeError):
            continue
    return 0


def main() -> None:
    ray.init(
        "local", num_cpus=2, include_dashboard=False, object_store_memory=78643200, log_to_driver=False,
        _node_ip_address=sys.argv[1], _temp_dir="/run/user-ray", configure_logging=False,
    )  # fmt: skip
    with Client() as mesh:
        said = {"futures": futures(), "failure": failure(), "cancelled": cancelled(mesh), "held": held(mesh)}
        pod_task(manifest("orphan", "sleep 1000"), lease=10)
        until(lambda: "orphan" in names(mesh), 30, "the pod is made")
        running(mesh, "orphan")
    print(json.dumps(said), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main()
