"""Keeps this host's credentials good: what meshd gives in a sealed call is checked and written.

Rules: files are 0600 and replaced whole; a certificate must be for the key that is here and for this host's name. A new
token of Ray waits in its file until meshd does not ask any more: then its head has taken it, and this Ray follows.
"""

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import structlog

from mesh import pki
from mesh.errors import Invalid, MeshError
from mesh.handed import handed
from mesh.v1.node_pb2 import HostCredentials, ObserveRequest
from nodeagent import raylife
from nodeagent.identity import Identity
from nodeagent.wholefile import write_whole

log = structlog.get_logger()

SILENCE = 4.0  # seconds without a question from meshd, which asks each 2 as a rule
ANSWERED = 0.5  # seconds until the answer to a question has left this process


class Keeping:
    """Of one host. `spawn` runs what outlasts a call; `end_ray`: see raylife."""

    def __init__(
        self, identity: Identity, spawn: Callable[[Coroutine[Any, Any, None]], object],
        end_ray: Callable[[], None] = raylife.end,
    ) -> None:  # fmt: skip
        self._identity = identity
        self._spawn = spawn
        self._end_ray = end_ray
        self._asked = 0.0  # by the loop's clock
        self._following = False

    def begin(self) -> None:
        """Goes on where the agent before was: this Ray may have been started before its token was written."""
        if raylife.older_than(self._identity.ray_token):
            self._ends(now=False)

    async def asked(self, request: ObserveRequest) -> ObserveRequest:
        """Takes what meshd gave with its question how this host is; returns the question, to be answered at once then:
        the answer says what is held now."""
        loop = asyncio.get_running_loop()
        self._asked = loop.time()
        if not request.HasField("credentials"):
            return request
        given = request.credentials
        request.wait_milliseconds = 0
        try:
            await asyncio.to_thread(keep, self._identity, given)
        except (MeshError, OSError) as error:
            log.error("credentials_refused", why=str(error))
            return request
        if given.ray_token:
            self._ends(given.ray_now)
        return request

    def _ends(self, now: bool) -> None:
        if not self._following:
            self._following = True
            self._spawn(self._follow(now))

    async def _follow(self, now: bool) -> None:
        await asyncio.sleep(ANSWERED)
        if not now:
            await self._silence()
        self._following = False
        self._end_ray()

    async def _silence(self) -> None:
        left = SILENCE
        while left > 0:
            await asyncio.sleep(left)
            left = self._asked + SILENCE - asyncio.get_running_loop().time()


def keep(identity: Identity, given: HostCredentials) -> None:
    """Writes what was given; blocks. Raises Invalid for what is not this host's, and OSError."""
    if given.authorities:
        pki.split(given.authorities)
        _write(identity.ca, given.authorities)
    if given.certificate:
        leaf = pki.split(given.certificate)[0]
        said = pki.identity(leaf)
        if (said.kind, said.name) != ("node", identity.node):
            raise Invalid(f'the certificate is of {said.kind} "{said.name}", not of this host')
        if not pki.belongs(handed(identity.key).read_bytes(), leaf):
            raise Invalid("the certificate is not for this host's key")
        _write(identity.certificate, given.certificate)
        log.info("certificate_renewed", expires=pki.expires(leaf))
    if given.ray_token:
        if not (given.ray_token.isalnum() and len(given.ray_token) >= 32):
            raise Invalid("the token of Ray is none")
        _write(identity.ray_token, given.ray_token.encode())


def _write(path: Path, content: bytes) -> None:
    if not path.exists() or path.read_bytes() != content:
        write_whole(path, content, durable=True)
