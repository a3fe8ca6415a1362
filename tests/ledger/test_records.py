"""How long receipts, events and answers are kept."""

from __future__ import annotations

import pytest
from support import rooms
from support.stories import DAY_S, Story, slices, wait

from simscope_server.ledger.actions import once
from simscope_server.ledger.expiry import prune_records


def test_old_updates_and_receipts_go_and_changes_of_state_stay(story: Story) -> None:
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


def test_young_records_stay(story: Story) -> None:
    story.live()
    story.live(host="farm1")
    story.pass_time(13 * DAY_S)
    start = story.rows("SELECT events_from_seq FROM daemon")

    story.change(prune_records)

    assert story.events("job.") == ["job.live", "job.updated"]
    assert story.rows("SELECT events_from_seq FROM daemon") == start
    assert len(story.rows("SELECT * FROM receipt")) == 2


def test_the_history_of_a_job_that_was_pruned_goes_with_its_time() -> None:
    story = Story(autotimeouthours=0)
    story.live()
    wait(story, 7 * DAY_S)
    assert story.events("job.") == ["job.live", "job.pruned"]

    story.pass_time(31 * DAY_S)
    story.change(prune_records)

    assert story.events() == ["regression.started"]


def test_old_records_go_in_slices(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    rooms.replace("PRUNE_ROWS", 2, monkeypatch)
    for number in range(5):
        story.live(host=f"farm{number}")
    story.pass_time(31 * DAY_S)

    while story.change(prune_records):
        pass

    assert story.events() == ["regression.started", "job.live"]
    assert story.rows("SELECT * FROM receipt") == []


def test_numbers_are_never_used_again_after_pruning(story: Story) -> None:
    last = story.live().job
    story.live(host="farm1")
    story.pass_time(31 * DAY_S)
    newest = story.rows("SELECT max(seq) AS seq FROM event")[0]["seq"]
    story.change(prune_records)

    new = story.live(uniqueid="b")

    assert (last, new.job) == (1, 2)
    assert story.job("b")["version"] > newest


@pytest.mark.parametrize(("rows", "turns"), [(3, 3), (4, 2), (5, 2), (6, 2), (7, 1)])
def test_a_slice_of_records_that_is_just_full_may_have_more_behind_it(
    story: Story, monkeypatch: pytest.MonkeyPatch, rows: int, turns: int
) -> None:
    rooms.replace("PRUNE_ROWS", rows, monkeypatch)
    story.live()
    for number in range(4):
        story.live(host=f"farm{number}")
    story.pass_time(31 * DAY_S)

    assert slices(story, prune_records) == turns

    assert (story.events(), story.rows("SELECT * FROM receipt")) == (["regression.started", "job.live"], [])


@pytest.mark.parametrize(("rows", "turns"), [(2, 2), (3, 2), (4, 1)])
def test_a_slice_of_receipts_that_is_just_full_may_have_more_behind_it(
    story: Story, monkeypatch: pytest.MonkeyPatch, rows: int, turns: int
) -> None:
    rooms.replace("PRUNE_ROWS", rows, monkeypatch)
    for _ in range(3):
        story.finish()
    story.pass_time(31 * DAY_S)

    assert slices(story, prune_records) == turns

    assert story.rows("SELECT * FROM receipt") == []


def test_records_are_kept_for_as_many_days_as_said_and_no_longer() -> None:
    story = Story(keep_receipts_days=3, keep_events_days=5)
    story.live()
    story.live(host="farm1")
    story.change(once, "key", "asked", lambda batch: "answer")
    left = []
    for seconds in (3 * DAY_S, 0.001, 2 * DAY_S - 0.001, 0.001):
        story.pass_time(seconds)
        story.change(prune_records)
        tables = [len(story.rows(f"SELECT * FROM {table}")) for table in ("receipt", "idempotency")]
        left.append((tables, story.events("job.updated") != []))

    assert left == [([2, 1], True), ([0, 0], True), ([0, 0], True), ([0, 0], False)]
