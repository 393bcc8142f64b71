"""Pods with a volume of a ConfigMap or Secret, and when each of them shows a new value in its file `value`."""

import select
import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from nodeagent.runtime import syscalls

_POD = """\
---
apiVersion: v1
kind: Pod
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  {node}
  terminationGracePeriodSeconds: 2
  containers:
  - name: main
    image: {image}
    imagePullPolicy: Never
    command: ["/bin/busybox", "sleep", "3600"]
    volumeMounts: [{{name: files, mountPath: /files}}]
  volumes: [{{name: files, {source}}}]
"""


def pod(name: str, namespace: str, image: str, source: str, node: str = "") -> str:
    """The manifest of a pod whose volume `files` is of this source."""
    placed = f"nodeName: {node}" if node else ""
    return _POD.format(name=name, namespace=namespace, image=image, source=source, node=placed)


def changed(volumes: Mapping[str, Path], value: str, seconds: float) -> dict[str, float]:
    """When (perf_counter) each volume shows the value; raises TimeoutError. Blocking."""
    watch = syscalls.Inotify()
    try:
        for path in volumes.values():
            watch.add(path, syscalls.IN_MOVED_TO)
        seen: dict[str, float] = {}
        deadline = time.perf_counter() + seconds
        while len(seen) < len(volumes):
            now = time.perf_counter()
            if now > deadline:
                raise TimeoutError(f"{len(volumes) - len(seen)} volumes still show another value than {value}")
            for name in volumes.keys() - seen.keys():
                if (volumes[name] / "value").read_text() == value:
                    seen[name] = now
            select.select([watch.fd], [], [], 0.05)
            watch.read()
        return seen
    finally:
        watch.close()


def words(times: Sequence[float]) -> str:
    """What so many milliseconds came to."""
    in_order = sorted(times)
    p99 = in_order[min(len(in_order) - 1, int(len(in_order) * 0.99))]
    return f"median {statistics.median(in_order):.0f} ms, p99 {p99:.0f} ms, longest {in_order[-1]:.0f} ms"
