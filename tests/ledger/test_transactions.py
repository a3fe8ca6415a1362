"""Sections 6 to 9: stories of regressions and their jobs, told in messages, time and deeds by hand.

A heading names the rule that its stories tell."""

import itertools
import json
import logging
import sqlite3
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from support import rooms
from support.stories import SIGNATURE, Story, assert_consistent, counts

from simscope_server.ledger import database
from simscope_server.ledger.actions import tank_job, tank_regression, untank_regression
from simscope_server.ledger.batch import Batch
from simscope_server.ledger.database import Clock
from simscope_server.ledger.deliveries import apply_deliveries, apply_submissions
from simscope_server.ledger.effects import apply_message
from simscope_server.ledger.expiry import anything_due, expire, is_tick_old, prune_jobs, prune_records, save_tick
from simscope_server.messages.protocol import Context, Delivery, Message, Outcome, Receipt, Submission

HOUR_S = 3600
DAY_S = 24 * HOUR_S
T1, T2, T3 = (f"2025-01-0{day}T00:00:00Z" for day in (1, 2, 3))


def wait(story: Story, seconds: float) -> None:
    """Let time pass, and let the daemon act on it until there is nothing more to do."""
    story.pass_time(seconds)
    for act in (expire, prune_jobs):
        while story.change(act):
            pass


def slices(story: Story, act: Callable[[Batch], bool] = expire) -> int:
    """Let the daemon go on with what is not done yet. -> how many times it took."""
    for number in itertools.count(1):
        if not story.change(act):
            return number
    raise AssertionError


def told(story: Story, kind: str) -> list[dict[str, Any]]:
    """The data of all events of a type, oldest first."""
    return [
        json.loads(row["data"] or "{}")
        for row in story.rows("SELECT data FROM event WHERE type = ? ORDER BY seq", kind)
    ]


def state(story: Story, uniqueid: str = "a") -> tuple[str, str | None, str | None]:
    """Result, reason and signature of a job."""
    job = story.job(uniqueid)
    return job["result_name"], job["reason"], job["signature"]


def status(story: Story, name: str = "r/1") -> tuple[str, str | None]:
    row = story.regression(name)
    return row["status"], row["status_reason"]


def extra(story: Story, uniqueid: str = "a") -> dict[str, Any]:
    return json.loads(story.job(uniqueid)["extra"] or "{}")


def fields(story: Story, name: str = "r/1") -> dict[str, Any]:
    return json.loads(story.regression(name)["fields"])


def deliver(story: Story, *items: Any, careful: bool = False) -> Receipt:
    """One delivery of envelopes (or of bytes as they are). -> its receipt."""
    raw = [item if isinstance(item, bytes) else json.dumps(item).encode() for item in items]
    delivery = Delivery("file.json", "spool:file.json", raw, Context())
    [receipt] = story.change(apply_deliveries, [delivery], careful=careful)
    return receipt


def finish_of(uniqueid: str, result: str = "pass", **said: Any) -> dict[str, Any]:
    body = {"category": "sim", "uniqueid": uniqueid, "result": result} | said
    return {"type": "job-finish", "regression": "r/1", "body": body}


def live_body(**said: Any) -> dict[str, Any]:
    return {"category": "sim", "uniqueid": "a", "result": "live"} | said


# The public documents.

# Both full examples of the page about uniqueid, as they are printed.
DOCUMENT_LIVE = """{
"start_time": "2025-02-01T02:00:11.123-05:00",
"uniqueid": "ca8d8738-d8a0-4ad3-b0aa-09af0ff87caf",
"jobdir": "/home/runs/myregr/2/job-3",
"category": "sim",
"config": "sim +rand +tbuf +seed=123",
"seed": "123",
"build": "mybuild",
"testgroup": "mytestgroup",
"metadata": [
[
"bufsize",
"9902"
]
],
"result": "live"
}"""
DOCUMENT_FINISH = """{
"start_time": "2025-02-01T02:00:11.123-05:00",
"compute_ms": 204825,
"uniqueid": "ca8d8738-d8a0-4ad3-b0aa-09af0ff87caf",
"jobdir": "/home/runs/myregr/2/job-3",
"category": "sim",
"config": "sim +rand +tbuf +seed=123",
"seed": "123",
"build": "mybuild",
"testgroup": "mytestgroup",
"metadata": [
[
"bufsize",
"9902"
]
]
"fail_message": "Store buffer underflow at top.fifo1.input2[3]",
"result": "fail"
}"""
# A comma is missing there, before "fail_message". With it:
DOCUMENT_FINISH_REPAIRED = DOCUMENT_FINISH.replace(']\n"fail_message"', '],\n"fail_message"')


def publish(story: Story, kind: str, body: str) -> Outcome:
    """What the original's command does: one body in a file, type and regression said beside it."""
    delivery = Delivery("job.json", "spool:job.json", [body.encode()], Context(kind, "myrun/123"))
    [receipt] = story.change(apply_deliveries, [delivery])
    return receipt.details[0]


def test_the_documents_example_word_for_word(story):
    live = publish(story, "job-live", DOCUMENT_LIVE)
    finish = publish(story, "job-finish", DOCUMENT_FINISH_REPAIRED)

    assert (live.outcome, live.warnings) == ("applied", [])
    assert (finish.outcome, finish.warnings, finish.job) == ("applied", [], live.job)
    job = story.job("ca8d8738-d8a0-4ad3-b0aa-09af0ff87caf", "myrun/123")
    assert job["result_name"] == "fail"
    assert job["fail_message"] == "Store buffer underflow at top.fifo1.input2[3]"
    assert (job["jobdir"], job["config"]) == ("/home/runs/myregr/2/job-3", "sim +rand +tbuf +seed=123")
    assert (job["seed"], job["build"], job["testgroup"]) == ("123", "mybuild", "mytestgroup")
    assert (job["compute_ms"], job["counted_runtime_ms"]) == (204825, 204825)
    assert json.loads(job["metadata"]) == {"bufsize": "9902"}
    assert story.events("job.") == ["job.live", "job.failed"]
    assert_consistent(story)


def test_the_documents_finish_as_it_is_printed_is_no_json_and_leaves_the_job_live(story):
    publish(story, "job-live", DOCUMENT_LIVE)
    outcome = publish(story, "job-finish", DOCUMENT_FINISH)

    assert (outcome.outcome, outcome.reason) == ("rejected", "bad-json")
    assert counts(story, "myrun/123") == {"live": 1}


def test_the_older_flow_matches_by_five_fields(story):
    five = {"start_time": T1, "jobdir": "/runs/3", "category": "sim", "config": "sim +rand", "seed": "123"}

    live = story.send(("job-live", "r/1", five | {"result": "live", "host": "farm1"}))[0]
    same = story.send(("job-finish", "r/1", five | {"start_time": "2024-12-31T19:00:00-05:00", "result": "pass"}))[0]
    other = story.send(("job-finish", "r/1", five | {"seed": "124", "result": "pass"}))[0]

    assert same.job == live.job
    assert other.job != live.job
    assert story.rows("SELECT host FROM job WHERE id = ?", live.job) == [{"host": "farm1"}]
    assert counts(story) == {"pass": 2}


def test_a_uniqueid_that_is_left_out_is_another_job(story):
    story.live(start_time=T1)

    outcome = story.send(("job-finish", "r/1", {"category": "sim", "start_time": T1, "result": "pass"}))[0]

    assert outcome.job != story.job()["id"]
    assert counts(story) == {"pass": 1, "live": 1}


def test_the_same_uniqueid_in_another_regression_is_another_job(story):
    one, other = story.live("r/1", "7"), story.live("r/2", "7")

    story.finish("r/1", "7")

    assert one.job != other.job
    assert (counts(story, "r/1"), counts(story, "r/2")) == ({"pass": 1}, {"live": 1})


