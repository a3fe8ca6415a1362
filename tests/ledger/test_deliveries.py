"""Whole deliveries: receipts, the care that is taken after a failure, and where they are decoded."""

from __future__ import annotations

import json
import logging
import sqlite3

import pytest
from support import rooms
from support.stories import T1, Story, assert_consistent, counts, deliver, finish_of

from simscope_server.ledger import deliveries
from simscope_server.ledger.batch import Batch
from simscope_server.ledger.deliveries import apply_deliveries, apply_submissions, decode_ahead
from simscope_server.ledger.effects import apply_message, flush
from simscope_server.messages.protocol import Context, Delivery, Message, Outcome, Submission
from simscope_server.settings import Config

# Receipts.


def test_a_receipt_counts_what_became_of_every_message(story: Story) -> None:
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


def test_a_receipt_of_messages_that_were_plainly_applied_has_no_details(story: Story) -> None:
    deliver(story, finish_of("a", start_time=T1, compute_ms=1, config="c"))

    assert story.rows("SELECT applied, details FROM receipt") == [{"applied": 1, "details": None}]


def test_a_receipt_keeps_the_first_100_details(story: Story) -> None:
    receipt = deliver(story, *[b"x"] * 130)

    [row] = story.rows("SELECT * FROM receipt")
    assert row["rejected"] == receipt.rejected == 130
    assert [each["index"] for each in json.loads(row["details"])] == list(range(100))


def test_a_receipt_of_many_warnings_tells_of_a_refusal_all_the_same(story: Story) -> None:
    receipt = deliver(story, *(finish_of(f"job-{number}") for number in range(120)), b"x")

    assert (receipt.applied, receipt.rejected, len(receipt.details)) == (120, 1, 100)
    assert [told["index"] for told in receipt.refused()] == [120]


def test_of_too_many_details_the_gravest_are_kept_in_their_order(story: Story) -> None:
    receipt = deliver(
        story,
        *(finish_of(f"job-{number}") for number in range(60)),
        *(finish_of("job-0") for _ in range(60)),
        *[b"x"] * 60,
    )

    assert (receipt.applied, receipt.duplicate, receipt.rejected) == (60, 60, 60)
    assert [told.index for told in receipt.notable()] == [*range(60, 100), *range(120, 180)]


def test_a_delivery_that_could_not_be_read_has_a_receipt_too(story: Story) -> None:
    refusal = Outcome(0, None, None, "rejected", "unreadable", None, "gone")
    delivery = Delivery("x.json", "spool:x.json", [], Context(), refusal, ("1/x.json", 7, 8))

    [([receipt], settling)] = story.change(apply_submissions, [Submission([delivery])])

    assert (receipt.rejected, receipt.messages) == (1, 1)
    assert json.loads(story.rows("SELECT files FROM settling WHERE id = ?", settling)[0]["files"]) == [
        ["1/x.json", 7, 8, receipt.id]
    ]


def test_the_files_of_a_batch_are_noted_until_they_are_settled(story: Story) -> None:
    good = [json.dumps(finish_of(name)).encode() for name in "ab"]
    deliveries = [
        Delivery(f"{n}.json", "spool", [item], Context(), None, (f"1/{n}.json", n, 0)) for n, item in enumerate(good)
    ]

    [(_, settling)] = story.change(apply_submissions, [Submission(deliveries)])
    assert len(story.rows("SELECT * FROM settling")) == 1
    [(_, nothing)] = story.change(apply_submissions, [Submission([], [settling])])

    assert nothing == 0
    assert story.rows("SELECT * FROM settling") == []


def test_events_tell_who_caused_them(story: Story) -> None:
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


