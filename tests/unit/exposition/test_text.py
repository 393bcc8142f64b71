"""The text format, as a Prometheus client library reads it."""

import math

import pytest

from mesh.exposition.tally import Tally, timed
from mesh.exposition.text import Family, Histogram, Page, labels
from tests.harness.figures import parse

GAUGE = Family("a_gauge", "gauge", "What it is.\nOn two lines, with a \\.")
HISTOGRAM = Family("a_seconds", "histogram", "How long.")


@pytest.mark.parametrize("value", ["plain", 'with "quotes"', "back\\slash", "two\nlines", "ünicode", "", "\\n"])
def test_labels_come_back_as_they_were(value: str) -> None:
    page = Page()
    page.one(GAUGE, 1.5, labels({"one": value, "two": "x"}))
    assert parse(page.render()).of("a_gauge", one=value, two="x") == 1.5


@pytest.mark.parametrize("value", [0, 3, -2.5, 1e-9, 12345678901234567, math.inf, -math.inf])
def test_numbers_come_back_as_they_were(value: float) -> None:
    page = Page()
    page.one(GAUGE, value)
    assert parse(page.render()).of("a_gauge") == value


def test_what_is_not_a_number_is_said_so() -> None:
    page = Page()
    page.one(GAUGE, math.nan)
    assert math.isnan(parse(page.render()).of("a_gauge"))


def test_a_family_is_written_once_however_often_it_is_added_to_and_not_at_all_when_it_is_empty() -> None:
    page = Page()
    page.put(GAUGE, [('x="1"', 1)])
    page.put(Family("empty", "gauge", "Nothing."), [])
    page.put(GAUGE, [('x="2"', 2)])
    text = page.render().decode()
    assert text.count("# TYPE a_gauge gauge") == 1
    assert "empty" not in text
    assert {parse(text).of("a_gauge", x=n) for n in ("1", "2")} == {1, 2}


def test_a_histogram_counts_each_value_in_its_bucket_and_all_above() -> None:
    page, histogram = Page(), Histogram((0.1, 1.0))
    for value in (0.05, 0.1, 0.5, 7.0):
        histogram.observe(value)
    page.histogram(HISTOGRAM, 'x="y"', histogram)
    figures = parse(page.render())
    assert [figures.of("a_seconds_bucket", le=le) for le in ("0.1", "1.0", "+Inf")] == [2, 3, 4]
    assert (figures.of("a_seconds_count", x="y"), figures.of("a_seconds_sum")) == (4, pytest.approx(7.65))


async def test_calls_are_counted_and_timed_and_otherwise_as_before() -> None:
    class Thing:
        here = 5

        async def good(self, x: int) -> int:
            return x + 1

        async def bad(self) -> None:
            raise KeyError("no")

    told: list[tuple[str, bool]] = []
    thing = timed(Thing(), ("good", "bad"), lambda name, _, failure: told.append((name, failure is None)))
    assert (await thing.good(1), thing.here) == (2, 5)
    with pytest.raises(KeyError):
        await thing.bad()
    assert told == [("good", True), ("bad", False)]


def test_a_tally_shows_what_was_counted() -> None:
    tally, page = Tally(), Page()
    calls = Family("calls_total", "counter", "Calls.")
    tally.add(calls, 'code="ok"')
    tally.add(calls, 'code="ok"')
    tally.add(calls, 'code="no"', 3)
    tally.observe(HISTOGRAM, "", 0.2)
    tally.show(page)
    figures = parse(page.render())
    assert (figures.of("calls_total", code="ok"), figures.of("calls_total", code="no")) == (2, 3)
    assert figures.of("a_seconds_count") == 1
