"""What the server proves itself with and whom it trusts, replaceable while it serves.

Rule: each handshake gets what is newest; connections that stand are not touched by it.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import grpc

from mesh.pki import Pair


@dataclass(slots=True)
class Tls:
    """The server's certificate (with what leads to its authority), and the authorities whose clients may come; PEM."""

    server: Pair
    ca: bytes
    version: int = field(default=0, init=False)
    _listeners: list[Callable[[], object]] = field(default_factory=list, init=False)

    def replace(self, server: Pair, ca: bytes) -> None:
        """From the next handshake on."""
        if (server, ca) != (self.server, self.ca):
            self.server, self.ca = server, ca
            self.version += 1
            for listener in tuple(self._listeners):
                listener()

    def listen(self, listener: Callable[[], object]) -> Callable[[], None]:
        """Calls it whenever something is replaced, in whichever thread that is; returns the way out."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def for_certificates(self) -> grpc.ServerCredentials:
        """For a port where clients need a certificate."""
        return self._dynamic(lambda: ([(self.server.key, self.server.certificate)], self.ca), True)

    def for_tokens(self) -> grpc.ServerCredentials:
        """For a port where they come with a token: the chain shows the authorities to who knows but a fingerprint."""
        return self._dynamic(lambda: ([(self.server.key, self.server.certificate + self.ca)], None), False)

    def _dynamic(self, now: Callable[[], tuple[Any, Any]], certificates: bool) -> grpc.ServerCredentials:
        told = self.version

        def newer() -> grpc.ServerCertificateConfiguration | None:
            nonlocal told
            if told == self.version:
                return None
            told = self.version
            return grpc.ssl_server_certificate_configuration(*now())

        return grpc.dynamic_ssl_server_credentials(
            grpc.ssl_server_certificate_configuration(*now()),
            newer,  # type: ignore[arg-type]  # None means that nothing is newer
            require_client_authentication=certificates,
        )
