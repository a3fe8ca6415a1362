"""Messages may come in any order, any number of times, in batches cut anywhere: what they come to is the same.

A history is what publishers would send about one or two regressions. Its messages do not contradict each other (they
are all drawn from one truth), so all of this must hold: the same identities, verdicts, counts, status,
signatures and fields, whatever happened on the way. A counterexample is printed as the two deliveries that differ."""

import contextlib
import itertools
import json
from dataclasses import dataclass
from typing import Any, NamedTuple

from hypothesis import event, given, settings
from hypothesis import strategies as st
from support.stories import SIGNATURE, Story, assert_consistent

from simscope_server.ledger.actions import extend_job, tank_regression, untank_regression
from simscope_server.ledger.expiry import expire, prune_jobs
from simscope_server.ledger.rules import NotExtended

Said = tuple[str, str, Any]  # type, regression, body

T1, T2 = "2025-01-01T00:00:00Z", "2025-01-02T00:00:00Z"
EVERYDAY = settings(deadline=None, max_examples=60)

# The truth about a job, of which each message tells a part.
JOB_TRUTH = {
    "host": st.sampled_from(["farm1", "farm2"]),
    "config": st.just("sim +rand"),
    "build": st.just("b7"),
    "name": st.just("smoke"),
    "testgroup": st.just("g"),
    "seed": st.sampled_from([7, "7"]),
    "phase": st.just("running"),
    "cycles": st.integers(0, 9),
    "time_limit_ms": st.just(3_600_000),
    "metadata": st.just([["bufsize", "9902"]]) | st.just([["lane", "3"]]) | st.just([["bufsize", "9902"], ["x", "y"]]),
    "env": st.just({"A": "1"}),
    "username": st.just("ann"),
    "progress": st.just({"done": 1, "total": 2}),
    "coverage": st.just(98.5),  # unknown
}
# What live messages have no say in: it is not taken from them.
NOT_OF_LIVE = {
    "reason": st.just("licence"),
    "fail_message": st.just("not yet"),
    "bucket": st.just("not yet"),
    "exit_code": st.just(9),
    "finish_time": st.just(T2),
    "compute_ms": st.just(99),
    "runtime_ms": st.just(99),
    "cycles": st.just(99),
}
VERDICTS = st.fixed_dictionaries(
    {"result": st.sampled_from(["pass", "fail", "skip"])},
    optional={
        "compute_ms": st.integers(0, 9),
        "runtime_ms": st.integers(0, 9),
        "exit_code": st.just(1),
        "reason": st.just("killed"),
        "bucket": st.just("Known issue 7"),
        "fail_message": st.sampled_from(["lane 3 stuck", "lane 4 stuck\nmore", "timeout at 5ms", ""]),
    },
)
REGRESSION_TRUTH = {
    "component": st.just("core"),
    "project": st.just("chip"),
    "model_branch": st.just("main"),
    "submitted": st.integers(0, 4),
    "tag": st.just("nightly"),
    "later": st.just([1]),
    "time_limit_hours": st.just(5),
}
# Two ways to say that a run is over.
ENDS = [("regr-finish", {}), ("regr-update", {"pending": False})]
PAIRS = {"custom_metadata": st.just([["coverage", "98"]]) | st.just([["owner", "ann"]])}


def part_of(truth: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=truth)


@st.composite
def job_histories(draw: st.DrawFn, regression: str, number: int) -> list[Said]:
    """The messages about one job."""
    truth = {field: draw(strategy) for field, strategy in JOB_TRUTH.items() if field != "metadata"}
    said = {field: st.just(value) for field, value in truth.items()} | {"metadata": JOB_TRUTH["metadata"]}
    start = {"start_time": st.just(T1)}
    identity: dict[str, Any] = {"uniqueid": f"job-{number}"}
    if draw(st.booleans(), label="five fields"):
        identity = {"start_time": T1, "jobdir": f"/runs/{number}", "config": truth["config"], "seed": truth["seed"]}
    base = {"category": "sim"} | identity
    finished = draw(st.booleans(), label="finish")
    again = finished and "uniqueid" in identity and draw(st.booleans(), label="run again")
    # A run again clears what live messages said before it, but not what they say after it ("replaces the
    # row whole"): of such jobs, live messages say nothing here.
    told_live = NOT_OF_LIVE if again else said | start | NOT_OF_LIVE
    lives = draw(st.lists(part_of(told_live), max_size=3))
    messages = [("job-live", regression, live | base | {"result": "live"}) for live in lives]
    if finished:
        begun = draw(part_of(start))
        messages.append(("job-finish", regression, draw(part_of(said)) | begun | draw(VERDICTS) | base))
    if again:
        messages.append(("job-finish", regression, draw(part_of(said)) | {"start_time": T2} | draw(VERDICTS) | base))
    return messages


