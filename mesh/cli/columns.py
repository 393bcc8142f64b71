"""What a table of objects is made of: a title, and how a cell is worked out.

Rule: pure; `now` is seconds since the epoch.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from mesh.model.kinds import Object
from mesh.sdk.words import age

NONE = "<none>"
Cell = Callable[[Any, float], str]  # (object of the kind, now) -> text


@dataclass(frozen=True, slots=True)
class Column:
    """One column; `wide`: only with -o wide."""

    title: str
    cell: Cell
    wide: bool = False


def pairs(values: Mapping[str, str]) -> str:
    """ "a=1,b=2", or <none>."""
    return ",".join(f"{k}={values[k]}" for k in sorted(values)) or NONE


def name_of(obj: Object, _now: float) -> str:
    """The object's name."""
    return obj.metadata.name


def _age(obj: Object, now: float) -> str:
    return age(obj.metadata.creation_timestamp, now)


NAME, AGE = Column("NAME", name_of), Column("AGE", _age)
