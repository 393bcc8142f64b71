"""Secrets as pods of this host see them: which are here, opened for the moment of use, or why one is not here.

Rule: pure; `repr` never shows a value. What is opened is used at once and kept by nobody.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Held:
    """A Secret whose box is in memory: which object, at which revision."""

    uid: str
    revision: str


# By the name of each Secret that a pod refers to and that there is: what is held of it, or why it is not here.
Refs = Mapping[str, Held | str]


@dataclass(frozen=True, slots=True)
class Secrets:
    """Opened: `data` by name and key; `away` by name: why one is not here; any other one does not exist."""

    data: Mapping[str, Mapping[str, bytes]] = field(default_factory=dict, repr=False)
    types: Mapping[str, str] = field(default_factory=dict)
    away: Mapping[str, str] = field(default_factory=dict)

    def get(self, name: str) -> Mapping[str, bytes] | None:
        """The values of a Secret; None when it is not here."""
        return self.data.get(name)

    def why(self, name: str) -> str:
        """Why it is not here, in words."""
        return f'secret "{name}" {self.away[name]}' if name in self.away else f'secret "{name}" not found'


class Veil:
    """Stand-ins for values in what is written down of a container: environment, command and arguments. `mark` is random
    and new with every container, so that no stand-in can be meant by anybody. `repr` shows no value."""

    def __init__(self, mark: str) -> None:
        self._mark = mark
        self.values: dict[str, str] = {}  # by stand-in

    def put(self, value: str) -> str:
        """The stand-in for a value; an empty one hides nothing."""
        if not value:
            return ""
        word = f"mesh-secret-{self._mark}-{len(self.values)}-"
        self.values[word] = value
        return word

    def hides(self, text: str) -> bool:
        """Whether a stand-in is in the text."""
        return any(word in text for word in self.values)

    def __repr__(self) -> str:
        return f"Veil({len(self.values)} values)"


NONE = Secrets()
