"""What a file in the spool may hold, and what its name and folder say of it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from support.daemons import Daemon, done, live
from support.spools import SPOOL, envelope, lines, receipt, results

CONFIG = SPOOL


def test_an_envelope_says_type_and_regression_itself(shared: Daemon, run: str) -> None:
    shared.drop(f"elsewhere/{run}.json", envelope("job-live", run, live()))

    told = receipt(shared, f"elsewhere/{run}.json")

    assert (told["messages"], told["applied"]) == (1, 1)
    assert results(shared, run) == {"a": "live"}


def test_a_bare_body_belongs_to_the_folder_it_lies_in(shared: Daemon, run: str) -> None:
    shared.drop(f"{run}/123/job-7.json", live("seven"))

    receipt(shared, f"{run}/123/job-7.json")

    assert results(shared, f"{run}/123") == {"seven": "live"}


def test_a_bare_body_at_the_top_names_its_regression(shared: Daemon, run: str) -> None:
    shared.drop(f"{run}.json", done() | {"regression": run})

    receipt(shared, f"{run}.json")

    assert results(shared, run) == {"a": "pass"}


def test_a_bare_body_at_the_top_without_a_regression_is_refused(shared: Daemon, run: str) -> None:
    shared.drop(f"{run}.json", done())

    told = receipt(shared, f"{run}.json")

    assert (told["rejected"], told["details"][0]["reason"]) == (1, "no-regression")


def test_a_regression_in_the_body_at_odds_with_the_folder_is_a_warning(shared: Daemon, run: str) -> None:
    shared.drop(f"{run}/x.json", live() | {"regression": "another"})

    told = receipt(shared, f"{run}/x.json")

    assert told["applied"] == 1
    assert "another" in told["details"][0]["warnings"][0]
    assert results(shared, run) == {"a": "live"}


def test_an_array_holds_envelopes_and_bare_bodies(shared: Daemon, run: str) -> None:
    messages = [live("a"), done("b"), envelope("job-live", f"{run}/other", live("c"))]
    shared.drop(f"{run}/array.json", messages)

    told = receipt(shared, f"{run}/array.json")

    assert (told["messages"], told["applied"]) == (3, 3)
    assert results(shared, run) == {"a": "live", "b": "pass"}
    assert results(shared, f"{run}/other") == {"c": "live"}


@pytest.mark.parametrize("suffix", [".ndjson", ".jsonl"])
def test_ndjson_holds_one_message_a_line(shared: Daemon, run: str, suffix: str) -> None:
    text = lines(live("a"), envelope("job-finish", run, done("b"))) + "\n" + json.dumps(done("c"))
    shared.drop(f"{run}/lines{suffix}", text)

    told = receipt(shared, f"{run}/lines{suffix}")

    assert (told["messages"], told["applied"]) == (3, 3)
    assert results(shared, run) == {"a": "live", "b": "pass", "c": "pass"}


def test_an_empty_array_is_a_delivery_without_messages(shared: Daemon, run: str) -> None:
    shared.drop(f"{run}/none.json", [])

    told = receipt(shared, f"{run}/none.json")

    assert (told["messages"], told["rejected"]) == (0, 0)
    assert not (shared.spool / ".bad" / run).exists()


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("regr-start.json", {"component": "cpu", "tag": "t1"}, {"status": "live", "component": "cpu"}),
        ("regr-start.2026-01.json", {"component": "cpu"}, {"status": "live", "component": "cpu"}),
        ("regr-update.json", {"submitted": 7}, {"status": "live", "submitted": 7}),
        ("regr-finish.json", {"tag": "t2"}, {"status": "complete", "tag": "t2"}),
        ("regr-finish.json", "", {"status": "complete", "reason": "finish"}),
        ("regr-finish-17.json", "", {"status": "complete", "reason": "finish"}),
        ("regr-finish.json", " \n", {"status": "complete", "reason": "finish"}),
        ("regr-finish.json", "null", {"status": "complete", "reason": "finish"}),
    ],
)
def test_a_file_name_says_the_type_of_a_regression_message(
    shared: Daemon, run: str, name: str, content: Any, told: dict[str, Any]
) -> None:
    shared.drop(f"{run}/{name}", content)

    taken = receipt(shared, f"{run}/{name}")

    assert taken["applied"] == 1
    regression = shared.get(f"/regressions/{run}")
    assert {key: regression[key] for key in told} == told


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("job-live.7.json", live("a"), {"a": "live"}),
        ("job-finish.7.json", done("a"), {"a": "pass"}),
        ("batch-job-live.json", [live("a"), live("b")], {"a": "live", "b": "live"}),
        ("batch-job-finish.json", [done("a"), done("b")], {"a": "pass", "b": "pass"}),
        ("job-live.jsonl", lines(live("a"), live("b")), {"a": "live", "b": "live"}),
        ("job-lively.json", done("a"), {"a": "pass"}),
    ],
)
def test_a_file_name_says_the_type_of_a_job_message(
    shared: Daemon, run: str, name: str, content: Any, told: dict[str, str]
) -> None:
    shared.drop(f"{run}/{name}", content)

    taken = receipt(shared, f"{run}/{name}")

    assert taken["applied"] == len(told)
    assert results(shared, run) == told


def test_a_result_at_odds_with_the_file_name_is_refused(shared: Daemon, run: str) -> None:
    shared.drop(f"{run}/job-live.1.json", done())

    told = receipt(shared, f"{run}/job-live.1.json")

    assert told["details"][0]["reason"] == "result-mismatch"


@pytest.mark.parametrize(
    "name",
    [
        "with blanks in it.json",
        "Prüfung-東京-🚀.json",
        "quotes'\"`.json",
        "semicolon;dollar$HOME&percent%20.json",
        "back\\slash.json",
        "-rf.json",
        "new\nline.json",
        "two.dots.and.json.json",
    ],
)
def test_file_and_folder_names_may_be_anything_that_is_utf_8(shared: Daemon, run: str, name: str) -> None:
    folder = f"{run} {name}".replace("\n", "").replace(".", "")
    shared.drop(f"{folder}/{name}", live())

    told = receipt(shared, f"{folder}/{name}")

    assert (told["applied"], told["rejected"]) == (1, 0)
    assert results(shared, folder) == {"a": "live"}
    assert not (shared.spool / folder / name).exists()


def test_a_folder_may_be_very_deep(shared: Daemon, run: str) -> None:
    folder = "/".join([run, *(f"level-{number}" for number in range(50))])
    shared.drop(f"{folder}/x.json", live())

    receipt(shared, f"{folder}/x.json")

    assert results(shared, folder) == {"a": "live"}


def test_a_folder_name_with_control_characters_is_no_regression(shared: Daemon, run: str) -> None:
    shared.drop(f"{run}\n2/x.json", live())

    told = receipt(shared, f"{run}\n2/x.json")

    assert told["details"][0]["reason"] == "bad-regression"
