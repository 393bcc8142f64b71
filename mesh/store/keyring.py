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

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from mesh.errors import AlreadyExists, Unavailable
from mesh.files import sync_directory, whole_file

WORD = "mesh-store-key"
SIZE = 32  # bytes: AES-256
_NONCE = 12


def key_id(key: bytes) -> str:
    """The name of a key: 16 hexadecimal digits that say nothing about it."""
    return hashlib.sha256(b"mesh store key id\0" + key).hexdigest()[:16]


class Keyring:
    """Keys by id, in memory; never printed. The first one wraps, all of them unwrap; other threads may use it while it
    changes."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._keys = {key_id(key): key for key in keys}
        self.primary = key_id(keys[0])

    def __len__(self) -> int:
        return len(self._keys)

    def all(self) -> list[bytes]:
        """The keys, the first one first."""
        return list(self._keys.values())

    def lead(self, key: bytes) -> None:
        """A new first key; the others stay."""
        self._keys = {key_id(key): key, **self._keys}
        self.primary = key_id(key)

    def become(self, other: "Keyring") -> None:
        """Another one's keys instead of these."""
        self._keys = {key_id(key): key for key in other.all()}
        self.primary = other.primary

    def retire(self) -> None:
        """Only the first one stays."""
        self._keys = {self.primary: self._keys[self.primary]}

    def wrap(self, data_key: bytes, bound: bytes) -> tuple[str, bytes]:
        """A data key in a box, which is bound to `bound`, and the id of the key that opens it."""
        primary, nonce = self.primary, os.urandom(_NONCE)
        return primary, nonce + AESGCM(self._keys[primary]).encrypt(nonce, data_key, bound)

    def unwrap(self, key_name: str, box: bytes, bound: bytes) -> bytes:
        """The data key; raises Unavailable for a key that is not here, InvalidTag or ValueError for a bad box."""
        return AESGCM(self.key(key_name)).decrypt(box[:_NONCE], box[_NONCE:], bound)

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
    line = key_lines([key])
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
        sync_directory(path.parent)
    except FileExistsError:
        raise AlreadyExists(f"cannot make key file {path}: it exists") from None
    except OSError as error:
        raise Unavailable(f"cannot make key file {path}: {error.strerror}") from error
    return Keyring([key])


def key_lines(keys: Sequence[bytes]) -> str:
    """The text of a key file."""
    return "".join(f"{WORD} {key_id(key)} {base64.b64encode(key).decode()}\n" for key in keys)


def write_private(path: Path, text: str) -> None:
    """Replaces a file, 0600, whole and durable before it returns; raises Unavailable."""
    try:
        with whole_file(path) as file:
            file.write(text.encode())
            file.flush()
            os.fsync(file.fileno())
        sync_directory(path.parent)
    except OSError as error:
        raise Unavailable(f"cannot write key file {path}: {error.strerror}") from error


def load_key_file(path: Path) -> Keyring:
    """Reads a key file; raises Unavailable, saying what to do, when it is missing, open to others, or damaged."""
    return parse_keys(f"key file {path}", read_private(path))


def read_private(path: Path, *, open_to_group: bool = False) -> bytes:
    """A file that is its owner's alone; raises Unavailable, saying what to do, when it is missing or open to others.
    What systemd hands over (`open_to_group`) may be read by more, who are none."""
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
            _check_private(path, os.fstat(file.fileno()), 0o007 if open_to_group else 0o077)
            return file.read()
    except FileNotFoundError:
        raise Unavailable(f"cannot read key file {path}: it is missing; put it back from where it is kept") from None
    except OSError as error:
        raise Unavailable(f"cannot read key file {path}: {error.strerror}") from error


def parse_keys(what: str, text: bytes) -> Keyring:
    """The keys of a key file's text; raises Unavailable, naming `what`, when it is damaged or empty."""
    keys = [_key_of(what, number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    if not keys:
        raise Unavailable(f"cannot read {what}: it holds no key; put it back from where it is kept")
    return Keyring(keys)


def _check_private(path: Path, seen: os.stat_result, forbidden: int) -> None:
    if not stat.S_ISREG(seen.st_mode):
        raise Unavailable(f"cannot read key file {path}: it is not a regular file")
    mode = stat.S_IMODE(seen.st_mode)
    if mode & forbidden:
        raise Unavailable(f"refusing key file {path}: its mode is {mode:04o}, open to others; run `chmod 600 {path}`")
    if seen.st_uid not in (0, os.geteuid()):
        raise Unavailable(f"refusing key file {path}: it belongs to user {seen.st_uid}, not to the one who reads it")


def _key_of(what: str, number: int, line: bytes) -> bytes:
    words = line.decode("ascii", "replace").split()
    try:
        word, name, text = words
        key = base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error):
        word, name, key = "", "", b""
    if word != WORD or len(key) != SIZE or key_id(key) != name:
        raise Unavailable(f"cannot read {what}: line {number} is damaged; put it back from where it is kept")
    return key