def test_the_twelve_messages_of_a_whole_regression(story):
    story.regr("regr-start", submitted=5)
    assert status(story) == ("live", None)
    for uniqueid in "12345":
        story.live(uniqueid=uniqueid)
    assert counts(story) == {"live": 5}
    for uniqueid, result in zip("12345", ["pass", "pass", "fail", "skip", "pass"], strict=True):
        assert status(story) == ("live", None)
        story.finish(uniqueid=uniqueid, result=result, fail_message="boom" if result == "fail" else "")
    outcome = story.regr("regr-finish")

    assert outcome.outcome == "applied"
    assert status(story) == ("complete", "finish")
    assert counts(story) == {"pass": 3, "fail": 1, "skip": 1}
    assert story.events() == [
        "regression.started",
        *["job.live"] * 5,
        "job.passed",
        "job.passed",
        "job.failed",
        "regression.first_failure",
        "job.skipped",
        "job.passed",
        "regression.finished",
    ]
    assert_consistent(story)


def test_the_twelve_messages_in_one_batch_come_to_the_same(story):
    bodies = [{"category": "sim", "uniqueid": uniqueid, "result": "live"} for uniqueid in "12345"]

    story.send(
        ("regr-start", "r/1", {"submitted": 5}),
        ("batch-job-live", "r/1", bodies),
        ("batch-job-finish", "r/1", [body | {"result": "pass"} for body in bodies]),
        ("regr-finish", "r/1", None),
    )

    assert status(story) == ("complete", "finish")
    assert counts(story) == {"pass": 5}
    assert story.events("regression.") == ["regression.started", "regression.finished"]
    assert story.events("job.") == ["job.live"] * 5 + ["job.passed"] * 5
    assert_consistent(story)


# 2  Live.


def test_live_messages_add_nothing_to_the_statistics_before_and_after_the_finish(story):
    measured = {"compute_ms": 5, "runtime_ms": 6, "cycles": 7, "finish_time": T3}
    story.live(start_time=T1, **measured)
    assert state(story) == ("live", None, None)

    story.finish(finish_time="2025-01-01T01:00:00Z")
    story.live(**measured)

    row, job = story.regression(), story.job()
    assert (row["sum_compute_ms"], row["sum_runtime_ms"], row["sum_cycles"]) == (0, HOUR_S * 1000, 0)
    assert (job["compute_ms"], job["runtime_ms"], job["cycles"]) == (None, None, None)


def test_a_repeated_live_message_merges(story):
    first = story.live(host="farm1", metadata=[["a", "1"], ["b", "2"]], env={"A": "1"}, tool="x")
    again = story.live(build="b7", metadata=[["b", "3"], ["c", "4"]], phase="sim")

    job = story.job()
    assert first.job == again.job
    assert (job["host"], job["build"], job["phase"]) == ("farm1", "b7", "sim")
    assert json.loads(job["metadata"]) == {"a": "1", "b": "3", "c": "4"}
    assert extra(story) == {"env": {"A": "1"}, "tool": "x"}
    assert story.events() == ["regression.started", "job.live", "job.updated"]


def test_an_update_tells_what_changed_with_long_values_cut(story):
    story.live(host="farm1", tool="x")

    story.live(host="h" * 500, tool="y", metadata=[["a", "1"]])

    [update] = told(story, "job.updated")
    assert update["changed"] == {"host": ["farm1", "h" * 200], "tool": ["x", "y"], "metadata.a": [None, "1"]}


def test_an_update_tells_times_as_times_and_short_values_as_they_are(story):
    story.live(start_time=T1, metadata=[["host", "x"]], host="h")

    story.live(start_time=T2, metadata=[["host", "y"]], progress={"done": 1}, env={"A": "b" * 300})

    [update] = told(story, "job.updated")
    changed = update["changed"]
    assert changed["start_time"] == [T1.replace("Z", ".000Z"), T2.replace("Z", ".000Z")]
    assert changed["metadata.host"] == ["x", "y"]
    assert "host" not in changed
    assert changed["progress"] == [None, {"done": 1}]
    assert changed["env"] == [None, '{"A":"' + "b" * 194]


def test_an_update_of_a_regression_tells_the_fields_that_were_said(story):
    story.regr("regr-start")

    story.regr("regr-start", starttime=T1, time_limit_hours=2, model_branch="main", custom_metadata=[["a", "1"]])

    [update] = told(story, "regression.updated")
    assert update["changed"] == {
        "starttime": [None, T1],
        "time_limit_hours": [None, 2],
        "model_branch": [None, "main"],
        "custom_metadata": [None, [["a", "1"]]],
    }


def test_a_heartbeat_is_a_sign_of_life_and_writes_no_event(story):
    story.live(host="farm1", metadata=[["a", "1"]], progress={"done": 1})
    before = story.job()
    story.pass_time(60)

    story.live(host="farm1", metadata=[["a", "1"]], progress={"done": 1})
    story.live()

    after = story.job()
    assert after == before | {"seen_at": story.now, "seen_tick": story.tick}
    assert story.regression()["last_activity_at"] == story.now
    assert len(story.events("job.")) == 1


def test_an_update_that_carries_only_progress_replaces_the_last_one(story):
    story.live()
    for done in range(1, 4):
        story.live(progress={"done": done, "total": 9})

    assert [update["progress"]["done"] for update in told(story, "job.updated")] == [3]
    assert extra(story)["progress"]["done"] == 3
    assert_consistent(story)


def test_progress_in_one_batch_is_replaced_too_and_other_updates_stay(story):
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


def test_a_late_live_message_fills_in_what_the_finish_left_out_and_nothing_else(story):
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


def test_a_late_live_message_that_knows_nothing_new_writes_no_event(story):
    story.finish(host="farm1")
    before = story.job()

    story.live(host="farm2")

    assert story.job() == before
    assert "job.updated" not in story.events()


def test_the_start_of_a_waiting_job_takes_a_number(story):
    story.live(phase="queued")
    before = story.job()

    story.pass_time(3)
    story.live()

    assert (before["running_at"], story.job()["running_at"]) == (None, story.now)
    assert story.job()["version"] == before["version"] + 1


# 3  Finish.


def test_a_finish_without_a_live_record_counts_once(story):
    first = story.finish(compute_ms=5)
    again = story.finish(compute_ms=5)

    assert (first.outcome, again.outcome, again.reason) == ("applied", "duplicate", "same-content")
    assert first.job == again.job
    assert counts(story) == {"pass": 1}
    assert story.regression()["sum_compute_ms"] == 5
    assert story.events("job.") == ["job.passed"]


def test_a_finish_keeps_the_id_and_what_it_leaves_out(story):
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


def test_a_finish_may_change_all_fields_of_a_job_with_a_uniqueid(story):
    story.live(start_time=T1, jobdir="/1", seed="1", config="c1", category="sim")

    story.finish(start_time=T2, jobdir="/2", seed="2", config="c2", category="formal")

    job = story.job()
    assert (job["jobdir"], job["seed"], job["config"], job["category"]) == ("/2", "2", "c2", "formal")
    assert job["start_at"] == 1735776000000


def test_a_finish_never_keeps_what_belongs_to_a_verdict(story):
    story.live(fail_message="old", bucket="old", exit_code=9, reason="old")

    story.finish(result="fail")

    job = story.job()
    assert (job["fail_message"], job["bucket"], job["exit_code"], job["reason"]) == (None, None, None, None)
    assert job["signature"] == "(no message)"


@pytest.mark.parametrize("reason", ["killed", "stopped"])
def test_a_reason_may_come_with_a_finish(story, reason):
    story.finish(result="fail", reason=reason)

    assert story.job()["reason"] == reason


