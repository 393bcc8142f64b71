"""The tokens of a pod's service account that its volumes show: which ones, and when each is made anew (E14).

Rule: pure. When a token was issued follows from the pod and the clock alone, so whoever asks gets the same answer and
nobody has to remember: a new one at 80 % of the life of the one before, and at least every 24 hours.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from mesh.model.times import SECOND, from_timestamp
from mesh.v1.core_pb2 import Pod, PodSpec, ServiceAccountTokenProjection, Volume

DEFAULT_ACCOUNT = "default"
ROOTS = "kube-root-ca.crt"  # the ConfigMap that says whom to trust: hosts are given it, nobody stores it
LIFE, LEAST, MOST = 3600, 600, 1 << 32  # seconds
LONGEST_UNCHANGED = 24 * 3600
KEY = "token"  # under which a token lies in what a host is given
_PREFIX = "token:"  # no Secret's name has a colon


@dataclass(frozen=True, slots=True)
class Wish:
    """For whom a token is meant ("": the mesh's own API), and for how many seconds."""

    audience: str
    seconds: int


def account_of(spec: PodSpec) -> str:
    """The name of a pod's service account."""
    return spec.service_account_name or DEFAULT_ACCOUNT


def wish_of(projection: ServiceAccountTokenProjection) -> Wish:
    """What a volume asks for."""
    return Wish(projection.audience, projection.expiration_seconds or LIFE)


def wishes_of(spec: PodSpec) -> tuple[Wish, ...]:
    """All that a pod's volumes ask for, each once."""
    return tuple(dict.fromkeys(wish for volume in spec.volumes for wish in wishes_in(volume)))


def wishes_in(volume: Volume) -> Iterator[Wish]:
    """What one volume asks for."""
    for source in volume.projected.sources:
        if source.HasField("service_account_token"):
            yield wish_of(source.service_account_token)


def name_of(uid: str, wish: Wish) -> str:
    """Under which name a host is given the token, as if it were a Secret of the pod's namespace."""
    return f"{_PREFIX}{uid}:{hashlib.sha256(f'{wish.seconds}/{wish.audience}'.encode()).hexdigest()[:16]}"


def names_of(pod: Pod) -> frozenset[str]:
    """The names of all tokens of a pod."""
    return frozenset(name_of(pod.metadata.uid, wish) for wish in wishes_of(pod.spec))


def is_token(name: str) -> bool:
    """Whether a name is that of a token and not of a Secret."""
    return name.startswith(_PREFIX)


def issued_at(pod: Pod, wish: Wish, now: int) -> int:
    """Since when the token counts that the pod is to have now; seconds since the epoch, as `now`."""
    made, period = _made(pod), _period(wish)
    return made + max(0, now - made) // period * period


def next_at(pod: Pod, wish: Wish, now: int) -> int:
    """When it is to have another one; seconds since the epoch."""
    return issued_at(pod, wish, now) + _period(wish)


def _period(wish: Wish) -> int:
    return min(max(wish.seconds, LEAST) * 4 // 5, LONGEST_UNCHANGED)


def _made(pod: Pod) -> int:
    return from_timestamp(pod.metadata.creation_timestamp) // SECOND
