"""Two regressions compared: by config, by test, in signatures and in runtime."""

from __future__ import annotations

from typing import Any

import pytest
from support.daemons import Daemon, done, live
from support.stories import Story
from support.telling import failed, found, publish

from simscope_server.reading import figures


def test_a_comparison_tells_slower_and_faster_jobs_and_signatures(shared: Daemon, run: str) -> None:
    publish(
        shared,
        f"{run}/1",
        *(done(f"a{n}", config="a", runtime_ms=10_000) for n in range(2)),
        done("b", config="b", runtime_ms=10_000),
        done("c", config="c", runtime_ms=10_000),
        failed("d", f"{run} old", config="d", runtime_ms=10_000),
        failed("e", f"{run} both", config="e", runtime_ms=10_000),
    )
    publish(
        shared,
        f"{run}/2",
        done("a0", config="a", runtime_ms=10_000),
        done("a1", config="a", runtime_ms=16_000),
        done("b", config="b", runtime_ms=7_900),
        done("c", config="c", runtime_ms=11_900),
        failed("d", f"{run} both", config="d", runtime_ms=90_000),
        failed("e", f"{run} new", config="e", runtime_ms=90_000),
    )

    told = shared.get(f"/regressions/{run}%2F2/diff")
    finer = shared.get(f"/regressions/{run}%2F2/diff?slower=10&base={run}%2F1")
    header = shared.get(f"/regressions/{run}%2F2/diff?limit=0")

    assert (told["base"], told["base_id"]) == (f"{run}/1", shared.get(f"/regressions/{run}%2F1")["id"])
    ((slow), (fast)) = told["slower"][0], told["faster"][0]
    assert (slow["config"], slow["runtime_ms"], slow["base_runtime_ms"], slow["percent"]) == ("a", 13_000, 10_000, 30.0)
    assert (fast["config"], fast["percent"]) == ("b", -21.0)
    assert [entry["config"] for entry in finer["slower"]] == ["a", "c"]
    assert [entry["title"] for entry in told["signatures"]["new"]] == [f"{run} new"]
    assert [entry["title"] for entry in told["signatures"]["fixed"]] == [f"{run} old"]
    assert told["signatures"]["still"] == 1
    counts = {"newly_failing": 0, "fixed": 0, "still_failing": 2, "missing": 0, "added": 0, "slower": 1, "faster": 1}
    assert told["counts"] == counts | {"new_signatures": 1, "fixed_signatures": 1}
    assert header["counts"] == told["counts"]
    assert (header["still_failing"], header["slower"], header["signatures"]["new"]) == ([], [], [])


def test_what_takes_no_time_at_all_is_not_compared(shared: Daemon, run: str) -> None:
    publish(shared, f"{run}/1", done("a", config="a", runtime_ms=0), done("b", config="b"))
    publish(shared, f"{run}/2", done("a", config="a", runtime_ms=5), done("b", config="b", runtime_ms=5))

    told = shared.get(f"/regressions/{run}%2F2/diff")

    assert (told["slower"], told["faster"]) == ([], [])


def test_what_differs_by_less_than_a_second_is_neither_slower_nor_faster(shared: Daemon, run: str) -> None:
    publish(shared, f"{run}/1", done("a", config="a", runtime_ms=9), done("b", config="b", runtime_ms=2000))
    publish(shared, f"{run}/2", done("a", config="a", runtime_ms=1008), done("b", config="b", runtime_ms=3000))

    told = shared.get(f"/regressions/{run}%2F2/diff")

    assert [entry["config"] for entry in told["slower"]] == ["b"]


def test_what_is_live_in_the_newer_run_is_not_missing(shared: Daemon, run: str) -> None:
    publish(shared, f"{run}/1", *(done(name, config=name) for name in "abc"))
    publish(shared, f"{run}/2", done("a", config="a"), live("b", config="b"))

    told = shared.get(f"/regressions/{run}%2F2/diff")

    assert [(entry["config"], entry["jobs"], entry["base_jobs"]) for entry in told["missing"]] == [("c", 0, 1)]
    assert told["counts"]["missing"] == 1


def test_what_was_live_in_the_older_run_is_not_added(shared: Daemon, run: str) -> None:
    publish(shared, f"{run}/1", done("a", config="a"), live("b", config="b", name="b"))
    publish(shared, f"{run}/2", failed("b", "x", config="b", name="b"), done("c", config="c", name="c"))

    by_config = shared.get(f"/regressions/{run}%2F2/diff")
    by_test = shared.get(f"/regressions/{run}%2F2/diff?by=test")

    assert [entry["config"] for entry in by_config["added"]] == ["c"]
    assert [entry["test"] for entry in by_test["added"]] == ["c"]


def seeds(test: str, first: int, *results: str, **fields: Any) -> list[dict[str, Any]]:
    """Jobs of a test with a seed each, which stands in their config."""
    told = []
    for seed, result in enumerate(results, first):
        more = {"fail_message": "ERROR x"} if result == "fail" else {}
        told.append(done(f"{test}{seed}", result, config=f"sim {test} +seed={seed}", seed=str(seed), **more, **fields))
    return told