def test_another_finish_is_a_duplicate_with_a_warning(story):
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


def test_a_later_start_time_is_a_run_again_that_replaces_the_row_whole(story):
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


def test_the_earlier_run_that_arrives_after_the_later_one_changes_nothing(story):
    story.finish(result="pass", start_time=T2)
    before = story.job()

    outcome = story.finish(result="fail", start_time=T1, fail_message="boom", host="farm1")

    assert (outcome.outcome, outcome.reason) == ("duplicate", "first-finish-wins")
    assert story.job() == before


def test_the_year_1_is_no_start_time_and_takes_none_away(story):
    story.live(start_time=T1)

    story.finish(start_time="0001-01-01T00:00:00Z")

    assert story.job()["start_at"] == 1735689600000


def test_a_run_again_is_known_by_the_start_times_of_the_finishes(story):
    story.finish(result="fail")
    story.live(start_time=T2)  # of the second run

    outcome = story.finish(result="pass", start_time=T2)

    assert (outcome.outcome, state(story)[0]) == ("applied", "pass")


# 4  Migration.


def assert_migrated(story: Story, reason: str, why: str) -> None:
    job = story.job()
    assert state(story) == ("fail", reason, SIGNATURE)
    assert job["migrated"] == 1
    assert why in job["fail_message"]
    assert "last sign of life 2023-11-14T22:13:20.000Z" in job["fail_message"]
    assert_consistent(story)


def test_a_finish_of_the_regression_takes_its_live_jobs_along(story):
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


def test_silence_takes_the_live_jobs_along(story):
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
def test_any_message_is_a_sign_of_life(story, send):
    story.live(uniqueid="b")
    wait(story, DAY_S - 1)

    send(story)
    wait(story, DAY_S - 1)

    assert status(story) == ("live", None)


def test_a_late_live_message_is_migrated_at_once(story):
    story.regr("regr-finish")

    outcome = story.live(host="farm1")

    assert outcome.outcome == "applied"
    assert_migrated(story, "missing", "the regression finished")
    assert story.job()["host"] == "farm1"
    assert counts(story) == {"fail": 1, "migrated": 1}
    assert status(story) == ("aborted", "finish")


def test_the_real_verdict_corrects_a_migrated_job(story):
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


def test_a_corrected_job_may_really_have_failed(story):
    story.live()
    story.regr("regr-finish")

    story.finish(result="fail", fail_message="boom")

    assert state(story) == ("fail", None, "boom")
    assert counts(story) == {"fail": 1}
    assert status(story) == ("complete", "finish")


def test_after_silence_a_live_message_brings_regression_and_job_back(story):
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


def test_after_silence_a_finish_brings_the_regression_back(story):
    story.live()
    wait(story, DAY_S)

    story.finish()

    assert status(story) == ("live", None)
    assert counts(story) == {"pass": 1}
    assert story.events()[-2:] == ["regression.reopened", "job.corrected"]


def test_after_silence_pending_true_brings_the_regression_back(story):
    story.live()
    wait(story, DAY_S)

    story.regr("regr-update", pending=True)

    assert status(story) == ("live", None)
    assert story.events()[-1] == "regression.reopened"
    assert state(story) == ("fail", "timeout", SIGNATURE)  # it was not named; its next message revives it
    story.live()
    assert state(story) == ("live", None, None)
    assert_consistent(story)


def test_other_news_about_the_regression_do_not_bring_it_back(story):
    story.live()
    wait(story, DAY_S)

    story.regr("regr-update", tag="x")
    story.regr("regr-start", component="core")

    assert status(story) == ("aborted", "timeout")
    assert fields(story) == {"tag": "x", "component": "core"}


def test_a_regression_that_came_back_ends_normally(story):
    story.live()
    wait(story, DAY_S)
    story.live()
    story.finish()

    story.regr("regr-finish")

    assert status(story) == ("complete", "finish")
    assert counts(story) == {"pass": 1}
    assert_consistent(story)


def test_a_finish_of_the_regression_after_silence_ends_it_normally(story):
    story.finish()
    wait(story, DAY_S)

    story.regr("regr-finish")

    assert status(story) == ("complete", "finish")
    assert story.events("regression.") == ["regression.started", "regression.timed_out", "regression.finished"]


def test_a_regression_that_came_back_can_fall_silent_again(story):
    story.live()
    wait(story, DAY_S)
    story.live()
    wait(story, DAY_S - 1)
    assert status(story) == ("live", None)

    wait(story, 1)

    assert status(story) == ("aborted", "timeout")
    assert story.events("job.") == ["job.live", "job.timed_out", "job.revived", "job.timed_out"]


def test_after_a_finish_of_the_regression_no_live_message_brings_it_back(story):
    story.live()
    story.regr("regr-finish")

    story.live()
    story.regr("regr-update", pending=True)

    assert status(story) == ("aborted", "finish")
    assert state(story) == ("fail", "missing", SIGNATURE)


def test_without_the_signature_live_jobs_stay_live():
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


def test_without_the_signature_silence_ends_the_regression_only():
    story = Story(livetimeoutsignature="")
    story.live()

    wait(story, DAY_S)

    assert (status(story), counts(story)) == (("aborted", "timeout"), {"live": 1})
    story.live()
    assert (status(story), counts(story)) == (("live", None), {"live": 1})


def test_a_verdict_of_death_keeps_why(story):
    story.live()
    story.regr("regr-finish")

    story.live(fail_message="still going", bucket="x", exit_code=0)

    assert_migrated(story, "missing", "the regression finished")


def test_more_jobs_than_a_slice_are_migrated_in_slices(story, monkeypatch):
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


def test_a_slice_is_of_all_regressions_that_end_together(story, monkeypatch):
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


def test_messages_take_a_slice_along_once_however_many_they_are(story, monkeypatch):
    for uniqueid in "abcde":
        story.live(uniqueid=uniqueid)
    rooms.replace("SLICE_JOBS", 2, monkeypatch)
    rooms.replace("BATCH_MESSAGES", 1, monkeypatch)

    story.send(("regr-finish", "r/1", None), ("regr-update", "r/1", {"tag": "x"}), ("regr-update", "r/1", {"tag": "y"}))

    assert counts(story) == {"live": 3, "fail": 2, "migrated": 2}
    slices(story)
    assert status(story) == ("aborted", "finish")


def test_messages_between_the_slices_come_to_the_same(story, monkeypatch):
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


def test_a_sign_of_life_between_the_slices_of_a_timeout_stops_them(story, monkeypatch):
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


# 5  Status.


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
def test_a_regression_is_complete_or_aborted(submitted, results, expected, signature, how):
    story = Story(livetimeoutsignature=signature)
    story.regr("regr-start", **({} if submitted is None else {"submitted": submitted}))
    for number, result in enumerate(results):
        (story.live if result == "live" else story.finish)(uniqueid=str(number), **{"result": result})
    assert status(story) == ("live", None)

    if how == "finish":
        story.regr("regr-finish")
    else:
        wait(story, DAY_S)

    assert status(story) == (expected, how)


def test_late_results_clear_an_aborted_regression(story):
    story.regr("regr-start", submitted=2)
    story.finish(uniqueid="a")
    story.live(uniqueid="b")
    story.regr("regr-finish")
    assert status(story) == ("aborted", "finish")

    story.finish(uniqueid="b")

    assert status(story) == ("complete", "finish")


def test_a_later_word_on_how_many_there_are_changes_the_status(story):
    story.finish()
    story.regr("regr-finish", submitted=2)
    assert status(story) == ("aborted", "finish")

    story.regr("regr-update", submitted=1)

    assert status(story) == ("complete", "finish")


