"""One regression, one job: what REF means, what is not there, ETags, comparisons."""

from __future__ import annotations

import contextlib
import sqlite3
import urllib.parse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.asking import problem, quoted, unchanged
from support.daemons import LIVE_SIGS, Daemon, done, driven, live, publish, wait_until


@pytest.mark.parametrize(
    "name",
    [
        "plain",
        "my/run/123",
        "100%",
        "a%2Fb",
        "with blank",
        "a+b",
        "a?b#c&d=e",
        "Prüfung/🚀",
        "q'\"`",
        "a\\b",
        "$",
        "..",
        "-",
    ],
)
def test_a_regression_is_found_by_its_encoded_name_and_by_its_id(shared: Daemon, run: str, name: str) -> None:
    name = f"{run}{name}"
    publish(shared, "job-live", name, live())

    by_name = shared.get(f"/regressions/{quoted(name)}")

    assert by_name["name"] == name
    assert shared.get(f"/regressions/{by_name['id']}")["name"] == name
    assert [job["regression"] for job in shared.get(f"/regressions/{quoted(name)}/jobs")["items"]] == [name]
    assert [job["regression"] for job in shared.get(f"/jobs?regression={quoted(name)}")["items"]] == [name]
    link = by_name["_links"]["web"]["href"]
    assert urllib.parse.unquote(link.rpartition("/r/")[2]) == name
    assert shared.request("GET", link)[0] == 200


@pytest.mark.parametrize("name", ["1", "2", "007"])
def test_the_page_of_a_regression_whose_name_looks_like_an_id_is_linked_by_its_id(shared: Daemon, name: str) -> None:
    publish(shared, "job-live", name, live())
    (number,) = shared.rows("SELECT id FROM regression WHERE name = ?", name)[0]

    link = shared.get(f"/regressions/{number}")["_links"]["web"]["href"]

    assert link == f"/r/{number}"


def test_series_dollar_means_the_latest_by_number(shared: Daemon, run: str) -> None:
    for number in ("9", "10", "2"):
        publish(shared, "job-live", f"{run}/x/{number}", live(number))

    latest = shared.get(f"/regressions/{run}%2Fx%2F%24")

    assert (latest["name"], latest["series"], latest["number"]) == (f"{run}/x/10", f"{run}/x", 10)
    assert shared.get(f"/regressions/{run}%2Fx%2F%24/jobs")["items"][0]["uniqueid"] == "10"
    problem(shared.request("GET", f"/api/v1/regressions/{run}%2F%24"), 404, "no-such-regression")


def test_series_dollar_is_a_name_only_where_the_series_has_no_run(shared: Daemon, run: str) -> None:
    publish(shared, "job-live", f"{run}/$", live("mistake"))
    before = shared.get(f"/regressions/{run}%2F%24")["name"]

    publish(shared, "job-live", f"{run}/1", live())

    assert before == f"{run}/$"
    assert shared.get(f"/regressions/{run}%2F%24")["name"] == f"{run}/1"


def test_a_job_that_was_run_again_started_when_its_last_run_did(shared: Daemon, run: str) -> None:
    job = publish(shared, "job-live", run, live(time_limit_ms=100_000))["details"][0]["job"]
    shared.post(f"/jobs/{job}/extend", {"by_ms": 1000})
    publish(shared, "job-finish", run, done(result="fail", start_time="2026-01-01T10:00:00Z"))

    publish(shared, "job-finish", run, done(start_time="2026-01-01T11:00:00Z"))

    told = shared.get(f"/jobs/{job}")
    assert (told["started_at"], told["time_limit_ms"]) == ("2026-01-01T11:00:00.000Z", None)


@pytest.mark.parametrize("ref", ["nowhere", "999999999", "99999999999999999999", "%24", "%2F%24", "a%00b"])
def test_a_regression_that_is_not_there_is_404(shared: Daemon, ref: str) -> None:
    for path in ("", "/jobs", "/signatures", "/diff"):
        problem(shared.request("GET", f"/api/v1/regressions/{ref}{path}"), 404, "no-such-regression")
    for path in ("tank", "untank", "finish"):
        problem(shared.request("POST", f"/api/v1/regressions/{ref}/{path}"), 404, "no-such-regression")


@pytest.mark.parametrize("number", ["0", "999999999", "x", "-1", "1.5", "99999999999999999999", "٣"])
def test_a_job_that_is_not_there_is_404(shared: Daemon, number: str) -> None:
    for path in ("", "/status", "/history"):
        problem(shared.request("GET", f"/api/v1/jobs/{quoted(number)}{path}"), 404, "no-such-job")
    problem(shared.request("POST", f"/api/v1/jobs/{quoted(number)}/tank"), 404, "no-such-job")


