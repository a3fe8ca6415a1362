"""Messages of a regression, and of the runs that use its name again, in any order."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from support.stories import DAY_S, HOUR_S, T1, T2, T3, Story, assert_consistent, counts, fields, status, told, wait


def test_a_job_before_its_start_creates_the_regression_live(story: Story) -> None:
    story.live()
    assert status(story) == ("live", None)

    outcome = story.regr("regr-start", component="core")

    assert outcome.outcome == "applied"
    assert story.regression()["component"] == "core"
    assert story.events("regression.") == ["regression.started", "regression.updated"]


def test_a_finish_before_everything_else_creates_the_regression_over(story: Story) -> None:
    story.regr("regr-finish")
    story.regr("regr-start", component="core")
    story.finish()

    assert status(story) == ("complete", "finish")
    assert fields(story) == {"component": "core"}


@pytest.mark.parametrize("kind", ["regr-start", "regr-finish"])
def test_the_same_message_about_a_regression_again_is_a_duplicate(story: Story, kind: str) -> None:
    story.regr(kind, component="core")
    before = story.regression()

    outcome = story.regr(kind, component="core")

    assert (outcome.outcome, outcome.reason) == ("duplicate", "same-content")
    assert story.regression() == before


def test_an_update_merges_also_after_the_finish(story: Story) -> None:
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


def test_a_later_starttime_uses_the_name_again(story: Story) -> None:
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
def test_a_new_run_has_clocks_of_its_own_whether_or_not_the_earlier_one_was_closed(story: Story, closed: bool) -> None:
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


def test_a_new_run_brings_back_the_jobs_that_silence_took_from_the_earlier_one(story: Story) -> None:
    story.regr("regr-start", starttime=T1)
    story.live()
    wait(story, DAY_S)
    story.live(uniqueid="b")
    assert counts(story) == {"live": 1, "fail": 1, "migrated": 1}

    story.regr("regr-start", starttime=T2)

    assert counts(story) == {"live": 2}


@pytest.mark.parametrize("starttime", [{}, {"starttime": T1}, {"starttime": T2}])
def test_without_a_later_starttime_nothing_is_used_again(story: Story, starttime: dict[str, Any]) -> None:
    story.regr("regr-start", starttime=T2)
    story.regr("regr-finish")

    story.regr("regr-start", **starttime)

    assert status(story) == ("complete", "finish")


def test_a_finish_of_an_earlier_run_does_not_close_the_newer_one(story: Story) -> None:
    story.regr("regr-start", starttime=T2)
    story.live()

    outcomes = [story.regr("regr-finish", starttime=T1), story.regr("regr-start", starttime=T1)]

    assert {(outcome.outcome, outcome.reason) for outcome in outcomes} == {("ignored", "older-run")}
    assert status(story) == ("live", None)
    assert counts(story) == {"live": 1}


def test_a_message_about_an_earlier_run_fills_in_what_nobody_else_said(story: Story) -> None:
    story.regr("regr-start", starttime=T2, component="new")

    story.regr("regr-finish", starttime=T1, component="old", project="old")

    assert (story.regression()["component"], story.regression()["project"]) == ("new", "old")
    assert fields(story) == {"starttime": T2, "component": "new", "project": "old"}


def test_the_messages_of_two_runs_come_to_the_same_in_any_order() -> None:
    messages = [("regr-start", T1), ("regr-finish", T1), ("regr-start", T2)]
    for order in itertools.permutations(messages):
        story = Story()
        story.live()
        for kind, starttime in order:
            story.regr(kind, starttime=starttime)

        assert (status(story), counts(story)) == (("live", None), {"live": 1}), order


def test_metadata_of_two_runs_merges_by_name_in_any_order() -> None:
    found = []
    for order in ([0, 1], [1, 0]):
        story = Story()
        starts = [(T1, [["a", "1"], ["c", "1"]]), (T2, [["b", "2"], ["c", "2"]])]
        for place in order:
            story.regr("regr-start", starttime=starts[place][0], custom_metadata=starts[place][1])
        found.append(dict(fields(story)["custom_metadata"]))

    assert found[0] == found[1]


def test_the_year_1_is_no_starttime_and_takes_none_away(story: Story) -> None:
    story.regr("regr-start", starttime=T1)
    story.regr("regr-finish", starttime="0001-01-01T00:00:00Z")

    story.regr("regr-start", starttime=T2)

    assert status(story) == ("live", None)


def test_a_message_about_an_earlier_run_that_says_nothing_new_changes_nothing(story: Story) -> None:
    story.regr("regr-start", starttime=T2, custom_metadata=[["a", "1"], ["b", "2"]])
    before = story.regression()

    story.regr("regr-start", starttime=T1, custom_metadata=[["b", "1"]])

    assert story.regression() == before


def test_the_year_1_does_not_show_as_a_starttime(story: Story) -> None:
    story.regr("regr-start", starttime=T1)

    story.regr("regr-finish", starttime="0001-01-01T00:00:00Z")

    assert fields(story)["starttime"] == T1


@pytest.mark.parametrize("starttime", [T1, T3])
def test_the_starttime_of_an_update_is_shown_and_tells_no_run(story: Story, starttime: str) -> None:
    story.regr("regr-start", starttime=T2)

    story.regr("regr-update", starttime=starttime)

    assert story.regression()["starttime_at"] == 1735776000000
    assert fields(story)["starttime"] == starttime
    assert told(story, "regression.updated") == [{"changed": {"starttime": [T2, starttime]}}]


@pytest.mark.parametrize("said", [{}, {"pending": True}])
def test_a_finish_closes_its_run_whatever_updates_say_of_its_start(said: dict[str, Any]) -> None:
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
def test_pending_false_closes_the_run_that_it_names_as_a_finish_does(
    kind: str, over: str, later: str, ends: tuple[Any, ...]
) -> None:
    messages: list[tuple[str, dict[str, Any]]] = [
        ("regr-start", {"starttime": T1}),
        (kind, {"starttime": over, "pending": False}),
        ("regr-start", {"starttime": later}),
    ]
    for order in itertools.permutations(messages):
        story = Story()
        for told_kind, said in order:
            story.regr(told_kind, **said)

        assert status(story) == ends, order


def test_pending_false_of_an_earlier_run_is_told_apart(story: Story) -> None:
    story.regr("regr-start", starttime=T2)

    outcome = story.regr("regr-update", starttime=T1, pending=False)

    assert (outcome.outcome, outcome.reason) == ("ignored", "older-run")


def test_a_start_that_says_it_is_over_does_not_open_what_an_earlier_run_closed(story: Story) -> None:
    story.regr("regr-start", starttime=T1)
    story.regr("regr-finish", starttime=T1)

    story.regr("regr-start", starttime=T2, pending=False)

    assert status(story) == ("complete", "finish")
