"""What tanking gives up, and untanking brings back; and what comes back after long, by whatever way."""

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
    wait,
)

from simscope_server.ledger.actions import extend_job, tank_job, tank_regression, untank_regression
from simscope_server.ledger.expiry import prune_jobs

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


def test_without_the_signature_of_timeouts_tanking_gives_live_jobs_up_all_the_same() -> None:
    story = Story(livetimeoutsignature="")
    story.live()

    tank(story)

    assert state(story) == ("fail", "tanked", "Tanked")
    story.change(untank_regression, 1)
    assert (state(story), counts(story)) == (("live", None, None), {"live": 1})
    assert_consistent(story)


def test_what_was_tanked_in_the_middle_of_its_end_ends_when_it_is_said_again(
    story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    rooms.replace("SLICE_JOBS", 1, monkeypatch)
    for uniqueid in "abc":
        story.live(uniqueid=uniqueid)
    story.regr("regr-finish")

    tank(story)

    assert story.events("regression.")[-3:] == ["regression.first_failure", "regression.finished", "regression.tanked"]
    assert counts(story) == {"fail": 3, "migrated": 3}
    assert {state(story, uniqueid)[1] for uniqueid in "bc"} == {"tanked"}
    story.change(untank_regression, 1)
    slices(story)
    assert status(story) == ("aborted", "finish")
    assert_consistent(story)


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