def test_a_pruned_job_is_410(make_daemon: Callable[..., Daemon]) -> None:
    daemon = make_daemon(f"{LIVE_SIGS}prunelivedays = 0.000005\n").start()
    number = publish(daemon, "job-live", "r", live())["details"][0]["job"]

    wait_until(lambda: daemon.rows("SELECT 1 FROM pruned_job"))

    for path in ("", "/status", "/history"):
        told = problem(daemon.request("GET", f"/api/v1/jobs/{number}{path}"), 410, "pruned")
        assert "pruned" in told["detail"]
    problem(daemon.request("POST", f"/api/v1/jobs/{number}/tank"), 410, "pruned")
    assert daemon.get("/jobs")["items"] == []
    assert "job.pruned" in [event["type"] for event in daemon.get("/events")["items"]]


@pytest.mark.parametrize(("what", "body"), [("tank", {}), ("extend", {"by_ms": 1000})])
def test_a_job_that_is_pruned_while_it_is_changed_is_410(
    make_daemon: Callable[..., Daemon], tmp_path: Path, what: str, body: Any
) -> None:
    prelude = """
looked = rooms.find("job_row")

async def and_then_pruned(context, request):
    row = await looked(context, request)
    while await context.readers.read("SELECT 1 FROM job"):
        await context.ledger.change(rooms.find("prune_jobs"))
    return row

rooms.replace("job_row", and_then_pruned)
rooms.replace("prune_interval", lambda config: math.inf)
"""
    daemon = make_daemon(f"{LIVE_SIGS}prunelivedays = 0.000001\n", program=driven(tmp_path, prelude)).start()
    number = publish(daemon, "job-live", "r", live(time_limit_ms=60_000))["details"][0]["job"]

    told = problem(daemon.request("POST", f"/api/v1/jobs/{number}/{what}", body), 410, "pruned")

    assert f"job {number} was live without news for long" in told["detail"]
    assert "Traceback" not in daemon.log.read_text()
    assert daemon.get("/regressions/r")["counts"]["live"] == 0
    again = publish(daemon, "job-live", "r", live())["details"][0]["job"]
    assert again > number


def tag_of(daemon: Daemon, path: str) -> tuple[str, Any]:
    status, told, headers = daemon.request("GET", path)
    assert status == 200
    return headers["etag"], told


@pytest.mark.parametrize("path", ["/api/v1/regressions/{run}", "/api/v1/jobs/{job}", "/api/v1/jobs/{job}/status"])
def test_an_etag_holds_until_something_changes_and_elapsed_time_is_no_change(
    shared: Daemon, run: str, path: str
) -> None:
    job = publish(shared, "job-live", run, live())["details"][0]["job"]
    path = path.format(run=run, job=job)
    tag, before = tag_of(shared, path)
    assert tag == f'"{shared.get("/")["epoch"]}-{before["version"]}"'
    if "elapsed_ms" in before:
        wait_until(lambda: tag_of(shared, path)[1]["elapsed_ms"] > before["elapsed_ms"])

    assert unchanged(shared, path, tag)
    assert unchanged(shared, path, f'"other", W/{tag}')
    assert unchanged(shared, path, "*")
    assert not unchanged(shared, path, '"other"')
    publish(shared, "job-finish", run, done())
    assert not unchanged(shared, path, tag)


def test_an_etag_of_another_database_never_matches(make_daemon: Callable[..., Daemon]) -> None:
    daemon = make_daemon().start()
    publish(daemon, "job-finish", "r", done())
    tag, before = tag_of(daemon, "/api/v1/jobs/1")
    assert daemon.stop() == 0
    with contextlib.closing(sqlite3.connect(daemon.db)) as conn, conn:
        conn.execute("UPDATE daemon SET epoch = 'another'")
    daemon.start()

    assert tag_of(daemon, "/api/v1/jobs/1")[1]["version"] == before["version"]
    assert not unchanged(daemon, "/api/v1/jobs/1", tag)


def test_the_etag_of_a_regression_changes_with_a_field_that_a_message_of_an_older_run_fills_in(
    shared: Daemon, run: str
) -> None:
    publish(shared, "regr-start", run, {"starttime": "2026-01-02T00:00:00Z"})
    tag, before = tag_of(shared, f"/api/v1/regressions/{run}")

    publish(shared, "regr-start", run, {"starttime": "2026-01-01T00:00:00Z", "component": "cpu"})

    _, after = tag_of(shared, f"/api/v1/regressions/{run}")
    assert (before["component"], after["component"]) == (None, "cpu")
    assert not unchanged(shared, f"/api/v1/regressions/{run}", tag)


