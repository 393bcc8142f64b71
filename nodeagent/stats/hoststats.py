"""All that measures this host, put together: the meter, the history, what the agent did, the endpoint.

Rule: it only wires.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping

from nodeagent.config import AgentConfig
from nodeagent.pods.worker import Worker
from nodeagent.runtime.port import Runtime
from nodeagent.stats.endpoint import Endpoint
from nodeagent.stats.history import History
from nodeagent.stats.meter import Meter
from nodeagent.stats.operations import Operations
from nodeagent.stats.reading import Reader
from nodeagent.volumes.tree import Tree


class HostStats:
    """One host's; `workers` are those of its pods now, `clock` gives nanoseconds since the epoch, `revoked`: see
    Endpoint."""

    def __init__(
        self, config: AgentConfig, tree: Tree, workers: Callable[[], Iterable[Worker]], clock: Callable[[], int],
        revoked: Callable[[], Mapping[str, int]],
    ) -> None:  # fmt: skip
        self._operations = Operations()
        self.meter = Meter(config, tree, workers, self._operations, clock)
        self.history = History(Reader(), self.meter.subjects, clock)
        self.endpoint = Endpoint(config, self.meter, revoked)

    def counted(self, runtime: Runtime) -> Runtime:
        """The same runtime, whose calls are counted."""
        return self._operations.counted(runtime)

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.history.run())
            group.create_task(self.endpoint.run())
