"""Lists in pages, of a size asked for or of what a message may hold: all pages of one list are of one revision.

Rule: what is left of a list is kept by reference for five minutes, of at most 64 lists; a token is for one next page,
and for who asked for the first one, with the same words.
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
_BYTES = 16 << 20  # of the objects of a page; half of what a message may hold


@dataclass(frozen=True, slots=True)
class _Rest:
    objects: Sequence[Object]
    revision: int
    until: float
    asked: object


class Pages:
    """The rests of lists that clients are in the middle of."""

    def __init__(self) -> None:
        self._rests: OrderedDict[str, _Rest] = OrderedDict()

    def first(self, objects: Sequence[Object], revision: int, limit: int, asked: object) -> ListResponse:
        """The first page: at most `limit` objects unless it is 0, and never more than a message may hold.

        `asked`: who asked for what; it must be equal when the list is continued.
        """
        response, size = ListResponse(revision=revision), 0
        for obj in objects[: limit or None]:
            box = pack(obj)
            size += len(box.value)
            if size > _BYTES and response.objects:
                break
            response.objects.append(box)
        rest = objects[len(response.objects) :]
        response.remaining = len(rest)
        if rest:
            setattr(response, "continue", self._keep(_Rest(rest, revision, time.monotonic() + _SECONDS, asked)))
        return response

    def next(self, token: str, limit: int, asked: object) -> ListResponse:
        """The page after; raises TooOld when its list is forgotten."""
        rest = self._rests.get(token)
        if rest is None or rest.until < time.monotonic() or rest.asked != asked:
            raise TooOld("the list cannot be continued: it is forgotten after five minutes; list again")
        return self.first(rest.objects, rest.revision, limit, asked)

    def _keep(self, rest: _Rest) -> str:
        token = secrets.token_urlsafe(12)
        self._rests[token] = rest
        while len(self._rests) > _KEPT:
            self._rests.popitem(last=False)
        return token
