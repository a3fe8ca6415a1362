"""Section 5: what a message does in every state that its job and its regression can be in.

Each row of the two tables is a story: the job and the regression are brought into their states as the world does it (by
messages, by time, by hand), the message is sent, and everything that can be seen afterwards is compared."""

import itertools
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
from support import rooms
from support.stories import SIGNATURE, Story, assert_consistent, counts

from simscope_server.ledger import life
from simscope_server.ledger.actions import tank_job, tank_regression
from simscope_server.ledger.expiry import expire
from simscope_server.ledger.rows import Job, Tally, counted_runtime, tally
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
    NotExtended,
    extended_limit,
    is_later_run,
    is_running,
    moves_limit,
    names_run,
    run_of,
    says_over,
    split_series,
)
from simscope_server.messages.protocol import FAIL, LIVE, LONGEST_MS, PASS, SKIP, Message
from simscope_server.messages.times import in_words, utc
from simscope_server.reading.answers import estimate_end

HOUR_S = 3600


# What must hold whatever happened.


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
    where = life.stands(SimpleNamespace(**row))
    return rows[0]["state"] if rows else ABSENT, where


EVERY_PAIR = list(itertools.product(JOB_STATES, REGRESSION_STATES))


@pytest.mark.parametrize(("job_state", "where"), EVERY_PAIR)
def test_the_stories_begin_where_they_should(job_state, where, monkeypatch):
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


def test_every_pair_of_the_table_has_its_story():
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
def test_a_live_message_in_every_state(job_state, where, monkeypatch):
    story = bring(job_state, where, monkeypatch)

    check(story, lambda story: story.live(host="new"), AFTER_LIVE[job_state, where])


@pytest.mark.parametrize("where", REGRESSION_STATES)
def test_a_live_message_that_moves_the_limit_of_a_job_that_ran_into_it(where, monkeypatch):
    story = bring(LIMITED, where, monkeypatch)
    after = AFTER_LIVE_THAT_MOVES_THE_LIMIT[LIMITED, where]

    check(story, lambda story: story.live(host="new", time_limit_ms=60_000), after)


@pytest.mark.parametrize(("job_state", "where"), EVERY_PAIR)
def test_a_finish_in_every_state(job_state, where, monkeypatch):
    story = bring(job_state, where, monkeypatch)

    check(story, lambda story: story.finish(host="new"), AFTER_FINISH[job_state])


@pytest.mark.parametrize("where", REGRESSION_STATES)
def test_the_same_finish_again_in_every_state_of_the_regression(where, monkeypatch):
    story = bring(DONE, where, monkeypatch)

    check(story, lambda story: story.finish(), After("duplicate", "same-content", DONE, "pass", None, [], None))


@pytest.mark.parametrize("where", REGRESSION_STATES)
def test_a_run_again_in_every_state_of_the_regression(where, monkeypatch):
    story = bring(DONE, where, monkeypatch)
    after = After(*APPLIED, DONE, "pass", None, ["job.passed"])

    check(story, lambda story: story.finish(host="new", start_time="2025-01-01T00:00:00Z"), after)


def test_a_tanked_regression_takes_the_jobs_along_whose_turn_has_not_come(monkeypatch):
    story = bring(ALIVE, TANKED, monkeypatch)
    rooms.replace("SLICE_JOBS", 1, monkeypatch)
    while story.change(expire):
        pass

    assert states(story) == (TANKED, TANKED)
    assert counts(story) == {"fail": 1, "migrated": 1}
    assert_consistent(story)


# The pure functions.


@pytest.mark.parametrize(
    ("ended", "ending", "tanked_at", "state"),
    [
        (None, None, None, OPEN),
        ("finish", None, None, OVER),
        ("timeout", None, None, OVER),
        (None, "finish", None, OVER),
        (None, "time-limit", None, OVER),
        (None, None, 5, TANKED),
        (None, "tank", 5, TANKED),
        ("finish", None, 5, TANKED),
        (None, None, 0, TANKED),
    ],
)
def test_where_a_regression_stands(ended, ending, tanked_at, state):
    assert life.stands(SimpleNamespace(ended=ended, ending=ending, tanked_at=tanked_at)) == state


@pytest.mark.parametrize(
    ("said", "known", "run"),
    [
        (None, None, "same"),
        (None, 5, "same"),
        (5, None, "same"),
        (5, 5, "same"),
        (0, 0, "same"),
        (4, 5, "older"),
        (6, 5, "newer"),
        (-1, 0, "older"),
        (0, -1, "newer"),
    ],
)
def test_which_run_a_message_speaks_of(said, known, run):
    assert run_of(said, known) == run


@pytest.mark.parametrize(
    ("kind", "pending", "over", "names"),
    [
        ("regr-start", None, False, True),
        ("regr-start", True, False, True),
        ("regr-start", False, True, True),
        ("regr-update", None, False, False),
        ("regr-update", True, False, False),
        ("regr-update", False, True, True),
        ("regr-finish", None, True, True),
        ("regr-finish", True, True, True),
    ],
)
def test_which_message_ends_a_regression_and_which_names_its_run(kind, pending, over, names):
    message = Message(0, kind, "r/1", {}, {}, {}, pending=pending)

    assert (says_over(message), names_run(message)) == (over, names)


