"""What the clock does to jobs and regressions: time limits, pruning."""

from __future__ import annotations

from typing import Any

import pytest
from support import rooms
from support.stories import (
    DAY_S,
    HOUR_S,
    SIGNATURE,
    Story,
    assert_consistent,
    counts,
    slices,
    state,
    status,
    told,
    wait,
)

from simscope_server.ledger.expiry import anything_due, expire, is_tick_old, prune_jobs, save_tick

# Time limits.


def live_body(**said: Any) -> dict[str, Any]:
    return {"category": "sim", "uniqueid": "a", "result": "live"} | said


def test_the_time_limit_of_a_regression_counts_from_its_first_message(story: Story) -> None:
    story.live()
    story.pass_time(60)
    story.regr("regr-start", time_limit_hours=1)
    for _ in range(6):
        wait(story, 580)
        story.live()
    assert status(story) == ("live", None)

    wait(story, 60)

    assert status(story) == ("aborted", "time-limit")
    assert_migrated_by_limit(story)


def assert_migrated_by_limit(story: Story) -> None:
    assert state(story) == ("fail", "timeout", SIGNATURE)
    assert "time limit of 1h 00m" in story.job()["fail_message"]
    assert "time limit of 1h 00m" in told(story, "regression.timed_out")[0]["description"]
    assert_consistent(story)


def test_no_live_message_brings_back_a_regression_that_its_time_limit_ended(story: Story) -> None:
    story.regr("regr-start", time_limit_hours=1)
    story.live()
    wait(story, HOUR_S)

    story.live()
    story.regr("regr-update", pending=True)

    assert status(story) == ("aborted", "time-limit")
    assert state(story)[:2] == ("fail", "timeout")


@pytest.mark.parametrize("hours", [2, 0])
def test_a_moved_limit_brings_a_regression_back_with_its_jobs(story: Story, hours: int) -> None:
    story.regr("regr-start", time_limit_hours=1)
    story.live()
    story.finish(uniqueid="b", result="fail")
    wait(story, HOUR_S)

    story.regr("regr-update", time_limit_hours=hours)

    assert status(story) == ("live", None)
    assert counts(story) == {"live": 1, "fail": 1}
    assert "job.revived" in story.events()
    assert "regression.reopened" in story.events()
    wait(story, HOUR_S)
    assert status(story) == (("aborted", "time-limit") if hours else ("live", None))
    assert_consistent(story)


def test_a_limit_that_is_moved_within_the_past_changes_nothing(story: Story) -> None:
    story.regr("regr-start", time_limit_hours=1)
    story.live()
    wait(story, 3 * HOUR_S)

    story.regr("regr-update", time_limit_hours=2)

    assert status(story) == ("aborted", "time-limit")


