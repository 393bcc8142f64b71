"""How somebody gets in who has nothing but a token: the authority by its fingerprint, then a certificate.

Rule: the token goes only to a server of that authority. The private key is made here and never leaves.
"""

import asyncio
import socket
import ssl
from dataclasses import dataclass, field

import grpc
import grpc.aio

from mesh import pki
from mesh.access import tokens
from mesh.errors import Forbidden, Unavailable
from mesh.pki import Pair
from mesh.sdk.channel import answer
from mesh.v1.access_pb2 import EnrolRequest
from mesh.v1.access_pb2_grpc import AccessStub

_TIMEOUT = 15.0


@dataclass(frozen=True, slots=True)
class RayPart:
    """Where Ray's head is ("ip:port"), its token, its authority, and this host's certificate with its key."""

    head: str
    token: str = field(repr=False)
    authority: bytes
    pair: Pair = field(repr=False)


@dataclass(frozen=True, slots=True)
class Enrolled:
    """A certificate with its key, whom to trust, and where to go with it: every meshd, the one that was asked first.
    Of a host also what its Ray needs."""

    pair: Pair
    authorities: bytes
    name: str
    node: bool
    servers: tuple[str, ...]
    ray: RayPart | None = None


async def enrol(addresses: str, token: str, node: str = "", node_ip: str = "") -> Enrolled:
    """Uses a token up at "host:port", or at the one that leads of several with commas between them; a host says its
    name and its address. Raises Invalid, Forbidden, Unavailable."""
    refused: list[str] = []
    for address in addresses.split(","):
        try:
            return await _enrol(address.strip(), token, node, node_ip)
        except Unavailable as error:
            refused.append(error.message)
    raise Unavailable("; ".join(refused))


async def _enrol(address: str, token: str, node: str, node_ip: str) -> Enrolled:
    shown = tokens.read(token)
    chain = await asyncio.to_thread(_chain, address)
    wanted = shown.fingerprint
    ca = next((c for c in chain if pki.fingerprint(c).replace(":", "").lower() == wanted), None)
    if ca is None:
        raise Forbidden(f"{address} is not of the mesh that this token is for: do not trust it; the token was not sent")
    wish, ray = pki.wish(), pki.wish()
    async with grpc.aio.secure_channel(address, grpc.ssl_channel_credentials(ca), _OPTIONS) as channel:
        request = EnrolRequest(token=token.strip(), request=wish.certificate, node=node)
        if node_ip:
            request.node_ip, request.ray_request = node_ip, ray.certificate
        certified = await answer(AccessStub(channel).Enrol(request, timeout=_TIMEOUT), address)
    host = address.rpartition(":")[0]
    pair = Pair(certified.certificate, wish.key)
    servers = tuple(dict.fromkeys((f"{host}:{certified.port}", *certified.servers)))
    part = None
    if certified.HasField("ray"):
        given = certified.ray
        part = RayPart(given.head, given.token, given.authority, Pair(given.certificate, ray.key))
    return Enrolled(pair, certified.authorities, certified.name, certified.node, servers, part)


_OPTIONS = (("grpc.use_local_subchannel_pool", 1), ("grpc.enable_http_proxy", 0))


def _chain(address: str) -> list[bytes]:
    """The certificates that a server shows, PEM; nothing is believed of them yet."""
    host, _, port = address.rpartition(":")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # they are compared with the fingerprint
    context.set_alpn_protocols(["h2"])
    try:
        with (
            socket.create_connection((host.strip("[]"), int(port)), timeout=_TIMEOUT) as plain,
            context.wrap_socket(plain) as secured,
        ):
            shown = secured._sslobj.get_unverified_chain()  # type: ignore[attr-defined]  # public from Python 3.13 on
    except (OSError, ValueError) as error:
        raise Unavailable(f"cannot reach {address}: {error}") from error
    return [certificate.public_bytes().encode() for certificate in shown or ()]
