"""Times and durations: milliseconds since 1970 inside, RFC 3339 in UTC outside.

Pure: what the time is, is said by the caller.
"""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime, timedelta
from functools import lru_cache

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
LATEST = datetime.max.replace(tzinfo=UTC)
LEAP_SECOND = re.compile(r":60(?:\.\d+)?(?=[Zz+-])")


def without_leap_second(text: str) -> str:
    """A time in RFC 3339 whose second is 60, which no datetime can be, as the last millisecond of its minute."""
    return LEAP_SECOND.sub(":59.999", text)


EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


def microseconds(when: datetime) -> int:
    """Microseconds since 1970."""
    return (when - EPOCH) // MICROSECOND


def milliseconds(when: datetime) -> int:
    return microseconds(when) // 1000


FIRST_MS, LAST_MS = -62_135_596_800_000, 253_402_300_799_999  # the years that RFC 3339 can tell: 1 to 9999


def utc(ms: int | None) -> str | None:
    """Milliseconds since 1970 as RFC 3339 in UTC, with milliseconds; None where the year is not 1 to 9999."""
    return None if ms is None or not FIRST_MS <= ms <= LAST_MS else f"{_second(ms // 1000)}.{ms % 1000:03d}Z"


@lru_cache(maxsize=4096)
def _second(since: int) -> str:
    """A second since 1970, to the second; rows that are shown together often share it."""
    when = time.gmtime(since)
    return f"{when.tm_year:04d}{time.strftime('-%m-%dT%H:%M:%S', when)}"


def in_words(ms: int) -> str:
    """A duration as people read it, everywhere alike and in two units at most: `820 ms`, `12.5s`, `3m 05s`, `2h 05m`,
    `3d 04h`."""
    if ms < 60_000:
        return f"{ms} ms" if ms < 1000 else f"{ms / 1000:g}s"
    seconds = ms // 1000
    if seconds < 3600:
        return f"{seconds // 60}m {seconds % 60:02d}s"
    if seconds < 86_400:
        return f"{seconds // 3600}h {seconds // 60 % 60:02d}m"
    return f"{seconds // 86_400}d {seconds // 3600 % 24:02d}h"
