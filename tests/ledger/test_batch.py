"""What a transaction adds up, and remembers for the next: statistics, signatures, series, tests."""

from __future__ import annotations

from typing import Any

import pytest
from support import rooms
from support.stories import SIGNATURE, T1, T2, Story, assert_consistent, counts, deliver, finish_of, wait, words

from simscope_server.ledger.actions import tank_job
from simscope_server.ledger.batch import Known

# Statistics.


def test_statistics_are_sums_over_verdicts(story: Story) -> None:
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


def test_a_verdict_of_ours_adds_nothing_to_the_statistics(story: Story) -> None:
    story.live(compute_ms=99, cycles=99, time_limit_ms=1000)
    story.live(uniqueid="b", compute_ms=99, cycles=99)
    wait(story, 1)
    story.regr("regr-finish")

    row = story.regression()
    assert (counts(story), row["sum_compute_ms"], row["sum_cycles"]) == ({"fail": 2, "migrated": 1}, 0, 0)


def test_the_sum_of_negative_cycles_is_no_reason_to_refuse_a_job(story: Story) -> None:
    story.finish(uniqueid="a", cycles=-(2**63))

    outcome = story.finish(uniqueid="b", cycles=-(2**63))

    assert outcome.outcome in ("applied", "rejected")  # taken, or refused for what it is; not by a batch that raises
    assert outcome.reason != "internal-error"


def test_a_sum_that_was_too_large_is_right_again_when_it_fits(story: Story) -> None:
    for uniqueid in "ab":
        story.finish(uniqueid=uniqueid, cycles=2**63 - 1)

    for uniqueid in "ab":
        story.finish(uniqueid=uniqueid, cycles=1, start_time=T1)

    assert story.regression()["sum_cycles"] == 2


def test_the_sum_of_large_cycles_is_no_reason_to_refuse_a_job(story: Story) -> None:
    story.finish(uniqueid="a", cycles=2**63 - 1)

    outcome = story.finish(uniqueid="b", cycles=2**63 - 1)

    assert outcome.outcome == "applied"
    assert f"cycles {2**63 - 1} count as {2**48} in sums" in outcome.warnings
    assert story.regression()["sum_cycles"] == 2 * 2**48


# Signatures.


def test_equal_fail_messages_share_a_signature_over_regressions_but_not_over_categories(story: Story) -> None:
    story.finish("r/1", "a", "fail", fail_message="lane 3 stuck")
    story.finish("r/2", "a", "fail", fail_message="lane 4 stuck\nmore")
    story.finish("r/2", "b", "fail", fail_message="lane 5 stuck", category="formal")

    ids = [row["signature_id"] for row in story.rows("SELECT signature_id FROM job ORDER BY id")]
    assert ids[0] == ids[1] != ids[2]
    [first] = story.rows("SELECT * FROM signature WHERE id = ?", ids[0])
    assert (first["title"], first["first_regression_id"]) == ("lane ... stuck", 1)


def test_a_bucket_is_the_title(story: Story) -> None:
    story.finish(result="fail", fail_message="lane 3 stuck", bucket="Known issue 7")

    assert story.job()["signature"] == "Known issue 7"


def test_after_25_new_signatures_the_others_overflow(story: Story) -> None:
    for number in range(30):
        story.finish("r/1", str(number), "fail", fail_message=words(number))

    titles = [row["signature"] for row in story.rows("SELECT signature FROM jobs ORDER BY id")]
    assert titles[:25] == [words(number) for number in range(25)]
    assert set(titles[25:]) == {"Regression Bucket Overflow"}
    assert story.rows("SELECT count(*) AS n FROM signature") == [{"n": 26}]


def test_known_signatures_and_ours_do_not_overflow(story: Story) -> None:
    for number in range(20):
        story.finish("r/0", str(number), "fail", fail_message=words(number))
    for number in range(50):
        story.finish("r/1", str(number), "fail", fail_message=words(number))
    story.live(uniqueid="live")
    story.regr("regr-finish")

    titles = [row["signature"] for row in story.rows("SELECT signature FROM jobs WHERE regression = 'r/1' ORDER BY id")]
    assert titles[:45] == [words(number) for number in range(45)]
    assert titles[45:] == ["Regression Bucket Overflow"] * 5 + [SIGNATURE]


def test_signatures_of_ours_do_not_use_up_the_25(story: Story) -> None:
    story.live(uniqueid="tanked")
    story.live(uniqueid="live", category="formal")
    story.change(tank_job, story.job("tanked")["id"], "")
    story.regr("regr-finish")

    for number in range(25):
        story.finish("r/1", str(number), "fail", fail_message=words(number))

    assert story.job("24")["signature"] == words(24)


def test_each_regression_may_have_25_new_signatures(story: Story) -> None:
    for number in range(50):
        story.finish(f"r/{number // 25}", str(number), "fail", fail_message=words(number))

    assert story.rows("SELECT 1 FROM signature WHERE title = 'Regression Bucket Overflow'") == []


def test_the_first_failure_is_told_once(story: Story) -> None:
    story.finish(uniqueid="a")
    assert "regression.first_failure" not in story.events()

    story.finish(uniqueid="b", result="fail", start_time=T1)
    story.finish(uniqueid="c", result="fail")
    story.finish(uniqueid="b", result="pass", start_time=T2)
    story.finish(uniqueid="d", result="fail")

    assert story.events().count("regression.first_failure") == 1
    assert story.events().index("regression.first_failure") == story.events().index("job.failed") + 1


def test_the_first_failure_is_told_again_in_a_new_run(story: Story) -> None:
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