@st.composite
def regression_histories(draw: st.DrawFn, regression: str) -> list[Said]:
    """The messages about one regression and its jobs."""
    truth = {field: st.just(draw(strategy)) for field, strategy in REGRESSION_TRUTH.items()}
    used_again = draw(st.booleans(), label="the name is used again")
    messages: list[Said] = []
    if used_again:
        for start in (T1, T2):
            run = {"starttime": start}
            messages.append(("regr-start", regression, draw(part_of(truth | PAIRS)) | run))
            for kind, said in draw(st.lists(st.sampled_from(ENDS), max_size=2), label="ends"):
                messages.append((kind, regression, draw(part_of(truth | PAIRS)) | run | said))
    else:
        start_time = draw(part_of({"starttime": st.just(T1)}))
        messages.append(("regr-start", regression, draw(part_of(truth | PAIRS)) | start_time))
        for kind, said in draw(st.lists(st.sampled_from(ENDS), max_size=2), label="ends"):
            messages.append((kind, regression, draw(part_of(truth | PAIRS)) | said or None))
    newest = {"starttime": st.just(T2 if used_again else T1)}
    updates = draw(st.lists(part_of(truth | PAIRS | newest), max_size=2))
    messages += [("regr-update", regression, body) for body in updates]
    for number in range(draw(st.integers(0, 4), label="jobs")):
        messages += draw(job_histories(regression, number))
    return messages


HISTORIES = st.tuples(regression_histories("r/1"), st.just([]) | regression_histories("r/2")).map(
    lambda both: both[0] + both[1]
)


@dataclass
class Delivery:
    """The messages of a history in the order, repetition and grouping in which they arrive."""

    batches: list[list[Said]]


@st.composite
def deliveries(draw: st.DrawFn, history: list[Said]) -> Delivery:
    order = draw(st.permutations(history))
    for message in draw(st.lists(st.sampled_from(history), max_size=4), label="said again"):
        order.insert(draw(st.integers(0, len(order))), message)
    cuts = draw(st.sets(st.integers(1, max(1, len(order) - 1))), label="cuts")
    places = [0, *sorted(cuts), len(order)]
    return Delivery([order[begin:end] for begin, end in itertools.pairwise(places) if begin < end])


class Worlds(NamedTuple):
    """Two deliveries of one history, under one configuration."""

    history: list[Said]
    one: Delivery
    other: Delivery
    options: dict[str, Any]


@st.composite
def worlds(draw: st.DrawFn) -> Worlds:
    history = draw(HISTORIES)
    options = {"livetimeoutsignature": draw(st.sampled_from([SIGNATURE, ""]))}
    return Worlds(history, draw(deliveries(history)), draw(deliveries(history)), options)


def tell(delivery: Delivery, options: dict[str, Any]) -> Story:
    """Deliver, and check after every batch what must always hold."""
    story = Story(**options)
    newest = 0
    for batch in delivery.batches:
        outcomes = story.send(*batch)
        assert [outcome.outcome for outcome in outcomes if outcome.outcome == "rejected"] == []
        seqs = [row["seq"] for row in story.rows("SELECT seq FROM event WHERE seq > ? ORDER BY seq", newest)]
        assert newest + len(seqs) <= (seqs or [newest])[-1] == story.rows("SELECT seq FROM daemon")[0]["seq"]
        newest = (seqs or [newest])[-1]
        assert_consistent(story)
    return story


