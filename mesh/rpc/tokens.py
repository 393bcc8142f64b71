"""Tokens of service accounts for who asks: made (TokenRequest), and looked at (TokenReview).

Rule: what is made is bound to the account as it is now, and to a pod when one is named. A review says no more than the
token does itself, and whether it counts.
"""

from collections.abc import Callable

from mesh import jwt
from mesh.access import accounts
from mesh.errors import Forbidden, Invalid, NotFound, Violation
from mesh.model.keys import Key
from mesh.model.podtokens import LEAST, LIFE, account_of
from mesh.v1 import access_pb2 as pb
from mesh.v1.core_pb2 import Pod, ServiceAccount
from mesh.view import View

LONGEST = 7 * 24 * 3600  # seconds, as a user's certificate


def made(request: pb.RequestTokenRequest, view: View, key: bytes, now: int) -> pb.RequestTokenResponse:
    """A token; raises NotFound, Invalid. `now`: seconds since the epoch."""
    namespace = request.namespace or "default"
    held = view.get(Key("ServiceAccount", namespace, request.account))
    if not isinstance(held, ServiceAccount):
        raise NotFound(f'there is no service account "{request.account}" in namespace "{namespace}"')
    seconds = request.expiration_seconds or LIFE
    if not LEAST <= seconds <= LONGEST:
        wrong = Violation("expirationSeconds", f"must be between {LEAST} (10 minutes) and {LONGEST} (7 days)")
        raise Invalid.of("the request", [wrong])
    pod = _pod(view, namespace, request) if request.pod else None
    claims = accounts.claims_of(held, pod, request.audiences, now, now + seconds)
    return pb.RequestTokenResponse(token=jwt.sign(claims, key), expires=now + seconds)


def reviewed(
    request: pb.ReviewTokenRequest, view: View, key: Callable[[], bytes], now: int
) -> pb.ReviewTokenResponse:  # fmt: skip
    """Whom a token names, if it counts."""
    try:
        bearer = accounts.bearer_of(
            jwt.read(request.token.strip(), key()), view, now, request.audiences or accounts.AUDIENCES
        )
    except Forbidden as error:
        return pb.ReviewTokenResponse(why=error.message)
    who = bearer.who
    return pb.ReviewTokenResponse(
        authenticated=True, name=who.name, groups=who.groups, audiences=bearer.audiences, pod=bearer.pod,
        expires=bearer.expires,
    )  # fmt: skip


def _pod(view: View, namespace: str, request: pb.RequestTokenRequest) -> Pod:
    pod = view.pod(namespace, request.pod)
    if pod is None:
        raise NotFound(f'there is no pod "{request.pod}" in namespace "{namespace}"')
    if account_of(pod.spec) != request.account:
        wrong = Violation("pod", f'"{request.pod}" has the service account "{account_of(pod.spec)}"')
        raise Invalid.of("the request", [wrong])
    return pod
