"""How the text of an annotation is read: each reader returns the value, or raises ValueError saying what it must be.

Rule: only forms that several kinds share; what one kind alone understands stands with that kind.
"""

from collections.abc import Callable


def whole(low: int, high: int) -> Callable[[str], int]:
    """A whole number within these bounds."""

    def read(text: str) -> int:
        if not text.isascii() or not text.isdecimal() or not low <= int(text) <= high:
            raise ValueError(f'must be a whole number of {low} to {high}, is "{text}"')
        return int(text)

    return read


def one_of(*words: str) -> Callable[[str], str]:
    """One of these words."""

    def read(text: str) -> str:
        if text not in words:
            raise ValueError(f'must be one of {", ".join(words)}, is "{text}"')
        return text

    return read


def flag(text: str) -> bool:
    """`true` or `false`."""
    return one_of("true", "false")(text) == "true"


def counted(text: str | None) -> int | None:
    """The number that a controller has written down; None for anything else that somebody may have written there."""
    return int(text) if text and len(text) <= 18 and text.isascii() and text.isdecimal() else None
