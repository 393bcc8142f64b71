"""The identity of a host whose meshd has no authority, as in simulations: it takes orders that nobody signed.

Rule: only for tests; the agent's own Identity has no such way.
"""

from mesh.v1.node_pb2 import Assignment
from nodeagent.config import AgentConfig
from nodeagent.identity import Identity


class Unproven(Identity):
    """Takes what is said for true."""

    @classmethod
    def at(cls, config: AgentConfig) -> "Unproven":
        files = Identity.of(config)
        return cls(files.node, files.certificate, files.key, files.ca)

    def order(self, assignment: Assignment, now: int) -> Assignment:
        return assignment
