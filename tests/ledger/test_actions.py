"""What people do by hand to regressions and jobs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from support import rooms
from support.stories import (
    DAY_S,
    HOUR_S,
    SIGNATURE,
    T1,
    T2,
    Story,
    assert_consistent,
    counts,
    slices,
    state,
    status,
    told,
    wait,
)

from simscope_server.ledger.actions import (
    KeyReused,
    by_hand,
    extend_job,
    once,
    tank_job,
    tank_regression,
    untank_regression,
)
from simscope_server.ledger.batch import Batch
from simscope_server.ledger.expiry import prune_jobs
from simscope_server.ledger.rules import NotExtended

# Tank and untank.


def tank(story: Story, reason: str = "farm is down") -> None:
    story.change(tank_regression, 1, reason)
    slices(story)


def test_tanking_a_regression_gives_its_live_jobs_up(story: Story) -> None:
    story.live()
    story.finish(uniqueid="b")

    tank(story)

    assert status(story) == ("tanked", "farm is down")
    assert state(story) == ("fail", "tanked", "Tanked")
    assert "farm is down" in story.job()["fail_message"]
    assert counts(story) == {"pass": 1, "fail": 1, "migrated": 1}
    assert story.events()[-3:] == ["regression.tanked", "job.tanked", "regression.first_failure"]
    assert_consistent(story)


def test_tanking_twice_changes_nothing(story: Story) -> None:
    story.live()
    tank(story)
    before = story.regression()

    tank(story, "again")

    assert story.regression() == before


def test_no_live_message_creates_or_revives_a_job_of_a_tanked_regression(story: Story) -> None:
    story.live()
    tank(story)

    outcomes = [story.live(), story.live(uniqueid="b")]

    assert {(outcome.outcome, outcome.reason) for outcome in outcomes} == {("ignored", "tanked")}
    assert counts(story) == {"fail": 1, "migrated": 1}


def test_a_finish_corrects_a_tanked_job_and_the_regression_stays_tanked(story: Story) -> None:
    story.live()
    tank(story)

    story.finish()
    story.finish(uniqueid="b")

    assert counts(story) == {"pass": 2}
    assert story.events("job.") == ["job.live", "job.tanked", "job.corrected", "job.passed"]
    assert status(story)[0] == "tanked"


def test_untanking_brings_the_jobs_back_to_life(story: Story) -> None:
    story.live(host="farm1")
    story.live(uniqueid="b")
    tank(story)
    story.finish(uniqueid="b")

    story.change(untank_regression, 1)

    assert status(story) == ("live", None)
    assert (state(story), story.job()["host"]) == (("live", None, None), "farm1")
    assert counts(story) == {"live": 1, "pass": 1}
    assert story.events()[-2:] == ["regression.untanked", "job.revived"]
    assert_consistent(story)


def test_untanking_a_regression_that_has_finished_meanwhile_makes_its_jobs_missing(story: Story) -> None:
    story.live()
    tank(story)
    story.regr("regr-finish")
    assert status(story)[0] == "tanked"

    story.change(untank_regression, 1)

    assert status(story) == ("aborted", "finish")
    assert state(story) == ("fail", "missing", SIGNATURE)
    assert story.events("job.") == ["job.live", "job.tanked", "job.missing"]
    assert_consistent(story)


def test_a_tanked_regression_does_not_time_out(story: Story) -> None:
    story.regr("regr-start", time_limit_hours=1)
    tank(story)

    wait(story, 3 * DAY_S)
    story.change(untank_regression, 1)

    assert status(story) == ("live", None)
    assert "regression.timed_out" not in story.events()


def start_again(story: Story) -> None:
    story.regr("regr-start", starttime="2030-01-02T00:00:00Z")


def move_limit(story: Story) -> None:
    wait(story, 3 * 3600)
    story.regr("regr-update", time_limit_hours=9)


@pytest.mark.parametrize("reopens", [start_again, move_limit])
@pytest.mark.parametrize("closed", [False, True])
def test_what_opens_a_regression_leaves_a_tanked_one_without_live_jobs(
    story: Story, monkeypatch: pytest.MonkeyPatch, reopens: Callable[..., Any], closed: bool
) -> None:
    story.regr("regr-start", starttime="2030-01-01T00:00:00Z", time_limit_hours=2)
    for uniqueid in "abc":
        story.live(uniqueid=uniqueid)
    if closed:
        wait(story, 3 * 3600)
        slices(story)
    rooms.replace("SLICE_JOBS", 1, monkeypatch)
    story.change(tank_regression, 1, "")

    reopens(story)
    slices(story)

    assert (status(story)[0], counts(story)) == ("tanked", {"fail": 3, "migrated": 3})
    assert {state(story, uniqueid)[1] for uniqueid in "abc"} == {"tanked"}
    story.change(untank_regression, 1)
    assert (status(story), counts(story)) == (("live", None), {"live": 3})
    assert_consistent(story)


def test_untanking_what_is_not_tanked_changes_nothing(story: Story) -> None:
    story.live()
    before = story.regression()

    story.change(untank_regression, 1)

    assert story.regression() == before


def test_tanking_one_job_leaves_the_others(story: Story) -> None:
    outcome = story.live()
    story.live(uniqueid="b")

    story.change(tank_job, outcome.job, "hangs")

    assert state(story) == ("fail", "tanked", "Tanked")
    assert "hangs" in story.job()["fail_message"]
    assert counts(story) == {"live": 1, "fail": 1, "migrated": 1}
    assert status(story) == ("live", None)
    assert (story.live().reason, state(story)[0]) == ("tanked", "fail")
    story.finish()
    assert (state(story)[0], story.events()[-1]) == ("pass", "job.corrected")
    assert_consistent(story)


def test_only_live_jobs_can_be_tanked(story: Story) -> None:
    done = story.finish()

    with pytest.raises(ValueError, match="not live"):
        story.change(tank_job, done.job, "")
    with pytest.raises(LookupError):
        story.change(tank_job, 99, "")
    with pytest.raises(LookupError):
        story.change(tank_regression, 99, "")
    assert counts(story) == {"pass": 1}


def test_tanking_a_job_twice_changes_nothing(story: Story) -> None:
    job = story.live().job
    story.change(tank_job, job, "hangs")
    before = story.job()

    story.change(tank_job, job, "again")

    assert story.job() == before


def test_untanking_makes_all_jobs_missing_in_slices(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    for uniqueid in "abcde":
        story.live(uniqueid=uniqueid)
    tank(story)
    story.regr("regr-finish")
    rooms.replace("SLICE_JOBS", 2, monkeypatch)

    story.change(untank_regression, 1)
    slices(story)

    assert counts(story) == {"fail": 5, "migrated": 5}


def test_untanking_between_the_slices_does_not_forget_a_finish(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    rooms.replace("SLICE_JOBS", 1, monkeypatch)
    for uniqueid in "abcde":
        story.live(uniqueid=uniqueid)
    story.change(tank_regression, 1, "")
    story.regr("regr-finish")

    story.change(untank_regression, 1)
    slices(story)

    assert status(story) == ("aborted", "finish")


# After a long absence.


def wait_tanked(story: Story) -> None:
    story.change(tank_regression, 1, "")
    story.pass_time(8 * DAY_S)
    story.change(untank_regression, 1)


def wait_past_the_limit(story: Story) -> None:
    story.regr("regr-update", time_limit_hours=1)
    story.pass_time(HOUR_S)
    slices(story)
    story.pass_time(8 * DAY_S)
    story.regr("regr-update", time_limit_hours=900)


def wait_for_a_new_run(story: Story) -> None:
    story.regr("regr-start", starttime=T1)
    story.regr("regr-finish")
    story.pass_time(8 * DAY_S)
    story.regr("regr-start", starttime=T2)


def wait_for_more_time(story: Story) -> None:
    story.live(time_limit_ms=1000)
    story.pass_time(1)
    slices(story)
    story.pass_time(8 * DAY_S)
    story.change(extend_job, 1, HOUR_S * 1000, None)


def wait_in_silence(story: Story) -> None:
    story.pass_time(DAY_S)
    slices(story)
    story.pass_time(8 * DAY_S)
    story.live()


ABSENCES = [wait_tanked, wait_past_the_limit, wait_for_a_new_run, wait_for_more_time, wait_in_silence]


@pytest.mark.parametrize("come_back", ABSENCES)
def test_a_job_that_lives_again_after_long_has_as_long_to_speak_as_any_other(
    come_back: Callable[[Story], None],
) -> None:
    story = Story(autotimeouthours=24 if come_back is wait_in_silence else 0)
    story.live()
    come_back(story)
    assert state(story)[0] == "live"

    assert story.change(prune_jobs) is False

    assert state(story)[0] == "live"
    story.pass_time(7 * DAY_S - 1)
    story.change(prune_jobs)
    assert story.events("job.pruned") == []
    story.pass_time(1)
    story.change(prune_jobs)
    assert story.events("job.pruned") == ["job.pruned"]


# More time for a job is no word about its regression.
@pytest.mark.parametrize("come_back", [absence for absence in ABSENCES if absence is not wait_for_more_time])
def test_a_regression_that_comes_back_after_long_has_a_day_to_speak(come_back: Callable[[Story], None]) -> None:
    story = Story(prunelivedays=0)
    story.live(uniqueid="b")
    story.live()
    come_back(story)

    wait(story, 0)
    assert status(story) == ("live", None)
    wait(story, DAY_S - 1)
    assert status(story) == ("live", None)
    wait(story, 1)

    assert status(story) == ("aborted", "timeout")


def test_what_is_tanked_is_not_told_to_be_active_by_that(story: Story) -> None:
    story.live()
    before = story.regression()["last_activity_at"]
    story.pass_time(60)

    story.change(tank_regression, 1, "")
    assert story.regression()["last_activity_at"] == before
    story.change(untank_regression, 1)

    assert story.regression()["last_activity_at"] == story.now


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
