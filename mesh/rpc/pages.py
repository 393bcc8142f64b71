"""Lists in pages: all pages of one list are of one revision.

Rule: what is left of a list is kept by reference for five minutes, of at most 64 lists; a token is for one next page.
"""

import secrets
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from mesh.errors import TooOld
from mesh.model.kinds import Object, pack
from mesh.v1.control_pb2 import ListResponse

_KEPT = 64
_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class _Rest:
    objects: Sequence[Object]
    revision: int
    until: float


class Pages:
    """The rests of lists that clients are in the middle of."""

    def __init__(self) -> None:
        self._rests: OrderedDict[str, _Rest] = OrderedDict()

    def first(self, objects: Sequence[Object], revision: int, limit: int) -> ListResponse:
        """The first page; everything when `limit` is 0."""
        page, rest = (objects[:limit], objects[limit:]) if limit else (objects, ())
        response = ListResponse(objects=[pack(obj) for obj in page], revision=revision, remaining=len(rest))
        if rest:
            setattr(response, "continue", self._keep(rest, revision))
        return response

    def next(self, token: str, limit: int) -> ListResponse:
        """The page after; raises TooOld when its list is forgotten."""
        rest = self._rests.get(token)
        if rest is None or rest.until < time.monotonic():
            raise TooOld("the list cannot be continued: it is forgotten after five minutes; list again")
        return self.first(rest.objects, rest.revision, limit)

    def _keep(self, objects: Sequence[Object], revision: int) -> str:
        token = secrets.token_urlsafe(12)
        self._rests[token] = _Rest(objects, revision, time.monotonic() + _SECONDS)
        while len(self._rests) > _KEPT:
            self._rests.popitem(last=False)
        return token
