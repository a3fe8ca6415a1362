"""When a regression will be over."""

from __future__ import annotations

import itertools

import pytest

from simscope_server.reading.answers import estimate_end


@pytest.mark.parametrize(
    ("now", "total", "done", "earlier", "end"),
    [
        (100, None, 5, [1000], None),  # nobody said how many there are
        (100, 0, 0, [1000], None),
        (100, 10, 10, [1000], None),  # nothing is missing
        (100, 10, 12, [1000], None),
        (100, 10, 0, [], None),  # nothing to go by
        (100, 10, 5, [], 200),  # by its rate
        (100, 10, 1, [], 1000),
        (100, 10, 0, [1000], 1000),  # by its history
        (100, 10, 0, [50, 1000, 9000], 1000),  # the median
        (100, 10, 5, [1000], 600),  # half of each
        (100, 10, 9, [1000], 200),  # hardly any history
        (100, 10, 5, [90], 200),  # late by its own history
        (100, 10, 0, [90], None),
        (0, 10, 0, [1000], 1000),
    ],
)
def test_when_a_regression_will_be_over(
    now: int, total: int | None, done: int, earlier: list[int], end: int | None
) -> None:
    estimate = estimate_end(now, 0, total, done, earlier)

    assert (estimate.at if estimate else None) == end


def test_an_end_is_never_estimated_in_the_past() -> None:
    for done, now in itertools.product(range(10), range(0, 2000, 50)):
        end = estimate_end(now, 0, 10, done, [1000])

        assert end is None or now <= (end.low or now) <= end.at <= (end.high or end.at)
