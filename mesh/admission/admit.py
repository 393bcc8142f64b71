"""Accepts, completes or refuses what users write: one pure function per verb.

Rule: admission never mutates what it is given and never reads a clock or random source; `Stamp` brings both.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mesh.model.kinds import Object
from mesh.view import View


@dataclass(frozen=True, slots=True)
class Stamp:
    """What pure code can't make: the time (nanoseconds since the epoch), a fresh uid, random lower-case letters."""

    now: int
    uid: str
    suffix: str  # five characters for generateName


@dataclass(frozen=True, slots=True)
class Admitted:
    """What to store; `object` is the old one itself when nothing changes. Warnings are sentences for the user."""

    object: Object
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Deletion:
    """What a delete does: store `object` (marked as being deleted), or remove it when None."""

    object: Object | None
