"""Times: nanoseconds since the epoch (what pure code computes with), protobuf Timestamps, RFC 3339 texts.

Rule: conversions are exact to the nanosecond; nothing here reads a clock.
"""

import re
from datetime import UTC, datetime, timedelta

from google.protobuf.timestamp_pb2 import Timestamp

SECOND = 1_000_000_000

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_RFC3339 = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?(?:[Zz]|([+-])(\d\d):(\d\d))", re.ASCII
)


def to_timestamp(nanoseconds: int) -> Timestamp:
    """The Timestamp of a time in nanoseconds since the epoch."""
    seconds, nanos = divmod(nanoseconds, SECOND)
    return Timestamp(seconds=seconds, nanos=nanos)


def from_timestamp(timestamp: Timestamp) -> int:
    """Nanoseconds since the epoch; 0 for an absent (empty) Timestamp."""
    return timestamp.seconds * SECOND + timestamp.nanos


def whole_seconds(nanoseconds: int) -> Timestamp:
    """The Timestamp cut to seconds, the resolution of an object's metadata."""
    return Timestamp(seconds=nanoseconds // SECOND)


def format_rfc3339(timestamp: Timestamp) -> str:
    """ "2026-01-31T12:00:00Z"; a fraction of 3, 6 or 9 digits only when there is one."""
    moment = _EPOCH + timedelta(seconds=timestamp.seconds)
    text = f"{moment:%Y-%m-%dT%H:%M:%S}".rjust(19, "0")
    if timestamp.nanos:
        digits = f"{timestamp.nanos:09d}"
        for short in (3, 6):
            if not digits[short:].strip("0"):
                digits = digits[:short]
                break
        text += "." + digits
    return text + "Z"


def parse_rfc3339(text: str) -> Timestamp:
    """The time written as RFC 3339 with a zone; raises ValueError."""
    match = _RFC3339.fullmatch(text)
    if match is None:
        raise ValueError(f'"{text}" is not a time as in 2026-01-31T12:00:00Z')
    year, month, day, hour, minute, second = (int(g) for g in match.groups()[:6])
    fraction, sign, zone_hour, zone_minute = match.groups()[6:]
    try:
        moment = datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    except ValueError as error:
        raise ValueError(f'"{text}" is not a time: {error}') from None
    seconds = (moment - _EPOCH) // timedelta(seconds=1)
    if sign:
        if int(zone_hour) > 23 or int(zone_minute) > 59:
            raise ValueError(f'"{text}" is not a time: its zone is out of range')
        offset = int(zone_hour) * 3600 + int(zone_minute) * 60
        seconds -= offset if sign == "+" else -offset
    return Timestamp(seconds=seconds, nanos=int((fraction or "").ljust(9, "0")))
