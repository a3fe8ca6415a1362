"""What else people do by hand: more time for a job; who asks, and whether twice."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from support.stories import Story, assert_consistent, counts, state, told, wait

from simscope_server.ledger.actions import KeyReused, by_hand, extend_job, once, tank_job, tank_regression
from simscope_server.ledger.batch import Batch
from simscope_server.ledger.rules import NotExtended

# More time for a job.


def test_more_time_moves_the_limit_of_a_job_and_says_so(story: Story) -> None:
    story.live(time_limit_ms=60_000)
    story.pass_time(30)

    story.change(extend_job, 1, 90_000, None)

    row = story.job()
    assert (row["extended_ms"], row["limit_tick"]) == (90_000, 150_000)
    assert told(story, "job.extended") == [
        {"changed": {"time_limit_ms": [60_000, 150_000]}, "description": "time limit moved by 1m 30s"}
    ]
    wait(story, 119)
    assert state(story)[0] == "live"
    wait(story, 1)
    assert state(story)[:2] == ("fail", "time-limit")
    assert "time limit of 2m 30s" in story.job()["fail_message"]


def test_a_time_of_day_may_be_the_limit_of_a_job_that_had_none(story: Story) -> None:
    story.live()
    story.pass_time(30)

    story.change(extend_job, 1, None, story.now + 60_000)

    assert told(story, "job.extended")[0]["description"] == "time limit moved until 2023-11-14T22:14:50.000Z"
    wait(story, 59)
    assert state(story)[0] == "live"
    wait(story, 1)
    assert state(story)[:2] == ("fail", "time-limit")


def test_more_time_revives_a_job_that_its_limit_ended(story: Story) -> None:
    story.live(time_limit_ms=1000)
    wait(story, 60)

    story.change(extend_job, 1, 5000, None)

    assert (state(story), counts(story)) == (("live", None, None), {"live": 1})
    assert story.events("job.") == ["job.live", "job.timed_out", "job.revived", "job.extended"]
    assert told(story, "job.revived")[0]["description"] == "its time limit was moved"
    wait(story, 4.9)
    assert state(story)[0] == "live"
    wait(story, 0.1)
    assert state(story)[:2] == ("fail", "time-limit")
    assert_consistent(story)


def test_more_time_for_a_job_that_waits_counts_when_it_runs(story: Story) -> None:
    story.live(time_limit_ms=1000, phase="queued")

    story.change(extend_job, 1, 1000, None)

    wait(story, 60)
    story.live(phase="run")
    wait(story, 1.9)
    assert state(story)[0] == "live"
    wait(story, 0.1)
    assert state(story)[:2] == ("fail", "time-limit")


def test_a_publisher_who_repeats_the_limit_leaves_what_was_added_and_one_who_moves_it_does_not(story: Story) -> None:
    story.live(time_limit_ms=60_000)
    story.change(extend_job, 1, 60_000, None)

    story.live(time_limit_ms=60_000)
    assert (story.job()["extended_ms"], story.job()["limit_tick"]) == (60_000, 120_000)
    story.live(time_limit_ms=70_000)

    assert (story.job()["extended_ms"], story.job()["limit_tick"]) == (None, 70_000)


def limited_and_finished(story: Story) -> None:
    story.live(time_limit_ms=1000)
    wait(story, 1)
    story.regr("regr-finish")


def limited_and_tanked(story: Story) -> None:
    story.live(time_limit_ms=1000)
    wait(story, 1)
    story.change(tank_regression, 1, "")


def finished(story: Story) -> None:
    story.finish(time_limit_ms=1000)


def given_up(story: Story) -> None:
    story.live(time_limit_ms=1000)
    story.change(tank_job, 1, "")


@pytest.mark.parametrize(
    ("bring", "sentence"),
    [
        (limited_and_finished, "job 1 ran into its time limit, and its regression is over by now"),
        (limited_and_tanked, "job 1 ran into its time limit, and its regression is tanked by now"),
        (finished, "job 1 is not live, but pass"),
        (given_up, "job 1 is not live, but fail"),
    ],
)
def test_more_time_is_refused_where_it_is_too_late(story: Story, bring: Callable[[Story], None], sentence: str) -> None:
    bring(story)
    before = list(story.conn.iterdump())

    with pytest.raises(NotExtended, match=f"^{sentence}$") as error:
        story.change(extend_job, 1, 60_000, None)

    assert (error.value.reason, error.value.path) == ("not-live", None)
    assert list(story.conn.iterdump()) == before


@pytest.mark.parametrize(
    ("by_ms", "until_s", "reason", "path"),
    [(None, -1, "bad-extension", "$.until"), (25 * 86_400_000, None, "bad-extension", "$.by_ms")],
)
def test_an_extension_that_makes_no_sense_is_refused_with_its_place(
    story: Story, by_ms: int | None, until_s: int | None, reason: str, path: str
) -> None:
    story.live(time_limit_ms=60_000)

    with pytest.raises(NotExtended) as error:
        story.change(extend_job, 1, by_ms, None if until_s is None else story.now + until_s * 1000)

    assert (error.value.reason, error.value.path) == (reason, path)


def test_a_live_job_of_a_regression_that_is_over_may_have_more_time() -> None:
    story = Story(livetimeoutsignature="")
    story.live(time_limit_ms=60_000)
    story.regr("regr-finish")

    story.change(extend_job, 1, 60_000, None)

    assert story.job()["limit_tick"] == 120_000


# Who asks, and whether twice.


def test_a_change_by_hand_is_told_with_who_asked(story: Story) -> None:
    story.live()

    story.change(by_hand, "10.0.0.7", tank_job, 1, "hangs")

    events = story.rows("SELECT origin, data FROM event WHERE type = 'job.tanked'")
    assert [row["origin"] for row in events] == ["http:10.0.0.7"]
    assert "tanked: hangs; last sign of life" in events[0]["data"]


def test_no_reason_is_told_as_such(story: Story) -> None:
    story.live()
    story.live("r/2")

    story.change(tank_job, 1, "")
    story.change(tank_regression, 2, "")

    assert "tanked: no reason given" in story.job()["fail_message"]
    assert "tanked: no reason given" in story.job(regression="r/2")["fail_message"]
    assert story.regression("r/2")["tank_reason"] is None


def answered(batch: Batch, job: int, answer: str) -> str:
    tank_job(batch, job, answer)
    return answer


def test_what_is_asked_again_under_the_same_key_is_answered_and_not_done(story: Story) -> None:
    story.live()
    story.live(uniqueid="b")

    answers = [
        story.change(once, "key", "tank 1", answered, 1, "first"),
        story.change(once, "key", "tank 1", answered, 2, "second"),
        story.change(once, "other key", "tank 1", answered, 2, "third"),
    ]

    assert answers == ["first", "first", "third"]
    assert (state(story)[1], state(story, "b")[1]) == ("tanked", "tanked")
    assert "third" in story.job("b")["fail_message"]


def test_a_key_that_was_used_for_something_else_is_refused(story: Story) -> None:
    story.live()
    story.change(once, "key", "tank 1", answered, 1, "first")

    with pytest.raises(KeyReused, match="each request takes a new one"):
        story.change(once, "key", "tank 2", answered, 1, "second")


def test_without_a_key_everything_is_done_each_time(story: Story) -> None:
    story.live()

    answers = [story.change(once, "", "same", lambda batch, word: word, word) for word in ("a", "b")]

    assert answers == ["a", "b"]
    assert story.rows("SELECT * FROM idempotency") == []
