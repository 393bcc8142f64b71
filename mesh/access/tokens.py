"""Entry tokens as values: what they read like, and how they lie in the store.

Rule: pure. A token reads "mesh1.ID.SECRET.FINGERPRINT": the fingerprint is that of the authority to trust. The store
has only the secret's hash, in a Secret of kube-system; taking the Secret away is what makes it single-use.
"""

import base64
import hashlib
import hmac
import json
import re
from dataclasses import asdict, dataclass

from mesh.errors import Invalid
from mesh.model.keys import Key
from mesh.model.kinds import Object
from mesh.v1.core_pb2 import Secret
from mesh.view import View

TYPE = "mesh/entry-token"
NAMESPACE = "kube-system"
_PREFIX = "entry-"
_FORM = re.compile(r"mesh1\.([a-z2-7]{10})\.([a-z2-7]{32})\.([0-9a-f]{64})")


@dataclass(frozen=True, slots=True)
class Ticket:
    """Whom a token lets in. `expires`: seconds since the epoch."""

    id: str
    host: bool
    name: str  # of the user, or of the host; empty: of a host that is not there yet
    groups: tuple[str, ...]
    expires: int
    by: str


@dataclass(frozen=True, slots=True)
class Shown:
    """A token as its holder has it."""

    id: str
    secret: str
    fingerprint: str

    def __str__(self) -> str:
        return f"mesh1.{self.id}.{self.secret}.{self.fingerprint}"


def new(random: bytes, fingerprint: str) -> Shown:
    """A token of 27 random bytes, for an authority of this fingerprint ("AB:CD:…")."""
    text = base64.b32encode(random).decode().lower()
    return Shown(text[:10], text[10:42], fingerprint.replace(":", "").lower())


def read(text: str) -> Shown:
    """What a token says; raises Invalid, without repeating it."""
    found = _FORM.fullmatch(text.strip())
    if found is None:
        raise Invalid("this is no token: it should read mesh1.ID.SECRET.FINGERPRINT, as `mesh token create` shows it")
    return Shown(*found.groups())


def key_of(id_: str) -> Key:
    """Where a token of this id lies."""
    return Key("Secret", NAMESPACE, _PREFIX + id_)


def stored(ticket: Ticket, secret: str) -> Secret:
    """How it is stored."""
    made = Secret(api_version="v1", kind="Secret", type=TYPE, immutable=True)
    made.metadata.namespace, made.metadata.name = NAMESPACE, _PREFIX + ticket.id
    made.data["hash"] = _hash(secret)
    made.data["ticket"] = json.dumps(asdict(ticket)).encode()
    return made


def ticket_of(obj: Object | None) -> Ticket | None:
    """Whom a stored token lets in; None for what is none."""
    if not isinstance(obj, Secret) or obj.type != TYPE:
        return None
    try:
        told = json.loads(obj.data["ticket"])
        return Ticket(**{**told, "groups": tuple(told["groups"])})
    except (ValueError, KeyError, TypeError):
        return None


def fits(obj: Object | None, secret: str) -> bool:
    """Whether this is the secret of a stored token."""
    held = obj.data.get("hash", b"") if isinstance(obj, Secret) else b""
    return bool(held) and hmac.compare_digest(held, _hash(secret))


def all_of(view: View) -> list[Ticket]:
    """Every stored token."""
    found = (ticket_of(obj) for obj in view.of_kind("Secret", NAMESPACE))
    return [ticket for ticket in found if ticket is not None]


def _hash(secret: str) -> bytes:
    return hashlib.sha256(b"mesh entry token\0" + secret.encode()).hexdigest().encode()
