"""An audit log that a test reads."""

from collections.abc import Mapping
from typing import Any

from tests.harness.news import News


class Audits:
    """Keeps the records in order."""

    def __init__(self) -> None:
        self.records: list[Mapping[str, Any]] = []
        self.news = News()

    def write(self, record: Mapping[str, Any]) -> None:
        self.records.append(record)
        self.news.ring()

    def of(self, user: str) -> list[tuple[bool, str]]:
        """What a user wished: whether it was allowed, and "verb resource name"."""
        return [
            (r["allowed"], " ".join(filter(None, (w.get("verb"), w.get("resource"), w.get("name")))))
            for r in self.records
            if r["user"] == user
            for w in r["what"] or [{}]
        ]
