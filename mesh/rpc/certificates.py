"""The certificates that meshd keeps: it issues with the authority's key and renews its own before they end.

Rule: files below one directory, 0600, replaced whole. A renewed certificate keeps its key, so that the two files of a
pair always fit. Nothing restarts: the next handshake takes what is newest.
"""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import structlog

from mesh import authority, pki
from mesh.authority import BUNDLE, CROSS, KEY, Authority
from mesh.errors import MeshError, Unavailable
from mesh.files import whole_file
from mesh.pki import Pair, Request
from mesh.rpc.tls import Tls

_OVERLAP = pki.HOST_LIFE // pki.DAY + 1  # days that an old authority is trusted beside a new one
_LONGEST = 3600.0  # seconds between two looks at the clock, which may be set
_SOONEST = 60.0
_log = structlog.get_logger("mesh.rpc")

Tell = Callable[[Authority], Awaitable[None]]


async def told_nobody(_changed: Authority) -> None:
    """Of a meshd that is alone."""


class Certificates:
    """Those in `directory`; `tls` is told of what the server is to use. `clock`: nanoseconds since the epoch. `tell`
    takes an authority to the other meshd before anything is issued by it, or raises Unavailable."""

    def __init__(
        self, directory: Path, tls: Tls, server: str, clock: Callable[[], int], tell: Tell = told_nobody
    ) -> None:
        self._directory = directory
        self._tell = tell
        self._tls = tls
        self._server = server  # the name of its own certificate's file, "meshd"
        self._clock = clock

    @property
    def authority(self) -> Authority:
        """As the files are now; raises Unavailable when they can't be read."""
        return Authority(self._read(BUNDLE), self._read(KEY, b""), self._read(CROSS, b""))

    def certify(self, request: Request, csr: bytes) -> bytes:
        """A certificate for the key of a CSR; raises Unavailable, Invalid."""
        return self.authority.certify(request, csr, self._now(), authority.life(request))

    def renewed(self, node: str, chain: bytes) -> bytes | None:
        """A new certificate for a host, for the key of the one that it has; None when that is good for longer. Raises
        Unavailable, Invalid."""
        held, now = self.authority, self._now()
        if not authority.stale(chain, held, now):
            return None
        request = pki.node(node)
        return held.certify(request, chain, now, authority.life(request))

    def held(self) -> dict[str, bytes]:
        """The certificates of programs and people on this host, by file name without its ending."""
        paths = (path for path in sorted(self._directory.glob("*.crt")) if path.name not in (BUNDLE, CROSS))
        return {path.stem: path.read_bytes() for path in paths if path.with_suffix(".key").exists()}

    async def rotate(self) -> None:
        """Begins with a new authority; what this host holds is issued anew by it. Raises Invalid, Unavailable."""
        await self._change(self.authority.rotated("mesh", self._now(), _OVERLAP))

    async def finish(self) -> None:
        """Ends the trust in older authorities. Raises Invalid, Unavailable."""
        await self._change(self.authority.finished())

    def take(self, told: Authority) -> None:
        """Goes on with what another meshd has made of the authority, if that is new here."""
        if told.replaces(self.authority):
            self._write(told)
            self.renew(everything=True)
            _log.info("took_authority", fingerprint=pki.fingerprint(told.certificate))

    def renew(self, everything: bool = False) -> float:
        """Issues anew what is due, tells the server, and returns in how many seconds to look again."""
        now, held, pauses = self._now(), self.authority, [_LONGEST]
        for name, chain in self.held().items():
            stale = everything or authority.stale(chain, held, now)
            kept = (self._renewed(name, chain, held) if stale else None) or chain
            pauses.append(float(pki.due(kept, now)))
        if held.overlaps and not held.outdated and pki.issued(held.certificate) + _OVERLAP * pki.DAY < now:
            self._write(held.finished())  # as every meshd does by itself
            return self.renew(everything=True)
        self._tls.replace(Pair(self._read(f"{self._server}.crt"), self._read(f"{self._server}.key")), held.bundle)
        return max(_SOONEST, min(pauses))

    async def run(self) -> None:
        """Renews in time, until cancelled; what can't be renewed is told and tried again."""
        while True:
            try:
                pause = self.renew()
            except (MeshError, OSError) as error:
                _log.error("certificates_not_renewed", error=str(error))
                pause = _SOONEST
            await asyncio.sleep(pause)

    async def _change(self, changed: Authority) -> None:
        await self._tell(changed)
        await asyncio.to_thread(self._write, changed)
        await asyncio.to_thread(self.renew, everything=True)

    def _renewed(self, name: str, chain: bytes, held: Authority) -> bytes | None:
        request = pki.request_of(chain)
        try:
            fresh = held.certify(request, chain, self._now(), authority.life(request))
        except MeshError as error:
            _log.error("certificate_not_renewed", name=name, expires=pki.expires(chain), error=str(error))
            return None
        with whole_file(self._directory / f"{name}.crt") as file:
            file.write(fresh)
        _log.info("certificate_renewed", name=name, expires=pki.expires(fresh))
        return fresh

    def _write(self, changed: Authority) -> None:
        for name, content in changed.files().items():
            with whole_file(self._directory / name) as file:
                file.write(content)

    def _read(self, name: str, default: bytes | None = None) -> bytes:
        path = self._directory / name
        try:
            return path.read_bytes()
        except OSError as error:
            if default is not None and isinstance(error, FileNotFoundError):
                return default
            raise Unavailable(f"cannot read {path}: {error.strerror}") from error

    def _now(self) -> int:
        return self._clock() // 1_000_000_000
