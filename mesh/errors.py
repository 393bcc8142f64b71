"""The closed set of errors that cross rooms; `rpc/status.py` gives each its gRPC code, the CLI its exit code.

Rule: a message reads "cannot <verb> <thing>: <why>" or names the field and says what to do. Anything else that is
raised is a bug: it is logged and crashes the task group that it happened in.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class Violation:
    """One thing wrong with one field: `field` is a path as in a manifest, "spec.containers[0].image"."""

    field: str
    reason: str

    def __str__(self) -> str:
        return f"{self.field}: {self.reason}" if self.field else self.reason


class MeshError(Exception):
    """Base of the six kinds; `kind` is the name that crosses the wire."""

    kind: ClassVar[str] = "MeshError"

    def __init__(self, message: str, violations: Sequence[Violation] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.violations = tuple(violations)


class NotFound(MeshError):  # noqa: N818 - Kubernetes' names of these conditions carry no "Error"
    """The object, stream or host asked for is not there."""

    kind = "NotFound"


class AlreadyExists(MeshError):  # noqa: N818
    """A create met an object of the same key."""

    kind = "AlreadyExists"


class Conflict(MeshError):  # noqa: N818
    """A compare-and-set met another revision, or a precondition does not hold (A8)."""

    kind = "Conflict"


class TooOld(Conflict):
    """The history asked for is compacted: list again and watch from there."""

    kind = "TooOld"


class Invalid(MeshError):  # noqa: N818
    """The input breaks a rule; `violations` names every field that does."""

    kind = "Invalid"

    @classmethod
    def of(cls, subject: str, violations: Sequence[Violation]) -> "Invalid":
        """One error for all violations of `subject` (for example `Pod "web"`)."""
        return cls(f"{subject} is invalid: " + "; ".join(str(v) for v in violations), violations)


class Forbidden(MeshError):  # noqa: N818
    """The caller may not do this."""

    kind = "Forbidden"


class Unavailable(MeshError):  # noqa: N818
    """A part that is needed is away for the moment; the same call may go through later."""

    kind = "Unavailable"


KINDS: dict[str, type[MeshError]] = {
    e.kind: e for e in (NotFound, AlreadyExists, Conflict, TooOld, Invalid, Forbidden, Unavailable)
}


def from_kind(kind: str, message: str) -> MeshError:
    """The error that travelled as (kind, message); an unknown kind is a MeshError."""
    return KINDS.get(kind, MeshError)(message)
