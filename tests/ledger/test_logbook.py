"""Logs of jobs: which lines are kept, which overlap, which go."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support import rooms
from support.stories import DAY_S, T1, T2, Story, wait

from simscope_server.ledger.actions import Gone, add_lines, tank_job
from simscope_server.ledger.expiry import forget_logs
from simscope_server.ledger.logbook import LOG_SIZE_MOST, LogComplete, LogGap, open_logbook
from simscope_server.messages.protocol import NotNow


def lines(story: Story, uniqueid: str = "a") -> list[tuple[int, str]]:
    """The log of a job, as a reader sees it."""
    for row in story.rows("SELECT l.* FROM log AS l JOIN job AS j ON j.id = l.job_id WHERE j.key = ?", uniqueid):
        found = story.logbook.conn.execute(
            "SELECT number, message FROM log_line WHERE log = ? AND number >= ? AND number < ? ORDER BY number",
            (row["id"], row["first_offset"], row["next_offset"]),
        ).fetchall()
        assert [number for number, _ in found] == list(range(row["first_offset"], row["next_offset"]))
        assert row["size"] == sum(len(text) for _, text in found)
        return found
    return []


def texts(story: Story, uniqueid: str = "a") -> list[str]:
    return [text for _, text in lines(story, uniqueid)]


def say(story: Story, *told: str, offset: int | None = None) -> list[str]:
    """A live message with lines. -> its warnings."""
    log: dict[str, Any] = {"lines": told} | ({} if offset is None else {"offset": offset})
    return story.live(log=log).warnings


# What is kept.


def test_lines_without_an_offset_follow_those_that_are_there(story: Story) -> None:
    say(story, "one", "two")

    assert say(story, "three") == []

    assert lines(story) == [(0, "one"), (1, "two"), (2, "three")]


@pytest.mark.parametrize(
    ("offset", "told", "kept"),
    [
        (2, ["c", "d"], ["a", "b", "c", "d"]),
        (1, ["x", "c"], ["a", "b", "c"]),  # what is there stays as it is
        (0, ["x"], ["a", "b"]),
        (0, ["x", "y"], ["a", "b"]),
        (0, ["x", "y", "c"], ["a", "b", "c"]),
        (1, [], ["a", "b"]),
    ],
)
def test_lines_that_overlap_are_taken_once(story: Story, offset: int, told: list[str], kept: list[str]) -> None:
    say(story, "a", "b")

    assert say(story, *told, offset=offset) == []

    assert texts(story) == kept


def test_lines_that_leave_a_gap_are_not_taken_and_the_message_is(story: Story) -> None:
    say(story, "a", "b")

    warnings = say(story, "d", offset=3)

    assert warnings == ["log: offset 3 leaves a gap: the next line of the log has offset 2; the lines are not taken"]
    assert texts(story) == ["a", "b"]
    assert say(story, "c", offset=2) == []


def test_the_first_lines_may_not_leave_a_gap_either(story: Story) -> None:
    assert "the next line of the log has offset 0" in say(story, "b", offset=1)[0]
    assert story.rows("SELECT * FROM log") == []


@pytest.mark.parametrize(("count", "first"), [(5, 0), (6, 1), (11, 6)])
@pytest.mark.parametrize("at_once", [True, False])
def test_only_the_newest_lines_are_kept(count: int, first: int, at_once: bool) -> None:
    story = Story(log_lines=5)
    told = [str(number) for number in range(count)]

    for piece in [told] if at_once else [[text] for text in told]:
        say(story, *piece)

    assert lines(story) == [(number, str(number)) for number in range(first, count)]
    stored = story.logbook.conn.execute("SELECT count(*) FROM log_line").fetchone()
    assert stored[0] <= 6  # what is too old goes with the next lines


@pytest.mark.parametrize(
    ("size", "kept"), [(4, ["aaa", "bbb", "cccc"]), (5, ["bbb", "ccccc"]), (7, ["bbb", "ccccccc"]), (8, ["cccccccc"])]
)
def test_only_so_many_characters_are_kept(
    story: Story, monkeypatch: pytest.MonkeyPatch, size: int, kept: list[str]
) -> None:
    rooms.replace("LOG_SIZE_MOST", 10, monkeypatch)
    say(story, "aaa", "bbb")

    say(story, "c" * size)

    assert texts(story) == kept


def test_a_line_of_its_own_may_be_as_long_as_a_log_and_no_longer(story: Story) -> None:
    story.live()

    story.change(add_lines, 1, None, ["a", "b" * LOG_SIZE_MOST])
    assert [len(text) for text in texts(story)] == [LOG_SIZE_MOST]
    story.change(add_lines, 1, None, ["c" * (LOG_SIZE_MOST + 1)])

    assert lines(story) == []


# Which messages bring lines.


@pytest.mark.parametrize("log", [{"lines": ["one"]}, {"lines": ["one"], "offset": 0}])
def test_the_lines_of_a_finish_that_comes_twice_are_taken_once(story: Story, log: dict[str, Any]) -> None:
    first, again = story.finish(log=log), story.finish(log=log)

    assert (first.outcome, again.outcome, again.warnings) == ("applied", "duplicate", first.warnings)
    assert texts(story) == ["one"]


def test_the_lines_of_another_finish_are_not_taken(story: Story) -> None:
    story.finish(log={"lines": ["one"]})

    outcome = story.finish("r/1", "a", "fail", log={"lines": ["two"]})

    assert outcome.reason == "first-finish-wins"
    assert texts(story) == ["one"]


def test_a_late_live_message_brings_no_lines_and_says_so(story: Story) -> None:
    story.finish(log={"lines": ["one"]})

    assert say(story, "two") == ["log: the job has its verdict; the lines are not taken"]

    assert texts(story) == ["one"]


def test_a_job_that_was_given_up_still_writes(story: Story) -> None:
    say(story, "one")
    story.change(tank_job, 1, "")

    assert say(story, "two") == []

    assert texts(story) == ["one", "two"]


def test_a_message_of_which_nothing_is_kept_brings_no_lines() -> None:
    story = Story(enablelivejobs=False)

    story.live(log={"lines": ["one"]})

    assert story.rows("SELECT * FROM log") == []


def test_a_run_again_begins_a_new_log_where_its_finish_says(story: Story) -> None:
    story.finish(start_time=T1, log={"lines": ["old", "older"]})

    story.finish(start_time=T2, log={"lines": ["new"], "offset": 7})

    assert lines(story) == [(7, "new")]


def test_a_run_again_without_lines_has_no_log(story: Story) -> None:
    story.finish(start_time=T1, log={"lines": ["old"]})

    story.finish(start_time=T2)

    assert lines(story) == []
    assert story.rows("SELECT id, job_id FROM log") == [{"id": 1, "job_id": None}]


# Lines by themselves.


def test_lines_alone_are_a_sign_of_life(story: Story) -> None:
    story.live()
    story.pass_time(60)

    story.change(add_lines, 1, None, ["one"])

    assert texts(story) == ["one"]
    assert (story.job()["seen_at"], story.job()["seen_tick"]) == (story.now, story.tick)
    assert story.regression()["last_activity_at"] == story.now
    wait(story, DAY_S - 1)
    assert story.regression()["status"] == "live"


def test_lines_alone_bring_no_job_back_that_was_given_up(story: Story) -> None:
    story.live()
    story.change(tank_job, 1, "")
    before = story.job()
    story.pass_time(60)

    story.change(add_lines, 1, 0, ["one"])

    assert (story.job(), texts(story)) == (before, ["one"])
    assert story.regression()["last_activity_at"] == story.now - 60_000


def test_lines_alone_are_refused_after_the_verdict_after_a_gap_and_for_no_job() -> None:
    story = Story(autotimeouthours=0)
    story.live()
    with pytest.raises(LogGap, match="offset 1 leaves a gap"):
        story.change(add_lines, 1, 1, ["x"])
    with pytest.raises(LookupError, match="no job 9"):
        story.change(add_lines, 9, 0, ["x"])
    wait(story, 7 * DAY_S)
    with pytest.raises(Gone, match=r"job 1 was live without news for long and was pruned at 2023-11-21T22:13:20\.000Z"):
        story.change(add_lines, 1, 0, ["x"])
    story.finish(uniqueid="b")
    with pytest.raises(LogComplete, match="job 2 has its verdict"):
        story.change(add_lines, 2, 0, ["x"])

    assert story.rows("SELECT * FROM log") == []


# Lines that nothing tells of.


def test_lines_of_a_transaction_that_never_was_give_place_to_the_next_ones(story: Story) -> None:
    say(story, "one")
    story.logbook.write(1, [(1, "never"), (2, "told")], 0)
    story.logbook.write(2, [(0, "of nobody")], 0)
    story.logbook.commit()

    say(story, "two")
    story.finish(uniqueid="b", log={"lines": ["of b"]})

    assert (texts(story), texts(story, "b")) == (["one", "two"], ["of b"])
    assert story.logbook.conn.execute("SELECT count(*) FROM log_line").fetchone() == (3,)


def test_logs_that_no_job_has_are_forgotten_in_slices_and_others_stay(
    story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    for uniqueid in "abcd":
        story.finish(uniqueid=uniqueid, start_time=T1, log={"lines": [uniqueid]})
    for uniqueid in "abd":
        story.finish(uniqueid=uniqueid, start_time=T2)
    rooms.replace("SLICE_LOGS", 2, monkeypatch)

    assert [story.change(forget_logs) for _ in range(3)] == [True, False, False]

    assert story.logbook.conn.execute("SELECT message FROM log_line").fetchall() == [("c",)]
    assert [row["id"] for row in story.rows("SELECT id FROM log")] == [3]


def test_a_slice_that_is_just_full_may_have_more_behind_it(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    for uniqueid in "ab":
        story.finish(uniqueid=uniqueid, start_time=T1, log={"lines": [uniqueid]})
        story.finish(uniqueid=uniqueid, start_time=T2)
    rooms.replace("SLICE_LOGS", 2, monkeypatch)

    assert [story.change(forget_logs) for _ in range(2)] == [True, False]


def test_the_log_of_a_pruned_job_is_forgotten() -> None:
    story = Story(autotimeouthours=0)
    say(story, "one")
    wait(story, 7 * DAY_S)

    story.change(forget_logs)

    assert story.rows("SELECT * FROM log") == []
    assert story.logbook.conn.execute("SELECT * FROM log_line").fetchall() == []


def test_a_job_of_a_batch_has_lines_of_all_its_messages(story: Story) -> None:
    body = {"category": "sim", "uniqueid": "a", "result": "live"}

    story.send(*(("job-live", "r/1", body | {"log": {"lines": [text]}}) for text in ("one", "two", "three")))

    assert texts(story) == ["one", "two", "three"]


def test_a_file_of_logs_that_cannot_be_opened_is_told(tmp_path: Path) -> None:
    with pytest.raises(NotNow, match=r"x\.logs: cannot be opened for the logs of jobs"):
        open_logbook(tmp_path / "no folder" / "x.logs")
