"""What the public documents show, word for word, and a whole regression as they tell it."""

from __future__ import annotations

import json

from support.stories import T1, Story, assert_consistent, counts, status

from simscope_server.ledger.deliveries import apply_deliveries
from simscope_server.messages.protocol import Context, Delivery, Outcome, Receipt

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
    receipts: list[Receipt] = story.change(apply_deliveries, [delivery])
    return receipts[0].details[0]


def test_the_documents_example_word_for_word(story: Story) -> None:
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


def test_the_documents_finish_as_it_is_printed_is_no_json_and_leaves_the_job_live(story: Story) -> None:
    publish(story, "job-live", DOCUMENT_LIVE)
    outcome = publish(story, "job-finish", DOCUMENT_FINISH)

    assert (outcome.outcome, outcome.reason) == ("rejected", "bad-json")
    assert counts(story, "myrun/123") == {"live": 1}


def test_the_older_flow_matches_by_five_fields(story: Story) -> None:
    five = {"start_time": T1, "jobdir": "/runs/3", "category": "sim", "config": "sim +rand", "seed": "123"}

    live = story.send(("job-live", "r/1", five | {"result": "live", "host": "farm1"}))[0]
    same = story.send(("job-finish", "r/1", five | {"start_time": "2024-12-31T19:00:00-05:00", "result": "pass"}))[0]
    other = story.send(("job-finish", "r/1", five | {"seed": "124", "result": "pass"}))[0]

    assert same.job == live.job
    assert other.job != live.job
    assert story.rows("SELECT host FROM job WHERE id = ?", live.job) == [{"host": "farm1"}]
    assert counts(story) == {"pass": 2}


def test_a_uniqueid_that_is_left_out_is_another_job(story: Story) -> None:
    story.live(start_time=T1)

    outcome = story.send(("job-finish", "r/1", {"category": "sim", "start_time": T1, "result": "pass"}))[0]

    assert outcome.job != story.job()["id"]
    assert counts(story) == {"pass": 1, "live": 1}


def test_the_same_uniqueid_in_another_regression_is_another_job(story: Story) -> None:
    one, other = story.live("r/1", "7"), story.live("r/2", "7")

    story.finish("r/1", "7")

    assert one.job != other.job
    assert (counts(story, "r/1"), counts(story, "r/2")) == ({"pass": 1}, {"live": 1})


def test_the_twelve_messages_of_a_whole_regression(story: Story) -> None:
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


def test_the_twelve_messages_in_one_batch_come_to_the_same(story: Story) -> None:
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
