"""Which host answers for a load balancer's address on the hosts' network.

Rule: pure and without memory: the highest of a hash over Service and host among the hosts that are ready, so that a
host that dies moves its own Services alone, and everyone comes to the same result.
"""

import hashlib

from mesh.model.conditions import is_true
from mesh.v1.node_pb2 import ProxyService
from mesh.view import View


def announcer(service: ProxyService, view: View) -> str:
    """The host's name; "" when no host can. With the external policy Local only hosts that have an endpoint can."""
    ready = [n.metadata.name for n in view.nodes() if is_true(n.status.conditions, "Ready")]
    if service.external_local:
        having = {e.node for e in service.endpoints if e.ready}
        ready = [name for name in ready if name in having]
    return max(ready, key=lambda name: _weight(service, name), default="")


def _weight(service: ProxyService, node: str) -> bytes:
    return hashlib.sha256(f"{service.namespace}/{service.name}@{node}".encode()).digest()
