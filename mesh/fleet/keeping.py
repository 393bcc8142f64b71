"""What keeps a host's credentials good: its certificate renewed in time, the authorities to trust, Ray's token.

Rule: level-triggered: a host says what it holds, and is given what differs, inside of a sealed call. A certificate is
renewed for the key and the name of the one by which the host has just proved itself, and for no other.
"""

import hashlib
from collections.abc import Callable
from typing import Protocol

import structlog

from mesh import pki
from mesh.errors import MeshError
from mesh.fleet.raytoken import RayToken
from mesh.v1.node_pb2 import HostCredentials, HostKey

_log = structlog.get_logger("mesh.fleet.keeping")

_LONGEST, _AGAIN = 3600, 60  # seconds between looks at a certificate, and after one that can't be renewed


class Authority(Protocol):
    """Who issues certificates."""

    def renewed(self, node: str, chain: bytes) -> bytes | None:
        """A new certificate for the host `node`, for the key of `chain`; None when that is good for longer. Raises
        MeshError when none can be issued."""
        ...


class Keeping:
    """`ca`: the authorities' certificates as of now. `clock`: nanoseconds since the epoch."""

    def __init__(
        self, authority: Authority, ca: Callable[[], bytes], clock: Callable[[], int], ray: RayToken | None
    ) -> None:
        self._authority = authority
        self._ca = ca
        self._clock = clock
        self._ray = ray
        self._looked: dict[str, tuple[bytes, bytes, int]] = {}  # chain, authorities, when to look again

    def due(self, node: str, told: HostKey) -> HostCredentials | None:
        """What the host is to be given; `told` is what it announced, checked."""
        made, bundle = HostCredentials(), self._ca()
        if told.authorities != hashlib.sha256(bundle).digest():
            made.authorities = bundle
        made.certificate = self._fresh(node, told.certificate, bundle)
        if self._ray is not None:
            made.ray_token, made.ray_now = self._ray.due(node, told)
        return made if made.ByteSize() else None

    def _fresh(self, node: str, chain: bytes, bundle: bytes) -> bytes:
        now = self._clock() // 1_000_000_000
        held = self._looked.get(node)
        if held is not None and held[:2] == (chain, bundle) and now < held[2]:
            return b""
        try:
            fresh = self._authority.renewed(node, chain)
        except (MeshError, OSError) as error:
            _log.error("certificate_not_renewed", node=node, error=str(error))
            self._looked[node] = (chain, bundle, now + _AGAIN)
            return b""
        if fresh is None:
            self._looked[node] = (chain, bundle, now + max(1, min(_LONGEST, pki.due(chain, now))))
            return b""
        self._looked[node] = (chain, bundle, now + _AGAIN)  # lost on its way: made again then
        _log.info("certificate_renewed", node=node, expires=pki.expires(fresh))
        return fresh
