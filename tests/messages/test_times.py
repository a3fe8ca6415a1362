"""Times and durations as they are told."""

from __future__ import annotations

import pytest

from simscope_server.messages.times import in_words, utc


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        (None, None),
        (0, "1970-01-01T00:00:00.000Z"),
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
        (12_000, "12s"),
        (12_500, "12.5s"),
        (60_000, "1m 00s"),
        (90_999, "1m 30s"),
        (3_599_000, "59m 59s"),
        (7_500_000, "2h 05m"),
        (3_659_000, "1h 00m"),
        (24 * 3_600_000, "1d 00h"),
        (720 * 3_600_000, "30d 00h"),
    ],
)
def test_a_duration_is_told_in_two_units_at_most(ms: int, text: str) -> None:
    assert in_words(ms) == text
