"""What one transaction adds up: statistics, signatures, the first failure, series."""

from __future__ import annotations

from typing import Any

import pytest
from support.stories import (
    SIGNATURE,
    T1,
    T2,
    Story,
    assert_consistent,
    counts,
    deliver,
    finish_of,
    wait,
    words,
)

from simscope_server.ledger.actions import tank_job

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
