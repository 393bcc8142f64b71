"""Whether a Ray is the mesh's own: what listens there must prove itself by a certificate of the mesh's Ray authority.

Rule: nothing is sent to any other. Whoever has the token of a Ray runs code on all of its hosts, here as root: a Ray
that others use, or one without TLS, is never joined.
"""

import socket
import ssl
from pathlib import Path

from mesh.errors import Forbidden, Unavailable
from mesh.fleet.ray_names import AUTHORITY, CERTIFICATE, KEY

WHY = "whoever has the token of a Ray runs code as root on each of its hosts, so the mesh joins none but its own"


def prove(address: str, tls: Path, seconds: float) -> None:
    """Returns when the mesh's own Ray listens at "ip:port". Raises Unavailable when nobody answers within so many
    seconds, Forbidden when it is not the mesh's own. Blocks."""
    host, _, port = address.rpartition(":")
    try:
        context = ssl.create_default_context(cafile=str(tls / AUTHORITY))
        context.load_cert_chain(tls / CERTIFICATE, tls / KEY)
    except OSError as error:
        raise Unavailable(f"cannot read this host's certificate for Ray in {tls}: {error.strerror or error}") from error
    context.set_alpn_protocols(["h2"])
    try:
        plain = socket.create_connection((host.strip("[]"), int(port)), timeout=seconds)
    except OSError as error:
        raise Unavailable(f"nothing answers at {address}: {error.strerror or error}") from error
    with plain:
        try:
            with context.wrap_socket(plain, server_hostname=host.strip("[]")):
                return
        except ssl.SSLCertVerificationError as error:
            raise _foreign(address, f"its certificate does not count: {error.verify_message}") from None
        except TimeoutError:
            raise Unavailable(f"what listens at {address} does not answer") from None
        except OSError:  # plain text, or a connection cut for want of it
            raise _foreign(address, "it does not speak TLS") from None


def _foreign(address: str, why: str) -> Forbidden:
    return Forbidden(f"refused: the Ray at {address} is not this mesh's own ({why}); {WHY}")
