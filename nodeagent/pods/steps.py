"""What was done to start a pod whose start is traced, with times; of all others nothing is kept.

Rule: meshd asks for it by a traceparent in the order, and makes spans of it. At most MOST steps, the first ones.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from mesh.v1.node_pb2 import Step
from nodeagent.pods import actions as do

MOST = 64
_NAMES: dict[type, str] = {
    do.PrepareVolumes: "volumes", do.MakeSandbox: "sandbox", do.CreateContainer: "create", do.StartContainer: "start",
}  # fmt: skip


class Steps:
    """Of one pod."""

    def __init__(self) -> None:
        self.done: list[Step] = []
        self._pulling: dict[str, int] = {}  # since when, by container
        self._error = ""

    @contextmanager
    def step(self, action: do.Action, traceparent: str, clock: Callable[[], int]) -> Iterator[None]:
        """Around the action; `traceparent` empty: nobody asks."""
        if not traceparent or len(self.done) >= MOST:
            yield
            return
        began, self._error = clock(), ""
        container = getattr(action, "container", "")
        if isinstance(action, do.ResolveImage):
            self._pulling.setdefault(container, began)
        elif isinstance(action, do.CreateContainer) and container in self._pulling:  # what it waited for is there
            self._add("pull", container, self._pulling.pop(container), began, traceparent)
        try:
            yield
        finally:
            if name := _NAMES.get(type(action)):
                self._add(name, container, began, clock(), traceparent, self._error)

    def failed(self, why: str) -> None:
        """The step that is under way did."""
        self._error = why

    def _add(self, name: str, container: str, began: int, ended: int, traceparent: str, error: str = "") -> None:
        self.done.append(Step(name=name, container=container, began_unix_nanos=began, ended_unix_nanos=ended,
                              traceparent=traceparent, error=error))  # fmt: skip
