"""The key file: the keys that wrap the data keys of secrets at rest.

Rule: one line per key, `mesh-store-key <id> <base64 of 32 random bytes>`; the first encrypts, all of them decrypt.
The file is readable by its owner alone or it is refused; an id is made from the key, so a damaged line shows.
"""

import base64
import binascii
import hashlib
import os
import secrets
import stat
from collections.abc import Sequence
from pathlib import Path

from mesh.errors import AlreadyExists, Unavailable

WORD = "mesh-store-key"
SIZE = 32  # bytes: AES-256


def key_id(key: bytes) -> str:
    """The name of a key: 16 hexadecimal digits that say nothing about it."""
    return hashlib.sha256(b"mesh store key id\0" + key).hexdigest()[:16]


class Keyring:
    """Keys by id, in memory; never printed."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._keys = {key_id(key): key for key in keys}
        self.primary = key_id(keys[0])

    def key(self, wanted: str) -> bytes:
        """The key of this id; raises Unavailable, naming the id, when it is not here."""
        try:
            return self._keys[wanted]
        except KeyError:
            raise Unavailable(
                f"cannot decrypt: key {wanted} is not in the key file (it has {', '.join(self._keys)}); "
                "put back the key file that this store was written with"
            ) from None

    def __repr__(self) -> str:
        return f"Keyring({', '.join(self._keys)})"


def create_key_file(path: Path) -> Keyring:
    """Makes a key file with one fresh key, mode 0600, durable before it returns.

    Raises:
        AlreadyExists: there is one; it is never overwritten, because secrets may be lost with it.
        Unavailable: it can't be written.
    """
    key = secrets.token_bytes(SIZE)
    line = f"{WORD} {key_id(key)} {base64.b64encode(key).decode()}\n"
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(fresh, path)  # fails when there is one, and is never seen half written
        finally:
            fresh.unlink()
        _sync_directory(path.parent)
    except FileExistsError:
        raise AlreadyExists(f"cannot make key file {path}: it exists") from None
    except OSError as error:
        raise Unavailable(f"cannot make key file {path}: {error.strerror}") from error
    return Keyring([key])


def load_key_file(path: Path) -> Keyring:
    """Reads a key file; raises Unavailable, saying what to do, when it is missing, open to others, or damaged."""
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
            _check_private(path, os.fstat(file.fileno()))
            lines = file.read().splitlines()
    except FileNotFoundError:
        raise Unavailable(f"cannot read key file {path}: it is missing; put it back from where it is kept") from None
    except OSError as error:
        raise Unavailable(f"cannot read key file {path}: {error.strerror}") from error
    keys = [_key_of(path, number, line) for number, line in enumerate(lines, 1) if line.strip()]
    if not keys:
        raise Unavailable(f"cannot read key file {path}: it holds no key; put it back from where it is kept")
    return Keyring(keys)


def _check_private(path: Path, seen: os.stat_result) -> None:
    if not stat.S_ISREG(seen.st_mode):
        raise Unavailable(f"cannot read key file {path}: it is not a regular file")
    mode = stat.S_IMODE(seen.st_mode)
    if mode & 0o077:
        raise Unavailable(f"refusing key file {path}: its mode is {mode:04o}, open to others; run `chmod 600 {path}`")
    if seen.st_uid not in (0, os.geteuid()):
        raise Unavailable(f"refusing key file {path}: it belongs to user {seen.st_uid}, not to the one who reads it")


def _key_of(path: Path, number: int, line: bytes) -> bytes:
    words = line.decode("ascii", "replace").split()
    try:
        word, name, text = words
        key = base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error):
        word, name, key = "", "", b""
    if word != WORD or len(key) != SIZE or key_id(key) != name:
        raise Unavailable(f"cannot read key file {path}: line {number} is damaged; put it back from where it is kept")
    return key


def _sync_directory(path: Path) -> None:
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
