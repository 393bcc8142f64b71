"""An authority of its own for one test: its files, certificates by it, and a clock that can be turned on."""

import time
from dataclasses import dataclass
from pathlib import Path

from mesh import authority, pki
from mesh.rpc.tls import Tls


@dataclass
class Clock:
    """Real time, and how far it was turned on."""

    ahead: int = 0  # seconds

    def __call__(self) -> int:
        return time.time_ns() + self.ahead * 1_000_000_000


def made_in(directory: Path, names: tuple[str, ...]) -> tuple[authority.Authority, Tls]:
    """An authority in a new directory, with an admin, and meshd's certificate under these names."""
    directory.mkdir(mode=0o700)
    now = int(time.time())
    held = authority.made("mesh", now)
    for name, content in held.files().items():
        if content:
            (directory / name).write_bytes(content)
    server = put(issue(held, pki.server("meshd", names), now), directory, "meshd")
    put(issue(held, pki.user("admin"), now), directory, "admin")
    return held, Tls(server, held.bundle)


def issue(held: authority.Authority, request: pki.Request, now: int) -> pki.Pair:
    """A certificate as of `now`, in seconds since the epoch, with its key."""
    wish = pki.wish()
    return pki.Pair(held.certify(request, wish.certificate, now, authority.life(request)), wish.key)


def put(pair: pki.Pair, directory: Path, stem: str) -> pki.Pair:
    """Writes both files of a pair."""
    (directory / f"{stem}.crt").write_bytes(pair.certificate)
    (directory / f"{stem}.key").write_bytes(pair.key)
    return pair
