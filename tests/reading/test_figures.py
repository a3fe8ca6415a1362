"""What the page's lists, pictures and comparisons are drawn from, against the real daemon."""

from __future__ import annotations

import json
import time
import urllib.parse
from typing import Any
from xml.etree import ElementTree

import pytest
from support.daemons import Daemon, done, live, publish_job, wait_until
from support.stories import Story

from simscope_server.api.rows import REGRESSION
from simscope_server.ledger import rules
from simscope_server.ledger.expiry import expire
from simscope_server.reading import answers, figures, queries


def failed(uniqueid: str, message: str, **fields: Any) -> dict[str, Any]:
    return done(uniqueid, "fail", fail_message=message, **fields)


def publish(daemon: Daemon, regression: str, *bodies: dict[str, Any]) -> list[int]:
    """-> the ids of the jobs."""
    return [publish_job(daemon, regression, body) for body in bodies]


def regr(daemon: Daemon, kind: str, regression: str, **fields: Any) -> None:
    status, told = daemon.post(f"/publish/{kind}?regression={quoted(regression)}", fields)
    assert status == 200, told


def quoted(name: str) -> str:
    return urllib.parse.quote(name, safe="")


# --- tests: what jobs have in common that differ in the seed ----------------------------------------------------------


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


# --- signatures -------------------------------------------------------------------------------------------------------


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


# --- strips of series -------------------------------------------------------------------------------------------------


def test_a_strip_has_the_newest_twenty_runs_of_each_series_that_is_named(shared: Daemon, run: str) -> None:
    for number in range(1, 23):
        publish(shared, f"{run}/{number}", done("a"), failed("b", "x"))
    publish(shared, f"{run}/23", live())
    publish(shared, f"{run}&x/1", done())
    shared.post(f"/regressions/{run}%2F22/tank", {})

    told = shared.get(f"/series?series={run}&series={quoted(run + '&x')}&series=nobody")

    assert told["next"] is None
    strips = {item["series"]: item["runs"] for item in told["items"]}
    assert set(strips) == {run, f"{run}&x"}
    assert [shown["number"] for shown in strips[run]] == [*range(3, 22), 23]
    assert strips[run][0] | {"id": 0} == {
        "id": 0,
        "name": f"{run}/3",
        "number": 3,
        "status": "live",
        "pass": 1,
        "fail": 1,
        "skip": 0,
        "live": 0,
        "pass_rate": 0.5,
    }
    assert (strips[run][-1]["pass_rate"], strips[run][-1]["live"]) == (None, 1)


def test_without_names_all_series_come_in_pages_the_newest_first(make_daemon: Any) -> None:
    daemon = make_daemon().start()
    for number in (1, 2):
        for name in "abc":
            publish(daemon, f"{name}/{number}", done())
    publish(daemon, "a/3", done())
    publish(daemon, "none", done())

    first = daemon.get("/series?limit=2")
    second = daemon.get(f"/series?limit=2&after={first['next']}")

    assert [item["series"] for item in first["items"] + second["items"]] == ["a", "c", "b"]
    assert second["next"] is None


def test_more_than_a_hundred_series_at_once_are_refused(shared: Daemon) -> None:
    status, told, _ = shared.request("GET", "/api/v1/series?" + "&".join(["series=x"] * 101))

    assert (status, told["reason"]) == (400, "bad-query")


# --- how long jobs take, and what became of them earlier --------------------------------------------------------------


