"""Facts come in, decisions go out: the pure functions of the rules, at their bounds."""

from __future__ import annotations

from typing import Any

import pytest
from support.stories import row_of_regression

from simscope_server.ledger import life
from simscope_server.ledger.rules import (
    OPEN,
    OVER,
    TANKED,
    NotExtended,
    extended_limit,
    is_later_run,
    is_running,
    moves_limit,
    names_run,
    run_of,
    says_over,
    split_series,
)
from simscope_server.messages.protocol import LONGEST_MS, Message


@pytest.mark.parametrize(
    ("ended", "ending", "tanked_at", "state"),
    [
        (None, None, None, OPEN),
        ("finish", None, None, OVER),
        ("timeout", None, None, OVER),
        (None, "finish", None, OVER),
        (None, "time-limit", None, OVER),
        (None, None, 5, TANKED),
        (None, "tank", 5, TANKED),
        ("finish", None, 5, TANKED),
        (None, None, 0, TANKED),
    ],
)
def test_where_a_regression_stands(ended: str | None, ending: str | None, tanked_at: int | None, state: str) -> None:
    assert life.stands(row_of_regression(ended=ended, ending=ending, tanked_at=tanked_at)) == state


@pytest.mark.parametrize(
    ("said", "known", "run"),
    [
        (None, None, "same"),
        (None, 5, "same"),
        (5, None, "same"),
        (5, 5, "same"),
        (0, 0, "same"),
        (4, 5, "older"),
        (6, 5, "newer"),
        (-1, 0, "older"),
        (0, -1, "newer"),
    ],
)
def test_which_run_a_message_speaks_of(said: int | None, known: int | None, run: str) -> None:
    assert run_of(said, known) == run


@pytest.mark.parametrize(
    ("kind", "pending", "over", "names"),
    [
        ("regr-start", None, False, True),
        ("regr-start", True, False, True),
        ("regr-start", False, True, True),
        ("regr-update", None, False, False),
        ("regr-update", True, False, False),
        ("regr-update", False, True, True),
        ("regr-finish", None, True, True),
        ("regr-finish", True, True, True),
    ],
)
def test_which_message_ends_a_regression_and_which_names_its_run(
    kind: str, pending: bool | None, over: bool, names: bool
) -> None:
    message = Message(0, kind, "r/1", {}, {}, {}, pending=pending)

    assert (says_over(message), names_run(message)) == (over, names)


@pytest.mark.parametrize(
    ("old", "said", "running", "tick", "answer"),
    [
        (1000, {}, 0, 2000, False),  # it does not speak of the limit
        (1000, {"time_limit_ms": 1000}, 0, 2000, False),  # it says what was said
        (1000, {"time_limit_ms": 2000}, 0, 2000, False),  # over just now
        (1000, {"time_limit_ms": 2001}, 0, 2000, True),
        (1000, {"time_limit_ms": 500}, 0, 2000, False),
        (1000, {"time_limit_ms": 500}, 1800, 2000, True),
        (1000, {"time_limit_ms": None}, 0, 2000, True),  # taken away
        (1000, {"time_limit_ms": 500}, None, 2000, True),  # it did not even run
        (None, {"time_limit_ms": None}, 0, 2000, False),
        (None, {"time_limit_ms": 9000}, 0, 2000, True),
    ],
)
def test_which_live_message_moves_a_limit(
    old: int | None, said: dict[str, Any], running: int | None, tick: int, answer: bool
) -> None:
    assert moves_limit(old, said, running, tick) is answer


NOW = 1_000_000_000


@pytest.mark.parametrize(
    ("limit", "running", "by", "until", "told"),
    [
        (1000, 0, 500, None, 1500),  # at tick 400: from the limit on
        (400, 0, 500, None, 900),
        (300, 0, 500, None, 900),  # over: from now on
        (1000, None, 500, None, 1500),  # it waits
        (None, 0, 500, None, "no-time-limit"),
        (None, None, 500, None, "no-time-limit"),
        (1000, 0, None, NOW + 50, 450),  # earlier than it was
        (None, 100, None, NOW + 50, 350),
        (300, 0, None, NOW + 1, 401),
        (300, 0, None, NOW, "bad-extension"),
        (300, None, None, NOW + 50, "not-running"),
        (1000, 0, LONGEST_MS - 1000, None, LONGEST_MS),
        (1000, 0, LONGEST_MS - 999, None, "bad-extension"),
        (None, 0, None, NOW + LONGEST_MS, "bad-extension"),
    ],
)
def test_which_limit_an_extension_gives(
    limit: int | None, running: int | None, by: int | None, until: int | None, told: int | str
) -> None:
    new: int | str
    try:
        new = extended_limit(limit, running, NOW, 400, by, until)
    except NotExtended as error:
        new = error.reason

    assert new == told


@pytest.mark.parametrize(
    ("said", "known", "answer"),
    [
        (None, None, False),
        (None, 5, False),
        (5, None, True),
        (5, 5, False),
        (4, 5, False),
        (6, 5, True),
        (0, None, True),
    ],
)
def test_which_finish_is_a_run_again(said: int | None, known: int | None, answer: bool) -> None:
    assert is_later_run(said, known) is answer


WAITING = "queued pending submitted staging paused Queued PENDING STAGING_INPUTS STAGED SUBMITTING PAUSED blocked"


@pytest.mark.parametrize("phase", WAITING.split())
def test_a_job_waits_in_these_phases(phase: str) -> None:
    assert is_running(phase) is False


@pytest.mark.parametrize("phase", [None, "", "running", "compile", "done", "failed", "queued for the licence"])
def test_a_job_runs_in_all_others(phase: str | None) -> None:
    assert is_running(phase) is True


@pytest.mark.parametrize(
    ("name", "separator", "series", "number"),
    [
        ("nightly/12", "/", "nightly", 12),
        ("core/nightly/12", "/", "core/nightly", 12),
        ("nightly/0", "/", "nightly", 0),
        ("nightly/007", "/", "nightly", 7),
        ("nightly.12", ".", "nightly", 12),
        ("a/b-3", "-", "a/b", 3),
        ("a:3", ":", "a", 3),
        ("nightly.12", "/", None, None),
        ("nightly", "/", None, None),
        ("nightly/", "/", None, None),
        ("/12", "/", None, None),
        ("nightly/12a", "/", None, None),
        ("nightly/-1", "/", None, None),
        ("nightly/1.5", "/", None, None),
        ("nightly/²", "/", None, None),
        ("nightly/١٢", "/", None, None),
        ("12", "/", None, None),
        ("", "/", None, None),
        ("nightly/" + "9" * 18, "/", "nightly", 10**18 - 1),
        ("nightly/" + "9" * 40, "/", None, None),
    ],
)
def test_a_name_tells_its_series(name: str, separator: str, series: str | None, number: int | None) -> None:
    assert split_series(name, separator) == (series, number)
