"""How regressions end, what their ends do to live jobs, and what takes an end back; whether one is complete."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from support import rooms
from support.stories import (
    DAY_S,
    SIGNATURE,
    Story,
    assert_consistent,
    counts,
    fields,
    slices,
    state,
    status,
    told,
    wait,
)

from simscope_server.ledger.expiry import anything_due, expire

# Ends, and what they do to the jobs.


def assert_migrated(story: Story, reason: str, why: str) -> None:
    job = story.job()
    assert state(story) == ("fail", reason, SIGNATURE)
    assert job["migrated"] == 1
    assert why in job["fail_message"]
    assert "last sign of life 2023-11-14T22:13:20.000Z" in job["fail_message"]
    assert_consistent(story)


def test_a_finish_of_the_regression_takes_its_live_jobs_along(story: Story) -> None:
    story.live()
    story.finish(uniqueid="b")
    story.pass_time(60)

    story.regr("regr-finish")

    assert_migrated(story, "missing", "the regression finished")
    assert status(story) == ("aborted", "finish")
    assert counts(story) == {"pass": 1, "fail": 1, "migrated": 1}
    assert story.events()[-3:] == ["job.missing", "regression.finished", "regression.first_failure"]
    assert told(story, "job.missing")[0]["reason"] == "missing"
    assert story.job()["done_at"] == story.now


def test_silence_takes_the_live_jobs_along(story: Story) -> None:
    story.live()
    wait(story, DAY_S - 1)
    assert status(story) == ("live", None)

    wait(story, 1)

    assert_migrated(story, "timeout", "no message about the regression for 1d 00h (autotimeouthours)")
    assert status(story) == ("aborted", "timeout")
    assert counts(story) == {"fail": 1, "migrated": 1}
    assert story.events()[2:4] == ["job.timed_out", "regression.timed_out"]
    assert "1d 00h" in told(story, "regression.timed_out")[0]["description"]
    assert [row["origin"] for row in story.rows("SELECT origin FROM event ORDER BY seq")][2:4] == ["daemon:timeout"] * 2


@pytest.mark.parametrize("send", [Story.live, Story.finish, lambda story: story.regr("regr-update", tag="x")])
def test_any_message_is_a_sign_of_life(story: Story, send: Callable[..., Any]) -> None:
    story.live(uniqueid="b")
    wait(story, DAY_S - 1)

    send(story)
    wait(story, DAY_S - 1)

    assert status(story) == ("live", None)


def test_a_late_live_message_is_migrated_at_once(story: Story) -> None:
    story.regr("regr-finish")

    outcome = story.live(host="farm1")

    assert outcome.outcome == "applied"
    assert_migrated(story, "missing", "the regression finished")
    assert story.job()["host"] == "farm1"
    assert counts(story) == {"fail": 1, "migrated": 1}
    assert status(story) == ("aborted", "finish")


def test_the_real_verdict_corrects_a_migrated_job(story: Story) -> None:
    live = story.live(host="farm1")
    story.regr("regr-finish")

    finish = story.finish(result="pass", compute_ms=5)

    job = story.job()
    assert (finish.outcome, finish.job) == ("applied", live.job)
    assert (state(story), job["host"], job["fail_message"], job["migrated"]) == (("pass", None, None), "farm1", None, 0)
    assert status(story) == ("complete", "finish")
    assert counts(story) == {"pass": 1}
    assert story.regression()["sum_compute_ms"] == 5
    [correction] = told(story, "job.corrected")
    assert correction["changed"]["result"] == ["fail", "pass"]
    assert_consistent(story)


def test_a_corrected_job_may_really_have_failed(story: Story) -> None:
    story.live()
    story.regr("regr-finish")

    story.finish(result="fail", fail_message="boom")

    assert state(story) == ("fail", None, "boom")
    assert counts(story) == {"fail": 1}
    assert status(story) == ("complete", "finish")


def test_after_silence_a_live_message_brings_regression_and_job_back(story: Story) -> None:
    story.live(host="farm1")
    story.live(uniqueid="b")
    wait(story, DAY_S)

    story.live(build="b7")

    assert status(story) == ("live", None)
    assert state(story) == ("live", None, None)
    assert state(story, "b") == ("fail", "timeout", SIGNATURE)
    job = story.job()
    assert (job["host"], job["build"], job["fail_message"], job["done_at"]) == ("farm1", "b7", None, None)
    assert counts(story) == {"fail": 1, "live": 1, "migrated": 1}
    assert story.events()[-2:] == ["regression.reopened", "job.revived"]
    assert_consistent(story)


def test_after_silence_a_finish_brings_the_regression_back(story: Story) -> None:
    story.live()
    wait(story, DAY_S)

    story.finish()

    assert status(story) == ("live", None)
    assert counts(story) == {"pass": 1}
    assert story.events()[-2:] == ["regression.reopened", "job.corrected"]


def test_after_silence_pending_true_brings_the_regression_back(story: Story) -> None:
    story.live()
    wait(story, DAY_S)

    story.regr("regr-update", pending=True)

    assert status(story) == ("live", None)
    assert story.events()[-1] == "regression.reopened"
    assert state(story) == ("fail", "timeout", SIGNATURE)  # it was not named; its next message revives it
    story.live()
    assert state(story) == ("live", None, None)
    assert_consistent(story)


def test_other_news_about_the_regression_do_not_bring_it_back(story: Story) -> None:
    story.live()
    wait(story, DAY_S)

    story.regr("regr-update", tag="x")
    story.regr("regr-start", component="core")

    assert status(story) == ("aborted", "timeout")
    assert fields(story) == {"tag": "x", "component": "core"}


def test_a_regression_that_came_back_ends_normally(story: Story) -> None:
    story.live()
    wait(story, DAY_S)
    story.live()
    story.finish()

    story.regr("regr-finish")

    assert status(story) == ("complete", "finish")
    assert counts(story) == {"pass": 1}
    assert_consistent(story)


def test_a_finish_of_the_regression_after_silence_ends_it_normally(story: Story) -> None:
    story.finish()
    wait(story, DAY_S)

    story.regr("regr-finish")

    assert status(story) == ("complete", "finish")
    assert story.events("regression.") == ["regression.started", "regression.timed_out", "regression.finished"]


def test_a_regression_that_came_back_can_fall_silent_again(story: Story) -> None:
    story.live()
    wait(story, DAY_S)
    story.live()
    wait(story, DAY_S - 1)
    assert status(story) == ("live", None)

    wait(story, 1)

    assert status(story) == ("aborted", "timeout")
    assert story.events("job.") == ["job.live", "job.timed_out", "job.revived", "job.timed_out"]


def test_after_a_finish_of_the_regression_no_live_message_brings_it_back(story: Story) -> None:
    story.live()
    story.regr("regr-finish")

    story.live()
    story.regr("regr-update", pending=True)

    assert status(story) == ("aborted", "finish")
    assert state(story) == ("fail", "missing", SIGNATURE)


def test_without_the_signature_live_jobs_stay_live() -> None:
    story = Story(livetimeoutsignature="")
    story.live()

    story.regr("regr-finish")
    story.live(uniqueid="b")
    wait(story, 2 * DAY_S)

    assert counts(story) == {"live": 2}
    assert status(story) == ("aborted", "finish")
    story.finish()
    story.finish(uniqueid="b")
    assert status(story) == ("complete", "finish")


def test_without_the_signature_silence_ends_the_regression_only() -> None:
    story = Story(livetimeoutsignature="")
    story.live()

    wait(story, DAY_S)

    assert (status(story), counts(story)) == (("aborted", "timeout"), {"live": 1})
    story.live()
    assert (status(story), counts(story)) == (("live", None), {"live": 1})


def test_a_verdict_of_death_keeps_why(story: Story) -> None:
    story.live()
    story.regr("regr-finish")

    story.live(fail_message="still going", bucket="x", exit_code=0)

    assert_migrated(story, "missing", "the regression finished")


def test_more_jobs_than_a_slice_are_migrated_in_slices(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    rooms.replace("SLICE_JOBS", 2, monkeypatch)
    for uniqueid in "abcde":
        story.live(uniqueid=uniqueid)

    story.regr("regr-finish")

    assert status(story) == ("live", None)
    assert counts(story) == {"live": 3, "fail": 2, "migrated": 2}
    assert anything_due(story.conn, story.config, story.tick)
    assert_consistent(story)
    assert story.change(expire) is True
    assert (status(story), counts(story)["live"]) == (("live", None), 1)
    assert story.change(expire) is False
    assert status(story) == ("aborted", "finish")
    assert counts(story) == {"fail": 5, "migrated": 5}
    assert not anything_due(story.conn, story.config, story.tick)
    assert story.events("regression.") == ["regression.started", "regression.first_failure", "regression.finished"]
    assert story.events("job.") == ["job.live"] * 5 + ["job.missing"] * 5
    assert_consistent(story)


def test_a_slice_is_of_all_regressions_that_end_together(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("r/1", "r/2", "r/3"):
        for uniqueid in "abc":
            story.live(name, uniqueid)
    story.live("r/4", "limited", time_limit_ms=1000)
    story.pass_time(DAY_S)
    rooms.replace("SLICE_JOBS", 4, monkeypatch)

    verdicts = []
    for more in (True, True, False):
        assert story.change(expire) is more
        verdicts.append(len(story.events("job.timed_out")))
        assert_consistent(story)

    assert verdicts == [4, 8, 10]
    assert {status(story, name)[1] for name in ("r/1", "r/2", "r/3", "r/4")} == {"timeout"}


def test_messages_take_a_slice_along_once_however_many_they_are(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    for uniqueid in "abcde":
        story.live(uniqueid=uniqueid)
    rooms.replace("SLICE_JOBS", 2, monkeypatch)
    rooms.replace("BATCH_MESSAGES", 1, monkeypatch)

    story.send(("regr-finish", "r/1", None), ("regr-update", "r/1", {"tag": "x"}), ("regr-update", "r/1", {"tag": "y"}))

    assert counts(story) == {"live": 3, "fail": 2, "migrated": 2}
    slices(story)
    assert status(story) == ("aborted", "finish")


def test_messages_between_the_slices_come_to_the_same(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    rooms.replace("SLICE_JOBS", 1, monkeypatch)
    for uniqueid in "abcdef":
        story.live(uniqueid=uniqueid)
    story.regr("regr-finish")

    story.finish(uniqueid="a")
    story.finish(uniqueid="f")
    story.live(uniqueid="a")
    story.live(uniqueid="g")
    slices(story)

    assert status(story) == ("aborted", "finish")
    assert counts(story) == {"pass": 2, "fail": 5, "migrated": 5}
    assert_consistent(story)


def test_a_sign_of_life_between_the_slices_of_a_timeout_stops_them(
    story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    rooms.replace("SLICE_JOBS", 2, monkeypatch)
    for uniqueid in "abcde":
        story.live(uniqueid=uniqueid)
    story.pass_time(DAY_S)
    story.change(expire)

    story.live(uniqueid="a")
    slices(story)

    assert status(story) == ("live", None)
    assert counts(story) == {"live": 4, "fail": 1, "migrated": 1}
    assert_consistent(story)


# Complete or aborted.


@pytest.mark.parametrize(
    ("submitted", "results", "expected"),
    [
        (None, [], "complete"),
        (0, [], "complete"),
        (None, ["pass", "fail", "skip"], "complete"),
        (3, ["pass", "fail", "skip"], "complete"),
        (2, ["pass", "fail", "skip"], "complete"),
        (4, ["pass", "fail", "skip"], "aborted"),
        (1, [], "aborted"),
        (1, ["live"], "aborted"),
        (None, ["live"], "aborted"),
        (1, ["pass", "live"], "aborted"),  # all results are there, and yet one job was given up
    ],
)
@pytest.mark.parametrize("signature", ["", SIGNATURE])
@pytest.mark.parametrize("how", ["finish", "timeout"])
def test_a_regression_is_complete_or_aborted(
    submitted: int | None, results: list[str], expected: str, signature: str, how: str
) -> None:
    story = Story(livetimeoutsignature=signature)
    said: dict[str, Any] = {} if submitted is None else {"submitted": submitted}
    story.regr("regr-start", **said)
    for number, result in enumerate(results):
        (story.live if result == "live" else story.finish)(uniqueid=str(number), **{"result": result})
    assert status(story) == ("live", None)

    if how == "finish":
        story.regr("regr-finish")
    else:
        wait(story, DAY_S)

    assert status(story) == (expected, how)


def test_late_results_clear_an_aborted_regression(story: Story) -> None:
    story.regr("regr-start", submitted=2)
    story.finish(uniqueid="a")
    story.live(uniqueid="b")
    story.regr("regr-finish")
    assert status(story) == ("aborted", "finish")

    story.finish(uniqueid="b")

    assert status(story) == ("complete", "finish")


def test_a_later_word_on_how_many_there_are_changes_the_status(story: Story) -> None:
    story.finish()
    story.regr("regr-finish", submitted=2)
    assert status(story) == ("aborted", "finish")

    story.regr("regr-update", submitted=1)

    assert status(story) == ("complete", "finish")


def test_a_time_limit_that_a_job_ran_into_is_a_verdict(story: Story) -> None:
    story.regr("regr-start", submitted=1)
    story.live(time_limit_ms=1000)
    wait(story, 1)

    story.regr("regr-finish")

    assert status(story) == ("complete", "finish")
    assert counts(story) == {"fail": 1}
