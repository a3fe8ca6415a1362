"""What people do by hand: tank, untank, finish."""

from __future__ import annotations

import pytest
from support.asking import problem
from support.daemons import Daemon, done, live, publish


def test_tank_hides_a_regression_and_its_jobs_fail_until_untank(shared: Daemon, run: str) -> None:
    publish(shared, "batch-job-live", run, [live("a"), live("b")])
    publish(shared, "job-finish", run, done("c"))

    status, tanked = shared.post(f"/regressions/{run}/tank", {"reason": "wrong model"})
    late = publish(shared, "job-live", run, live("a"))
    hidden = [item["name"] for item in shared.get("/regressions?limit=500")["items"]]

    assert (status, tanked["status"], tanked["reason"]) == (200, "tanked", "wrong model")
    assert tanked["counts"] == {"pass": 1, "fail": 2, "skip": 0, "live": 0, "migrated": 2}
    assert (late["ignored"], late["details"][0]["reason"]) == (1, "tanked")
    assert run not in hidden
    job = shared.get(f"/regressions/{run}/jobs?result=fail")["items"][0]
    assert (job["reason"], job["signature"]["title"], job["migrated"]) == ("tanked", "Tanked", True)
    status, shown = shared.post(f"/regressions/{run}/untank")
    assert (status, shown["status"]) == (200, "live")
    assert shown["counts"] == {"pass": 1, "fail": 0, "skip": 0, "live": 2, "migrated": 0}
    types = [event["type"] for event in shared.get(f"/events?regression={run}&limit=500")["items"]]
    assert [kind for kind in types if kind.startswith("regression.") and "tank" in kind] == [
        "regression.tanked",
        "regression.untanked",
    ]


def test_tank_and_untank_a_second_time_change_nothing(shared: Daemon, run: str) -> None:
    publish(shared, "job-live", run, live())
    assert shared.post(f"/regressions/{run}/untank")[1]["status"] == "live"
    first = shared.post(f"/regressions/{run}/tank", {"reason": "first"})[1]

    second = shared.post(f"/regressions/{run}/tank", {"reason": "second"})[1]

    assert (second["reason"], second["version"]) == ("first", first["version"])


def test_finish_ends_a_regression_and_migrates_its_live_jobs(shared: Daemon, run: str) -> None:
    publish(shared, "batch-job-live", run, [live("a"), live("b")])

    status, told = shared.post(f"/regressions/{run}/finish")

    assert (status, told["status"], told["reason"]) == (200, "aborted", "finish")
    assert told["counts"] == {"pass": 0, "fail": 2, "skip": 0, "live": 0, "migrated": 2}
    again = shared.post(f"/regressions/{run}/finish")
    assert (again[0], again[1]["version"]) == (200, told["version"])


def test_tank_of_a_job_makes_it_a_fail_that_a_finish_corrects(shared: Daemon, run: str) -> None:
    number = publish(shared, "job-live", run, live())["details"][0]["job"]

    status, tanked = shared.post(f"/jobs/{number}/tank", {"reason": "hangs"})

    assert (status, tanked["result"], tanked["reason"]) == (200, "fail", "tanked")
    assert "hangs" in tanked["fail_message"]
    assert shared.post(f"/jobs/{number}/tank")[0] == 200
    publish(shared, "job-finish", run, done())
    assert shared.get(f"/jobs/{number}/status")["result"] == "pass"
    problem(shared.request("POST", f"/api/v1/jobs/{number}/tank"), 409, "not-live")


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"{", "bad-json"),
        (b"[1]", "bad-json"),
        (b'{"reason": 7}', "wrong-type"),
        (b'{"reason": "a\\u0000b"}', "bad-text"),
    ],
)
def test_a_reason_that_cannot_be_read_is_400(shared: Daemon, run: str, body: bytes, reason: str) -> None:
    number = publish(shared, "job-live", run, live())["details"][0]["job"]

    problem(shared.request("POST", f"/api/v1/regressions/{run}/tank", body), 400, reason)
    problem(shared.request("POST", f"/api/v1/jobs/{number}/tank", body), 400, reason)

    assert shared.get(f"/regressions/{run}")["status"] == "live"
