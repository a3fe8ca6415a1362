"""What live messages and finishes do to a job, and what is not kept of them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from support.stories import HOUR_S, T1, T2, T3, Story, assert_consistent, counts, extra, state, status, told

# Live messages.


def test_live_messages_add_nothing_to_the_statistics_before_and_after_the_finish(story: Story) -> None:
    measured: dict[str, Any] = {"compute_ms": 5, "runtime_ms": 6, "cycles": 7, "finish_time": T3}
    story.live(start_time=T1, **measured)
    assert state(story) == ("live", None, None)

    story.finish(finish_time="2025-01-01T01:00:00Z")
    story.live(**measured)

    row, job = story.regression(), story.job()
    assert (row["sum_compute_ms"], row["sum_runtime_ms"], row["sum_cycles"]) == (0, HOUR_S * 1000, 0)
    assert (job["compute_ms"], job["runtime_ms"], job["cycles"]) == (None, None, None)


def test_a_repeated_live_message_merges(story: Story) -> None:
    first = story.live(host="farm1", metadata=[["a", "1"], ["b", "2"]], env={"A": "1"}, tool="x")
    again = story.live(build="b7", metadata=[["b", "3"], ["c", "4"]], phase="sim")

    job = story.job()
    assert first.job == again.job
    assert (job["host"], job["build"], job["phase"]) == ("farm1", "b7", "sim")
    assert json.loads(job["metadata"]) == {"a": "1", "b": "3", "c": "4"}
    assert extra(story) == {"env": {"A": "1"}, "tool": "x"}
    assert story.events() == ["regression.started", "job.live", "job.updated"]


def test_an_update_tells_what_changed_with_long_values_cut(story: Story) -> None:
    story.live(host="farm1", tool="x")

    story.live(host="h" * 500, tool="y", metadata=[["a", "1"]])

    [update] = told(story, "job.updated")
    assert update["changed"] == {"host": ["farm1", "h" * 200], "tool": ["x", "y"], "metadata.a": [None, "1"]}


def test_an_update_tells_times_as_times_and_short_values_as_they_are(story: Story) -> None:
    story.live(start_time=T1, metadata=[["host", "x"]], host="h")

    story.live(start_time=T2, metadata=[["host", "y"]], progress={"done": 1}, env={"A": "b" * 300})

    [update] = told(story, "job.updated")
    changed = update["changed"]
    assert changed["start_time"] == [T1.replace("Z", ".000Z"), T2.replace("Z", ".000Z")]
    assert changed["metadata.host"] == ["x", "y"]
    assert "host" not in changed
    assert changed["progress"] == [None, {"done": 1}]
    assert changed["env"] == [None, '{"A":"' + "b" * 194]


def test_an_update_of_a_regression_tells_the_fields_that_were_said(story: Story) -> None:
    story.regr("regr-start")

    story.regr("regr-start", starttime=T1, time_limit_hours=2, model_branch="main", custom_metadata=[["a", "1"]])

    [update] = told(story, "regression.updated")
    assert update["changed"] == {
        "starttime": [None, T1],
        "time_limit_hours": [None, 2],
        "model_branch": [None, "main"],
        "custom_metadata": [None, [["a", "1"]]],
    }


def test_a_heartbeat_is_a_sign_of_life_and_writes_no_event(story: Story) -> None:
    story.live(host="farm1", metadata=[["a", "1"]], progress={"done": 1})
    before = story.job()
    story.pass_time(60)

    story.live(host="farm1", metadata=[["a", "1"]], progress={"done": 1})
    story.live()

    after = story.job()
    assert after == before | {"seen_at": story.now, "seen_tick": story.tick}
    assert story.regression()["last_activity_at"] == story.now
    assert len(story.events("job.")) == 1


def test_an_update_that_carries_only_progress_replaces_the_last_one(story: Story) -> None:
    story.live()
    for done in range(1, 4):
        story.live(progress={"done": done, "total": 9})

    assert [update["progress"]["done"] for update in told(story, "job.updated")] == [3]
    assert extra(story)["progress"]["done"] == 3
    assert_consistent(story)


def test_progress_in_one_batch_is_replaced_too_and_other_updates_stay(story: Story) -> None:
    body = {"category": "sim", "uniqueid": "a", "result": "live"}

    story.send(
        ("job-live", "r/1", body),
        ("job-live", "r/1", body | {"progress": {"done": 1}}),
        ("job-live", "r/1", body | {"progress": {"done": 2}, "host": "farm1"}),
        ("job-live", "r/1", body | {"progress": {"done": 3}}),
        ("job-live", "r/1", body | {"progress": {"done": 4}}),
    )
    story.live(progress={"done": 5})

    assert [update["progress"]["done"] for update in told(story, "job.updated")] == [2, 5]
    assert_consistent(story)


def test_a_late_live_message_fills_in_what_the_finish_left_out_and_nothing_else(story: Story) -> None:
    story.finish(result="pass", build="b1", metadata=[["a", "1"]], tool="x")
    before = counts(story)

    outcome = story.live(
        host="farm1",
        build="b2",
        metadata=[["a", "2"], ["b", "3"]],
        tool="y",
        env={"A": "1"},
        fail_message="lost",
        bucket="lost",
        exit_code=9,
        reason="lost",
    )

    job = story.job()
    assert (outcome.outcome, outcome.reason, outcome.job) == ("ignored", "already-finished", job["id"])
    assert state(story) == ("pass", None, None)
    assert (job["host"], job["build"]) == ("farm1", "b1")
    assert json.loads(job["metadata"]) == {"a": "1", "b": "3"}
    assert {"tool": "x", "env": {"A": "1"}}.items() <= extra(story).items()
    assert (job["fail_message"], job["bucket"], job["exit_code"]) == (None, None, None)
    assert counts(story) == before
    assert_consistent(story)


def test_a_late_live_message_that_knows_nothing_new_writes_no_event(story: Story) -> None:
    story.finish(host="farm1")
    before = story.job()

    story.live(host="farm2")

    assert story.job() == before
    assert "job.updated" not in story.events()


def test_the_start_of_a_waiting_job_takes_a_number(story: Story) -> None:
    story.live(phase="queued")
    before = story.job()

    story.pass_time(3)
    story.live()

    assert (before["running_at"], story.job()["running_at"]) == (None, story.now)
    assert story.job()["version"] == before["version"] + 1


# Finishes.


def test_a_finish_without_a_live_record_counts_once(story: Story) -> None:
    first = story.finish(compute_ms=5)
    again = story.finish(compute_ms=5)

    assert (first.outcome, again.outcome, again.reason) == ("applied", "duplicate", "same-content")
    assert first.job == again.job
    assert counts(story) == {"pass": 1}
    assert story.regression()["sum_compute_ms"] == 5
    assert story.events("job.") == ["job.passed"]


def test_a_finish_keeps_the_id_and_what_it_leaves_out(story: Story) -> None:
    live = story.live(host="farm1", metadata=[["a", "1"]], build="b", phase="sim", start_time=T1, tool="x")
    story.pass_time(5)

    finish = story.finish(result="fail", fail_message="boom", config="c2", metadata=[["b", "2"]], exit_code=3)

    job = story.job()
    assert finish.job == live.job == job["id"]
    assert (job["host"], job["build"], job["config"], job["exit_code"]) == ("farm1", "b", "c2", 3)
    assert json.loads(job["metadata"]) == {"a": "1", "b": "2"}
    assert extra(story) == {"tool": "x"}
    assert job["submitted_at"] == story.now - 5000
    assert job["done_at"] == story.now
    assert story.rows("SELECT count(*) AS n FROM job") == [{"n": 1}]


def test_a_finish_may_change_all_fields_of_a_job_with_a_uniqueid(story: Story) -> None:
    story.live(start_time=T1, jobdir="/1", seed="1", config="c1", category="sim")

    story.finish(start_time=T2, jobdir="/2", seed="2", config="c2", category="formal")

    job = story.job()
    assert (job["jobdir"], job["seed"], job["config"], job["category"]) == ("/2", "2", "c2", "formal")
    assert job["start_at"] == 1735776000000


def test_a_finish_never_keeps_what_belongs_to_a_verdict(story: Story) -> None:
    story.live(fail_message="old", bucket="old", exit_code=9, reason="old")

    story.finish(result="fail")

    job = story.job()
    assert (job["fail_message"], job["bucket"], job["exit_code"], job["reason"]) == (None, None, None, None)
    assert job["signature"] == "(no message)"


@pytest.mark.parametrize("reason", ["killed", "stopped"])
def test_a_reason_may_come_with_a_finish(story: Story, reason: str) -> None:
    story.finish(result="fail", reason=reason)

    assert story.job()["reason"] == reason


def test_another_finish_is_a_duplicate_with_a_warning(story: Story) -> None:
    story.finish(result="pass", start_time=T2, host="farm1")

    outcomes = [
        story.finish(result="fail", fail_message="boom"),
        story.finish(result="fail", start_time=T2),
        story.finish(result="fail", start_time=T1),
    ]

    assert {(outcome.outcome, outcome.reason) for outcome in outcomes} == {("duplicate", "first-finish-wins")}
    assert all(any("differs" in warning for warning in outcome.warnings) for outcome in outcomes)
    assert state(story) == ("pass", None, None)
    assert counts(story) == {"pass": 1}


def test_a_later_start_time_is_a_run_again_that_replaces_the_row_whole(story: Story) -> None:
    first = story.finish(
        result="fail",
        start_time=T1,
        fail_message="boom",
        host="farm1",
        cycles=7,
        compute_ms=5,
        metadata=[["a", "1"]],
        exit_code=1,
        tool="x",
    )

    again = story.finish(result="pass", start_time=T2, build="b")

    job = story.job()
    assert (again.outcome, again.reason, again.job) == ("applied", None, first.job)
    assert state(story) == ("pass", None, None)
    assert job["build"] == "b"
    gone = ("host", "cycles", "compute_ms", "metadata", "extra", "fail_message", "exit_code")
    assert [job[column] for column in gone] == [None] * len(gone)
    assert counts(story) == {"pass": 1}
    assert (story.regression()["sum_compute_ms"], story.regression()["sum_cycles"]) == (0, 0)
    assert story.events("job.") == ["job.failed", "job.passed"]
    assert_consistent(story)


def test_the_earlier_run_that_arrives_after_the_later_one_changes_nothing(story: Story) -> None:
    story.finish(result="pass", start_time=T2)
    before = story.job()

    outcome = story.finish(result="fail", start_time=T1, fail_message="boom", host="farm1")

    assert (outcome.outcome, outcome.reason) == ("duplicate", "first-finish-wins")
    assert story.job() == before


def test_the_year_1_is_no_start_time_and_takes_none_away(story: Story) -> None:
    story.live(start_time=T1)

    story.finish(start_time="0001-01-01T00:00:00Z")

    assert story.job()["start_at"] == 1735689600000


def test_a_run_again_is_known_by_the_start_times_of_the_finishes(story: Story) -> None:
    story.finish(result="fail")
    story.live(start_time=T2)  # of the second run

    outcome = story.finish(result="pass", start_time=T2)

    assert (outcome.outcome, state(story)[0]) == ("applied", "pass")


# What the configuration switches off.


def test_with_live_tracking_off_a_live_message_creates_nothing() -> None:
    story = Story(enablelivejobs=False)

    outcome = story.live()

    assert (outcome.outcome, outcome.reason, outcome.job) == ("ignored", "live-disabled", None)
    assert any("enablelivejobs" in warning for warning in outcome.warnings)
    assert story.rows("SELECT * FROM regression") == []
    assert story.events() == []


def test_with_live_tracking_off_finishes_count_as_ever() -> None:
    story = Story(enablelivejobs=False)
    story.regr("regr-start")
    story.live()
    story.finish()
    story.live()
    story.regr("regr-finish")

    assert status(story) == ("complete", "finish")
    assert counts(story) == {"pass": 1}


def test_with_skip_off_a_skipped_job_is_not_kept() -> None:
    story = Story(enableskip=False)

    outcome = story.finish(result="skip")

    assert (outcome.outcome, outcome.reason) == ("ignored", "skip-disabled")
    assert any("enableskip" in warning for warning in outcome.warnings)
    assert story.rows("SELECT * FROM job") == []


def test_with_skip_on_it_is(story: Story) -> None:
    story.finish(result="skip")

    assert counts(story) == {"skip": 1}
    assert story.events("job.") == ["job.skipped"]
