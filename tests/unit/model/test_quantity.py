"""Quantities: what is read, rounded, compared and written (R1)."""

import pytest

from mesh.model import quantity
from mesh.model.quantity import Quantity, amount, canonical, parse, rounded_to_milli

NANO = 10**9


@pytest.mark.parametrize(
    ("text", "nanos"),
    [
        ("0", 0),
        ("1", NANO),
        ("+1", NANO),
        ("-1", -NANO),
        ("1.5", 15 * NANO // 10),
        (".5", NANO // 2),
        ("1.", NANO),
        ("100m", NANO // 10),
        ("100u", 100_000),
        ("7n", 7),
        ("1k", 1_000 * NANO),
        ("1M", 10**6 * NANO),
        ("1G", 10**9 * NANO),
        ("1T", 10**12 * NANO),
        ("1P", 10**15 * NANO),
        ("1E", 10**18 * NANO),
        ("1Ki", 1024 * NANO),
        ("64Mi", 64 * 2**20 * NANO),
        ("2Gi", 2**31 * NANO),
        ("1Ti", 2**40 * NANO),
        ("1Pi", 2**50 * NANO),
        ("1Ei", 2**60 * NANO),
        ("1.5Gi", 3 * 2**29 * NANO),
        ("1e3", 1000 * NANO),
        ("1E3", 1000 * NANO),
        ("1e-3", NANO // 1000),
        ("12e+2", 1200 * NANO),
        ("0.0000000001", 1),  # finer than 10⁻⁹ is rounded up
        ("9223372036854775807", (2**63 - 1) * NANO),
    ],
)
def test_reads(text: str, nanos: int) -> None:
    assert parse(text).nanos == nanos


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is not a quantity"),
        ("abc", "is not a quantity"),
        ("1 Gi", "is not a quantity"),
        (" 1", "is not a quantity"),
        ("1GB", 'did you mean "G"'),
        ("1gi", 'did you mean "Gi"'),
        ("64mb", 'did you mean "M"'),
        ("1K", 'did you mean "k"'),
        ("1x", "units are m, k, M"),
        ("0x10", "is not a quantity"),
        ("1e", "is no unit"),
        ("--1", "is not a quantity"),
        ("\uff11", "is not a quantity"),
        ("9223372036854775808", "too large"),
        ("8Ei", "too large"),
        ("1e999", "too large"),
        ("9" * 100, "too many digits"),
        ("NaN", "is not a quantity"),
    ],
)
def test_refuses(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=r"quantity|large") as caught:
        parse(text)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("0", "0"),
        ("0.5", "500m"),
        ("1000m", "1"),
        ("1500m", "1500m"),
        ("1000", "1k"),
        ("1024", "1024"),
        ("1024Mi", "1Gi"),
        ("1.5Gi", "1536Mi"),
        ("1.1Ki", "1127"),
        ("0.5Ki", "512"),
        ("0.0001Ki", "102400u"),
        ("100000k", "100M"),
        ("1e3", "1e3"),
        ("1200e0", "1200"),
        ("12e6", "12e6"),
        ("0.1e-1", "10e-3"),
        ("-1.5Gi", "-1536Mi"),
        ("007", "7"),
    ],
)
def test_writes_the_canonical_form(text: str, written: str) -> None:
    assert canonical(text) == written
    assert canonical(written) == written


@pytest.mark.parametrize(
    ("resource", "text", "counted"),
    [
        ("cpu", "100m", 100),
        ("cpu", "0.1", 100),
        ("cpu", "1", 1000),
        ("cpu", "0.0001", 1),  # up to 1m, never down to nothing
        ("cpu", "100100u", 101),
        ("memory", "64Mi", 64 * 2**20),
        ("memory", "100m", 1),
        ("memory", "1.5", 2),
        ("pods", "110", 110),
    ],
)
def test_counts_rounding_up(resource: str, text: str, counted: int) -> None:
    assert amount(resource, text) == counted


def test_rounds_to_thousandths_upwards() -> None:
    assert rounded_to_milli("100100u") == "101m"
    assert rounded_to_milli("0.0001") == "1m"
    assert rounded_to_milli("64Mi") == "64Mi"


def test_compares_and_adds_across_notations() -> None:
    assert parse("1Gi") > parse("1G")
    assert parse("1000m") == parse("1") and hash(parse("1000m")) == hash(parse("1"))
    assert str(parse("512Mi") + parse("512Mi")) == "1Gi"
    assert str(parse("1") - parse("100m")) == "900m"
    assert quantity.total([]) == Quantity(0)
    assert quantity.total([parse("0.1")] * 10) == parse("1")  # exactly: no floats