def nights(daemon: Daemon, run: str) -> None:
    """Two runs of the same tests, with other seeds in the second."""
    publish(
        daemon,
        f"{run}/1",
        *seeds("breaks", 10, "pass", "pass", "pass"),
        *seeds("heals", 10, "pass", "fail"),
        *seeds("stays", 10, "fail", "fail", "fail"),
        *seeds("skipped", 10, "fail"),
        *seeds("slow", 10, "pass", "pass", runtime_ms=10_000),
        *seeds("leaves", 10, "pass"),
        *seeds("runs", 10, "pass"),
    )
    publish(
        daemon,
        f"{run}/2",
        *seeds("breaks", 20, "pass", "fail", "pass", "pass"),
        *seeds("heals", 20, "pass", "pass", "skip"),
        *seeds("stays", 20, "fail", "pass"),
        *seeds("skipped", 20, "skip"),
        *seeds("slow", 20, "pass", "pass", runtime_ms=15_000),
        *seeds("comes", 20, "pass"),
        live("l", config="sim runs +seed=20", seed="20"),
    )


def test_with_other_seeds_runs_are_compared_by_test(shared: Daemon, run: str) -> None:
    nights(shared, run)

    told = shared.get(f"/regressions/{run}%2F2/diff?by=test")

    changed = {"newly_failing": 1, "fixed": 1, "still_failing": 1, "missing": 1, "added": 1, "slower": 1, "faster": 0}
    assert {kind: told["counts"][kind] for kind in changed} == changed
    assert (told["by"], told["matched"]) == ("test", 5)
    names = {kind: [entry["test"] for entry in told[kind]] for kind in changed}
    assert names == {
        "newly_failing": ["sim breaks +seed=*"],
        "fixed": ["sim heals +seed=*"],
        "still_failing": ["sim stays +seed=*"],
        "missing": ["sim leaves +seed=*"],
        "added": ["sim comes +seed=*"],
        "slower": ["sim slow +seed=*"],
        "faster": [],
    }
    (breaks,), (stays,), (slow,) = told["newly_failing"], told["still_failing"], told["slower"]
    assert [breaks[name] for name in ("fails", "jobs", "base_fails", "base_jobs")] == [1, 4, 0, 3]
    assert [stays[name] for name in ("fails", "jobs", "base_fails", "base_jobs")] == [1, 2, 3, 3]
    assert (slow["runtime_ms"], slow["base_runtime_ms"], slow["percent"]) == (15_000, 10_000, 50.0)
    assert shared.get(f"/jobs/{breaks['job']}")["seed"] == "21"


def test_runs_are_compared_by_config_unless_another_way_is_asked_for(shared: Daemon, run: str) -> None:
    nights(shared, run)

    by_config = shared.get(f"/regressions/{run}%2F2/diff")
    unasked = shared.get(f"/regressions/{run}%2F2/diff?by=auto")

    assert (by_config["by"], by_config["matched"], by_config["counts"]["added"]) == ("config", 0, 13)
    assert unasked == shared.get(f"/regressions/{run}%2F2/diff?by=test")
    assert shared.get(f"/regressions/{run}%2F2/diff?by=config") == by_config


@pytest.mark.parametrize(
    ("before", "now", "by"),
    [
        ([done("a", config="a"), done("b", config="b")], [done("a", config="a"), done("x", config="x")], "config"),
        (seeds("t", 10, "pass", "pass"), seeds("t", 10, "pass", "pass", "pass"), "config"),
        (seeds("t", 10, "pass", "pass"), seeds("t", 11, "pass", "pass", "pass"), "test"),
        ([done("a", config="a")], [done("x", config="x")], "config"),  # tests find no more
        ([done("a", name="t")], [done("x", name="t")], "test"),  # there are no configs
        ([done("a")], [done("a")], "config"),
    ],
)
def test_runs_are_compared_by_test_where_few_configs_were_run_before(
    shared: Daemon, run: str, before: list[dict[str, Any]], now: list[dict[str, Any]], by: str
) -> None:
    publish(shared, f"{run}/1", *before)
    publish(shared, f"{run}/2", *now)

    assert shared.get(f"/regressions/{run}%2F2/diff?by=auto&limit=0")["by"] == by


def test_a_comparison_makes_no_more_entries_than_it_shows(story: Story) -> None:
    for number in (1, 2):
        for place in range(9):
            story.finish(f"r/{number}", str(place), config=f"{number} {place}")
    wanted = {"here": 2, "there": 1, "slower": 20}

    rows = found(story, figures.DIFF["config"], wanted | {"limit": 3})
    told = figures.diff_object("config", rows, [], 3)

    assert len(rows) == 7
    assert [entry["config"] for entry in told["added"]] == ["2 0", "2 1", "2 2"]
    assert (told["counts"]["added"], told["counts"]["missing"], told["matched"]) == (9, 9, 0)


def test_entries_that_differ_in_the_number_at_their_end_are_in_its_order(story: Story) -> None:
    story.finish("r/1")
    for config in ("b 2", "a 10", "a 100", "a 9", "c", "a 11"):
        story.finish("r/2", config, config=config)

    rows = found(story, figures.DIFF["config"], {"here": 2, "there": 1, "slower": 20, "limit": 5})

    told = figures.diff_object("config", rows, [], 5)
    assert [entry["config"] for entry in told["added"]] == ["a 9", "a 10", "a 11", "a 100", "b 2"]


@pytest.mark.parametrize("query", ["slower=0", "slower=x", "limit=501", "limit=-1", "by=seed"])
def test_a_comparison_that_cannot_be_is_400(shared: Daemon, run: str, query: str) -> None:
    publish(shared, f"{run}/1", done())
    publish(shared, f"{run}/2", done())

    assert shared.request("GET", f"/api/v1/regressions/{run}%2F2/diff?{query}")[0] == 400
