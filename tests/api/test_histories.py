"""Histories of jobs and regressions, and the words that other systems have for what happens."""

from __future__ import annotations

from typing import Any

import pytest
from support.daemons import Daemon, live, publish_job, wait_until

from simscope_server.messages.protocol import TYPE_ALIASES


def regr(daemon: Daemon, kind: str, regression: str, body: Any = None) -> None:
    status, told = daemon.post(f"/publish/{kind}?regression={regression}", body)
    assert status == 200, told


def test_the_history_of_a_job_tells_every_change_with_who_and_what(shared: Daemon, run: str) -> None:
    job = publish_job(shared, run, live(phase="QUEUED"))
    publish_job(shared, run, live(phase="RUNNING", host="h1"))
    publish_job(shared, run, live(progress={"done": 1, "total": 3}))
    publish_job(shared, run, live(progress={"done": 2, "total": 3}))
    publish_job(shared, run, {**live(), "result": "fail", "fail_message": "x"})

    told = shared.get(f"/jobs/{job}/history")["items"]

    assert [entry["type"] for entry in told] == ["job.live", "job.updated", "job.updated", "job.failed"]
    assert all(entry["created_by"] == "http:127.0.0.1" for entry in told)
    assert [entry["phase"] for entry in told] == ["QUEUED", "RUNNING", "RUNNING", "RUNNING"]
    assert told[1]["changed"]["phase"] == ["QUEUED", "RUNNING"]
    assert told[1]["changed"]["host"] == [None, "h1"]
    assert told[2]["progress"] == {"done": 2, "total": 3}
    assert [entry["result"] for entry in told] == ["live", "live", "live", "fail"]
    assert [entry["seq"] for entry in told] == sorted(entry["seq"] for entry in told)


def test_the_history_of_a_regression_is_its_own_and_keeps_the_newest_progress(shared: Daemon, run: str) -> None:
    regr(shared, "regr-start", run, {"submitted": 9, "tag": "a"})
    for running in (1, 2, 3):
        regr(shared, "regr-update", run, {"running": running})
    publish_job(shared, run, live())
    regr(shared, "regr-update", run, {"tag": "b", "running": 4})
    regr(shared, "regr-update", run, {"running": 5})
    shared.post(f"/regressions/{run}/tank", {"reason": "bad model"})
    shared.post(f"/regressions/{run}/untank")
    regr(shared, "regr-finish", run)

    told = shared.get(f"/regressions/{run}/history")["items"]

    kinds = [entry["type"].removeprefix("regression.") for entry in told]
    assert kinds == ["started", "updated", "updated", "tanked", "first_failure", "untanked", "finished"]
    assert told[1]["changed"]["tag"] == ["a", "b"]
    assert told[2]["progress"] == {"running": 5}
    assert "changed" not in told[2]
    assert told[3]["reason"] == "bad model"
    assert {entry["created_by"] for entry in told} == {"http:127.0.0.1"}
    assert shared.get(f"/regressions/{run}")["_links"]["history"]["href"].endswith("/history")


def test_a_verdict_of_the_clock_says_so(shared: Daemon, run: str) -> None:
    job = publish_job(shared, run, live(time_limit_ms=1))
    wait_until(lambda: shared.get(f"/jobs/{job}")["done"])

    entry = shared.get(f"/jobs/{job}/history")["items"][-1]

    assert (entry["type"], entry["created_by"], entry["reason"]) == ("job.timed_out", "daemon:timeout", "time-limit")
    assert "time limit of 1 ms" in entry["description"]


def test_histories_come_in_pages(shared: Daemon, run: str) -> None:
    job = publish_job(shared, run, live())
    for number in range(4):
        publish_job(shared, run, live(phase=f"step {number}"))
    whole = shared.get(f"/jobs/{job}/history")["items"]

    first = shared.get(f"/jobs/{job}/history?limit=2")
    second = shared.get(f"/jobs/{job}/history?limit=3&after={first['next']}")

    assert first["items"] + second["items"] == whole
    assert (first["next"], second["next"]) == (whole[1]["seq"], None)


AGAVE = (
    "PENDING PROCESSING_INPUTS STAGING_INPUTS STAGED STAGING_JOB SUBMITTING QUEUED RUNNING PAUSED CLEANING_UP "
    "ARCHIVING ARCHIVING_FINISHED ARCHIVING_FAILED FINISHED FAILED STOPPED KILLED HEARTBEAT"
).split()


@pytest.mark.parametrize("phase", AGAVE)
def test_a_phase_is_shown_as_given_and_ends_no_job(shared: Daemon, run: str, phase: str) -> None:
    job = publish_job(shared, run, live(phase=phase))

    told = shared.get(f"/jobs/{job}")

    waits = AGAVE.index(phase) < AGAVE.index("RUNNING") or phase == "PAUSED"
    assert (told["phase"], told["result"], told["done"]) == (phase, "live", False)
    assert (told["started_at"] is None) == waits


@pytest.fixture(scope="module")
def lives(shared: Daemon) -> str:
    """A regression in which everything happens that has a name."""
    publish_job(shared, "lives", live("p", phase="PENDING"))
    publish_job(shared, "lives", live("p", phase="RUNNING"))
    publish_job(shared, "lives", {**live("p"), "result": "pass"})
    publish_job(shared, "lives", {**live("f"), "result": "fail", "fail_message": "x"})
    shared.post(f"/jobs/{publish_job(shared, 'lives', live('t'))}/tank", {})
    return "lives"


@pytest.mark.parametrize(
    ("types", "expected"),
    [
        ("CREATED", "live live"),
        ("PENDING,RUNNING", "live updated live"),
        ("Running", "live updated live"),
        ("HEARTBEAT", "updated"),
        ("FINISHED", "passed"),
        ("Completed", "passed"),
        ("FAILED", "failed"),
        ("STOPPED", "tanked"),
        ("FINISHED,FAILED,KILLED", "passed failed tanked"),
        ("FINISHED,job.failed", "passed failed"),
        ("DELETED", ""),
        ("PERMISSION_GRANT", ""),
    ],
)
def test_events_are_found_by_the_names_of_other_systems(shared: Daemon, lives: str, types: str, expected: str) -> None:
    told = shared.get(f"/events?regression={lives}&types={types}&limit=500")["items"]

    assert [item["type"] for item in told] == [f"job.{word}" for word in expected.split()]


def test_every_status_of_agave_is_a_name_for_events(shared: Daemon) -> None:
    assert [word for word in AGAVE if word not in TYPE_ALIASES] == []


def test_a_name_that_nobody_uses_is_refused(shared: Daemon) -> None:
    assert shared.request("GET", "/api/v1/events?types=SLEEPING")[0] == 400