def test_a_live_job_tells_what_its_test_usually_takes_and_whether_it_is_slow(shared: Daemon, run: str) -> None:
    passes = [done(f"p{n}", name=f"{run} fast", runtime_ms=n) for n in range(1, 10)]
    slow_fail = failed("f", "x", name=f"{run} fast", runtime_ms=100_000)
    publish(
        shared, f"{run}/1", *passes, slow_fail, *(done(f"q{n}", name=f"{run} rare", runtime_ms=1) for n in range(4))
    )
    fast, rare, waiting, _ = publish(
        shared,
        f"{run}/2",
        live("a", name=f"{run} fast"),
        live("b", name=f"{run} rare"),
        live("c", name=f"{run} fast", phase="QUEUED"),
        live("d"),
    )

    jobs = {job["id"]: job for job in shared.get(f"/regressions/{run}%2F2/jobs?result=live")["items"]}

    assert (jobs[fast]["test"], jobs[fast]["usual_ms"], jobs[fast]["slow_after_ms"]) == (f"{run} fast", 5, 9)
    assert jobs[fast]["slow"] is (jobs[fast]["elapsed_ms"] > 9)
    assert (jobs[rare]["usual_ms"], jobs[rare]["slow_after_ms"], jobs[rare]["slow"]) == (None, None, False)
    assert (jobs[waiting]["usual_ms"], jobs[waiting]["slow"]) == (5, False)
    told = shared.get(f"/jobs/{fast}")
    assert (told["usual_ms"], told["slow_after_ms"]) == (5, 9)
    publish(shared, f"{run}/2", done("a", name=f"{run} fast"))
    assert (shared.get(f"/jobs/{fast}")["usual_ms"], shared.get(f"/jobs/{fast}")["slow"]) == (None, False)


def test_a_live_regression_tells_how_many_of_its_jobs_are_slow(shared: Daemon, run: str) -> None:
    publish(shared, f"{run}/1", *(done(f"p{n}", name=f"{run} fast", runtime_ms=1) for n in range(5)))
    of_tests = {"a": "fast", "b": "fast", "c": "unknown"}
    jobs = [live(key, name=f"{run} {test}") for key, test in of_tests.items()]
    publish(shared, f"{run}/2", *jobs, live("d", name=f"{run} fast", phase="queued"))
    time.sleep(0.002)  # they take longer than a millisecond now

    wait_until(lambda: shared.get(f"/regressions/{run}%2F2")["slow"] == 2)
    listed = [item["slow"] for item in shared.get(f"/regressions?series={run}")["items"]]
    shared.post(f"/regressions/{run}%2F2/finish")

    assert listed == [2, 0]
    assert shared.get(f"/regressions/{run}%2F2")["slow"] == 0


@pytest.mark.parametrize(
    ("passes", "usual"),
    [
        ([], None),
        ([1, 2, 3, 4], None),
        ([5, 4, 3, 2, 1], (3, 5)),
        (list(range(1, 101)), (51, 99)),
        ([7] * 50, (7, 7)),
    ],
)
def test_what_is_usual(passes: list[int], usual: tuple[int, int] | None) -> None:
    assert answers.usual_of(passes) == usual


def test_the_earlier_runs_of_a_test_are_those_of_its_series(shared: Daemon, run: str) -> None:
    name = f"{run} test"
    publish(shared, f"{run}-other/1", done("a", name=name, runtime_ms=1))
    publish(
        shared, f"{run}/1", done("a", name=name, seed="7", runtime_ms=10), done("b", name=name, seed="8", runtime_ms=30)
    )
    failing, _ = publish(
        shared,
        f"{run}/2",
        failed("a", "x", name=name, seed="8", runtime_ms=90, host="n3"),
        done("b", name=name, seed="7", runtime_ms=10),
    )
    publish(shared, f"{run}/3", done("z", name="another"))
    publish(shared, f"{run}/4", done("a", "skip", name=name), live("b", name=name))
    publish(shared, f"{run}/6", done("a", name=name))
    (job,) = publish(shared, f"{run}/5", done("a", name=name, seed="8"))

    told = shared.get(f"/jobs/{job}/earlier")

    assert told["test"] == name
    assert [item["number"] for item in told["items"]] == [4, 2, 1]
    skipped, second, first = told["items"]
    assert (skipped["result"], skipped["jobs"], skipped["skip"]) == ("skip", 1, 1)
    assert (second["result"], second["pass"], second["fail"], second["runtime_ms"]) == ("fail", 1, 1, 90)
    assert (second["job"], second["host"], second["seed"], second["same_seed"]) == (failing, "n3", "8", True)
    assert (first["result"], first["runtime_ms"], first["seed"]) == ("pass", 30, "8")
    assert first["regression"] == f"{run}/1"
    assert len(shared.get(f"/jobs/{job}/earlier?limit=2")["items"]) == 2
    assert shared.get(f"/jobs/{job}")["_links"]["earlier"]["href"].endswith(f"/jobs/{job}/earlier")


