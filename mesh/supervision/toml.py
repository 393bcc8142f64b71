"""TOML out of values: what the configuration files of the mesh need of it, and no more.

Rule: pure; reading is tomllib's.
"""

import json
import tomllib
from collections.abc import Mapping
from typing import Any


def merged(text: str, ours: Mapping[str, Any], header: str) -> str:
    """`text` with our values put over those it has; what a user has added stays. One level of tables."""
    held = tomllib.loads(text)
    for key, value in ours.items():
        held[key] = {**held.get(key, {}), **value} if isinstance(value, Mapping) else value
    return header + dump(held)


def dump(table: Mapping[str, Any]) -> str:
    """Plain values first, then the tables."""
    plain = [f"{key} = {_value(value)}" for key, value in table.items() if not isinstance(value, Mapping)]
    tables = []
    for name, inner in table.items():
        if isinstance(inner, Mapping):
            tables.append("\n".join([f"\n[{name}]", *(f"{key} = {_value(value)}" for key, value in inner.items())]))
    return "\n".join([*plain, *tables]) + "\n"


def _value(value: Any) -> str:
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_value, value)) + "]"
    if isinstance(value, bool | int | float | str):
        return json.dumps(value)  # a JSON scalar is a TOML scalar
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key} = {_value(inner)}" for key, inner in value.items()) + "}"
    raise TypeError(f"no TOML for {type(value).__name__}")
