"""Small values that lie on the host as JSON, read by whichever release of the agent comes next.

Rule: pure. Who goes back to an older release finds words that it does not know, and leaves them out; what an older one
did not write has a default.
"""

from collections.abc import Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T", bound="DataclassInstance")


def made(kind: type[T], words: Mapping[str, Any]) -> T:
    """A value of the words that this release knows; raises TypeError when one is missing that it needs."""
    known = {field.name for field in fields(kind)}
    return kind(**{name: value for name, value in words.items() if name in known})
