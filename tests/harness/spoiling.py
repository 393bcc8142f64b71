"""Manifests spoilt by dice: what a stranger, or a slip, makes of one that is good."""

import copy
import random
from typing import Any

ODD: tuple[Any, ...] = (
    None, True, 0, -1, 2**31, 2**63, 2**70, 0.5, 1e30, float("inf"), float("nan"), "", " ", "x", "yes", "-", "..", "/",
    "x" * 300, "\ud800", "\x00", "1e999", "-5", [], {}, [None], [[]], [{}], {"": None}, {"\ud800": "x"}, {"a": {}},
)  # fmt: skip


def _places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of everything in a value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [*([at] if at else []), *(p for key, v in inner for p in _places(v, (*at, key)))]


def spoilt(value: Any, dice: random.Random) -> Any:
    """The value with one to three of its places overwritten, renamed or doubled; the given one stays as it is."""
    made = copy.deepcopy(value)
    for _ in range(dice.randint(1, 3)):
        places = _places(made)
        *path, last = dice.choice(places)
        into = made
        for key in path:
            into = into[key]
        if dice.random() < 0.2 and isinstance(into, dict):
            into[dice.choice(("x", "name", "spec", "", "data"))] = into.pop(last)
        elif dice.random() < 0.2 and isinstance(into, list):
            into.append(copy.deepcopy(into[last]))
        else:
            into[last] = copy.deepcopy(dice.choice(ODD))
    return made
