"""The gRPC server: TLS, limits, health and reflection.

Rule: there is no plaintext port. On a port for certificates no call arrives without one of our authority; on one for
tokens the gate looks for them.
"""

from collections.abc import Callable, Sequence
from typing import Any

from grpc import aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from mesh.errors import Unavailable
from mesh.rpc.border import Border
from mesh.rpc.tls import Tls
from mesh.v1 import access_pb2, control_pb2, secrets_pb2

LEADER = "mesh.leader"  # its health says whether this meshd leads
MESSAGE_BYTES = 32 * 1024 * 1024
_OPTIONS: list[tuple[str, Any]] = [
    ("grpc.max_receive_message_length", MESSAGE_BYTES),
    ("grpc.max_send_message_length", MESSAGE_BYTES),
    ("grpc.max_concurrent_streams", 1000),  # per connection
    ("grpc.keepalive_time_ms", 30_000),  # ask a silent client, so that a dead one's watches end
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),  # what clients may do to us
    ("grpc.so_reuseport", 0),  # a second meshd on the same port must fail, not share
]
_SERVICES = tuple(
    f"mesh.v1.{name}" for file in (control_pb2, access_pb2, secrets_pb2) for name in file.DESCRIPTOR.services_by_name
)


class Server:
    """A started server. `ports` are the ports it listens on, in the order of the addresses asked for."""

    def __init__(
        self, server: aio.Server, ports: Sequence[int], checks: health.aio.HealthServicer, border: Border
    ) -> None:
        self._server = server
        self._checks = checks
        self._border = border
        self.ports = tuple(ports)

    async def follow(self) -> None:
        """Tells those who look among several meshd for the one that leads that this one does not."""
        await self._checks.set(LEADER, health_pb2.HealthCheckResponse.NOT_SERVING)

    async def stop(self, grace: float = 2.0) -> None:
        """Tells clients to go (NOT_SERVING, GOAWAY), ends streams, gives calls `grace` seconds, cuts what is left."""
        await self._checks.enter_graceful_shutdown()
        self._border.stop()
        await self._server.stop(grace)


async def serve(
    addresses: Sequence[str],
    tls: Tls,
    border: Border,
    register: Callable[[aio.Server], None],
    for_tokens: Sequence[str] = (),
    options: Sequence[tuple[str, Any]] = (),
) -> Server:
    """Starts serving what `register` adds; "host:0" takes a free port. Raises Unavailable when an address is taken.

    `for_tokens`: addresses where clients come without a certificate.
    """
    server = aio.server(interceptors=[border], options=[*_OPTIONS, *options])
    register(server)
    checks = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(checks, server)
    reflection.enable_server_reflection((*_SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME), server)
    ports = []
    listening = [(address, tls.for_certificates) for address in addresses]
    listening += [(address, tls.for_tokens) for address in for_tokens]
    for address, credentials in listening:
        try:
            ports.append(server.add_secure_port(address, credentials()))
        except RuntimeError as error:
            raise Unavailable(f"cannot listen on {address}: {error}") from error
    await server.start()
    for service in (*_SERVICES, LEADER):
        await checks.set(service, health_pb2.HealthCheckResponse.SERVING)
    return Server(server, ports, checks, border)