def test_the_job_of_the_same_seed_stands_for_an_earlier_run(shared: Daemon, run: str) -> None:
    same, *_ = publish(
        shared,
        f"{run}/1",
        done("a", name=run, seed="7", runtime_ms=10, host="n1", finish_time="2025-01-05T10:00:00Z"),
        done("b", name=run, seed="8", runtime_ms=30, finish_time="2025-01-05T11:00:00Z"),
        failed("c", "x", name=run, seed="9", runtime_ms=90),
    )
    _, other = publish(shared, f"{run}/2", done("a", name=run, seed="8"), failed("b", "x", name=run, seed="9"))
    job, seedless = publish(shared, f"{run}/3", done("a", name=run, seed="7"), done("b", name=run))

    second, first = shared.get(f"/jobs/{job}/earlier")["items"]

    assert (first["job"], first["seed"], first["host"], first["same_seed"]) == (same, "7", "n1", True)
    assert (first["result"], first["runtime_ms"], first["mean_runtime_ms"]) == ("pass", 10, 20)
    assert (first["jobs"], first["pass"], first["fail"]) == (3, 2, 1)
    assert first["finished_at"] == "2025-01-05T10:00:00.000Z"
    assert (second["job"], second["seed"], second["same_seed"]) == (other, "9", False)
    assert [item["same_seed"] for item in shared.get(f"/jobs/{seedless}/earlier")["items"]] == [False, False]


def test_an_earlier_run_finished_when_its_publisher_says_so(shared: Daemon, run: str) -> None:
    (told,) = publish(shared, f"{run}/1", done("a", name=run, finish_time="2025-01-05T10:00:00Z"))
    (untold,) = publish(shared, f"{run}/2", done("a", name=run))
    (job,) = publish(shared, f"{run}/3", done("a", name=run))

    second, first = shared.get(f"/jobs/{job}/earlier")["items"]

    assert first["finished_at"] == shared.get(f"/jobs/{told}")["finish_time"]
    assert second["finished_at"] == shared.get(f"/jobs/{untold}")["finished_at"]


def test_a_job_outside_of_any_series_looks_at_all_earlier_regressions(shared: Daemon, run: str) -> None:
    publish(shared, f"{run}/1", done("a", name=run))
    publish(shared, f"{run}-x", done("a", name=run))
    job, untold = publish(shared, f"{run}-y", done("a", name=run), done("b"))
    publish(shared, f"{run}-z", done("a", name=run))

    assert [item["regression"] for item in shared.get(f"/jobs/{job}/earlier")["items"]] == [f"{run}-x", f"{run}/1"]
    assert shared.get(f"/jobs/{untold}/earlier") == {
        "test": None,
        "usual_ms": None,
        "slow_after_ms": None,
        "items": [],
        "next": None,
    }


# --- hosts, timeline, charts ------------------------------------------------------------------------------------------


