"""What a message does in every state that its job and its regression can be in.

Each row of the two tables is a story: the job and the regression are brought into their states as the world does it (by
messages, by time, by hand), the message is sent, and everything that can be seen afterwards is compared."""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple

import pytest
from support import rooms
from support.stories import HOUR_S, SIGNATURE, Story, assert_consistent, counts, row_of_regression

from simscope_server.ledger import life
from simscope_server.ledger.actions import tank_job, tank_regression
from simscope_server.ledger.expiry import expire
from simscope_server.ledger.rules import (
    ABSENT,
    ALIVE,
    DONE,
    JOB_STATES,
    LIMITED,
    MIGRATED,
    ON_FINISH,
    ON_LIVE,
    OPEN,
    OVER,
    REGRESSION_STATES,
    TANKED,
)

# Into the states. The job is "a"; another one, "other", keeps the regression alive where it must be.


def bring(job_state: str, where: str, monkeypatch: pytest.MonkeyPatch) -> Story:
    """A story in which job and regression are in these states."""
    if (job_state, where) == (ALIVE, TANKED):
        return _tanked_by_half(monkeypatch)
    # Live jobs outlast the end of their regression only where no signature takes them.
    story = Story(livetimeoutsignature="" if job_state == ALIVE else SIGNATURE)
    story.regr("regr-start")
    _bring_job(story, job_state, where)
    if where == OVER and job_state != MIGRATED:
        story.regr("regr-finish")
    if where == TANKED:
        story.change(tank_regression, 1, "for the test")
    return story


def _bring_job(story: Story, job_state: str, where: str) -> None:
    if job_state == ABSENT:
        return
    if job_state == DONE:
        story.finish()
        return
    story.live(time_limit_ms=1000 if job_state == LIMITED else 0)
    if job_state == MIGRATED and where == OPEN:
        story.finish(uniqueid="other")
        story.pass_time(25 * HOUR_S)
        story.change(expire)
        story.finish(uniqueid="other")  # said before, but a sign of life: the regression is open again
    elif job_state == MIGRATED:
        story.regr("regr-finish")
    elif job_state == LIMITED:
        story.pass_time(2)
        story.change(expire)
    elif job_state == TANKED and where != TANKED:
        story.change(tank_job, story.job()["id"], "for the test")


def _tanked_by_half(monkeypatch: pytest.MonkeyPatch) -> Story:
    """A regression that is being tanked, a slice at a time (none at all at present), and the job's turn is to come."""
    story = Story()
    story.live()
    rooms.replace("SLICE_JOBS", 0, monkeypatch)
    story.change(tank_regression, 1, "for the test")
    return story


def states(story: Story) -> tuple[str, str]:
    """The states that job and regression are in, read from their rows."""
    rows = story.rows("SELECT state FROM job WHERE key = 'a'")
    row = story.regression()
    where = life.stands(row_of_regression(**row))
    return rows[0]["state"] if rows else ABSENT, where


EVERY_PAIR = list(itertools.product(JOB_STATES, REGRESSION_STATES))