def test_a_time_limit_that_a_job_ran_into_is_a_verdict(story):
    story.regr("regr-start", submitted=1)
    story.live(time_limit_ms=1000)
    wait(story, 1)

    story.regr("regr-finish")

    assert status(story) == ("complete", "finish")
    assert counts(story) == {"fail": 1}


# 6  Timeouts.


def test_the_time_limit_of_a_regression_counts_from_its_first_message(story):
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


def test_no_live_message_brings_back_a_regression_that_its_time_limit_ended(story):
    story.regr("regr-start", time_limit_hours=1)
    story.live()
    wait(story, HOUR_S)

    story.live()
    story.regr("regr-update", pending=True)

    assert status(story) == ("aborted", "time-limit")
    assert state(story)[:2] == ("fail", "timeout")


@pytest.mark.parametrize("hours", [2, 0])
def test_a_moved_limit_brings_a_regression_back_with_its_jobs(story, hours):
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


def test_a_limit_that_is_moved_within_the_past_changes_nothing(story):
    story.regr("regr-start", time_limit_hours=1)
    story.live()
    wait(story, 3 * HOUR_S)

    story.regr("regr-update", time_limit_hours=2)

    assert status(story) == ("aborted", "time-limit")


def test_a_moved_limit_brings_a_regression_back_between_the_slices(story, monkeypatch):
    rooms.replace("SLICE_JOBS", 2, monkeypatch)
    story.regr("regr-start", time_limit_hours=1)
    for uniqueid in "abcde":
        story.live(uniqueid=uniqueid)
    story.pass_time(HOUR_S)
    story.change(expire)

    story.regr("regr-update", time_limit_hours=3)
    slices(story)

    assert status(story) == ("live", None)


def test_no_timer_runs_for_0():
    story = Story(autotimeouthours=0, prunelivedays=0)
    story.live()

    wait(story, 400 * DAY_S)

    assert (status(story), counts(story)) == (("live", None), {"live": 1})


def test_hours_may_be_fractions():
    story = Story(autotimeouthours=0.01)
    story.live()

    wait(story, 35)
    assert status(story) == ("live", None)
    wait(story, 1)

    assert status(story) == ("aborted", "timeout")


def test_a_job_runs_into_its_own_time_limit_alone(story):
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


def test_without_the_signature_a_time_limit_has_one_of_its_own():
    story = Story(livetimeoutsignature="")
    story.live(time_limit_ms=1000)

    wait(story, 1)

    assert state(story) == ("fail", "time-limit", "Job Time Limit")


@pytest.mark.parametrize("phase", ["queued", "pending", "submitted", "staging", "paused"])
def test_waiting_does_not_count_for_the_time_limit(story, phase):
    story.live(phase=phase, time_limit_ms=60_000)
    wait(story, HOUR_S)
    assert story.job()["running_at"] is None

    story.live(phase="running")
    wait(story, 59)
    assert counts(story) == {"live": 1}
    wait(story, 1)

    assert state(story)[:2] == ("fail", "time-limit")


def test_a_pause_later_on_does_not_stop_the_clock(story):
    story.live(phase="running", time_limit_ms=60_000)
    story.live(phase="paused")

    wait(story, 60)

    assert state(story)[:2] == ("fail", "time-limit")


def test_heartbeats_do_not_move_a_time_limit(story):
    story.live(time_limit_ms=60_000)
    for _ in range(6):
        wait(story, 9)
        story.live(time_limit_ms=60_000)

    wait(story, 6)

    assert state(story)[:2] == ("fail", "time-limit")


@pytest.mark.parametrize(("limit", "lives"), [(120_000, True), (0, True), (61_000, False), (60_000, False)])
def test_a_live_message_that_moves_the_limit_revives_a_job(story, limit, lives):
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


def test_a_limit_that_is_moved_after_the_end_of_the_regression_tells_what_changed_and_why_the_job_ended(story):
    story.live(time_limit_ms=60_000)
    wait(story, 90)
    story.regr("regr-finish")

    story.live(time_limit_ms=120_000, host="farm1")

    [missing] = told(story, "job.missing")
    assert missing["changed"] == {"time_limit_ms": [60_000, 120_000], "host": [None, "farm1"]}
    assert "finished while this job was live" in missing["description"]
    assert story.events("job.") == ["job.live", "job.timed_out", "job.missing"]


def test_a_limit_may_be_moved_before_it_is_reached(story):
    story.live(time_limit_ms=60_000)
    wait(story, 30)
    story.live(time_limit_ms=40_000)

    wait(story, 9)
    assert state(story)[0] == "live"
    wait(story, 1)

    assert state(story)[:2] == ("fail", "time-limit")


def test_the_real_verdict_corrects_a_job_that_ran_into_its_limit(story):
    story.live(time_limit_ms=1000)
    wait(story, 1)

    story.finish()

    assert state(story) == ("pass", None, None)
    assert counts(story) == {"pass": 1}
    assert story.events("job.")[-1] == "job.corrected"


def test_a_finished_job_has_no_time_limit(story):
    story.live(time_limit_ms=1000)
    story.finish(time_limit_ms=1000)

    wait(story, 2)

    assert state(story) == ("pass", None, None)


def test_a_publishers_clock_ends_nothing(story):
    story.live(start_time="1999-01-01T00:00:00Z", time_limit_ms=60_000)
    story.regr("regr-start", starttime="1999-01-01T00:00:00Z", time_limit_hours=1)

    wait(story, 59)

    assert counts(story) == {"live": 1}


def test_both_clocks_tick_together_and_a_step_of_the_wall_clock_stops_no_uptime(monkeypatch):
    wall, up = 1_700_000_000_000_600_000, 5_000_999_999
    monkeypatch.setattr(database, "time", SimpleNamespace(time_ns=lambda: wall, monotonic_ns=lambda: up))
    clock = Clock(1000)
    moments = []
    for _ in range(40):
        moments.append(clock.moment())
        wall, up = wall + 130_000, up + 130_000

    wall -= 3_600_000_000_000
    after = clock.moment()

    assert len({moment.now - moment.tick for moment in moments}) == 1
    assert moments[-1].tick - moments[0].tick == 5
    assert abs(moments[0].tick - 1000) <= 1
    assert after.now < moments[0].now
    assert moments[-1].tick <= after.tick <= moments[-1].tick + 1


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
def test_the_uptime_is_saved_often_while_a_time_limit_runs(options, messages, often):
    story = Story(**options)
    for kind, body in messages:
        story.send((kind, "r/1", body))
    story.change(save_tick)

    old = [is_tick_old(story.conn, story.config, story.tick + ms) for ms in (500, 1000, 9999, 10_000)]

    assert old == [False, often, often, True]


def test_a_wall_clock_that_jumps_ends_nothing(story):
    story.live(time_limit_ms=60_000)
    story.now += 400 * DAY_S * 1000

    wait(story, 59)

    assert counts(story) == {"live": 1}


# 7  Prune.


def test_a_live_job_without_news_is_pruned_and_leaves_a_tombstone():
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


def test_a_pruned_job_that_speaks_again_is_a_new_one():
    story = Story(autotimeouthours=0)
    old = story.live()
    wait(story, 7 * DAY_S)

    new = story.live()

    assert new.job > old.job
    assert counts(story) == {"live": 1}


def test_finished_jobs_are_never_pruned(story):
    story.finish()

    wait(story, 100 * DAY_S)

    assert counts(story) == {"pass": 1}


def test_what_stays_live_after_the_end_of_its_regression_is_pruned_and_the_status_cleared():
    story = Story(livetimeoutsignature="")
    story.live()
    story.regr("regr-finish")
    assert status(story) == ("aborted", "finish")

    wait(story, 7 * DAY_S)

    assert status(story) == ("complete", "finish")


