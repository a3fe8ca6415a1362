"""When a live regression will be over, and whether it is stalled."""

from __future__ import annotations

import json
from typing import Any

import pytest
from support.daemons import Daemon, done, wait_until
from support.stories import Story
from support.telling import found, publish, regr

from simscope_server.api.rows import REGRESSION
from simscope_server.ledger.expiry import expire
from simscope_server.messages.times import utc
from simscope_server.reading import answers
from simscope_server.reading.shapes import Regression


@pytest.mark.parametrize(
    ("now", "total", "done_by_now", "earlier", "estimate"),
    [
        (100, 10, 5, [], (200, 153, 1047, "rate")),
        (100, 10, 4, [], (250, 175, None, "rate")),  # so few say no latest time
        (100, 10, 0, [1000], (1000, None, None, "history")),  # one run says no bounds
        (100, 10, 0, [900, 1000, 1500], (1000, 900, 1500, "history")),
        (100, 10, 0, [50, 1000, 1500], (1000, 100, 1500, "history")),
        (100, 10, 5, [900, 1000, 1500], (600, 153, 1500, "rate+history")),
        (2000, 10, 5, [900, 1000, 1500], (4000, 3056, 20944, "rate")),  # late by its own history
        (100, 10, 0, [], None),
        (100, None, 5, [1000], None),
        (100, 10, 10, [1000], None),
        (-5, 10, 5, [], (-5, -5, -5, "rate")),  # the clock was set back
        (100, 10**13, 4, [], (250_000_000_000_000, 125_000_000_000_050, None, "rate")),  # in the year 9892
        (100, 10**13, 5, [], None),  # its high bound is beyond the year 9999
        (100, 10**18, 4, [], None),
        (100, 2**63 - 1, 10**6, [900, 1000, 1500], None),
    ],
)
def test_an_estimate_tells_how_sure_it_is(
    now: int, total: int | None, done_by_now: int, earlier: list[int], estimate: tuple[Any, ...] | None
) -> None:
    assert answers.estimate_end(now, 0, total, done_by_now, earlier) == estimate


def test_a_live_regression_tells_its_estimate_and_one_that_is_over_none(shared: Daemon, run: str) -> None:
    regr(shared, "regr-start", run, submitted=4)
    assert shared.get(f"/regressions/{run}")["eta"] is None
    publish(shared, run, done("a"), done("b"))

    told = shared.get(f"/regressions/{run}")
    regr(shared, "regr-finish", run)

    assert told["eta"]["at"] == told["eta_at"]
    assert (told["eta"]["basis"], told["eta"]["high"]) == ("rate", None)
    assert told["eta"]["low"] <= told["eta"]["at"]
    over = shared.get(f"/regressions/{run}")
    assert (over["eta"], over["eta_at"]) == (None, None)


def seen(story: Story) -> Regression:
    (row,) = found(story, REGRESSION, {})
    return answers.regression_object(row, answers.Viewpoint(story.now, story.tick, 0, 0))


@pytest.mark.parametrize(
    ("gap_s", "runtime_s", "last_s"),
    [
        (0, 1, 60),  # a shorter silence says nothing
        (20, 1, 200),
        (20, 100, 300),  # jobs that start together end together
    ],
)
def test_a_run_is_stalled_once_it_is_silent_for_far_longer_than_usual(
    story: Story, gap_s: int, runtime_s: int, last_s: int
) -> None:
    story.regr("regr-start", submitted=10)
    story.live(uniqueid="live")
    for number in range(4):
        story.pass_time(gap_s)
        story.finish(uniqueid=str(number), runtime_ms=1000 * runtime_s)
    heard = story.now

    story.pass_time(last_s)
    before = seen(story)
    story.pass_time(1)
    told = seen(story)
    story.live(uniqueid="live", phase="running")
    again = seen(story)

    assert before["eta"] and (before["eta"]["basis"], before["stalled_since"]) == ("rate", None)
    assert (told["eta"], told["eta_at"], told["stalled_since"]) == (None, None, utc(heard))
    assert again["eta"] and (again["eta"]["basis"], again["stalled_since"]) == ("rate", None)
    story.regr("regr-finish")
    story.pass_time(1000)
    assert seen(story)["stalled_since"] is None


def test_a_run_without_verdicts_is_not_stalled(story: Story) -> None:
    story.regr("regr-start", submitted=10)
    story.pass_time(1000)

    assert (seen(story)["eta"], seen(story)["stalled_since"]) == (None, None)


def test_an_estimate_learns_from_finished_runs_only() -> None:
    story = Story(autotimeouthours=1)
    ends = {"regr/1": "finish", "regr/2": "timeout", "regr/3": "finish"}
    for number, (name, how) in enumerate(ends.items(), 1):
        story.live(name)
        story.pass_time(60 * number)
        if how == "finish":
            story.finish(name)
            story.regr("regr-finish", name)
        else:
            story.pass_time(3600)
            story.change(expire)
    story.regr("regr-start", "regr/4", submitted=10)
    (row,) = found(story, f"{REGRESSION} WHERE r.name = 'regr/4'", {})

    assert [story.regression(name)["status"] for name in ends] == ["complete", "aborted", "complete"]
    assert json.loads(row["earlier"]) == [180_000, 60_000]


@pytest.mark.parametrize("submitted", [10**18, 2**63 - 1])
def test_an_end_beyond_the_calendar_is_not_told(shared: Daemon, run: str, submitted: int) -> None:
    regr(shared, "regr-start", run, submitted=submitted)
    publish(shared, run, done("a"), done("b"))

    wait_until(lambda: shared.get(f"/regressions/{run}")["eta"] is None)
    told = shared.get("/regressions")["items"][0]

    assert (told["name"], told["eta"], told["eta_at"]) == (run, None, None)
    assert told["progress"] == {"done": 2, "total": submitted, "percent": 0.0}
