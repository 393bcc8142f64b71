"""Pods that run this machine's own Python and the tests' programs, in the example's image: nothing is pulled."""

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parent.parent.parent
IMAGE = "localhost/mesh-hello:1"
PYTHON = os.path.realpath(sys.executable)


def python_pod(name: str, program: str, *args: str, node: str = "", labels: dict[str, str] | None = None,
               annotations: dict[str, str] | None = None, ports: Sequence[int] = (), **spec: Any) -> str:  # fmt: skip
    """The manifest of a pod that runs tests/harness/PROGRAM; with ports it is ready once it listens on the first."""
    mounts = {"usr": "/usr", "lib": "/lib", "lib64": "/lib64"}
    if not sys.base_prefix.startswith("/usr"):
        mounts["python"] = sys.base_prefix
    code = str(REPOSITORY / "tests" / "harness")
    container: dict[str, Any] = {
        "name": "main", "image": IMAGE, "command": [PYTHON, "-S", f"/code/{program}", *args],
        "volumeMounts": [{"name": n, "mountPath": p, "readOnly": True} for n, p in {**mounts, "code": "/code"}.items()],
        "ports": [{"name": "http", "containerPort": port} for port in ports[:1]],
    }  # fmt: skip
    if ports:
        container["readinessProbe"] = {"tcpSocket": {"port": ports[0]}, "periodMilliseconds": 100}
    paths = {n: os.path.realpath(p) for n, p in mounts.items()} | {"code": code}
    pod = {
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "labels": labels or {}, "annotations": annotations or {}},
        "spec": {
            "containers": [container], "terminationGracePeriodSeconds": 5, **({"nodeName": node} if node else {}),
            "volumes": [{"name": n, "hostPath": {"path": p}} for n, p in paths.items()], **spec,
        },
    }  # fmt: skip
    return json.dumps(pod)
