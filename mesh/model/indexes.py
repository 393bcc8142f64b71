"""Sets of whole numbers as texts: "1,3-5,7", the completed and failed indexes of a Job (C13)."""

import re
from collections.abc import Iterable

_PART = re.compile(r"([0-9]{1,10})(?:-([0-9]{1,10}))?")


def parse(text: str) -> set[int]:
    """The numbers of a text; raises ValueError for what is no such text."""
    return {number for part in ranges(text) for number in part}


def ranges(text: str) -> list[range]:
    """The numbers and ranges of a text, which rise; raises ValueError for what is no such text."""
    found: list[range] = []
    for part in filter(None, text.split(",")):
        match = _PART.fullmatch(part.strip())
        if match is None:
            raise ValueError(f'"{part[:40]}" is neither a number nor a range as in 3-5')
        of = range(int(match[1]), int(match[2] or match[1]) + 1)
        if not of or (found and of.start < found[-1].stop):
            raise ValueError(f'"{part}" is not above what stands before it')
        found.append(of)
    return found


def format_indexes(numbers: Iterable[int]) -> str:
    """The shortest text of a set; a range of two is written as two numbers."""
    parts: list[list[int]] = []
    for number in sorted(set(numbers)):
        if parts and parts[-1][-1] == number - 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    return ",".join(_text(part) for part in parts)


def _text(part: list[int]) -> str:
    if len(part) == 1:
        return str(part[0])
    return f"{part[0]},{part[1]}" if len(part) == 2 else f"{part[0]}-{part[-1]}"