def test_hosts_are_told_with_most_fails_first(shared: Daemon, run: str) -> None:
    bodies = [failed(f"f{n}", "x", host="n1", runtime_ms=10) for n in range(3)] + [done("p", host="n1", runtime_ms=5)]
    bodies += [done("q", host="n2", runtime_ms=7), live("l", host="n2"), done("s", "skip", host="n3"), failed("u", "x")]
    publish(shared, run, *bodies)

    told = shared.get(f"/regressions/{run}/hosts")["items"]

    assert [host["host"] for host in told] == ["n1", None, "n2", "n3"]
    expected = {"host": "n1", "pass": 1, "fail": 3, "skip": 0, "live": 0, "runtime_ms": 35, "fail_rate": 0.75}
    assert told[0] == expected
    assert (told[2]["live"], told[2]["runtime_ms"], told[3]["fail_rate"]) == (1, 7, None)
    first = shared.get(f"/regressions/{run}/hosts?limit=3")
    rest = shared.get(f"/regressions/{run}/hosts?after={first['next']}")
    assert first["items"] + rest["items"] == told


def at(second: float) -> str:
    return f"2025-01-01T00:00:{second:06.3f}Z"


def test_a_timeline_has_a_bar_for_each_job(shared: Daemon, run: str) -> None:
    ids = publish(
        shared,
        run,
        done("a", host="n2", start_time=at(1), finish_time=at(3)),
        failed("b", "x", host="n1", start_time=at(0), runtime_ms=500),
        done("c", "skip", start_time=at(2)),
        done("d", host="n1", start_time=at(5), finish_time=at(4), runtime_ms=1),  # its clock went back
    )
    (running,) = publish(shared, run, live("l", host="n2", start_time=at(4)))

    told = shared.get(f"/regressions/{run}/timeline")

    assert (told["jobs"], told["shown"], told["hosts"]) == (5, 5, ["", "n1", "n2"])
    assert told["from"] == at(0)
    assert told["id"] == [ids[1], ids[0], ids[2], running, ids[3]]
    assert [told["hosts"][place] for place in told["host"]] == ["n1", "n2", "", "n2", "n1"]
    assert told["start"] == [0, 1000, 2000, 4000, 5000]
    assert told["length"][:2] == [500, 2000]
    assert told["length"][3:] == [None, 0]
    assert told["result"] == [2, 1, 3, 0, 1]


def test_of_too_many_jobs_live_ones_fails_and_the_longest_are_shown(shared: Daemon, run: str) -> None:
    bodies = [done(f"p{n}", start_time=at(n), runtime_ms=n * 10) for n in range(8)]
    publish(shared, run, *bodies, failed("f", "x", start_time=at(1), runtime_ms=1), live("l", start_time=at(1)))

    told = shared.get(f"/regressions/{run}/timeline?most=4")
    zoomed = shared.get(f"/regressions/{run}/timeline?from={at(2)}&to={at(3.5)}")

    assert (told["jobs"], told["shown"]) == (10, 4)
    assert sorted(told["result"]) == [0, 1, 1, 2]
    assert sorted(length for length in told["length"] if length) == [1, 60, 70]
    assert (zoomed["jobs"], zoomed["result"].count(1)) == (3, 2)  # two passes, and the one that runs on


def test_a_timeline_of_nothing(shared: Daemon, run: str) -> None:
    regr(shared, "regr-start", run)

    told = shared.get(f"/regressions/{run}/timeline")

    assert (told["jobs"], told["id"], told["hosts"]) == (0, [], [])
    assert told["from"] == told["to"] == told["now"]


def test_figures_of_a_job_that_would_end_after_the_year_9999(shared: Daemon, run: str) -> None:
    publish(shared, run, done(start_time="9999-12-31T23:00:00Z", runtime_ms=24 * 86_400_000))

    told = shared.get(f"/regressions/{run}/timeline")

    assert (told["from"], told["to"]) == ("9999-12-31T23:00:00.000Z", "9999-12-31T23:59:59.999Z")
    assert told["length"] == [3_599_999]
    assert shared.get(f"/regressions/{run}/charts")["finished"]["from"] == "9999-12-31T23:59:59.999Z"


