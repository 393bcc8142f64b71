"""Counters and histograms that a program keeps of itself, and a way to time calls of anything.

Rule: a Tally belongs to who made it, there is none for the whole process; one event loop or thread writes it.
"""

import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeVar, cast

from mesh.exposition.text import Family, Histogram, Page

T = TypeVar("T")
Told = Callable[[str, float, BaseException | None], None]  # name, seconds, how it failed


class Tally:
    """What was counted so far."""

    def __init__(self) -> None:
        self._counts: dict[Family, dict[str, float]] = defaultdict(lambda: defaultdict(float))
        self._histograms: dict[Family, dict[str, Histogram]] = defaultdict(lambda: defaultdict(Histogram))

    def add(self, family: Family, of: str = "", by: float = 1) -> None:
        """Counts; `of` are labels as `text.labels` writes them."""
        self._counts[family][of] += by

    def observe(self, family: Family, of: str, value: float, trace: str = "") -> None:
        """One more observation; `trace`: the id of the trace in which it was made."""
        self._histograms[family][of].observe(value, trace)

    def show(self, page: Page) -> None:
        """Everything."""
        for family, counts in self._counts.items():
            page.put(family, list(counts.items()))
        for family, histograms in self._histograms.items():
            for of, histogram in histograms.items():
                page.histogram(family, of, histogram)


def timed(inner: T, methods: Iterable[str], told: Told) -> T:
    """The same thing, but `told` hears of each call of its async `methods`."""
    return cast("T", _Timed(inner, frozenset(methods), told))  # it has every method, by way of __getattr__


class _Timed:
    def __init__(self, inner: Any, methods: frozenset[str], told: Told) -> None:
        self._inner = inner
        self._methods = methods
        self._told = told

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if name not in self._methods:
            return found
        wrapped = self._wrapped(found, name)
        setattr(self, name, wrapped)  # the next time it is found without us
        return wrapped

    def _wrapped(self, call: Callable[..., Awaitable[Any]], name: str) -> Callable[..., Awaitable[Any]]:
        async def timed(*args: Any, **more: Any) -> Any:
            began, failure = time.perf_counter(), None
            try:
                return await call(*args, **more)
            except BaseException as error:
                failure = error
                raise
            finally:
                self._told(name, time.perf_counter() - began, failure)

        return timed