def test_pruning_goes_in_slices(monkeypatch):
    rooms.replace("SLICE_JOBS", 2, monkeypatch)
    story = Story(autotimeouthours=0)
    for uniqueid in "abcde":
        story.live(uniqueid=uniqueid)
    story.pass_time(7 * DAY_S)

    assert slices(story, prune_jobs) == 3
    assert counts(story) == {}
    assert_consistent(story)


# 8  Order.


def test_a_job_before_its_start_creates_the_regression_live(story):
    story.live()
    assert status(story) == ("live", None)

    outcome = story.regr("regr-start", component="core")

    assert outcome.outcome == "applied"
    assert story.regression()["component"] == "core"
    assert story.events("regression.") == ["regression.started", "regression.updated"]


def test_a_finish_before_everything_else_creates_the_regression_over(story):
    story.regr("regr-finish")
    story.regr("regr-start", component="core")
    story.finish()

    assert status(story) == ("complete", "finish")
    assert fields(story) == {"component": "core"}


@pytest.mark.parametrize("kind", ["regr-start", "regr-finish"])
def test_the_same_message_about_a_regression_again_is_a_duplicate(story, kind):
    story.regr(kind, component="core")
    before = story.regression()

    outcome = story.regr(kind, component="core")

    assert (outcome.outcome, outcome.reason) == ("duplicate", "same-content")
    assert story.regression() == before


def test_an_update_merges_also_after_the_finish(story):
    story.regr("regr-start", component="core", custom_metadata=[["a", "1"], ["b", "2"]], later=1)
    story.regr("regr-finish")

    story.regr("regr-update", model_branch="main", custom_metadata=[["b", "3"], ["coverage", "98"]])

    assert fields(story) == {
        "component": "core",
        "later": 1,
        "model_branch": "main",
        "custom_metadata": [["a", "1"], ["b", "3"], ["coverage", "98"]],
    }
    assert story.regression()["branch"] == "main"
    assert status(story) == ("complete", "finish")
    assert story.events()[-1] == "regression.updated"


def test_a_later_starttime_uses_the_name_again(story):
    story.regr("regr-start", starttime=T1)
    story.live()
    story.finish(uniqueid="b")
    story.regr("regr-finish", starttime=T1)
    assert status(story) == ("aborted", "finish")

    story.regr("regr-start", starttime=T2)

    assert status(story) == ("live", None)
    assert counts(story) == {"pass": 1, "live": 1}
    assert story.events("regression.").count("regression.started") == 2
    assert story.events("job.")[-1] == "job.revived"
    assert_consistent(story)


@pytest.mark.parametrize("closed", [True, False])
def test_a_new_run_has_clocks_of_its_own_whether_or_not_the_earlier_one_was_closed(story, closed):
    story.regr("regr-start", starttime=T1, time_limit_hours=1)
    story.live()
    wait(story, 0.9 * HOUR_S)
    if closed:
        story.regr("regr-finish", starttime=T1)

    story.regr("regr-start", starttime=T2)

    assert story.regression()["created_at"] == story.now
    wait(story, 0.9 * HOUR_S)
    assert status(story) == ("live", None)
    wait(story, 0.1 * HOUR_S)
    assert status(story) == ("aborted", "time-limit")
    assert_consistent(story)


def test_a_new_run_brings_back_the_jobs_that_silence_took_from_the_earlier_one(story):
    story.regr("regr-start", starttime=T1)
    story.live()
    wait(story, DAY_S)
    story.live(uniqueid="b")
    assert counts(story) == {"live": 1, "fail": 1, "migrated": 1}

    story.regr("regr-start", starttime=T2)

    assert counts(story) == {"live": 2}


@pytest.mark.parametrize("starttime", [{}, {"starttime": T1}, {"starttime": T2}])
def test_without_a_later_starttime_nothing_is_used_again(story, starttime):
    story.regr("regr-start", starttime=T2)
    story.regr("regr-finish")

    story.regr("regr-start", **starttime)

    assert status(story) == ("complete", "finish")


def test_a_finish_of_an_earlier_run_does_not_close_the_newer_one(story):
    story.regr("regr-start", starttime=T2)
    story.live()

    outcomes = [story.regr("regr-finish", starttime=T1), story.regr("regr-start", starttime=T1)]

    assert {(outcome.outcome, outcome.reason) for outcome in outcomes} == {("ignored", "older-run")}
    assert status(story) == ("live", None)
    assert counts(story) == {"live": 1}


def test_a_message_about_an_earlier_run_fills_in_what_nobody_else_said(story):
    story.regr("regr-start", starttime=T2, component="new")

    story.regr("regr-finish", starttime=T1, component="old", project="old")

    assert (story.regression()["component"], story.regression()["project"]) == ("new", "old")
    assert fields(story) == {"starttime": T2, "component": "new", "project": "old"}


def test_the_messages_of_two_runs_come_to_the_same_in_any_order():
    messages = [("regr-start", T1), ("regr-finish", T1), ("regr-start", T2)]
    for order in itertools.permutations(messages):
        story = Story()
        story.live()
        for kind, starttime in order:
            story.regr(kind, starttime=starttime)

        assert (status(story), counts(story)) == (("live", None), {"live": 1}), order


def test_metadata_of_two_runs_merges_by_name_in_any_order():
    found = []
    for order in ([0, 1], [1, 0]):
        story = Story()
        starts = [(T1, [["a", "1"], ["c", "1"]]), (T2, [["b", "2"], ["c", "2"]])]
        for place in order:
            story.regr("regr-start", starttime=starts[place][0], custom_metadata=starts[place][1])
        found.append(dict(fields(story)["custom_metadata"]))

    assert found[0] == found[1]


def test_the_year_1_is_no_starttime_and_takes_none_away(story):
    story.regr("regr-start", starttime=T1)
    story.regr("regr-finish", starttime="0001-01-01T00:00:00Z")

    story.regr("regr-start", starttime=T2)

    assert status(story) == ("live", None)


def test_a_message_about_an_earlier_run_that_says_nothing_new_changes_nothing(story):
    story.regr("regr-start", starttime=T2, custom_metadata=[["a", "1"], ["b", "2"]])
    before = story.regression()

    story.regr("regr-start", starttime=T1, custom_metadata=[["b", "1"]])

    assert story.regression() == before


def test_the_year_1_does_not_show_as_a_starttime(story):
    story.regr("regr-start", starttime=T1)

    story.regr("regr-finish", starttime="0001-01-01T00:00:00Z")

    assert fields(story)["starttime"] == T1


@pytest.mark.parametrize("starttime", [T1, T3])
def test_the_starttime_of_an_update_is_shown_and_tells_no_run(story, starttime):
    story.regr("regr-start", starttime=T2)

    story.regr("regr-update", starttime=starttime)

    assert story.regression()["starttime_at"] == 1735776000000
    assert fields(story)["starttime"] == starttime
    assert told(story, "regression.updated") == [{"changed": {"starttime": [T2, starttime]}}]


@pytest.mark.parametrize("said", [{}, {"pending": True}])
def test_a_finish_closes_its_run_whatever_updates_say_of_its_start(said):
    messages = [
        ("regr-start", {"starttime": T1}),
        ("regr-update", {"starttime": T2} | said),
        ("regr-finish", {"starttime": T1}),
    ]
    for order in itertools.permutations(messages):
        story = Story()
        for kind, body in order:
            story.regr(kind, **body)

        assert status(story) == ("complete", "finish"), order