def test_the_first_failure_of_each_run_is_told_where_both_come_at_once(story: Story) -> None:
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
def test_the_name_of_a_regression_tells_its_series(separator: str, name: str, series: tuple[Any, ...]) -> None:
    story = Story(seriesseparator=separator)

    story.live(name)

    row = story.regression(name)
    assert (row["series"], row["number"]) == series


# What is remembered from one transaction to the next.


def known(*regressions: str, tests: int = 0) -> Known:
    known = Known()
    known.regressions = {name: (name,) for name in regressions}
    known.tests = {("sim", f"{regressions}-{number}"): number for number in range(tests)}
    return known


def test_no_more_is_remembered_than_the_bound_and_what_came_last_always(monkeypatch: pytest.MonkeyPatch) -> None:
    rooms.replace("KNOWN_MOST", 2, monkeypatch)
    memory = Known()

    memory.learn(known("a"))
    memory.learn(known("b", tests=1))
    assert memory.regressions.keys() == {"a", "b"}
    memory.learn(known("c", tests=1))
    assert (list(memory.regressions), len(memory.tests)) == (["c"], 2)
    memory.learn(known("d", tests=1))

    assert memory.regressions.keys() == {"c", "d"}
    assert memory.tests == {("sim", "('d',)-0"): 0}


def test_a_thousand_regressions_and_tests_are_remembered() -> None:
    memory = Known()
    memory.learn(known(*(str(number) for number in range(999)), tests=999))

    memory.learn(known("last", tests=1))
    assert (len(memory.regressions), len(memory.tests)) == (1000, 1000)
    memory.learn(known("one more", tests=1))

    assert (len(memory.regressions), len(memory.tests)) == (1, 1)


def test_what_is_forgotten_is_looked_up(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    rooms.replace("KNOWN_MOST", 2, monkeypatch)
    for turn in range(2):
        for number in range(5):
            story.finish(f"r/{number}", f"{turn}", name=f"test{number}")

    assert story.rows("SELECT n_pass FROM regression") == [{"n_pass": 2}] * 5
    assert story.rows("SELECT title FROM test ORDER BY id") == [{"title": f"test{number}"} for number in range(5)]
    assert len(story.known.regressions) == len(story.known.tests) == 2
    assert_consistent(story)


def test_what_is_remembered_is_not_looked_up(story: Story) -> None:
    story.finish(uniqueid="a", name="smoke")
    asked: list[str] = []
    story.conn.set_trace_callback(asked.append)

    story.finish(uniqueid="b", name="smoke")

    assert [sql for sql in asked if "FROM regression WHERE" in sql or "FROM test WHERE" in sql] == []


# Tests, of which jobs are runs.


def test_jobs_that_differ_in_the_seed_are_runs_of_one_test(story: Story) -> None:
    story.finish(uniqueid="a", config="sim +seed=7", seed="7")
    story.finish(uniqueid="b", config="sim +seed=8", seed="8")
    story.finish(uniqueid="c", config="sim +seed=8", seed="8", category="formal")
    story.finish(uniqueid="d")

    assert [row["test_id"] for row in story.rows("SELECT test_id FROM job ORDER BY id")] == [1, 1, 2, None]
    assert story.rows("SELECT title, category FROM test ORDER BY id") == [
        {"title": "sim +seed=*", "category": "sim"},
        {"title": "sim +seed=*", "category": "formal"},
    ]


def test_a_long_title_of_a_test_is_cut_and_tells_it_apart_whole(story: Story) -> None:
    for uniqueid, name in (("a", "x" * 500), ("b", "x" * 501), ("c", "x" * 501), ("d", "x" * 500 + "y")):
        story.finish(uniqueid=uniqueid, name=name)

    assert [row["test_id"] for row in story.rows("SELECT test_id FROM job ORDER BY id")] == [1, 2, 2, 3]
    assert {row["title"] for row in story.rows("SELECT title FROM test")} == {"x" * 500}


@pytest.mark.parametrize("said", [{"name": "b"}, {"config": "c2"}, {"seed": "7"}, {"category": "formal"}])
def test_a_job_that_turns_out_to_run_something_else_is_a_run_of_that(story: Story, said: dict[str, Any]) -> None:
    story.live(config="sim +s=7", **({"name": "a"} if "name" in said else {}))

    story.finish(**said)

    rows = story.rows("SELECT t.id, t.category FROM job AS j JOIN test AS t ON t.id = j.test_id")
    assert rows == [{"id": 2, "category": said.get("category", "sim")}]


def test_a_signature_is_seen_last_when_it_is_seen_and_noted_for_every_series(story: Story) -> None:
    story.finish("night/1", "a", "fail", fail_message="boom")
    first = story.now
    story.pass_time(60)
    story.finish("day/1", "a", "fail", fail_message="boom")
    story.finish("alone", "a", "fail", fail_message="boom")

    [row] = story.rows("SELECT first_seen_at, first_regression_id, last_seen_at FROM signature")
    assert row == {"first_seen_at": first, "first_regression_id": 1, "last_seen_at": story.now}
    found = [tuple(row.values()) for row in story.rows("SELECT * FROM sighting ORDER BY series")]
    assert found == [
        (1, "alone", story.now),
        (1, "day", story.now),
        (1, "night", first),
    ]


def test_a_job_is_found_again_in_one_batch_and_over_batches_whatever_its_key(story: Story) -> None:
    five = {"category": "sim", "start_time": T1, "jobdir": "/x"}
    live, finish = ("job-live", "r/1", five | {"result": "live"}), ("job-finish", "r/1", five | {"result": "pass"})

    told = [*story.send(live, live), *story.send(finish, ("job-live", "r/2", five | {"result": "live"}))]

    assert [outcome.job for outcome in told] == [1, 1, 1, 2]
    assert_consistent(story)
