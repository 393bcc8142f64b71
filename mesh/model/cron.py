"""CronJob schedules: which texts are schedules, and when they are due (C15).

Rule: five fields or a macro, in a time zone of the IANA list; everything is nanoseconds since the epoch outside.
"""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice, takewhile
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from mesh.model.times import SECOND

_MACROS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_NAMES = "jan feb mar apr may jun jul aug sep oct nov dec sun mon tue wed thu fri sat"
_STEP = re.compile(r"^\*/(?!1(,|$))")
_SHIFT = 3 * 3600 * SECOND  # clocks are never put back by more
_KNOWN = re.compile(rf"(?:[0-9*/,\-?]|{'|'.join(_NAMES.split())})+", re.IGNORECASE)


def why_not(schedule: str) -> str:
    """Why the text is no schedule, or ""."""
    if "TZ=" in schedule:
        return "may not name a time zone; spec.timeZone is for that"
    if schedule.startswith("@") and schedule not in _MACROS:
        return f'"{schedule}" is none of {", ".join(sorted(_MACROS))}'
    fields = _MACROS.get(schedule, schedule).split()
    if len(fields) != 5:
        return f'must have five fields (minute, hour, day of month, month, day of week), "{schedule}" has {len(fields)}'
    if not all(_KNOWN.fullmatch(f) for f in fields):
        return f'"{schedule}" has characters that are no part of a schedule'
    try:
        next(CronSim(_plain(schedule), datetime(2024, 1, 1, tzinfo=UTC)))
    except (CronSimError, ValueError) as error:
        return f'"{schedule}" is no schedule: {error}'
    except StopIteration:
        return f'"{schedule}" is never due'
    return ""


def zone_why_not(zone: str) -> str:
    """Why the text is no time zone, or ""."""
    if zone.lower() == "local":
        return 'must be a name of the IANA list such as "Europe/Berlin", not the host\'s own'
    try:
        ZoneInfo(zone)
    except (ValueError, OSError):  # ZoneInfoNotFoundError is a KeyError in name only
        return f'"{zone}" is not a name of the IANA list such as "Europe/Berlin"'
    except KeyError:
        return f'"{zone}" is not a name of the IANA list such as "Europe/Berlin"'
    return ""


def next_after(schedule: str, zone: str, after: int) -> int:
    """The first time the schedule is due after a moment."""
    return next(_times(schedule, zone, after))


def due(schedule: str, zone: str, after: int, until: int) -> tuple[int | None, int]:
    """The last time the schedule was due in (after, until], and how often it was (at most 101 are told apart)."""
    times = list(takewhile(lambda at: at <= until, islice(_times(schedule, zone, after), 101)))
    if not times:
        return None, 0
    if len(times) <= 100:
        return times[-1], len(times)
    back = CronSim(_plain(schedule), _moment(until + _SHIFT, zone), reverse=True)
    return next(at for moment in back if (at := _nanos(moment)) <= until), len(times)


def _times(schedule: str, zone: str, after: int) -> Iterator[int]:
    """The moments after `after` at which the schedule is due. In an hour that clocks go through twice, schedules that
    name an hour and a minute are due the first time only; what is due in an hour that they leave out comes right after.
    """
    last = after
    for moment in CronSim(_plain(schedule), _moment(after, zone)):
        if (at := _nanos(moment)) > last:  # the same reading of the clock may lie before `after`
            last = at
            yield at


def _plain(schedule: str) -> str:
    """The five fields as CronSim reads them: a step leaves days out, so it is one sort of days, as a list is."""
    minute, hour, day, month, weekday = _MACROS.get(schedule, schedule).replace("?", "*").split()
    return " ".join((minute, hour, _STEP.sub("1-31/", day), month, _STEP.sub("0-6/", weekday)))


def _moment(nanoseconds: int, zone: str) -> datetime:
    return datetime.fromtimestamp(nanoseconds // SECOND, ZoneInfo(zone or "UTC"))


def _nanos(moment: datetime) -> int:
    return int(moment.timestamp()) * SECOND
