"""What a job is a run of, and what is told of the signatures of a regression."""

from __future__ import annotations

import pytest
from support.asking import quoted
from support.daemons import Daemon, done, live, wait_until
from support.stories import Story
from support.telling import failed, publish, regr

from simscope_server.ledger import rules


@pytest.mark.parametrize(
    ("name", "config", "seed", "test"),
    [
        ("fifo", "sim +seed=7", "7", "fifo"),
        (None, "sim +seed=7", "7", "sim +seed=*"),
        ("", "sim +seed=7 -svseed 7", "7", "sim +seed=* -svseed *"),
        (None, "sim +seed=7", None, "sim +seed=7"),
        (None, "sim +seed=7", "8", "sim +seed=7"),
        (None, "test7 +seed=7", "7", "test7 +seed=*"),  # part of a word
        (None, "77 7", "7", "77 *"),
        (None, "7", "7", "*"),
        (None, "7,7", "7", "*,*"),
        (None, "a_7 7_a a.7", "7", "a_7 7_a a.*"),
        (None, "run abc", "abc", "run *"),
        (None, "", "7", None),
        (None, None, None, None),
    ],
)
def test_what_a_job_is_a_run_of(name: str | None, config: str | None, seed: str | None, test: str | None) -> None:
    assert rules.test_of(name, config, seed) == test


def test_a_test_is_known_by_its_category_and_its_whole_title(story: Story) -> None:
    long = "x" * 600
    story.finish(uniqueid="a", name=long + "1")
    story.finish(uniqueid="b", name=long + "2")
    story.finish(uniqueid="c", name=long + "1", category="lint")
    story.live(uniqueid="d", name=long + "1")
    story.live(uniqueid="d", name="another")
    story.finish(uniqueid="e")

    ids = {uniqueid: story.job(uniqueid)["test_id"] for uniqueid in "abcde"}

    assert len({ids["a"], ids["b"], ids["c"], ids["d"]}) == 4
    assert ids["e"] is None
    assert (story.job("a")["test"], story.job("d")["test"]) == ("x" * 500, "another")


def test_a_signature_tells_where_else_it_was_seen_and_on_which_hosts(shared: Daemon, run: str) -> None:
    message = f"{run} FIFO overrun at 12 ns\nsecond line"
    publish(shared, f"{run}-other/7", failed("a", message))
    publish(shared, f"{run}-single", failed("a", message))
    publish(shared, f"{run}/1", failed("a", message))
    publish(
        shared,
        f"{run}/2",
        *(failed(f"j{n}", message, host="n17", runtime_ms=5000 - n) for n in range(5)),
        failed("short", message, host="n2", runtime_ms=7, config="c", seed="9", build="b", jobdir="/d", username="ann"),
        failed("unknown", message),
    )

    (told,) = shared.get(f"/regressions/{run}%2F2/signatures")["items"]

    assert (told["count"], told["new"]) == (7, False)
    assert told["first_regression"]["name"] == f"{run}-other/7"
    assert told["elsewhere"] == {"count": 2, "series": [f"{run}-single", f"{run}-other"]}
    assert told["hosts"] == [{"host": "n17", "count": 5}, {"host": "n2", "count": 1}]
    assert told["hosts_count"] == 2
    example = told["example"]
    assert (example["runtime_ms"], example["config"], example["seed"], example["build"]) == (7, "c", "9", "b")
    assert (example["jobdir"], example["username"], example["category"]) == ("/d", "ann", "sim")
    assert example["fail_message"] == message
    assert "".join(text for text, _ in example["pieces"]) == message.partition("\n")[0]
    assert ["12 ns", True] in example["pieces"]


def test_a_signature_that_is_new_says_so_and_one_of_the_publishers_own_has_no_pieces(shared: Daemon, run: str) -> None:
    publish(shared, f"{run}/1", failed("a", "x", bucket=f"Known issue {run}"))

    (told,) = shared.get(f"/regressions/{run}%2F1/signatures")["items"]

    assert (told["new"], told["elsewhere"]) == (True, {"count": 0, "series": []})
    assert told["first_regression"]["name"] == f"{run}/1"
    assert told["example"]["pieces"] is None
    assert (told["hosts"], told["hosts_count"]) == ([], 0)


def test_signatures_of_the_daemons_own_are_never_new(shared: Daemon, run: str) -> None:
    letters = "abcdefghijklmnopqrstuvwxyz"
    here, tanked = f"{run}/2", f"{run}/2 tanked"
    publish(shared, f"{run}/1", done("a"))
    publish(shared, here, *(failed(letter, f"{run} {letter}", category=run) for letter in letters))
    publish(shared, here, live("cut off", category=run), live("limited", category=f"{run} b", time_limit_ms=1))
    (job,) = publish(shared, here, live("tanked", category=tanked))
    shared.post(f"/jobs/{job}/tank", {})
    wait_until(lambda: shared.get(f"/regressions/{quoted(here)}")["counts"]["live"] == 1)
    regr(shared, "regr-finish", here)
    wait_until(lambda: shared.get(f"/regressions/{quoted(here)}")["counts"]["live"] == 0)

    told = shared.get(f"/regressions/{quoted(here)}/signatures?limit=100")["items"]
    differ = shared.get(f"/regressions/{quoted(here)}/diff?limit=100")

    new = {item["title"] for item in told if item["new"]}
    assert (len(told), len(new)) == (29, 25)
    assert new == {f"{run} {letter}" for letter in letters[:25]}
    assert shared.get(f"/regressions/{quoted(here)}")["new_signatures"] == 25
    assert differ["counts"]["new_signatures"] == 25
    assert {item["title"] for item in differ["signatures"]["new"]} == new


def test_of_a_long_message_the_beginning_is_told(shared: Daemon, run: str) -> None:
    publish(shared, run, failed("a", "é" * 30_000))

    (told,) = shared.get(f"/regressions/{run}/signatures")["items"]

    assert told["example"]["fail_message"] == "é" * 20_000
