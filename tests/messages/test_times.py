"""Times and durations as they are told."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from simscope_server.messages.times import in_words, microseconds, milliseconds, utc, without_leap_second


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        (None, None),
        (0, "1970-01-01T00:00:00.000Z"),
        (1_700_000_000_123, "2023-11-14T22:13:20.123Z"),
        (-1, "1969-12-31T23:59:59.999Z"),
        (253_402_300_799_999, "9999-12-31T23:59:59.999Z"),
        (253_402_300_800_000, None),
        (-62_135_596_800_000, "0001-01-01T00:00:00.000Z"),
        (-62_135_596_800_001, None),
        (2**63 - 1, None),
        (-(2**63), None),
        (10**40, None),
    ],
)
def test_a_time_that_no_calendar_has_is_not_told(ms: int | None, text: str | None) -> None:
    assert utc(ms) == text


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        (0, "0 ms"),
        (999, "999 ms"),
        (1000, "1s"),
        (12_000, "12s"),
        (12_500, "12.5s"),
        (59_999, "59.999s"),
        (60_000, "1m 00s"),
        (90_999, "1m 30s"),
        (3_599_000, "59m 59s"),
        (3_599_999, "59m 59s"),
        (3_600_000, "1h 00m"),
        (7_500_000, "2h 05m"),
        (3_659_000, "1h 00m"),
        (86_399_999, "23h 59m"),
        (24 * 3_600_000, "1d 00h"),
        (28 * 3_600_000 + 59 * 60_000, "1d 04h"),
        (720 * 3_600_000, "30d 00h"),
    ],
)
def test_a_duration_is_told_in_two_units_at_most(ms: int, text: str) -> None:
    assert in_words(ms) == text


@pytest.mark.parametrize(
    ("text", "mended"),
    [
        ("2016-12-31T23:59:60Z", "2016-12-31T23:59:59.999Z"),
        ("2016-12-31t23:59:60.7z", "2016-12-31t23:59:59.999z"),
        ("2016-12-31T23:59:60+05:60", "2016-12-31T23:59:59.999+05:60"),
        ("2016-12-31T23:59:60-05:00", "2016-12-31T23:59:59.999-05:00"),
        ("2016-12-31T23:59:60", "2016-12-31T23:59:60"),
        ("2016-12-31T23:60:00Z", "2016-12-31T23:60:00Z"),
        ("2016-12-31T23:59:61Z", "2016-12-31T23:59:61Z"),
        ("2016-12-31T23:59:60.Z", "2016-12-31T23:59:60.Z"),
    ],
)
def test_the_second_60_of_a_minute_is_its_last_millisecond(text: str, mended: str) -> None:
    assert without_leap_second(text) == mended


@pytest.mark.parametrize(
    ("when", "micro", "milli"),
    [
        (datetime(1970, 1, 1, tzinfo=UTC), 0, 0),
        (datetime(1970, 1, 1, 0, 0, 0, 1999, tzinfo=UTC), 1999, 1),
        (datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC), -1, -1),
        (datetime(1970, 1, 1, 1, tzinfo=timezone(timedelta(hours=1))), 0, 0),
    ],
)
def test_a_time_is_counted_from_1970_and_cut_to_milliseconds(when: datetime, micro: int, milli: int) -> None:
    assert (microseconds(when), milliseconds(when)) == (micro, milli)