# Columns that say when something was heard, or number it: they depend on the order by their nature.
OF_THE_WAY = frozenset(
    """id regression_id version signature_id test_id submitted_at running_at running_tick limit_tick done_at seen_at
    seen_tick progress_seq created_at ended_at last_activity_at active_tick first_tick new_signatures
    first_failure""".split()
)
HEARTBEAT = frozenset("last_activity_at active_tick seen_at seen_tick".split())


def opened(column: str, value: Any) -> Any:
    """JSON without the order of its keys and pairs."""
    if column not in ("metadata", "extra", "fields") or value is None:
        return value
    told = json.loads(value)
    return told | {"custom_metadata": dict(told["custom_metadata"])} if "custom_metadata" in told else told


def what_it_came_to(story: Story) -> dict[str, dict[Any, Any]]:
    """All that must not depend on the way."""
    jobs, regressions = story.rows("SELECT * FROM jobs"), story.rows("SELECT * FROM regressions")
    signatures = story.rows("SELECT * FROM regression_signatures JOIN regression AS r ON r.id = regression_id")
    return {
        "jobs": {(row["regression"], row["key"]): kept(row) for row in jobs},
        "regressions": {row["name"]: kept(row) for row in regressions},
        "signatures": {(row["name"], row["category"], row["title"]): row["n"] for row in signatures},
    }


def kept(row: dict[str, Any]) -> dict[str, Any]:
    return {column: opened(column, value) for column, value in row.items() if column not in OF_THE_WAY}


@EVERYDAY
@given(worlds())
def test_order_repetition_and_batches_do_not_matter(world: Worlds) -> None:
    one = tell(world.one, world.options)
    other = tell(world.other, world.options)

    event(f"{len(world.history) // 5 * 5}+ messages")
    assert what_it_came_to(one) == what_it_came_to(other)


@EVERYDAY
@given(worlds())
def test_the_whole_history_once_more_changes_nothing_but_heartbeats(world: Worlds) -> None:
    story = tell(world.one, world.options)
    before = stored(story)
    story.pass_time(60)

    story.send(*world.history)
    for message in reversed(world.history):
        story.send(message)

    assert stored(story) == before


def stored(story: Story) -> dict[str, list[dict[str, Any]]]:
    """Everything but receipts and signs of life."""
    tables = ("regression", "job", "signature", "event", "pruned_job")
    rows = {table: story.rows(f"SELECT * FROM {table} ORDER BY 1") for table in tables}
    for table in ("regression", "job"):
        rows[table] = [
            {column: opened(column, value) for column, value in row.items() if column not in HEARTBEAT}
            for row in rows[table]
        ]
    for row in rows["signature"]:
        del row["last_seen_at"]
    return rows | {"daemon": story.rows("SELECT seq, last_job_id FROM daemon")}


@EVERYDAY
@given(
    worlds(), st.lists(st.tuples(st.sampled_from(["tank", "untank", "wait", "extend"]), st.integers(0, 99)), max_size=6)
)
def test_whatever_is_done_by_hand_and_by_the_clock_the_counters_hold(
    world: Worlds, deeds: list[tuple[str, int]]
) -> None:
    """Tanking, untanking, extending, time limits: nothing is promised of the order, all of the book-keeping."""
    story = Story(**world.options)
    for number, batch in enumerate(world.one.batches):
        story.send(*batch)
        for deed, place in deeds:
            if place % len(world.one.batches) == number:
                do(story, deed, place)
                assert_consistent(story)

    assert_consistent(story)


def do(story: Story, deed: str, place: int) -> None:
    regressions = [row["id"] for row in story.rows("SELECT id FROM regression ORDER BY id")]
    regression = regressions[place % len(regressions)]
    if deed == "tank":
        story.change(tank_regression, regression, "by hand")
    elif deed == "untank":
        story.change(untank_regression, regression)
    elif deed == "extend":
        for row in story.rows("SELECT id FROM job ORDER BY id"):
            with contextlib.suppress(NotExtended):
                story.change(extend_job, row["id"], place * 60_000 + 1, None)
    else:
        story.pass_time(place * 3600)
        for act in (expire, prune_jobs):
            while story.change(act):
                pass
