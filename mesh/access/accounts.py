"""What a service account's token says, and whom it names: an account, and the pod that it was made for (E14).

Rule: pure. A token counts for its audiences, within its time, while its account is there, and while its pod is there
and has not ended. Whoever reads one has checked its signature before.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from mesh.access.who import Who, account
from mesh.errors import Forbidden
from mesh.model.keys import Key
from mesh.model.kinds import Object
from mesh.model.pods import is_terminal
from mesh.model.podtokens import account_of
from mesh.v1.core_pb2 import Pod, ServiceAccount
from mesh.view import View

API = "https://kubernetes.default.svc"  # the audience of the mesh's own API, and who makes tokens
AUDIENCES = frozenset((API, "mesh"))
_PRIVATE = "kubernetes.io"
_SLACK = 60  # seconds that clocks may differ


@dataclass(frozen=True, slots=True)
class Bearer:
    """Whom a token names: what it says, as it was read, and the audiences it was asked to have."""

    who: Who
    expires: int  # seconds since the epoch
    audiences: tuple[str, ...]
    pod: str = ""


def claims_of(
    held: ServiceAccount, pod: Pod | None, audiences: Iterable[str], issued: int, expires: int
) -> dict[str, Any]:  # fmt: skip
    """What a token of this account says; with a pod it counts no longer than that. Times in seconds since the epoch."""
    meta = held.metadata
    bound: dict[str, Any] = {"namespace": meta.namespace, "serviceaccount": {"name": meta.name, "uid": meta.uid}}
    if pod is not None:
        bound["pod"] = {"name": pod.metadata.name, "uid": pod.metadata.uid}
        if pod.spec.node_name:
            bound["node"] = {"name": pod.spec.node_name}
    return {
        "iss": API, "sub": account(meta.namespace, meta.name).name, "aud": [a or API for a in audiences] or [API],
        "iat": issued, "nbf": issued, "exp": expires, _PRIVATE: bound,
    }  # fmt: skip


def of_pod(pod: Pod, view: View) -> ServiceAccount | None:
    """A pod's service account, if it is there."""
    held = view.get(Key("ServiceAccount", pod.metadata.namespace, account_of(pod.spec)))
    return held if isinstance(held, ServiceAccount) else None


def bearer_of(claims: Mapping[str, Any], view: View, now: int, audiences: Iterable[str] = AUDIENCES) -> Bearer:
    """Whom a token names that was signed by the mesh; raises Forbidden when it does not count, with the reason."""
    try:
        bound, expires = claims[_PRIVATE], int(claims["exp"])
        namespace, name, uid = (str(v) for v in (
            bound["namespace"], bound["serviceaccount"]["name"], bound["serviceaccount"]["uid"]))  # fmt: skip
        told, begins = tuple(str(a) for a in claims["aud"]), int(claims["nbf"])
        pod = bound.get("pod") or {}
        pod_name, pod_uid = str(pod.get("name", "")), str(pod.get("uid", ""))
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
        raise Forbidden("the token is none of a service account") from None
    if expires <= now:
        raise Forbidden("the token has expired: read it again from its file, it is renewed there")
    if begins > now + _SLACK:
        raise Forbidden("the token is not valid yet")
    fitting = tuple(a for a in told if a in set(audiences))
    if not fitting:
        raise Forbidden(f"the token is for another audience ({', '.join(told)})")
    held = view.get(Key("ServiceAccount", namespace, name))
    if held is None or held.metadata.uid != uid:
        raise Forbidden(f'the service account "{name}" in namespace "{namespace}" is not there any more')
    if pod_uid:
        _check_pod(view.pod(namespace, pod_name), pod_name, pod_uid)
    by = f"token of pod {namespace}/{pod_name}" if pod_uid else "token"
    return Bearer(account(namespace, name, by), expires, fitting, pod_name)


def _check_pod(pod: Pod | None, name: str, uid: str) -> None:
    if pod is None or pod.metadata.uid != uid or is_terminal(pod):
        raise Forbidden(f'the token was for the pod "{name}", which is not there any more')


def ends_tokens(obj: Object | None, previous: Object | None) -> bool:
    """Whether what has happened to an object may be the end of tokens: its pod or account is no more."""
    if isinstance(previous, ServiceAccount):
        return obj is None or obj.metadata.uid != previous.metadata.uid
    if isinstance(previous, Pod):
        return obj is None or (isinstance(obj, Pod) and is_terminal(obj))
    return False
