"""The control side's view of one host's agent: eight calls, each with a message in and a message out.

`nodeagent.agent.Agent` itself fits this port, so tests hand agents to the control side directly; over Ray the same
calls go through `fleet.bridge` and `nodeagent.actor`, which only forward.
"""

from typing import Protocol

from mesh.v1 import node_pb2


class AgentPort(Protocol):
    """Every call raises Unavailable when the host can't be reached; it may or may not have been carried out then."""

    async def assign(self, assignment: node_pb2.Assignment) -> node_pb2.AssignReply:
        """Gives the host its whole set of pods; raises Conflict for an older fence than it holds."""
        ...

    async def program(self, table: node_pb2.ServiceTable) -> node_pb2.AssignReply:
        """Gives the host's proxy one piece of its table; raises Unavailable when the proxy is away."""
        ...

    async def flows(self, request: node_pb2.FlowsRequest) -> node_pb2.Flows:
        """What the host's proxy carries; raises Unavailable when the proxy is away."""
        ...

    async def observe(self, request: node_pb2.ObserveRequest) -> node_pb2.Observed:
        """What is newer than the cursor, at once or as soon as there is any; an empty answer after the wait."""
        ...

    async def open_stream(self, request: node_pb2.StreamOpen) -> node_pb2.StreamOpened:
        """Begins logs, exec, attach or a port-forward; raises NotFound, Invalid."""
        ...

    async def read_stream(self, request: node_pb2.StreamRead) -> node_pb2.StreamBatch:
        """The next chunks, waiting for the first; raises NotFound once the stream's lease is over."""
        ...

    async def write_stream(self, request: node_pb2.StreamWrite) -> node_pb2.StreamWritten:
        """Input, end of input, or a new terminal size."""
        ...

    async def close_stream(self, request: node_pb2.StreamClose) -> node_pb2.StreamClosed:
        """Ends a stream; not an error when it is gone."""
        ...


class Hosts(Protocol):
    """Which hosts there are now; `fleet.bridge` asks Ray, tests answer themselves."""

    def agents(self) -> dict[str, AgentPort]:
        """Agents by node name, of hosts that are joined and alive as far as known."""
        ...

    async def changed(self) -> None:
        """Returns when `agents` may have changed since the last call."""
        ...

    @property
    def state(self) -> str:
        """ "connected", or in words why not."""
        ...