@pytest.mark.parametrize(
    ("old", "said", "running", "tick", "answer"),
    [
        (1000, {}, 0, 2000, False),  # it does not speak of the limit
        (1000, {"time_limit_ms": 1000}, 0, 2000, False),  # it says what was said
        (1000, {"time_limit_ms": 2000}, 0, 2000, False),  # over just now
        (1000, {"time_limit_ms": 2001}, 0, 2000, True),
        (1000, {"time_limit_ms": 500}, 0, 2000, False),
        (1000, {"time_limit_ms": 500}, 1800, 2000, True),
        (1000, {"time_limit_ms": None}, 0, 2000, True),  # taken away
        (1000, {"time_limit_ms": 500}, None, 2000, True),  # it did not even run
        (None, {"time_limit_ms": None}, 0, 2000, False),
        (None, {"time_limit_ms": 9000}, 0, 2000, True),
    ],
)
def test_which_live_message_moves_a_limit(old, said, running, tick, answer):
    assert moves_limit(old, said, running, tick) is answer


NOW = 1_000_000_000


@pytest.mark.parametrize(
    ("limit", "running", "by", "until", "told"),
    [
        (1000, 0, 500, None, 1500),  # at tick 400: from the limit on
        (400, 0, 500, None, 900),
        (300, 0, 500, None, 900),  # over: from now on
        (1000, None, 500, None, 1500),  # it waits
        (None, 0, 500, None, "no-time-limit"),
        (None, None, 500, None, "no-time-limit"),
        (1000, 0, None, NOW + 50, 450),  # earlier than it was
        (None, 100, None, NOW + 50, 350),
        (300, 0, None, NOW + 1, 401),
        (300, 0, None, NOW, "bad-extension"),
        (300, None, None, NOW + 50, "not-running"),
        (1000, 0, LONGEST_MS - 1000, None, LONGEST_MS),
        (1000, 0, LONGEST_MS - 999, None, "bad-extension"),
        (None, 0, None, NOW + LONGEST_MS, "bad-extension"),
    ],
)
def test_which_limit_an_extension_gives(limit, running, by, until, told):
    try:
        new = extended_limit(limit, running, NOW, 400, by, until)
    except NotExtended as error:
        new = error.reason

    assert new == told


@pytest.mark.parametrize(
    ("said", "known", "answer"),
    [
        (None, None, False),
        (None, 5, False),
        (5, None, True),
        (5, 5, False),
        (4, 5, False),
        (6, 5, True),
        (0, None, True),
    ],
)
def test_which_finish_is_a_run_again(said, known, answer):
    assert is_later_run(said, known) is answer


WAITING = "queued pending submitted staging paused Queued PENDING STAGING_INPUTS STAGED SUBMITTING PAUSED blocked"


@pytest.mark.parametrize("phase", WAITING.split())
def test_a_job_waits_in_these_phases(phase):
    assert is_running(phase) is False


@pytest.mark.parametrize("phase", [None, "", "running", "compile", "done", "failed", "queued for the licence"])
def test_a_job_runs_in_all_others(phase):
    assert is_running(phase) is True


@pytest.mark.parametrize(
    ("name", "separator", "series", "number"),
    [
        ("nightly/12", "/", "nightly", 12),
        ("core/nightly/12", "/", "core/nightly", 12),
        ("nightly/0", "/", "nightly", 0),
        ("nightly/007", "/", "nightly", 7),
        ("nightly.12", ".", "nightly", 12),
        ("a/b-3", "-", "a/b", 3),
        ("a:3", ":", "a", 3),
        ("nightly.12", "/", None, None),
        ("nightly", "/", None, None),
        ("nightly/", "/", None, None),
        ("/12", "/", None, None),
        ("nightly/12a", "/", None, None),
        ("nightly/-1", "/", None, None),
        ("nightly/1.5", "/", None, None),
        ("nightly/²", "/", None, None),
        ("nightly/١٢", "/", None, None),
        ("12", "/", None, None),
        ("", "/", None, None),
        ("nightly/" + "9" * 18, "/", "nightly", 10**18 - 1),
        ("nightly/" + "9" * 40, "/", None, None),
    ],
)
def test_a_name_tells_its_series(name, separator, series, number):
    assert split_series(name, separator) == (series, number)


