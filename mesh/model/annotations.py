"""How the text of an annotation is read: each reader returns the value, or raises ValueError saying what it must be.

Rule: only forms that several kinds share; what one kind alone understands stands with that kind.
"""

from collections.abc import Callable


def whole(low: int, high: int) -> Callable[[str], int]:
    """A whole number within these bounds."""

    def read(text: str) -> int:
        number = counted(text)
        if number is None or not low <= number <= high:
            raise ValueError(f'must be a whole number of {low} to {high}, is "{text}"')
        return number

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
    """The number that a text says by digits, at most 18 of them; None for anything else that may be written there."""
    return int(text) if text and len(text) <= 18 and text.isascii() and text.isdecimal() else None