def test_a_part_of_a_timeline_may_begin_with_a_leap_second(shared: Daemon, run: str) -> None:
    publish(shared, run, done("a", start_time=at(1), runtime_ms=1), done("b", start_time=at(59.999), runtime_ms=1))

    told = shared.get(f"/regressions/{run}/timeline?from=2025-01-01T00:00:60Z")

    assert (told["jobs"], told["from"]) == (1, at(59.999))


@pytest.mark.parametrize("query", ["from=yesterday", "to=2025-01-01T00:00:00", "most=0", "most=20001"])
def test_a_part_of_a_timeline_that_cannot_be_is_400(shared: Daemon, run: str, query: str) -> None:
    publish(shared, run, done())

    assert shared.request("GET", f"/api/v1/regressions/{run}/timeline?{query}")[0] == 400


def test_charts_count_each_finished_job_once_and_no_live_one(shared: Daemon, run: str) -> None:
    for n in range(60):
        fields = {"start_time": at(n / 2), "runtime_ms": 10 ** (n % 5), "cycles": n}
        body = failed(f"j{n}", "x", **fields) if n % 6 == 0 else done(f"j{n}", **fields)
        publish(shared, run, body)
    publish(shared, run, done("s", "skip"), done("bare"), live("l", runtime_ms=5, cycles=5))

    told = shared.get(f"/regressions/{run}/charts")

    assert told["jobs"] == 62
    finished, runtime, cycles = told["finished"], told["runtime"], told["cycles"]
    assert (sum(finished["pass"]), sum(finished["fail"]), sum(finished["skip"])) == (51, 10, 1)
    assert len(finished["pass"]) == len(finished["fail"]) == len(finished["skip"]) <= 120
    assert (sum(runtime["pass"]), sum(runtime["fail"])) == (50, 10)
    edges = runtime["edges_ms"]
    assert edges == sorted(set(edges))
    assert (edges[0], edges[-1], len(edges)) == (1, 10_001, len(runtime["pass"]) + 1)
    assert runtime["pass"][0] + runtime["fail"][0] == 12
    assert (cycles["shown"], cycles["of"]) == (60, 60)
    assert sorted(cycles["cycles"]) == list(range(60))
    assert set(cycles["result"]) == {1, 2}


def test_charts_tell_how_many_jobs_ended_without_a_verdict_of_their_own(shared: Daemon, run: str) -> None:
    publish(shared, run, done("a"), live("b"), live("c"))
    regr(shared, "regr-finish", run)

    told = shared.get(f"/regressions/{run}/charts")

    assert (told["jobs"], told["left_out"]) == (1, 2)


def test_charts_of_nothing(shared: Daemon, run: str) -> None:
    publish(shared, run, live())

    assert shared.get(f"/regressions/{run}/charts") == {
        "jobs": 0,
        "left_out": 0,
        "finished": {"from": None, "step_ms": 1000, "pass": [], "fail": [], "skip": []},
        "runtime": {"edges_ms": None, "pass": [], "fail": []},
        "cycles": {"shown": 0, "of": 0, "id": [], "runtime_ms": [], "cycles": [], "result": []},
    }


def found(story: Story, sql: str, named: dict[str, Any]) -> list[dict[str, Any]]:
    cursor = story.conn.execute(sql, named)
    return [dict(zip((column[0] for column in cursor.description), row, strict=True)) for row in cursor]


def test_jobs_that_finish_while_charts_are_read_are_left_to_the_next_reading(story: Story) -> None:
    story.finish(uniqueid="a", finish_time=at(10))
    here = {"regression": 1}
    (span,) = found(story, figures.SPAN, here)
    story.finish(uniqueid="earlier", finish_time=at(1))
    story.finish(uniqueid="later", finish_time=at(50))

    times = {"first": span["first"], "last": span["last"], "step": 1000}
    rows = found(story, figures.FINISHED, here | times)

    assert figures.finished_object(rows, **times)["pass"] == [1]


