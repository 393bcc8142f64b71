"""A span, and the context by which spans of several programs find together: W3C's traceparent.

Rule: pure. Ids are lowercase hex, never all zeros; times are nanoseconds since the epoch.
"""

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field

_TRACEPARENT = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}")


@dataclass(frozen=True, slots=True)
class Context:
    """Which span, of which trace."""

    trace: str
    span: str

    @property
    def traceparent(self) -> str:
        """As it travels."""
        return f"00-{self.trace}-{self.span}-01"

    def child(self) -> "Context":
        """Of a new span below this one."""
        return Context(self.trace, secrets.token_hex(8))


@dataclass(frozen=True, slots=True)
class Span:
    """Something that took time; `parent` is a span of the same trace, empty for none; `error` says how it failed."""

    name: str
    context: Context
    parent: str
    began: int
    ended: int
    attributes: Mapping[str, str] = field(default_factory=dict)
    error: str = ""


def new_context() -> Context:
    """Of the first span of a trace."""
    return Context(secrets.token_hex(16), secrets.token_hex(8))


def parsed(traceparent: str) -> Context | None:
    """What somebody sent; None for what is none."""
    match = _TRACEPARENT.fullmatch(traceparent)
    if match is None or not int(match[1], 16) or not int(match[2], 16):
        return None
    return Context(match[1], match[2])
