"""The gRPC server: mutual TLS, limits, health and reflection.

Rule: there is no plaintext port and no call without a client certificate of our authority.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
from grpc import aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from mesh.errors import Unavailable
from mesh.pki import Pair
from mesh.rpc.border import Border
from mesh.v1 import access_pb2, control_pb2, secrets_pb2

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


@dataclass(frozen=True, slots=True)
class Tls:
    """The server's certificate, and the authority whose clients may come; PEM."""

    server: Pair
    ca: bytes


class Server:
    """A started server. `ports` are the ports it listens on, in the order of the addresses asked for."""

    def __init__(
        self, server: aio.Server, ports: Sequence[int], checks: health.aio.HealthServicer, border: Border
    ) -> None:
        self._server = server
        self._checks = checks
        self._border = border
        self.ports = tuple(ports)

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
    options: Sequence[tuple[str, Any]] = (),
) -> Server:
    """Starts serving what `register` adds; "host:0" takes a free port. Raises Unavailable when an address is taken."""
    server = aio.server(interceptors=[border], options=[*_OPTIONS, *options])
    credentials = grpc.ssl_server_credentials(
        [(tls.server.key, tls.server.certificate)], root_certificates=tls.ca, require_client_auth=True
    )
    register(server)
    checks = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(checks, server)
    reflection.enable_server_reflection((*_SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME), server)
    ports = []
    for address in addresses:
        try:
            ports.append(server.add_secure_port(address, credentials))
        except RuntimeError as error:
            raise Unavailable(f"cannot listen on {address}: {error}") from error
    await server.start()
    for service in _SERVICES:
        await checks.set(service, health_pb2.HealthCheckResponse.SERVING)
    return Server(server, ports, checks, border)