def test_a_moved_limit_brings_a_regression_back_between_the_slices(
    story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    rooms.replace("SLICE_JOBS", 2, monkeypatch)
    story.regr("regr-start", time_limit_hours=1)
    for uniqueid in "abcde":
        story.live(uniqueid=uniqueid)
    story.pass_time(HOUR_S)
    story.change(expire)

    story.regr("regr-update", time_limit_hours=3)
    slices(story)

    assert status(story) == ("live", None)


def test_no_timer_runs_for_0() -> None:
    story = Story(autotimeouthours=0, prunelivedays=0)
    story.live()

    wait(story, 400 * DAY_S)

    assert (status(story), counts(story)) == (("live", None), {"live": 1})


def test_hours_may_be_fractions() -> None:
    story = Story(autotimeouthours=0.01)
    story.live()

    wait(story, 35)
    assert status(story) == ("live", None)
    wait(story, 1)

    assert status(story) == ("aborted", "timeout")


def test_a_job_runs_into_its_own_time_limit_alone(story: Story) -> None:
    story.live(time_limit_ms=60_000)
    story.live(uniqueid="b")
    wait(story, 59)
    assert counts(story) == {"live": 2}

    wait(story, 1)

    assert state(story) == ("fail", "time-limit", SIGNATURE)
    assert counts(story) == {"live": 1, "fail": 1}
    assert status(story) == ("live", None)
    assert "time limit of 1m 00s;" in story.job()["fail_message"]
    assert "last sign of life" in story.job()["fail_message"]
    assert story.events("job.") == ["job.live", "job.live", "job.timed_out"]
    assert_consistent(story)


def test_without_the_signature_a_time_limit_has_one_of_its_own() -> None:
    story = Story(livetimeoutsignature="")
    story.live(time_limit_ms=1000)

    wait(story, 1)

    assert state(story) == ("fail", "time-limit", "Job Time Limit")


@pytest.mark.parametrize("phase", ["queued", "pending", "submitted", "staging", "paused"])
def test_waiting_does_not_count_for_the_time_limit(story: Story, phase: str) -> None:
    story.live(phase=phase, time_limit_ms=60_000)
    wait(story, HOUR_S)
    assert story.job()["running_at"] is None

    story.live(phase="running")
    wait(story, 59)
    assert counts(story) == {"live": 1}
    wait(story, 1)

    assert state(story)[:2] == ("fail", "time-limit")


def test_a_pause_later_on_does_not_stop_the_clock(story: Story) -> None:
    story.live(phase="running", time_limit_ms=60_000)
    story.live(phase="paused")

    wait(story, 60)

    assert state(story)[:2] == ("fail", "time-limit")


def test_heartbeats_do_not_move_a_time_limit(story: Story) -> None:
    story.live(time_limit_ms=60_000)
    for _ in range(6):
        wait(story, 9)
        story.live(time_limit_ms=60_000)

    wait(story, 6)

    assert state(story)[:2] == ("fail", "time-limit")


@pytest.mark.parametrize(("limit", "lives"), [(120_000, True), (0, True), (61_000, False), (60_000, False)])
def test_a_live_message_that_moves_the_limit_revives_a_job(story: Story, limit: int, lives: bool) -> None:
    story.live(time_limit_ms=60_000)
    wait(story, 90)

    outcome = story.live(time_limit_ms=limit)

    assert outcome.outcome == ("applied" if lives else "ignored")
    assert state(story)[0] == ("live" if lives else "fail")
    assert ("job.revived" in story.events()) is lives
    wait(story, 29)
    assert state(story)[0] == ("live" if lives else "fail")
    wait(story, 1)
    assert state(story)[0] == ("live" if lives and not limit else "fail")
    assert_consistent(story)


def test_a_limit_that_is_moved_after_the_end_of_the_regression_tells_what_changed_and_why_the_job_ended(
    story: Story,
) -> None:
    story.live(time_limit_ms=60_000)
    wait(story, 90)
    story.regr("regr-finish")

    story.live(time_limit_ms=120_000, host="farm1")

    [missing] = told(story, "job.missing")
    assert missing["changed"] == {"time_limit_ms": [60_000, 120_000], "host": [None, "farm1"]}
    assert "finished while this job was live" in missing["description"]
    assert story.events("job.") == ["job.live", "job.timed_out", "job.missing"]


def test_a_limit_may_be_moved_before_it_is_reached(story: Story) -> None:
    story.live(time_limit_ms=60_000)
    wait(story, 30)
    story.live(time_limit_ms=40_000)

    wait(story, 9)
    assert state(story)[0] == "live"
    wait(story, 1)

    assert state(story)[:2] == ("fail", "time-limit")


def test_the_real_verdict_corrects_a_job_that_ran_into_its_limit(story: Story) -> None:
    story.live(time_limit_ms=1000)
    wait(story, 1)

    story.finish()

    assert state(story) == ("pass", None, None)
    assert counts(story) == {"pass": 1}
    assert story.events("job.")[-1] == "job.corrected"


def test_a_finished_job_has_no_time_limit(story: Story) -> None:
    story.live(time_limit_ms=1000)
    story.finish(time_limit_ms=1000)

    wait(story, 2)

    assert state(story) == ("pass", None, None)


def test_a_publishers_clock_ends_nothing(story: Story) -> None:
    story.live(start_time="1999-01-01T00:00:00Z", time_limit_ms=60_000)
    story.regr("regr-start", starttime="1999-01-01T00:00:00Z", time_limit_hours=1)

    wait(story, 59)

    assert counts(story) == {"live": 1}


@pytest.mark.parametrize(
    ("options", "messages", "often"),
    [
        ({}, [], False),
        ({}, [("job-live", live_body())], True),
        ({}, [("job-live", live_body()), ("regr-finish", None)], False),
        ({"autotimeouthours": 0}, [("job-live", live_body())], False),
        ({"autotimeouthours": 0}, [("regr-start", {"time_limit_hours": 1})], True),
        ({"autotimeouthours": 0}, [("job-live", live_body(time_limit_ms=9000))], True),
        ({"autotimeouthours": 0}, [("job-live", live_body(time_limit_ms=9000, phase="queued"))], False),
    ],
)
def test_the_uptime_is_saved_often_while_a_time_limit_runs(
    options: dict[str, Any], messages: list[tuple[Any, ...]], often: bool
) -> None:
    story = Story(**options)
    for kind, body in messages:
        story.send((kind, "r/1", body))
    story.change(save_tick)

    old = [is_tick_old(story.conn, story.config, story.tick + ms) for ms in (500, 1000, 9999, 10_000)]

    assert old == [False, often, often, True]


def test_a_wall_clock_that_jumps_ends_nothing(story: Story) -> None:
    story.live(time_limit_ms=60_000)
    story.now += 400 * DAY_S * 1000

    wait(story, 59)

    assert counts(story) == {"live": 1}


# Pruning.


def test_a_live_job_without_news_is_pruned_and_leaves_a_tombstone() -> None:
    story = Story(autotimeouthours=0)
    outcome = story.live()
    story.live(uniqueid="b")
    wait(story, 6 * DAY_S)
    story.live(uniqueid="b")
    assert counts(story) == {"live": 2}

    wait(story, DAY_S)

    assert counts(story) == {"live": 1}
    assert [row["key"] for row in story.rows("SELECT key FROM job")] == ["b"]
    [tombstone] = story.rows("SELECT * FROM pruned_job")
    assert tombstone == {"id": outcome.job, "regression_id": 1, "pruned_at": story.now}
    [data] = told(story, "job.pruned")
    assert "7d 00h" in data["description"]
    assert "2023-11-14T22:13:20.000Z" in data["description"]
    assert_consistent(story)


def test_a_pruned_job_that_speaks_again_is_a_new_one() -> None:
    story = Story(autotimeouthours=0)
    old = story.live()
    wait(story, 7 * DAY_S)

    new = story.live()

    assert (old.job, new.job) == (1, 2)
    assert counts(story) == {"live": 1}


def test_finished_jobs_are_never_pruned(story: Story) -> None:
    story.finish()

    wait(story, 100 * DAY_S)

    assert counts(story) == {"pass": 1}


def test_what_stays_live_after_the_end_of_its_regression_is_pruned_and_the_status_cleared() -> None:
    story = Story(livetimeoutsignature="")
    story.live()
    story.regr("regr-finish")
    assert status(story) == ("aborted", "finish")

    wait(story, 7 * DAY_S)

    assert status(story) == ("complete", "finish")


def test_pruning_goes_in_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    rooms.replace("SLICE_JOBS", 2, monkeypatch)
    story = Story(autotimeouthours=0)
    for uniqueid in "abcde":
        story.live(uniqueid=uniqueid)
    story.pass_time(7 * DAY_S)

    assert slices(story, prune_jobs) == 3
    assert counts(story) == {}
    assert_consistent(story)


# At the bounds.


def test_what_is_over_at_a_tick_is_over_at_that_tick_and_not_before(story: Story) -> None:
    story.live(time_limit_ms=1000)
    story.regr("regr-start", time_limit_hours=1)
    due = [anything_due(story.conn, story.config, tick) for tick in (999, 1000)]
    wait(story, 1)

    due += [anything_due(story.conn, story.config, tick) for tick in (1000, HOUR_S * 1000 - 1, HOUR_S * 1000)]

    assert due == [False, True, False, False, True]


def test_without_the_signature_live_jobs_of_what_is_over_are_nothing_to_do() -> None:
    story = Story(livetimeoutsignature="")
    story.live()
    story.regr("regr-finish")

    assert not anything_due(story.conn, story.config, story.tick)
    assert story.change(expire) is False


@pytest.mark.parametrize("jobs", [4, 5])
def test_jobs_run_into_their_own_limits_in_slices(story: Story, monkeypatch: pytest.MonkeyPatch, jobs: int) -> None:
    for number in range(jobs):
        story.live(uniqueid=str(number), time_limit_ms=1000)
    rooms.replace("SLICE_JOBS", 2, monkeypatch)
    story.pass_time(1)

    assert slices(story) == 3

    assert counts(story) == {"fail": jobs}
    assert_consistent(story)


def test_a_change_by_the_clock_is_told_as_the_daemons() -> None:
    story = Story(autotimeouthours=0)
    story.live()
    wait(story, 7 * DAY_S)

    events = story.rows("SELECT type, origin, job_id FROM event ORDER BY seq DESC LIMIT 1")
    assert events == [{"type": "job.pruned", "origin": "daemon:prune", "job_id": 1}]


def test_the_uptime_is_saved_by_every_transaction_and_never_goes_back(story: Story) -> None:
    story.pass_time(60)
    story.change(save_tick)
    story.tick -= 1000

    story.change(save_tick)

    assert story.rows("SELECT tick FROM daemon") == [{"tick": 60_000}]