@pytest.mark.parametrize(
    ("over", "later", "ends"),
    [(T1, T2, ("live", None)), (T2, T1, ("complete", "finish")), (T2, T2, ("complete", "finish"))],
)
@pytest.mark.parametrize("kind", ["regr-update", "regr-start"])
def test_pending_false_closes_the_run_that_it_names_as_a_finish_does(kind, over, later, ends):
    messages = [
        ("regr-start", {"starttime": T1}),
        (kind, {"starttime": over, "pending": False}),
        ("regr-start", {"starttime": later}),
    ]
    for order in itertools.permutations(messages):
        story = Story()
        for message in order:
            story.regr(message[0], **message[1])

        assert status(story) == ends, order


def test_pending_false_of_an_earlier_run_is_told_apart(story):
    story.regr("regr-start", starttime=T2)

    outcome = story.regr("regr-update", starttime=T1, pending=False)

    assert (outcome.outcome, outcome.reason) == ("ignored", "older-run")


def test_a_start_that_says_it_is_over_does_not_open_what_an_earlier_run_closed(story):
    story.regr("regr-start", starttime=T1)
    story.regr("regr-finish", starttime=T1)

    story.regr("regr-start", starttime=T2, pending=False)

    assert status(story) == ("complete", "finish")


# 9  Off switch.


def test_with_live_tracking_off_a_live_message_creates_nothing():
    story = Story(enablelivejobs=False)

    outcome = story.live()

    assert (outcome.outcome, outcome.reason, outcome.job) == ("ignored", "live-disabled", None)
    assert any("enablelivejobs" in warning for warning in outcome.warnings)
    assert story.rows("SELECT * FROM regression") == []
    assert story.events() == []


def test_with_live_tracking_off_finishes_count_as_ever():
    story = Story(enablelivejobs=False)
    story.regr("regr-start")
    story.live()
    story.finish()
    story.live()
    story.regr("regr-finish")

    assert status(story) == ("complete", "finish")
    assert counts(story) == {"pass": 1}


def test_with_skip_off_a_skipped_job_is_not_kept():
    story = Story(enableskip=False)

    outcome = story.finish(result="skip")

    assert (outcome.outcome, outcome.reason) == ("ignored", "skip-disabled")
    assert any("enableskip" in warning for warning in outcome.warnings)
    assert story.rows("SELECT * FROM job") == []


def test_with_skip_on_it_is(story):
    story.finish(result="skip")

    assert counts(story) == {"skip": 1}
    assert story.events("job.") == ["job.skipped"]


# 10  Tank.


def tank(story: Story, reason: str = "farm is down") -> None:
    story.change(tank_regression, 1, reason)
    slices(story)


def test_tanking_a_regression_gives_its_live_jobs_up(story):
    story.live()
    story.finish(uniqueid="b")

    tank(story)

    assert status(story) == ("tanked", "farm is down")
    assert state(story) == ("fail", "tanked", "Tanked")
    assert "farm is down" in story.job()["fail_message"]
    assert counts(story) == {"pass": 1, "fail": 1, "migrated": 1}
    assert story.events()[-3:] == ["regression.tanked", "job.tanked", "regression.first_failure"]
    assert_consistent(story)


def test_tanking_twice_changes_nothing(story):
    story.live()
    tank(story)
    before = story.regression()

    tank(story, "again")

    assert story.regression() == before


def test_no_live_message_creates_or_revives_a_job_of_a_tanked_regression(story):
    story.live()
    tank(story)

    outcomes = [story.live(), story.live(uniqueid="b")]

    assert {(outcome.outcome, outcome.reason) for outcome in outcomes} == {("ignored", "tanked")}
    assert counts(story) == {"fail": 1, "migrated": 1}


def test_a_finish_corrects_a_tanked_job_and_the_regression_stays_tanked(story):
    story.live()
    tank(story)

    story.finish()
    story.finish(uniqueid="b")

    assert counts(story) == {"pass": 2}
    assert story.events("job.") == ["job.live", "job.tanked", "job.corrected", "job.passed"]
    assert status(story)[0] == "tanked"


def test_untanking_brings_the_jobs_back_to_life(story):
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


def test_untanking_a_regression_that_has_finished_meanwhile_makes_its_jobs_missing(story):
    story.live()
    tank(story)
    story.regr("regr-finish")
    assert status(story)[0] == "tanked"

    story.change(untank_regression, 1)

    assert status(story) == ("aborted", "finish")
    assert state(story) == ("fail", "missing", SIGNATURE)
    assert story.events("job.") == ["job.live", "job.tanked", "job.missing"]
    assert_consistent(story)


def test_a_tanked_regression_does_not_time_out(story):
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
def test_what_opens_a_regression_leaves_a_tanked_one_without_live_jobs(story, monkeypatch, reopens, closed):
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


def test_untanking_what_is_not_tanked_changes_nothing(story):
    story.live()
    before = story.regression()

    story.change(untank_regression, 1)

    assert story.regression() == before


def test_tanking_one_job_leaves_the_others(story):
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


def test_only_live_jobs_can_be_tanked(story):
    done = story.finish()

    with pytest.raises(ValueError, match="not live"):
        story.change(tank_job, done.job, "")
    with pytest.raises(LookupError):
        story.change(tank_job, 99, "")
    with pytest.raises(LookupError):
        story.change(tank_regression, 99, "")
    assert counts(story) == {"pass": 1}


def test_tanking_a_job_twice_changes_nothing(story):
    job = story.live().job
    story.change(tank_job, job, "hangs")
    before = story.job()

    story.change(tank_job, job, "again")

    assert story.job() == before


def test_untanking_makes_all_jobs_missing_in_slices(story, monkeypatch):
    for uniqueid in "abcde":
        story.live(uniqueid=uniqueid)
    tank(story)
    story.regr("regr-finish")
    rooms.replace("SLICE_JOBS", 2, monkeypatch)

    story.change(untank_regression, 1)
    slices(story)

    assert counts(story) == {"fail": 5, "migrated": 5}


def test_untanking_between_the_slices_does_not_forget_a_finish(story, monkeypatch):
    rooms.replace("SLICE_JOBS", 1, monkeypatch)
    for uniqueid in "abcde":
        story.live(uniqueid=uniqueid)
    story.change(tank_regression, 1, "")
    story.regr("regr-finish")

    story.change(untank_regression, 1)
    slices(story)

    assert status(story) == ("aborted", "finish")


# 11  Statistics.


def test_statistics_are_sums_over_verdicts(story):
    story.finish(uniqueid="a", compute_ms=10, runtime_ms=20, cycles=1000)
    story.finish(uniqueid="b", compute_ms=10, start_time=T1, finish_time="2025-01-01T00:00:00.030Z")
    story.finish(uniqueid="c", result="fail", compute_ms=40, cycles=500)
    story.finish(uniqueid="d", result="skip")
    story.live(uniqueid="e", compute_ms=99, runtime_ms=99, cycles=99)

    row = story.regression()
    assert row["sum_compute_ms"] == 60
    assert row["sum_runtime_ms"] == 20 + 30 + 40
    assert row["sum_cycles"] == 1500
    assert row["sum_cycle_compute_ms"] == 50
    assert_consistent(story)


def test_a_verdict_of_ours_adds_nothing_to_the_statistics(story):
    story.live(compute_ms=99, cycles=99, time_limit_ms=1000)
    story.live(uniqueid="b", compute_ms=99, cycles=99)
    wait(story, 1)
    story.regr("regr-finish")

    row = story.regression()
    assert (counts(story), row["sum_compute_ms"], row["sum_cycles"]) == ({"fail": 2, "migrated": 1}, 0, 0)