def test_a_message_that_raises_is_refused_and_the_others_are_applied(
    story: Story, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
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


def test_the_first_message_of_a_regression_may_raise(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    stumble(monkeypatch, "a", Mistake("oh"))

    receipt = deliver(story, finish_of("a"), finish_of("b"), careful=True)

    assert (receipt.applied, receipt.rejected) == (1, 1)
    assert story.events() == ["regression.started", "job.passed"]
    assert_consistent(story)


def test_not_careful_a_message_that_raises_leaves_no_trace(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    story.finish(uniqueid="z")
    before = list(story.conn.iterdump())
    stumble(monkeypatch, "b", Mistake("oh"))

    with pytest.raises(Mistake):
        deliver(story, finish_of("a"), finish_of("b"))

    assert list(story.conn.iterdump()) == before


@pytest.mark.parametrize("code", [sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_IOERR | 3 << 8])
def test_a_disk_that_fails_is_no_reason_to_refuse_a_message(
    story: Story, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    error = sqlite3.OperationalError("disk")
    error.sqlite_errorcode = code
    stumble(monkeypatch, "b", error)

    with pytest.raises(sqlite3.OperationalError):
        deliver(story, finish_of("a"), finish_of("b"), careful=True)

    assert story.rows("SELECT * FROM job") == []


def stumble_when_written(monkeypatch: pytest.MonkeyPatch, times: int = 1) -> None:
    """Raise after a message was applied and everything of it is written, so many times."""
    left = [Mistake("oh")] * times

    def flush_and_stumble(batch: Batch) -> None:
        flush(batch)
        if left:
            raise left.pop()

    monkeypatch.setattr(deliveries, "flush", flush_and_stumble)


def test_what_a_message_wrote_before_it_raised_is_not_remembered(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    stumble_when_written(monkeypatch)
    wrong = finish_of("a", "fail", name="smoke", fail_message="boom", log={"lines": ["one"]})
    right = finish_of("b", "fail", name="smoke", fail_message="boom", log={"lines": ["two"]})

    receipt = deliver(story, wrong, right, careful=True)
    deliver(story, finish_of("c", "fail", name="smoke", fail_message="boom"))

    assert [told.reason for told in receipt.details] == ["internal-error", None]
    assert story.rows("SELECT regression_id, key, test_id, signature_id FROM job ORDER BY id") == [
        {"regression_id": 1, "key": key, "test_id": 1, "signature_id": 1} for key in "bc"
    ]
    assert [len(story.rows(f"SELECT * FROM {table}")) for table in ("regression", "test", "signature")] == [1, 1, 1]
    assert story.events() == ["regression.started", "job.failed", "regression.first_failure", "job.failed"]
    assert story.logbook.conn.execute("SELECT message FROM log_line").fetchall() == [("two",)]
    assert_consistent(story)


def test_what_was_remembered_of_a_regression_is_not_what_a_message_that_raised_made_of_it(
    story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    story.finish(uniqueid="z")
    stumble_when_written(monkeypatch)

    deliver(story, {"type": "regr-finish", "regression": "r/1", "body": {"tag": "x"}}, finish_of("a"), careful=True)
    story.regr("regr-update", component="core")

    row = story.regression()
    assert (row["status"], row["tag"], row["n_pass"]) == ("live", None, 2)
    assert_consistent(story)


# Decoded beside the writer, or by it.


def a_request(count: int, size: int = 200) -> Delivery:
    """A request of so many messages of so many bytes."""
    empty = len(json.dumps(finish_of("a", host="")))
    return Delivery("x", "x", [json.dumps(finish_of("a", host="h" * (size - empty))).encode()] * count, Context())


@pytest.mark.parametrize(
    ("delivery", "ahead"),
    [
        (a_request(1), True),
        (a_request(1000), True),
        (a_request(1001), False),
        (a_request(1, 1 << 20), True),
        (a_request(1, (1 << 20) + 1), False),
    ],
    ids=["one", "a batch", "more than a batch", "a MiB", "more than a MiB"],
)
def test_a_request_is_decoded_beside_the_writer_unless_it_is_long(
    story: Story, delivery: Delivery, ahead: bool
) -> None:
    weight, size = delivery.weight(), delivery.size()

    decode_ahead(delivery, Config(message_kib=2048))

    assert (delivery.messages is not None, delivery.items == []) == (ahead, ahead)
    assert delivery.weight() == weight
    assert (delivery.size() == 0) is ahead or delivery.size() == size


def test_it_makes_no_difference_where_a_request_is_decoded() -> None:
    told = []
    for ahead in (False, True):
        story = Story()
        items = [json.dumps(finish_of("a")).encode(), b"x", json.dumps(finish_of("a")).encode()]
        delivery = Delivery("x", "http:x", items, Context())
        if ahead:
            decode_ahead(delivery, story.config)
        [receipt] = story.change(apply_deliveries, [delivery])
        told.append([(each.index, each.outcome, each.reason) for each in receipt.details])

    assert (
        told[0]
        == told[1]
        == [
            (0, "applied", None),
            (1, "rejected", "bad-json"),
            (2, "duplicate", "same-content"),
        ]
    )


def test_a_delivery_of_more_than_a_batch_is_applied_in_pieces(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed: list[int] = []

    def counting_flush(batch: Batch) -> None:
        flushed.append(len(batch.touched))
        flush(batch)

    monkeypatch.setattr(deliveries, "flush", counting_flush)

    receipt = deliver(story, *(finish_of(str(number)) for number in range(2001)))

    assert flushed == [1000, 1000, 1]
    assert (receipt.applied, counts(story)) == (2001, {"pass": 2001})


@pytest.mark.parametrize("count", [100, 101])
def test_a_receipt_that_is_returned_has_all_details_of_100_messages_and_the_notable_ones_of_more(
    story: Story, count: int
) -> None:
    receipt = deliver(story, *(finish_of(str(n), start_time=T1, compute_ms=1, config="c") for n in range(count)))

    assert len(receipt.details) == (100 if count == 100 else 0)


def test_submissions_are_answered_each_for_itself(story: Story) -> None:
    items = [json.dumps(finish_of(name)).encode() for name in "abc"]
    claimed = Delivery("1.json", "spool", items[:1], Context(), None, ("1/1.json", 1, 0))
    requests = [Delivery(name, "http", [item], Context()) for name, item in zip("xy", items[1:], strict=True)]

    told = story.change(apply_submissions, [Submission([claimed]), Submission(requests)])

    assert [([receipt.name for receipt in receipts], settling) for receipts, settling in told] == [
        (["1.json"], 1),
        (["x", "y"], 0),
    ]
    assert json.loads(story.rows("SELECT files FROM settling")[0]["files"]) == [["1/1.json", 1, 0, 0]]


def test_only_the_notes_that_are_settled_go(story: Story) -> None:
    for name in "ab":
        item = json.dumps(finish_of(name)).encode()
        story.change(
            apply_submissions, [Submission([Delivery(name, "spool", [item], Context(), None, (f"1/{name}", 1, 0))])]
        )

    story.change(apply_submissions, [Submission([], [1])])

    assert story.rows("SELECT id FROM settling") == [{"id": 2}]