@pytest.mark.parametrize(("job_state", "where"), EVERY_PAIR)
def test_the_stories_begin_where_they_should(job_state: str, where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    story = bring(job_state, where, monkeypatch)

    assert states(story) == (job_state, where)
    assert_consistent(story)


class After(NamedTuple):
    """What is seen after a message. Counts are those of the job alone."""

    outcome: str
    reason: str | None  # of the receipt
    state: str
    result: str | None
    why: str | None  # the job's reason
    events: list[str]
    host: str | None = "new"


IGNORED_TANKED = ("ignored", "tanked")
FILLED = ("ignored", "already-finished")
APPLIED = ("applied", None)

AFTER_LIVE = {
    (ABSENT, OPEN): After(*APPLIED, ALIVE, "live", None, ["job.live"]),
    (ABSENT, OVER): After(*APPLIED, MIGRATED, "fail", "missing", ["job.live", "job.missing"]),
    (ABSENT, TANKED): After(*IGNORED_TANKED, ABSENT, None, None, [], None),
    (ALIVE, OPEN): After(*APPLIED, ALIVE, "live", None, ["job.updated"]),
    (ALIVE, OVER): After(*APPLIED, ALIVE, "live", None, ["job.updated"]),
    (ALIVE, TANKED): After(*IGNORED_TANKED, ALIVE, "live", None, [], None),
    (DONE, OPEN): After(*FILLED, DONE, "pass", None, ["job.updated"]),
    (DONE, OVER): After(*FILLED, DONE, "pass", None, ["job.updated"]),
    (DONE, TANKED): After(*FILLED, DONE, "pass", None, ["job.updated"]),
    (MIGRATED, OPEN): After(*APPLIED, ALIVE, "live", None, ["job.revived"]),
    (MIGRATED, OVER): After(*APPLIED, MIGRATED, "fail", "missing", ["job.updated"]),
    (MIGRATED, TANKED): After(*IGNORED_TANKED, MIGRATED, "fail", "missing", [], None),
    (LIMITED, OPEN): After(*FILLED, LIMITED, "fail", "time-limit", ["job.updated"]),
    (LIMITED, OVER): After(*FILLED, LIMITED, "fail", "time-limit", ["job.updated"]),
    (LIMITED, TANKED): After(*IGNORED_TANKED, LIMITED, "fail", "time-limit", [], None),
    (TANKED, OPEN): After(*IGNORED_TANKED, TANKED, "fail", "tanked", [], None),
    (TANKED, OVER): After(*IGNORED_TANKED, TANKED, "fail", "tanked", [], None),
    (TANKED, TANKED): After(*IGNORED_TANKED, TANKED, "fail", "tanked", [], None),
}
AFTER_LIVE_THAT_MOVES_THE_LIMIT = {
    (LIMITED, OPEN): After(*APPLIED, ALIVE, "live", None, ["job.revived"]),
    (LIMITED, OVER): After(*APPLIED, MIGRATED, "fail", "missing", ["job.missing"]),
    (LIMITED, TANKED): After(*IGNORED_TANKED, LIMITED, "fail", "time-limit", [], None),
}
AFTER_FINISH = {
    ABSENT: After(*APPLIED, DONE, "pass", None, ["job.passed"]),
    ALIVE: After(*APPLIED, DONE, "pass", None, ["job.passed"]),
    DONE: After("duplicate", "first-finish-wins", DONE, "pass", None, [], None),
    MIGRATED: After(*APPLIED, DONE, "pass", None, ["job.corrected"]),
    LIMITED: After(*APPLIED, DONE, "pass", None, ["job.corrected"]),
    TANKED: After(*APPLIED, DONE, "pass", None, ["job.corrected"]),
}


def test_every_pair_of_the_table_has_its_story() -> None:
    assert list(ON_LIVE) == list(JOB_STATES)
    assert all(list(row) == list(REGRESSION_STATES) for row in ON_LIVE.values())
    assert list(AFTER_LIVE) == EVERY_PAIR
    assert list(AFTER_FINISH) == list(ON_FINISH) == list(JOB_STATES)


def job_alone(state: str) -> dict[str, int]:
    """What a job in that state counts for."""
    return {
        ABSENT: {},
        ALIVE: {"live": 1},
        DONE: {"pass": 1},
        MIGRATED: {"fail": 1, "migrated": 1},
        LIMITED: {"fail": 1},
        TANKED: {"fail": 1, "migrated": 1},
    }[state]


def check(story: Story, send: Any, after: After) -> None:
    """Send the message and compare all that can be seen of the job."""
    before = counts(story)
    state_before, where = states(story)
    known = story.job()["id"] if state_before != ABSENT else None
    newest = story.rows("SELECT max(seq) AS seq FROM event")[0]["seq"]

    outcome = send(story)

    told = story.rows("SELECT type FROM event WHERE seq > ? AND job_id = ? ORDER BY seq", newest, known or outcome.job)
    assert (outcome.outcome, outcome.reason) == (after.outcome, after.reason)
    assert [row["type"] for row in told] == after.events
    assert states(story) == (after.state, where)
    if after.state != ABSENT:
        job = story.job()
        assert (job["result_name"], job["reason"], job["host"]) == (after.result, after.why, after.host)
        assert known in (None, job["id"])
        assert outcome.job == job["id"]
        assert (job["done_at"] is None) == (after.result == "live")
        assert (job["signature"] is None) == (after.result != "fail")
    expected = {
        key: before.get(key, 0) - job_alone(state_before).get(key, 0) for key in before | job_alone(after.state)
    }
    for key, number in job_alone(after.state).items():
        expected[key] += number
    assert counts(story) == {key: number for key, number in expected.items() if number}
    assert_consistent(story)


@pytest.mark.parametrize(("job_state", "where"), EVERY_PAIR)
def test_a_live_message_in_every_state(job_state: str, where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    story = bring(job_state, where, monkeypatch)

    check(story, lambda story: story.live(host="new"), AFTER_LIVE[job_state, where])


@pytest.mark.parametrize("where", REGRESSION_STATES)
def test_a_live_message_that_moves_the_limit_of_a_job_that_ran_into_it(
    where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    story = bring(LIMITED, where, monkeypatch)
    after = AFTER_LIVE_THAT_MOVES_THE_LIMIT[LIMITED, where]

    check(story, lambda story: story.live(host="new", time_limit_ms=60_000), after)


@pytest.mark.parametrize(("job_state", "where"), EVERY_PAIR)
def test_a_finish_in_every_state(job_state: str, where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    story = bring(job_state, where, monkeypatch)

    check(story, lambda story: story.finish(host="new"), AFTER_FINISH[job_state])


@pytest.mark.parametrize("where", REGRESSION_STATES)
def test_the_same_finish_again_in_every_state_of_the_regression(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    story = bring(DONE, where, monkeypatch)

    check(story, lambda story: story.finish(), After("duplicate", "same-content", DONE, "pass", None, [], None))


@pytest.mark.parametrize("where", REGRESSION_STATES)
def test_a_run_again_in_every_state_of_the_regression(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    story = bring(DONE, where, monkeypatch)
    after = After(*APPLIED, DONE, "pass", None, ["job.passed"])

    check(story, lambda story: story.finish(host="new", start_time="2025-01-01T00:00:00Z"), after)


def test_a_tanked_regression_takes_the_jobs_along_whose_turn_has_not_come(monkeypatch: pytest.MonkeyPatch) -> None:
    story = bring(ALIVE, TANKED, monkeypatch)
    rooms.replace("SLICE_JOBS", 1, monkeypatch)
    while story.change(expire):
        pass

    assert states(story) == (TANKED, TANKED)
    assert counts(story) == {"fail": 1, "migrated": 1}
    assert_consistent(story)


# The table of regressions, whole: every message in every state, by the stories that lead there.

RUN = "2025-01-02T00:00:00Z"
SAID_OF_REGRESSION: dict[str, tuple[str, dict[str, Any]]] = {
    "says over": ("regr-finish", {}),
    "says over, as an update": ("regr-update", {"pending": False}),
    "new run": ("regr-start", {"starttime": "2025-01-03T00:00:00Z"}),
    "pending": ("regr-update", {"pending": True}),
    "limit moved": ("regr-update", {"time_limit_hours": 900}),
    "job spoke": ("job-live", {"category": "sim", "uniqueid": "b", "result": "live"}),
}
ENDS: dict[str, Any] = {
    "open": lambda story: None,
    "finish": lambda story: story.regr("regr-finish", starttime=RUN),
    "timeout": lambda story: (story.pass_time(25 * HOUR_S), story.change(expire)),
    "time-limit": lambda story: (story.pass_time(2 * HOUR_S), story.change(expire)),
}
# What can be seen afterwards: how it ended, what became of its live job, and what was told of its own life.
GONE = ("finish", "migrated")
BECOMES: dict[tuple[str, str], tuple[str | None, str, list[str]]] = {
    **{(f"says over{how}", end): (*GONE, ["finished"]) for how in ("", ", as an update") for end in ENDS},
    **{(f"says over{how}", "finish"): (*GONE, []) for how in ("", ", as an update")},
    **{("new run", end): (None, "live", ["started"]) for end in ENDS},
    **{(said, "open"): (None, "live", []) for said in ("pending", "limit moved", "job spoke")},
    **{(said, "finish"): (*GONE, []) for said in ("pending", "limit moved", "job spoke")},
    ("pending", "timeout"): (None, "migrated", ["reopened"]),
    ("pending", "time-limit"): ("time-limit", "migrated", []),
    ("limit moved", "timeout"): ("timeout", "migrated", []),
    ("limit moved", "time-limit"): (None, "live", ["reopened"]),
    ("job spoke", "timeout"): (None, "migrated", ["reopened"]),
    ("job spoke", "time-limit"): ("time-limit", "migrated", []),
}


def bring_regression(story: Story, end: str) -> None:
    """A regression with a live job that has ended, or not."""
    limit: dict[str, Any] = {"time_limit_hours": 1} if end == "time-limit" else {}
    story.regr("regr-start", starttime=RUN, **limit)
    story.live()
    ENDS[end](story)


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("said", SAID_OF_REGRESSION)
def test_what_is_said_of_a_regression_in_every_state(said: str, end: str) -> None:
    story = Story()
    bring_regression(story, end)
    assert life.ended_by(row_of_regression(**story.regression())) == end
    before = len(story.events("regression."))
    kind, body = SAID_OF_REGRESSION[said]

    [outcome] = story.send((kind, "r/1", body))

    news = [told.removeprefix("regression.") for told in story.events("regression.")[before:]]
    life_news = [told for told in news if told not in ("updated", "first_failure")]
    assert (story.regression()["ended"], story.job()["state"], life_news) == BECOMES[said, end]
    assert outcome.outcome == ("duplicate" if (said.startswith("says over") and end == "finish") else "applied")
    assert_consistent(story)


@pytest.mark.parametrize("end", ENDS)
def test_a_tanked_regression_is_not_opened_by_its_jobs(end: str) -> None:
    story = Story()
    bring_regression(story, end)
    story.change(tank_regression, 1, "why")
    before = story.events("regression.")

    outcomes = [story.live().outcome, story.live(uniqueid="b").outcome]

    assert outcomes == ["ignored", "ignored"]
    assert story.events("regression.") == before
    assert story.regression()["status"] == "tanked"