def test_the_sum_of_negative_cycles_is_no_reason_to_refuse_a_job(story):
    story.finish(uniqueid="a", cycles=-(2**63))

    outcome = story.finish(uniqueid="b", cycles=-(2**63))

    assert outcome.outcome in ("applied", "rejected")  # taken, or refused for what it is; not by a batch that raises
    assert outcome.reason != "internal-error"


def test_a_sum_that_was_too_large_is_right_again_when_it_fits(story):
    for uniqueid in "ab":
        story.finish(uniqueid=uniqueid, cycles=2**63 - 1)

    for uniqueid in "ab":
        story.finish(uniqueid=uniqueid, cycles=1, start_time=T1)

    assert story.regression()["sum_cycles"] == 2


def test_the_sum_of_large_cycles_is_no_reason_to_refuse_a_job(story):
    story.finish(uniqueid="a", cycles=2**63 - 1)

    outcome = story.finish(uniqueid="b", cycles=2**63 - 1)

    assert outcome.outcome == "applied"
    assert f"cycles {2**63 - 1} count as {2**48} in sums" in outcome.warnings
    assert story.regression()["sum_cycles"] == 2 * 2**48


# 12  Signatures.


def test_equal_fail_messages_share_a_signature_over_regressions_but_not_over_categories(story):
    story.finish("r/1", "a", "fail", fail_message="lane 3 stuck")
    story.finish("r/2", "a", "fail", fail_message="lane 4 stuck\nmore")
    story.finish("r/2", "b", "fail", fail_message="lane 5 stuck", category="formal")

    ids = [row["signature_id"] for row in story.rows("SELECT signature_id FROM job ORDER BY id")]
    assert ids[0] == ids[1] != ids[2]
    [first] = story.rows("SELECT * FROM signature WHERE id = ?", ids[0])
    assert (first["title"], first["first_regression_id"]) == ("lane ... stuck", 1)


def test_a_bucket_is_the_title(story):
    story.finish(result="fail", fail_message="lane 3 stuck", bucket="Known issue 7")

    assert story.job()["signature"] == "Known issue 7"


def words(number: int) -> str:
    """A message of words, without a number that a title would leave out."""
    return "stuck in " + "".join(chr(ord("a") + int(digit)) for digit in f"{number:03d}")


def test_after_25_new_signatures_the_others_overflow(story):
    for number in range(30):
        story.finish("r/1", str(number), "fail", fail_message=words(number))

    titles = [row["signature"] for row in story.rows("SELECT signature FROM jobs ORDER BY id")]
    assert titles[:25] == [words(number) for number in range(25)]
    assert set(titles[25:]) == {"Regression Bucket Overflow"}
    assert story.rows("SELECT count(*) AS n FROM signature") == [{"n": 26}]


def test_known_signatures_and_ours_do_not_overflow(story):
    for number in range(20):
        story.finish("r/0", str(number), "fail", fail_message=words(number))
    for number in range(50):
        story.finish("r/1", str(number), "fail", fail_message=words(number))
    story.live(uniqueid="live")
    story.regr("regr-finish")

    titles = [row["signature"] for row in story.rows("SELECT signature FROM jobs WHERE regression = 'r/1' ORDER BY id")]
    assert titles[:45] == [words(number) for number in range(45)]
    assert titles[45:] == ["Regression Bucket Overflow"] * 5 + [SIGNATURE]


def test_signatures_of_ours_do_not_use_up_the_25(story):
    story.live(uniqueid="tanked")
    story.live(uniqueid="live", category="formal")
    story.change(tank_job, story.job("tanked")["id"], "")
    story.regr("regr-finish")

    for number in range(25):
        story.finish("r/1", str(number), "fail", fail_message=words(number))

    assert story.job("24")["signature"] == words(24)


def test_each_regression_may_have_25_new_signatures(story):
    for number in range(50):
        story.finish(f"r/{number // 25}", str(number), "fail", fail_message=words(number))

    assert story.rows("SELECT 1 FROM signature WHERE title = 'Regression Bucket Overflow'") == []


def test_the_first_failure_is_told_once(story):
    story.finish(uniqueid="a")
    assert "regression.first_failure" not in story.events()

    story.finish(uniqueid="b", result="fail", start_time=T1)
    story.finish(uniqueid="c", result="fail")
    story.finish(uniqueid="b", result="pass", start_time=T2)
    story.finish(uniqueid="d", result="fail")

    assert story.events().count("regression.first_failure") == 1
    assert story.events().index("regression.first_failure") == story.events().index("job.failed") + 1


def test_the_first_failure_is_told_again_in_a_new_run(story):
    story.regr("regr-start", starttime=T1)
    story.finish(result="fail", start_time=T1)
    story.regr("regr-finish", starttime=T1)

    story.regr("regr-start", starttime=T2)
    story.live(host="farm1")
    told_before = story.events().count("regression.first_failure")
    story.finish(result="fail", start_time=T2)
    story.finish(uniqueid="b", result="fail")

    assert told_before == 1
    assert story.events().count("regression.first_failure") == 2


def test_the_first_failure_of_each_run_is_told_where_both_come_at_once(story):
    deliver(
        story,
        {"type": "regr-start", "regression": "r/1", "body": {"starttime": T1}},
        finish_of("a", "fail"),
        {"type": "regr-start", "regression": "r/1", "body": {"starttime": T2}},
        finish_of("b", "fail"),
    )

    assert story.events().count("regression.first_failure") == 2


# Series.


@pytest.mark.parametrize(
    ("separator", "name", "series"),
    [
        ("/", "nightly/12", ("nightly", 12)),
        ("/", "a/b/12", ("a/b", 12)),
        ("/", "nightly-12", (None, None)),
        ("-", "nightly-12", ("nightly", 12)),
        (".", "a/b.3", ("a/b", 3)),
        (":", "a:3", ("a", 3)),
        ("/", "nightly", (None, None)),
    ],
)
def test_the_name_of_a_regression_tells_its_series(separator, name, series):
    story = Story(seriesseparator=separator)

    story.live(name)

    row = story.regression(name)
    assert (row["series"], row["number"]) == series


# Receipts.


def test_a_receipt_counts_what_became_of_every_message(story):
    receipt = deliver(
        story,
        finish_of("a", start_time=T1, compute_ms=1, config="c"),
        finish_of("a", start_time=T1, compute_ms=1, config="c"),
        {"type": "job-live", "regression": "r/1", "body": {"category": "sim", "uniqueid": "a", "result": "live"}},
        b'{"type":',
        finish_of("b"),
        finish_of("c", compute_ms="x"),
    )

    assert (receipt.messages, receipt.applied, receipt.duplicate, receipt.ignored, receipt.rejected) == (6, 2, 1, 1, 2)
    [row] = story.rows("SELECT * FROM receipt")
    assert (row["id"], row["name"], row["received_at"]) == (receipt.id, "file.json", story.now)
    assert (row["applied"], row["duplicate"], row["ignored"], row["rejected"]) == (2, 1, 1, 2)
    details = json.loads(row["details"])
    assert [(each["index"], each["outcome"], each["reason"]) for each in details] == [
        (1, "duplicate", "same-content"),
        (2, "ignored", "already-finished"),
        (3, "rejected", "bad-json"),
        (4, "applied", None),  # with a warning
        (5, "rejected", "wrong-type"),
    ]
    assert details[3]["warnings"] == ["missing start_time", "missing compute_ms", "missing config"]
    assert details[4]["path"] == "$.body.compute_ms"
    assert (details[4]["type"], details[4]["regression"]) == ("job-finish", "r/1")
    assert details[0]["job"] == details[1]["job"] == story.job()["id"]


def test_a_receipt_of_messages_that_were_plainly_applied_has_no_details(story):
    deliver(story, finish_of("a", start_time=T1, compute_ms=1, config="c"))

    assert story.rows("SELECT applied, details FROM receipt") == [{"applied": 1, "details": None}]


