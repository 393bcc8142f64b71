"""Who calls and what they may do: identity from the client's certificate, deny by default.

Rule: everything is for the group mesh:admins; the health check is for every certificate of our authority. Without
a certificate of our authority no call arrives here: TLS refuses it.
"""

from collections.abc import Iterable, Mapping

from mesh.errors import Forbidden
from mesh.pki import ADMINS, Identity, identity

_OPEN = ("/grpc.health.v1.Health/",)  # methods for every certificate


def caller(auth_context: Mapping[str, Iterable[bytes]]) -> Identity:
    """Whom the peer's certificate names; raises Forbidden when there is none, Invalid when it can't be read."""
    for certificate in auth_context.get("x509_pem_cert", ()):
        return identity(bytes(certificate))
    raise Forbidden("a client certificate is required")


def authorize(who: Identity, method: str) -> None:
    """Raises Forbidden unless `who` may call `method` ("/package.Service/Method")."""
    if ADMINS in who.groups or method.startswith(_OPEN):
        return
    groups = ", ".join(who.groups) or "none"
    raise Forbidden(f'"{who.name}" (groups: {groups}) may not call {method}: it needs the group {ADMINS}')
