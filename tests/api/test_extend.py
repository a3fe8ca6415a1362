"""Moving the time limit of a job."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from support.daemons import Daemon, live, publish_job, wait_until
from support.stories import Story

from simscope_server.ledger.actions import once
from simscope_server.ledger.expiry import prune_records

AN_HOUR = 3_600_000


def regr(daemon: Daemon, kind: str, regression: str, body: Any = None) -> None:
    status, told = daemon.post(f"/publish/{kind}?regression={regression}", body)
    assert status == 200, told


def extend(daemon: Daemon, job: int, body: Any, key: str | None = None) -> tuple[int, Any]:
    headers = {"Idempotency-Key": key} if key else {}
    return daemon.request("POST", f"/api/v1/jobs/{job}/extend", body, headers)[:2]


def history(daemon: Daemon, job: int) -> list[str]:
    return [entry["type"] for entry in daemon.get(f"/jobs/{job}/history")["items"]]


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def test_by_ms_moves_the_limit_of_a_live_job_and_says_who(shared: Daemon, run: str) -> None:
    job = publish_job(shared, run, live(time_limit_ms=AN_HOUR))
    before = shared.get(f"/jobs/{job}")

    status, told = extend(shared, job, {"by_ms": 600_000})

    assert (status, told["time_limit_ms"], told["result"]) == (200, AN_HOUR + 600_000, "live")
    moved = moment(told["due_at"]) - moment(before["due_at"])
    assert abs(moved - timedelta(minutes=10)) < timedelta(seconds=1)
    assert told["version"] > before["version"]
    entry = shared.get(f"/jobs/{job}/history")["items"][-1]
    assert (entry["type"], entry["created_by"]) == ("job.extended", "http:127.0.0.1")
    assert entry["changed"] == {"time_limit_ms": [AN_HOUR, AN_HOUR + 600_000]}
    assert "by 10m 00s" in entry["description"]


def test_extensions_add_up_and_a_heartbeat_that_repeats_the_limit_takes_none_back(shared: Daemon, run: str) -> None:
    job = publish_job(shared, run, live(time_limit_ms=AN_HOUR))
    extend(shared, job, {"by_ms": 1000})
    extend(shared, job, {"by_ms": 2000})

    publish_job(shared, run, live(time_limit_ms=AN_HOUR, host="h1"))

    assert shared.get(f"/jobs/{job}")["time_limit_ms"] == AN_HOUR + 3000


def test_a_publisher_who_moves_its_limit_replaces_what_was_added(shared: Daemon, run: str) -> None:
    job = publish_job(shared, run, live(time_limit_ms=AN_HOUR))
    extend(shared, job, {"by_ms": 1000})

    publish_job(shared, run, live(time_limit_ms=2 * AN_HOUR))

    assert shared.get(f"/jobs/{job}")["time_limit_ms"] == 2 * AN_HOUR


def test_until_is_a_moment(shared: Daemon, run: str) -> None:
    until = (datetime.now(UTC) + timedelta(hours=3)).replace(microsecond=0)
    limited = publish_job(shared, run, live(time_limit_ms=AN_HOUR))
    unlimited = publish_job(shared, run, live("b"))

    for job in (limited, unlimited):
        status, told = extend(shared, job, {"until": until.isoformat()})

        assert status == 200, told
        assert moment(told["due_at"]) == until


def test_a_moment_may_be_a_leap_second(shared: Daemon, run: str) -> None:
    soon = (datetime.now(UTC) + timedelta(hours=3)).replace(second=59, microsecond=999_000)
    job = publish_job(shared, run, live())

    status, told = extend(shared, job, {"until": f"{soon:%Y-%m-%dT%H:%M}:60Z"})

    assert status == 200, told
    assert moment(told["due_at"]) == soon


def test_a_job_that_its_limit_ended_lives_again_for_as_long_as_was_asked(shared: Daemon, run: str) -> None:
    job = publish_job(shared, run, live(time_limit_ms=1))
    wait_until(lambda: shared.get(f"/jobs/{job}")["reason"] == "time-limit")

    status, told = extend(shared, job, {"by_ms": AN_HOUR})

    assert (status, told["result"], told["reason"], told["done"]) == (200, "live", None, False)
    assert told["signature"] is None
    left = moment(told["due_at"]) - datetime.now(UTC)
    assert timedelta(minutes=59) < left <= timedelta(hours=1)
    assert history(shared, job) == ["job.live", "job.timed_out", "job.revived", "job.extended"]
    assert shared.get(f"/regressions/{run}")["counts"] == {"pass": 0, "fail": 0, "skip": 0, "live": 1, "migrated": 0}


def test_an_extended_job_runs_into_its_new_limit(shared: Daemon, run: str) -> None:
    job = publish_job(shared, run, live(time_limit_ms=AN_HOUR))
    soon = (datetime.now(UTC) + timedelta(seconds=1)).isoformat()

    assert extend(shared, job, {"until": soon})[0] == 200

    told = shared.get(f"/jobs/{job}?wait=20&until=done")
    assert (told["result"], told["reason"]) == ("fail", "time-limit")


@pytest.mark.parametrize("result", ["pass", "fail", "skip"])
def test_a_job_with_a_verdict_of_its_own_is_not_extended(shared: Daemon, run: str, result: str) -> None:
    job = publish_job(shared, run, {**live(time_limit_ms=1), "result": result})

    status, told = extend(shared, job, {"by_ms": 1000})

    assert (status, told["reason"]) == (409, "not-live")
    assert shared.get(f"/jobs/{job}")["result"] == result


@pytest.mark.parametrize("end", ["regr-finish", "tank"])
def test_what_something_else_ended_is_not_extended(shared: Daemon, run: str, end: str) -> None:
    job = publish_job(shared, run, live(time_limit_ms=AN_HOUR))
    if end == "tank":
        shared.post(f"/jobs/{job}/tank", {})
    else:
        regr(shared, end, run)

    status, told = extend(shared, job, {"by_ms": 1000})

    assert (status, told["reason"]) == (409, "not-live")


def test_a_limit_that_ended_a_job_stays_where_its_regression_is_over(shared: Daemon, run: str) -> None:
    job = publish_job(shared, run, live(time_limit_ms=1))
    wait_until(lambda: shared.get(f"/jobs/{job}")["done"])
    regr(shared, "regr-finish", run)

    status, told = extend(shared, job, {"by_ms": AN_HOUR})

    assert (status, told["reason"]) == (409, "not-live")
    assert shared.get(f"/jobs/{job}")["reason"] == "time-limit"


def test_a_job_without_a_limit_has_nothing_to_move(shared: Daemon, run: str) -> None:
    job = publish_job(shared, run, live())

    status, told = extend(shared, job, {"by_ms": 1000})

    assert (status, told["reason"]) == (409, "no-time-limit")
    assert history(shared, job) == ["job.live"]


def test_a_job_that_waits_is_given_more_time_but_no_moment(shared: Daemon, run: str) -> None:
    job = publish_job(shared, run, live(phase="QUEUED", time_limit_ms=1000))
    until = (datetime.now(UTC) + timedelta(hours=1)).isoformat()

    refused = extend(shared, job, {"until": until})
    status, told = extend(shared, job, {"by_ms": AN_HOUR})
    publish_job(shared, run, live(phase="RUNNING", time_limit_ms=1000))

    assert (refused[0], refused[1]["reason"]) == (409, "not-running")
    assert (status, told["time_limit_ms"]) == (200, AN_HOUR + 1000)
    left = moment(shared.get(f"/jobs/{job}")["due_at"]) - datetime.now(UTC)
    assert timedelta(minutes=59) < left < timedelta(minutes=61)


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        (b"", 400, "bad-json"),
        (b"{", 400, "bad-json"),
        (b"[]", 422, "bad-extension"),
        ({}, 422, "bad-extension"),
        ({"by": 1000}, 422, "bad-extension"),
        ({"by_ms": 0}, 422, "bad-extension"),
        ({"by_ms": -5}, 422, "bad-extension"),
        ({"by_ms": "1h"}, 422, "bad-extension"),
        ({"by_ms": True}, 422, "bad-extension"),
        ({"by_ms": 1.5}, 422, "bad-extension"),
        ({"by_ms": 25 * 24 * AN_HOUR}, 422, "bad-extension"),
        ({"by_ms": 24 * 24 * AN_HOUR}, 422, "bad-extension"),  # together with what it has
        ({"by_ms": 2**70}, 422, "bad-extension"),
        ({"until": "2001-01-01T00:00:00Z"}, 422, "bad-extension"),
        ({"until": "0001-01-01T00:00:00Z"}, 422, "bad-extension"),
        ({"until": "9999-12-31T00:00:00Z"}, 422, "bad-extension"),
        ({"until": "tomorrow"}, 422, "bad-extension"),
        ({"until": "2030-01-01T00:00:00"}, 422, "bad-extension"),  # without a zone
        ({"by_ms": 1, "until": "2030-01-01T00:00:00Z"}, 422, "bad-extension"),
    ],
)
def test_what_is_no_extension_is_refused_and_changes_nothing(
    shared: Daemon, run: str, body: Any, status: int, reason: str
) -> None:
    job = publish_job(shared, run, live(time_limit_ms=AN_HOUR))

    said, told = extend(shared, job, body)

    assert (said, told["reason"]) == (status, reason)
    assert told["detail"]
    assert history(shared, job) == ["job.live"]


def test_the_same_key_answers_the_same_and_extends_once(shared: Daemon, run: str) -> None:
    job = publish_job(shared, run, live(time_limit_ms=AN_HOUR))

    first = extend(shared, job, {"by_ms": 1000}, f"key {run}")
    publish_job(shared, run, live(host="h9"))
    again = extend(shared, job, {"by_ms": 1000}, f"key {run}")
    other = extend(shared, job, {"by_ms": 2000}, f"key {run}")
    new = extend(shared, job, {"by_ms": 2000}, f"another key {run}")

    assert first == again
    assert first[1]["time_limit_ms"] == AN_HOUR + 1000
    assert (other[0], other[1]["reason"]) == (422, "idempotency-key-reused")
    assert new[1]["time_limit_ms"] == AN_HOUR + 3000


def test_a_key_of_another_job_is_refused_and_one_that_failed_may_be_used_again(shared: Daemon, run: str) -> None:
    one, two = publish_job(shared, run, live(time_limit_ms=AN_HOUR)), publish_job(shared, run, live("b"))
    assert extend(shared, two, {"by_ms": 1000}, run)[0] == 409

    assert extend(shared, one, {"by_ms": 1000}, run)[0] == 200
    assert extend(shared, two, {"by_ms": 1000}, run)[1]["reason"] == "idempotency-key-reused"


def test_many_retries_at_once_extend_once(shared: Daemon, run: str) -> None:
    job = publish_job(shared, run, live(time_limit_ms=AN_HOUR))
    told: list[Any] = []
    threads = [
        threading.Thread(target=lambda: told.append(extend(shared, job, {"by_ms": 1000}, run))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [status for status, _ in told] == [200] * 8
    assert shared.get(f"/jobs/{job}")["time_limit_ms"] == AN_HOUR + 1000


@pytest.mark.parametrize("key", ["x" * 256, "a\tb"])
def test_a_key_that_cannot_be_kept_is_422(shared: Daemon, run: str, key: str) -> None:
    job = publish_job(shared, run, live(time_limit_ms=AN_HOUR))

    status, told = extend(shared, job, {"by_ms": 1000}, key)

    assert (status, told["reason"]) == (422, "bad-idempotency-key")


def test_extending_a_job_that_is_not_there_is_404(shared: Daemon) -> None:
    assert extend(shared, 999_999, {"by_ms": 1})[0] == 404


def test_an_extension_holds_over_a_restart(make_daemon: Callable[..., Daemon]) -> None:
    daemon = make_daemon().start()
    job = publish_job(daemon, "r", live(time_limit_ms=AN_HOUR))
    first = extend(daemon, job, {"by_ms": 1000}, "k")
    daemon.stop()
    daemon.start()

    assert daemon.get(f"/jobs/{job}")["time_limit_ms"] == AN_HOUR + 1000
    assert extend(daemon, job, {"by_ms": 1000}, "k")[1]["version"] == first[1]["version"]


def test_an_answer_under_a_key_is_kept_as_long_as_receipts_are(story: Story) -> None:
    story.live(time_limit_ms=AN_HOUR)
    story.change(once, "k", "asked", lambda batch: "{}")
    story.pass_time(13 * 86400)
    story.change(prune_records)
    assert story.rows("SELECT key FROM idempotency") == [{"key": "k"}]

    story.pass_time(2 * 86400)
    story.change(prune_records)

    assert story.rows("SELECT key FROM idempotency") == []