@pytest.mark.parametrize("path", ["timeline", "charts", "diff"])
def test_figures_are_not_sent_again_while_nothing_changes(shared: Daemon, run: str, path: str) -> None:
    publish(shared, f"{run}/1", done(config="c"))
    publish(shared, f"{run}/2", done(config="c"))
    address = f"/api/v1/regressions/{run}%2F2/{path}"
    _, _, headers = shared.request("GET", address)

    same = shared.request("GET", address, headers={"If-None-Match": headers["etag"]})
    publish(shared, f"{run}/2", done("b"))
    new = shared.request("GET", address, headers={"If-None-Match": headers["etag"]})

    assert (same[0], new[0]) == (304, 200)


@pytest.mark.parametrize("span", [0, 999, 60_000, 3_600_000, 86_400_000, 10**11, 10**14])
def test_a_chart_over_time_has_few_steps(span: int) -> None:
    assert span // figures.step_of(span) + 1 <= figures.STEPS_MOST


@pytest.mark.parametrize(("least", "most"), [(0, 0), (0, 1), (1, 1), (5, 5), (0, 10**9), (7, 8), (1, 2_073_600_000)])
def test_every_runtime_falls_into_a_class(least: int, most: int, story: Story) -> None:
    edges = figures.edges_between(least, most)

    assert edges == sorted(set(edges))
    assert 1 <= len(edges) - 1 <= figures.CLASSES_MOST
    for took in {least, most, (least + most) // 2, *edges[:-1]}:
        (place,) = story.conn.execute(
            f"SELECT {figures.class_of('took', edges)} FROM (SELECT ? AS took)", (took,)
        ).fetchone()
        assert edges[place] <= took < edges[place + 1]


def test_points_are_bounded_and_evenly_taken(story: Story) -> None:
    for passes, fails in ((0, 0), (1999, 0), (0, 5000), (5000, 10), (100_000, 100_000), (3000, 1000)):
        taken = figures.shares(passes, fails)
        shown = passes // taken["every_pass"] + fails // taken["every_fail"]

        assert shown <= figures.POINTS_MOST
        assert shown >= min(passes + fails, figures.POINTS_MOST) / 3


# --- comparisons ------------------------------------------------------------------------------------------------------


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


# --- estimates --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("now", "total", "done_by_now", "earlier", "estimate"),
    [
        (100, 10, 5, [], (200, 153, 1047, "rate")),
        (100, 10, 4, [], (250, 175, None, "rate")),  # so few say no latest time
        (100, 10, 0, [1000], (1000, None, None, "history")),  # one run says no bounds
        (100, 10, 0, [900, 1000, 1500], (1000, 900, 1500, "history")),
        (100, 10, 0, [50, 1000, 1500], (1000, 100, 1500, "history")),
        (100, 10, 5, [900, 1000, 1500], (600, 153, 1500, "rate+history")),
        (2000, 10, 5, [900, 1000, 1500], (4000, 3056, 20944, "rate")),  # late by its own history
        (100, 10, 0, [], None),
        (100, None, 5, [1000], None),
        (100, 10, 10, [1000], None),
        (-5, 10, 5, [], (-5, -5, -5, "rate")),  # the clock was set back
        (100, 10**13, 4, [], (250_000_000_000_000, 125_000_000_000_050, None, "rate")),  # in the year 9892
        (100, 10**13, 5, [], None),  # its high bound is beyond the year 9999
        (100, 10**18, 4, [], None),
        (100, 2**63 - 1, 10**6, [900, 1000, 1500], None),
    ],
)
def test_an_estimate_tells_how_sure_it_is(
    now: int, total: int | None, done_by_now: int, earlier: list[int], estimate: tuple[Any, ...] | None
) -> None:
    assert answers.estimate_end(now, 0, total, done_by_now, earlier) == estimate