def test_the_etag_of_a_job_changes_when_its_clock_starts(shared: Daemon, run: str) -> None:
    job = publish(shared, "job-live", run, live(phase="queued", time_limit_ms=100_000))["details"][0]["job"]
    tag, before = tag_of(shared, f"/api/v1/jobs/{job}")

    publish(shared, "job-live", run, live())

    _, after = tag_of(shared, f"/api/v1/jobs/{job}")
    assert before["started_at"] is None and after["started_at"] is not None
    assert not unchanged(shared, f"/api/v1/jobs/{job}", tag)


def test_a_regression_started_when_the_last_message_says(shared: Daemon, run: str) -> None:
    publish(shared, "regr-update", run, {"component": "cpu"})
    first = shared.get(f"/regressions/{run}")["started_at"]

    publish(shared, "regr-start", run, {"starttime": "2026-01-01T00:00:00Z"})
    by_start = shared.get(f"/regressions/{run}")["started_at"]
    publish(shared, "regr-update", run, {"starttime": "2026-01-01T01:00:00.1239+01:00"})
    by_update = shared.get(f"/regressions/{run}")["started_at"]

    assert first > "2026-01-01T00:00:00.000Z"
    assert by_start == "2026-01-01T00:00:00.000Z"
    assert by_update == "2026-01-01T00:00:00.123Z"


def test_diff_tells_five_kinds_by_config(shared: Daemon, run: str) -> None:
    def job(config: str, result: str, seed: str = "1") -> dict[str, Any]:
        more = {"fail_message": "ERROR x"} if result == "fail" else {}
        return done(f"{config}-{seed}", result, config=config, seed=seed, **more)

    base = [job("breaks", "pass"), job("heals", "fail"), job("stays", "fail"), job("leaves", "pass"), job("ok", "pass")]
    here = [job("breaks", "fail"), job("heals", "pass"), job("stays", "fail"), job("comes", "fail"), job("ok", "pass")]
    here += [job("seeds", "pass", "1"), job("seeds", "fail", "2"), job("skipped", "skip")]
    base += [job("seeds", "pass", "1"), job("seeds", "pass", "2"), job("skipped", "fail"), job("runs", "pass")]
    publish(shared, "batch-job-finish", f"{run}/1", base)
    told = publish(shared, "batch-job-finish", f"{run}/2", here)
    publish(shared, "job-live", f"{run}/2", live("running", config="runs"))

    diff = shared.get(f"/regressions/{run}%2F2/diff?base={run}%2F1")

    assert (diff["regression"], diff["base"]) == (f"{run}/2", f"{run}/1")
    changed = {"newly_failing": 2, "fixed": 1, "still_failing": 1, "missing": 1, "added": 1}
    assert {kind: diff["counts"][kind] for kind in changed} == changed
    configs = {kind: [entry["config"] for entry in diff[kind]] for kind in changed}
    assert configs == {
        "newly_failing": ["breaks", "seeds"],
        "fixed": ["heals"],
        "still_failing": ["stays"],
        "missing": ["leaves"],
        "added": ["comes"],
    }
    entry = diff["newly_failing"][1]
    assert (entry["jobs"], entry["job"]) == (2, told["details"][6]["job"])
    assert (diff["added"][0]["base_job"], diff["missing"][0]["job"]) == (None, None)
    assert shared.get(f"/regressions/{run}%2F2/diff") == diff
    assert shared.get(f"/regressions/{run}%2F%24/diff") == diff


def test_the_etag_of_a_diff_is_of_both_sides(shared: Daemon, run: str) -> None:
    publish(shared, "job-finish", f"{run}/1", done("a", config="a"))
    publish(shared, "job-finish", f"{run}/2", done("a", config="a"))
    path = f"/api/v1/regressions/{run}%2F2/diff"
    first, _ = tag_of(shared, path)
    assert unchanged(shared, path, first)

    publish(shared, "job-finish", f"{run}/1", done("b", config="b"))
    second, told = tag_of(shared, path)
    publish(shared, "job-finish", f"{run}/2", done("b", config="b"))

    assert told["counts"]["missing"] == 1
    assert second != first
    assert not unchanged(shared, path, first)
    assert not unchanged(shared, path, second)


def test_diff_without_a_base_needs_an_earlier_run(shared: Daemon, run: str) -> None:
    publish(shared, "job-finish", f"{run}/5", done(config="c"))
    publish(shared, "job-finish", f"{run}alone", done(config="c"))

    problem(shared.request("GET", f"/api/v1/regressions/{run}%2F5/diff"), 404, "no-base")
    problem(shared.request("GET", f"/api/v1/regressions/{run}alone/diff"), 404, "no-base")
    problem(shared.request("GET", f"/api/v1/regressions/{run}%2F5/diff?base=nowhere"), 404, "no-such-regression")
