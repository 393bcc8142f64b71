"""What the agent itself did: calls of the runtime, containers begun, how long pods took to start; and a Runtime that
counts its calls.

Rule: numbers only grow; they are this process's, and begin anew with it, as every counter of Prometheus may.
"""

from collections import Counter, defaultdict

from mesh.exposition.tally import timed
from mesh.exposition.text import Histogram
from nodeagent.runtime.port import Runtime, RuntimeFailure

STARTS = (0.5, 1, 2, 3, 4, 5, 6, 8, 10, 20, 30, 45, 60, 120, 180, 240, 300, 360, 480, 600, 900, 1200, 1800, 2700, 3600)
_NAMES = {
    "pods": "list_podsandbox", "pod": "podsandbox_status", "make_sandbox": "run_podsandbox",
    "remove_sandbox": "remove_podsandbox", "image": "image_status", "images": "list_images", "pull": "pull_image",
    "remove_image": "remove_image", "create": "create_container", "start": "start_container",
    "kill": "stop_container", "remove": "remove_container",
}  # fmt: skip


class Operations:
    """Of one agent; by the kubelet's names of operations."""

    def __init__(self) -> None:
        self.took: dict[str, Histogram] = defaultdict(Histogram)
        self.errors: Counter[str] = Counter()
        self.starts = Histogram(tuple(float(s) for s in STARTS))  # a pod's
        self.evictions = 0
        self.failed = 0  # workers of pods that a bug ended
        self.refused: Counter[str] = Counter()  # what came as meshd's, by method

    def counted(self, runtime: Runtime) -> Runtime:
        """The same runtime, counted."""
        return timed(runtime, _NAMES, self._told)

    def _told(self, method: str, seconds: float, failure: BaseException | None) -> None:
        name = _NAMES[method]
        self.took[name].observe(seconds)
        self.errors[name] += isinstance(failure, RuntimeFailure)
