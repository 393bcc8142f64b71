"""Times: exact to the nanosecond, RFC 3339 in and out."""

import pytest

from mesh.model.times import SECOND, format_rfc3339, from_timestamp, parse_rfc3339, to_timestamp, whole_seconds


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("2026-01-31T12:00:00Z", 1_769_860_800 * SECOND),
        ("2026-01-31T12:00:00.5Z", 1_769_860_800 * SECOND + SECOND // 2),
        ("2026-01-31T12:00:00.000000001Z", 1_769_860_800 * SECOND + 1),
        ("2026-01-31T14:00:00+02:00", 1_769_860_800 * SECOND),
        ("2026-01-31T10:30:00-01:30", 1_769_860_800 * SECOND),
        ("1969-12-31T23:59:59.5Z", -SECOND // 2),
        ("2026-01-31t12:00:00z", 1_769_860_800 * SECOND),
        ("9999-12-31T23:59:59Z", 253_402_300_799 * SECOND),
        ("0001-01-01T00:00:00Z", -62_135_596_800 * SECOND),
    ],
)
def test_reads(text: str, nanoseconds: int) -> None:
    assert from_timestamp(parse_rfc3339(text)) == nanoseconds
    assert from_timestamp(parse_rfc3339(format_rfc3339(to_timestamp(nanoseconds)))) == nanoseconds


@pytest.mark.parametrize(
    "text",
    ["", "2026-01-31", "2026-01-31T12:00:00", "2026-02-30T12:00:00Z", "2026-01-31T25:00:00Z", "12:00",
     "2026-01-31T12:00:00+99:00", "2026-01-31T12:00:00.1234567890Z", "yesterday"],
)  # fmt: skip
def test_refuses(text: str) -> None:
    with pytest.raises(ValueError, match="is not a time"):
        parse_rfc3339(text)


@pytest.mark.parametrize(
    ("nanos", "fraction"),
    [(0, ""), (500_000_000, ".500"), (1_000, ".000001"), (1, ".000000001"), (120_000_000, ".120")],
)
def test_writes_a_fraction_only_when_there_is_one(nanos: int, fraction: str) -> None:
    assert format_rfc3339(to_timestamp(nanos)) == f"1970-01-01T00:00:00{fraction}Z"


def test_metadata_has_whole_seconds() -> None:
    assert whole_seconds(3 * SECOND + 7) == to_timestamp(3 * SECOND)