def test_a_live_regression_tells_its_estimate_and_one_that_is_over_none(shared: Daemon, run: str) -> None:
    regr(shared, "regr-start", run, submitted=4)
    assert shared.get(f"/regressions/{run}")["eta"] is None
    publish(shared, run, done("a"), done("b"))

    told = shared.get(f"/regressions/{run}")
    regr(shared, "regr-finish", run)

    assert told["eta"]["at"] == told["eta_at"]
    assert (told["eta"]["basis"], told["eta"]["high"]) == ("rate", None)
    assert told["eta"]["low"] <= told["eta"]["at"]
    over = shared.get(f"/regressions/{run}")
    assert (over["eta"], over["eta_at"]) == (None, None)


def seen(story: Story) -> dict[str, Any]:
    (row,) = found(story, REGRESSION, {})
    return answers.regression_object(row, answers.Viewpoint(story.now, story.tick, 0, 0))


@pytest.mark.parametrize(
    ("gap_s", "runtime_s", "last_s"),
    [
        (0, 1, 60),  # a shorter silence says nothing
        (20, 1, 200),
        (20, 100, 300),  # jobs that start together end together
    ],
)
def test_a_run_is_stalled_once_it_is_silent_for_far_longer_than_usual(
    story: Story, gap_s: int, runtime_s: int, last_s: int
) -> None:
    story.regr("regr-start", submitted=10)
    story.live(uniqueid="live")
    for number in range(4):
        story.pass_time(gap_s)
        story.finish(uniqueid=str(number), runtime_ms=1000 * runtime_s)
    heard = story.now

    story.pass_time(last_s)
    before = seen(story)
    story.pass_time(1)
    told = seen(story)
    story.live(uniqueid="live", phase="running")

    assert (before["eta"]["basis"], before["stalled_since"]) == ("rate", None)
    assert (told["eta"], told["eta_at"], told["stalled_since"]) == (None, None, answers.utc(heard))
    assert (seen(story)["eta"]["basis"], seen(story)["stalled_since"]) == ("rate", None)
    story.regr("regr-finish")
    story.pass_time(1000)
    assert seen(story)["stalled_since"] is None


def test_a_run_without_verdicts_is_not_stalled(story: Story) -> None:
    story.regr("regr-start", submitted=10)
    story.pass_time(1000)

    assert (seen(story)["eta"], seen(story)["stalled_since"]) == (None, None)


def test_an_estimate_learns_from_finished_runs_only() -> None:
    story = Story(autotimeouthours=1)
    ends = {"regr/1": "finish", "regr/2": "timeout", "regr/3": "finish"}
    for number, (name, how) in enumerate(ends.items(), 1):
        story.live(name)
        story.pass_time(60 * number)
        if how == "finish":
            story.finish(name)
            story.regr("regr-finish", name)
        else:
            story.pass_time(3600)
            story.change(expire)
    story.regr("regr-start", "regr/4", submitted=10)
    (row,) = found(story, f"{REGRESSION} WHERE r.name = 'regr/4'", {})

    assert [story.regression(name)["status"] for name in ends] == ["complete", "aborted", "complete"]
    assert json.loads(row["earlier"]) == [180_000, 60_000]


@pytest.mark.parametrize("submitted", [10**18, 2**63 - 1])
def test_an_end_beyond_the_calendar_is_not_told(shared: Daemon, run: str, submitted: int) -> None:
    regr(shared, "regr-start", run, submitted=submitted)
    publish(shared, run, done("a"), done("b"))

    wait_until(lambda: shared.get(f"/regressions/{run}")["eta"] is None)
    told = shared.get("/regressions")["items"][0]

    assert (told["name"], told["eta"], told["eta_at"]) == (run, None, None)
    assert told["progress"] == {"done": 2, "total": submitted, "percent": 0.0}


# --- badges -----------------------------------------------------------------------------------------------------------


def badge(daemon: Daemon, name: str, **headers: str) -> tuple[int, str, dict[str, str]]:
    return daemon.request("GET", f"/badge/{name}.svg", headers=headers)


