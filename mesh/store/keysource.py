"""Where the keys that wrap Secrets' data keys are kept: a key file, a systemd credential, or a file under a passphrase.

Rule: a source gives the keys at start and keeps them when they are rotated; a service that holds keys of its own (KMS)
would be one more, with a Keyring that asks it. What a source keeps is written whole, 0600, before it is relied upon.
"""

import base64
import binascii
import os
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from mesh.errors import Conflict, Forbidden, Unavailable
from mesh.handed import handed
from mesh.store.keyring import Keyring, key_lines, load_key_file, parse_keys, read_private, write_private

PASSPHRASE_WORD = "mesh-store-keys-under-passphrase"  # noqa: S105 - the first word of such a file
COST = 2**17  # scrypt's n: about half a second and 128 MiB, once at start
_SALT, _NONCE = 16, 12


class KeySource(Protocol):
    """Blocking: call it in a thread, but at start."""

    def load(self) -> Keyring:
        """The keys; raises Unavailable, saying what to do, when they can't be had, Forbidden for a wrong passphrase."""
        ...

    def save(self, keys: Sequence[bytes]) -> None:
        """Keeps these from now on, the first one encrypting; raises Conflict where somebody else keeps them."""
        ...


class FileKeys:
    """A key file, outside of the data directory; systemd may have handed it over (`mesh.handed`)."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self) -> Keyring:
        """See KeySource."""
        path = handed(self._path)
        if path == self._path:
            return load_key_file(path)
        return parse_keys(f"credential {path.name}", read_private(path, open_to_group=True))

    def save(self, keys: Sequence[bytes]) -> None:
        """See KeySource."""
        write_private(self._path, key_lines(keys))


class CredentialKeys:
    """A key file that systemd hands over (LoadCredentialEncrypted=NAME:…), in memory that only this service sees."""

    def __init__(self, name: str, directory: str | None = None) -> None:
        self._name = name
        self._directory = directory if directory is not None else os.environ.get("CREDENTIALS_DIRECTORY", "")

    def load(self) -> Keyring:
        """See KeySource."""
        if not self._directory:
            raise Unavailable(
                f'cannot read credential "{self._name}": systemd has given this service none; add '
                f"LoadCredentialEncrypted={self._name}:FILE to its unit"
            )
        path = Path(self._directory) / self._name
        return parse_keys(f"credential {self._name}", read_private(path, open_to_group=True))

    def save(self, keys: Sequence[bytes]) -> None:  # noqa: ARG002 - one signature
        """See KeySource."""
        raise Conflict(f'the keys are in the systemd credential "{self._name}", which only its administrator changes')


class PassphraseKeys:
    """A key file whose lines are encrypted under a passphrase (scrypt, AES-256-GCM)."""

    def __init__(self, path: Path, passphrase: str) -> None:
        self._path = path
        self._passphrase = passphrase
        self._derived: tuple[bytes, bytes] | None = None  # salt and what was derived with it

    def load(self) -> Keyring:
        """See KeySource."""
        text = read_private(self._path)
        try:
            word, salt_text, box_text = text.decode("ascii").split()
            salt, box = (base64.b64decode(part, validate=True) for part in (salt_text, box_text))
        except (ValueError, binascii.Error):
            word, salt, box = "", b"", b""
        if word != PASSPHRASE_WORD or len(salt) != _SALT or len(box) <= _NONCE:
            raise Unavailable(f"cannot read key file {self._path}: it is none under a passphrase, or it is damaged")
        key = self._key(salt)
        try:
            lines = AESGCM(key).decrypt(box[:_NONCE], box[_NONCE:], salt)
        except InvalidTag:
            raise Forbidden(f"cannot open key file {self._path}: the passphrase is wrong, or it is damaged") from None
        return parse_keys(f"key file {self._path}", lines)

    def save(self, keys: Sequence[bytes]) -> None:
        """See KeySource."""
        salt = self._derived[0] if self._derived else secrets.token_bytes(_SALT)
        nonce = secrets.token_bytes(_NONCE)
        box = nonce + AESGCM(self._key(salt)).encrypt(nonce, key_lines(keys).encode(), salt)
        parts = (base64.b64encode(part).decode() for part in (salt, box))
        write_private(self._path, " ".join((PASSPHRASE_WORD, *parts)) + "\n")

    def _key(self, salt: bytes) -> bytes:
        if self._derived is None or self._derived[0] != salt:
            derive = Scrypt(salt=salt, length=32, n=COST, r=8, p=1)
            self._derived = (salt, derive.derive(self._passphrase.encode()))
        return self._derived[1]


def is_under_passphrase(path: Path) -> bool:
    """Whether a key file needs one."""
    try:
        return path.read_bytes().startswith(PASSPHRASE_WORD.encode())
    except OSError:
        return False
