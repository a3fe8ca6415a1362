"""Strips of series, hosts, lanes in time, charts; and live jobs of all regressions."""

from __future__ import annotations

from typing import Any

import pytest
from support.asking import quoted
from support.daemons import Daemon, done, live
from support.stories import Story
from support.telling import failed, found, publish, regr

from simscope_server.reading import figures, queries


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


def test_live_jobs_of_all_regressions_are_found_by_their_regressions(shared: Daemon, run: str) -> None:
    ids = publish(shared, run, live("a"), live("b"), done("c"))
    publish(shared, f"{run}-done", done("a"))

    told = shared.get("/jobs?result=live&limit=2")

    assert [job["id"] for job in told["items"]] == [ids[1], ids[0]]


def test_looking_for_live_jobs_does_not_read_the_finished_ones(story: Story) -> None:
    page = queries.page(queries.JOBS, {"result": "live"}, queries.WITH_LIVE_JOBS)

    plan = [row[3] for row in story.conn.execute(f"EXPLAIN QUERY PLAN {page.sql}", page.parameters)]

    assert "SEARCH j USING INDEX job_list (regression_id=? AND result=?)" in plan