def test_a_receipt_keeps_the_first_100_details(story):
    receipt = deliver(story, *[b"x"] * 130)

    [row] = story.rows("SELECT * FROM receipt")
    assert row["rejected"] == receipt.rejected == 130
    assert [each["index"] for each in json.loads(row["details"])] == list(range(100))


def test_a_receipt_of_many_warnings_tells_of_a_refusal_all_the_same(story):
    receipt = deliver(story, *(finish_of(f"job-{number}") for number in range(120)), b"x")

    assert (receipt.applied, receipt.rejected, len(receipt.details)) == (120, 1, 100)
    assert [told["index"] for told in receipt.refused()] == [120]


def test_of_too_many_details_the_gravest_are_kept_in_their_order(story):
    receipt = deliver(
        story,
        *(finish_of(f"job-{number}") for number in range(60)),
        *(finish_of("job-0") for _ in range(60)),
        *[b"x"] * 60,
    )

    assert (receipt.applied, receipt.duplicate, receipt.rejected) == (60, 60, 60)
    assert [told.index for told in receipt.notable()] == [*range(60, 100), *range(120, 180)]


def test_a_delivery_that_could_not_be_read_has_a_receipt_too(story):
    refusal = Outcome(0, None, None, "rejected", "unreadable", None, "gone")
    delivery = Delivery("x.json", "spool:x.json", [], Context(), refusal, ("1/x.json", 7, 8))

    [([receipt], settling)] = story.change(apply_submissions, [Submission([delivery])])

    assert (receipt.rejected, receipt.messages) == (1, 1)
    assert json.loads(story.rows("SELECT files FROM settling WHERE id = ?", settling)[0]["files"]) == [
        ["1/x.json", 7, 8, receipt.id]
    ]


def test_the_files_of_a_batch_are_noted_until_they_are_settled(story):
    good = [json.dumps(finish_of(name)).encode() for name in "ab"]
    deliveries = [
        Delivery(f"{n}.json", "spool", [item], Context(), None, (f"1/{n}.json", n, 0)) for n, item in enumerate(good)
    ]

    [(_, settling)] = story.change(apply_submissions, [Submission(deliveries)])
    assert len(story.rows("SELECT * FROM settling")) == 1
    [(_, nothing)] = story.change(apply_submissions, [Submission([], [settling])])

    assert nothing == 0
    assert story.rows("SELECT * FROM settling") == []


def test_events_tell_who_caused_them(story):
    deliver(story, finish_of("a"))

    assert {row["origin"] for row in story.rows("SELECT origin FROM event")} == {"spool:file.json"}


# Careful mode.


class Mistake(Exception):
    pass


def stumble(monkeypatch: pytest.MonkeyPatch, uniqueid: str, error: Exception) -> None:
    """Raise after a message about that job was applied, when rows and counters are half changed."""
    apply = apply_message

    def apply_and_stumble(batch: Batch, message: Message) -> Outcome:
        outcome = apply(batch, message)
        if message.key == uniqueid:
            raise error
        return outcome

    rooms.replace("apply_message", apply_and_stumble, monkeypatch)


def test_a_message_that_raises_is_refused_and_the_others_are_applied(story, monkeypatch, caplog):
    stumble(monkeypatch, "b", Mistake("oh"))

    with caplog.at_level(logging.ERROR, "simscoped"):
        receipt = deliver(
            story,
            finish_of("a"),
            finish_of("b", "fail", fail_message="boom"),
            b"x",
            finish_of("c", "fail", fail_message="boom"),
            finish_of("a"),
            careful=True,
        )

    assert [(each.outcome, each.reason) for each in receipt.details] == [
        ("applied", None),
        ("rejected", "internal-error"),
        ("rejected", "bad-json"),
        ("applied", None),
        ("duplicate", "same-content"),
    ]
    assert (receipt.details[1].index, receipt.details[1].detail) == (1, "Mistake: oh")
    assert "message 1 of file.json" in caplog.text
    assert counts(story) == {"pass": 1, "fail": 1}
    assert [row["key"] for row in story.rows("SELECT key FROM job ORDER BY id")] == ["a", "c"]
    assert story.events("job.") == ["job.passed", "job.failed"]
    assert_consistent(story)


def test_the_first_message_of_a_regression_may_raise(story, monkeypatch):
    stumble(monkeypatch, "a", Mistake("oh"))

    receipt = deliver(story, finish_of("a"), finish_of("b"), careful=True)

    assert (receipt.applied, receipt.rejected) == (1, 1)
    assert story.events() == ["regression.started", "job.passed"]
    assert_consistent(story)


def test_not_careful_a_message_that_raises_leaves_no_trace(story, monkeypatch):
    story.finish(uniqueid="z")
    before = list(story.conn.iterdump())
    stumble(monkeypatch, "b", Mistake("oh"))

    with pytest.raises(Mistake):
        deliver(story, finish_of("a"), finish_of("b"))

    assert list(story.conn.iterdump()) == before


@pytest.mark.parametrize("code", [sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_IOERR | 3 << 8])
def test_a_disk_that_fails_is_no_reason_to_refuse_a_message(story, monkeypatch, code):
    error = sqlite3.OperationalError("disk")
    error.sqlite_errorcode = code
    stumble(monkeypatch, "b", error)

    with pytest.raises(sqlite3.OperationalError):
        deliver(story, finish_of("a"), finish_of("b"), careful=True)

    assert story.rows("SELECT * FROM job") == []


# Old records.


def test_old_updates_and_receipts_go_and_changes_of_state_stay(story):
    story.live()
    story.live(host="farm1")
    story.regr("regr-update", tag="x")
    story.finish()
    newest = story.rows("SELECT max(seq) AS seq FROM event")[0]["seq"]
    story.pass_time(31 * DAY_S)
    story.finish(uniqueid="b")

    more = story.change(prune_records)

    assert more is False
    assert story.events() == ["regression.started", "job.live", "job.passed", "job.passed"]
    assert story.rows("SELECT events_from_seq FROM daemon") == [{"events_from_seq": newest}]
    assert len(story.rows("SELECT * FROM receipt")) == 1


def test_young_records_stay(story):
    story.live()
    story.live(host="farm1")
    story.pass_time(13 * DAY_S)
    start = story.rows("SELECT events_from_seq FROM daemon")

    story.change(prune_records)

    assert story.events("job.") == ["job.live", "job.updated"]
    assert story.rows("SELECT events_from_seq FROM daemon") == start
    assert len(story.rows("SELECT * FROM receipt")) == 2


def test_the_history_of_a_job_that_was_pruned_goes_with_its_time():
    story = Story(autotimeouthours=0)
    story.live()
    wait(story, 7 * DAY_S)
    assert story.events("job.") == ["job.live", "job.pruned"]

    story.pass_time(31 * DAY_S)
    story.change(prune_records)

    assert story.events() == ["regression.started"]


def test_old_records_go_in_slices(story, monkeypatch):
    rooms.replace("PRUNE_ROWS", 2, monkeypatch)
    for number in range(5):
        story.live(host=f"farm{number}")
    story.pass_time(31 * DAY_S)

    while story.change(prune_records):
        pass

    assert story.events() == ["regression.started", "job.live"]
    assert story.rows("SELECT * FROM receipt") == []


def test_numbers_are_never_used_again_after_pruning(story):
    last = story.live().job
    story.live(host="farm1")
    story.pass_time(31 * DAY_S)
    newest = story.rows("SELECT max(seq) AS seq FROM event")[0]["seq"]
    story.change(prune_records)

    new = story.live(uniqueid="b")

    assert new.job > last
    assert story.job("b")["version"] > newest