@pytest.mark.parametrize(
    ("now", "total", "done", "earlier", "end"),
    [
        (100, None, 5, [1000], None),  # nobody said how many there are
        (100, 0, 0, [1000], None),
        (100, 10, 10, [1000], None),  # nothing is missing
        (100, 10, 12, [1000], None),
        (100, 10, 0, [], None),  # nothing to go by
        (100, 10, 5, [], 200),  # by its rate
        (100, 10, 1, [], 1000),
        (100, 10, 0, [1000], 1000),  # by its history
        (100, 10, 0, [50, 1000, 9000], 1000),  # the median
        (100, 10, 5, [1000], 600),  # half of each
        (100, 10, 9, [1000], 200),  # hardly any history
        (100, 10, 5, [90], 200),  # late by its own history
        (100, 10, 0, [90], None),
        (0, 10, 0, [1000], 1000),
    ],
)
def test_when_a_regression_will_be_over(now, total, done, earlier, end):
    estimate = estimate_end(now, 0, total, done, earlier)

    assert (estimate.at if estimate else None) == end


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        (None, None),
        (0, "1970-01-01T00:00:00.000Z"),
        (-1, "1969-12-31T23:59:59.999Z"),
        (253_402_300_799_999, "9999-12-31T23:59:59.999Z"),
        (253_402_300_800_000, None),
        (-62_135_596_800_000, "0001-01-01T00:00:00.000Z"),
        (-62_135_596_800_001, None),
        (2**63 - 1, None),
        (-(2**63), None),
        (10**40, None),
    ],
)
def test_a_time_that_no_calendar_has_is_not_told(ms, text):
    assert utc(ms) == text


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        (0, "0 ms"),
        (999, "999 ms"),
        (12_000, "12s"),
        (12_500, "12.5s"),
        (60_000, "1m 00s"),
        (90_999, "1m 30s"),
        (3_599_000, "59m 59s"),
        (7_500_000, "2h 05m"),
        (3_659_000, "1h 00m"),
        (24 * 3_600_000, "1d 00h"),
        (720 * 3_600_000, "30d 00h"),
    ],
)
def test_a_duration_is_told_in_two_units_at_most(ms, text):
    assert in_words(ms) == text


def test_an_end_is_never_estimated_in_the_past():
    for done, now in itertools.product(range(10), range(0, 2000, 50)):
        end = estimate_end(now, 0, 10, done, [1000])

        assert end is None or now <= (end.low or now) <= end.at <= (end.high or end.at)


def a_job(state: str = DONE, result: int = PASS, **columns: Any) -> Job:
    values = dict.fromkeys(Job.__struct_fields__) | {"state": state, "result": result} | columns
    return Job(**values)


@pytest.mark.parametrize(
    ("columns", "runtime"),
    [
        ({}, None),
        ({"compute_ms": 3}, 3),
        ({"compute_ms": 3, "start_at": 10}, 3),
        ({"compute_ms": 3, "finish_at": 10}, 3),
        ({"compute_ms": 3, "start_at": 10, "finish_at": 15}, 5),
        ({"compute_ms": 3, "start_at": 10, "finish_at": 10}, 0),
        ({"compute_ms": 3, "start_at": 15, "finish_at": 10}, 3),
        ({"compute_ms": 3, "start_at": 10, "finish_at": 15, "runtime_ms": 7}, 7),
        ({"compute_ms": 3, "start_at": 10, "finish_at": 15, "runtime_ms": 0}, 0),
    ],
)
def test_which_runtime_counts(columns, runtime):
    assert counted_runtime(a_job(**columns)) == runtime


NUMBERS = {"compute_ms": 3, "runtime_ms": 7, "cycles": 1000}


@pytest.mark.parametrize(
    ("job", "adds"),
    [
        (a_job(ALIVE, LIVE, **NUMBERS), Tally(n_live=1)),
        (a_job(MIGRATED, FAIL, **NUMBERS), Tally(n_fail=1, n_migrated=1)),
        (a_job(TANKED, FAIL, **NUMBERS), Tally(n_fail=1, n_migrated=1)),
        (a_job(LIMITED, FAIL, **NUMBERS), Tally(n_fail=1)),
        (a_job(DONE, PASS, **NUMBERS), Tally(1, 0, 0, 0, 0, 3, 7, 1000, 3)),
        (a_job(DONE, FAIL, **NUMBERS), Tally(0, 1, 0, 0, 0, 3, 7, 1000, 3)),
        (a_job(DONE, SKIP), Tally(n_skip=1)),
        (a_job(compute_ms=3), Tally(1, 0, 0, 0, 0, 3, 3, 0, 0)),  # without cycles its time is no part of the rate
        (a_job(compute_ms=3, cycles=0), Tally(1, 0, 0, 0, 0, 3, 3, 0, 3)),
        (a_job(cycles=5), Tally(1, 0, 0, 0, 0, 0, 0, 5, 0)),
    ],
)
def test_what_a_job_adds_to_its_regression(job, adds):
    assert tally(job) == adds


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


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("said", SAID_OF_REGRESSION)
def test_what_is_said_of_a_regression_in_every_state(said: str, end: str) -> None:
    story = Story()
    story.regr("regr-start", starttime=RUN, **({"time_limit_hours": 1} if end == "time-limit" else {}))
    story.live()
    ENDS[end](story)
    assert life.ended_by(SimpleNamespace(**story.regression())) == end
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
    story.regr("regr-start", starttime=RUN, **({"time_limit_hours": 1} if end == "time-limit" else {}))
    story.live()
    ENDS[end](story)
    story.change(tank_regression, 1, "why")
    before = story.events("regression.")

    outcomes = [story.live().outcome, story.live(uniqueid="b").outcome]

    assert outcomes == ["ignored", "ignored"]
    assert story.events("regression.") == before
    assert story.regression()["status"] == "tanked"