def test_a_badge_shows_the_latest_run_of_a_series(shared: Daemon, run: str) -> None:
    publish(shared, f"{run}/1", failed("a", "x"))
    publish(shared, f"{run}/2", done("a"), done("b"), failed("c", "x"))
    live_now = badge(shared, run)
    regr(shared, "regr-finish", f"{run}/2")

    status, image, headers = badge(shared, run)

    assert (status, headers["content-type"].partition(";")[0]) == (200, "image/svg+xml")
    assert headers["cache-control"] == "max-age=30"
    root = ElementTree.fromstring(image)
    texts = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert texts == [run, "66.7 % pass"]
    assert "live, 66.7 % pass" in live_now[1]
    for known in (headers["etag"], f"W/{headers['etag']}", f'"other", {headers["etag"]}', "*"):
        assert badge(shared, run, **{"If-None-Match": known})[0] == 304, known
    assert badge(shared, run, **{"If-None-Match": '"other"'})[0] == 200


def test_a_badge_passes_over_tanked_runs(shared: Daemon, run: str) -> None:
    publish(shared, f"{run}/1", done("a"))
    publish(shared, f"{run}/2", failed("a", "x"))
    before = badge(shared, run)[1]

    assert shared.post(f"/regressions/{run}%2F2/tank")[0] == 200

    assert ("0 % pass" in before, "100 % pass" in before) == (True, False)
    assert "100 % pass" in badge(shared, run)[1]


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", 'a"b&c', "x" * 300, "tab\tbed", "é/日本"])
def test_a_badge_of_any_name_is_an_image(shared: Daemon, name: str) -> None:
    publish(shared, f"{name.replace(chr(9), ' ')}/1", done())

    for shown in (name, name.replace("\t", " ")):
        _, image, _ = badge(shared, quoted(shown))

        root = ElementTree.fromstring(image)
        assert {element.tag.partition("}")[2] for element in root.iter()} == {"svg", "title", "rect", "g", "text"}


def test_a_badge_of_nobody_is_404_and_says_so(shared: Daemon) -> None:
    status, image, _ = badge(shared, "nobody")

    assert status == 404
    assert "unknown" in image


@pytest.mark.parametrize(
    ("row", "text"),
    [
        ({"n_pass": 0, "n_fail": 0, "status": "complete"}, "no results"),
        ({"n_pass": 3, "n_fail": 0, "status": "complete"}, "100 % pass"),
        ({"n_pass": 9999, "n_fail": 1, "status": "complete"}, "99.9 % pass"),  # never rounded up to all
        ({"n_pass": 1, "n_fail": 1, "status": "aborted"}, "aborted, 50 % pass"),
    ],
)
def test_what_a_badge_says(row: dict[str, Any], text: str) -> None:
    assert figures.verdict_of(row)[0] == text


def test_a_badge_is_as_wide_as_its_letters() -> None:
    narrow, wide = (ElementTree.fromstring(figures.badge(label, "", figures.GREY)) for label in ("fifi", "WWWW"))

    assert int(narrow.attrib["width"]) < int(wide.attrib["width"])
    assert all("textLength" not in element.attrib for element in narrow.iter())


# --- live jobs of all regressions -------------------------------------------------------------------------------------


def test_live_jobs_of_all_regressions_are_found_by_their_regressions(shared: Daemon, run: str) -> None:
    ids = publish(shared, run, live("a"), live("b"), done("c"))
    publish(shared, f"{run}-done", done("a"))

    told = shared.get("/jobs?result=live&limit=2")

    assert [job["id"] for job in told["items"]] == [ids[1], ids[0]]


def test_looking_for_live_jobs_does_not_read_the_finished_ones(story: Story) -> None:
    page = queries.page(queries.JOBS, {"result": "live"}, queries.WITH_LIVE_JOBS)

    plan = [row[3] for row in story.conn.execute(f"EXPLAIN QUERY PLAN {page.sql}", page.parameters)]

    assert "SEARCH j USING INDEX job_list (regression_id=? AND result=?)" in plan
