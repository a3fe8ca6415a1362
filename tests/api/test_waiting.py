"""Long polls: a job, its status, a regression, waited for until they change or are done."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.asking import WOKEN_S, later, newest, waiting
from support.daemons import LIVE_SIGS, Daemon, done, driven, live, publish, publish_job, wait_until

from simscope_server.ledger.ledger import Topics
from simscope_server.reading.feed import Subject

CONFIG = f'{LIVE_SIGS}[spool]\ndir = "spool"\nsettle_ms = 100\npoll_ms = 100\n'


def regr(daemon: Daemon, kind: str, regression: str, body: Any = None) -> None:
    status, told = daemon.post(f"/publish/{kind}?regression={regression}", body)
    assert status == 200, told


def test_until_done_returns_when_the_job_is_done_and_not_before(shared: Daemon, run: str) -> None:
    job = publish_job(shared, run, live())
    first = later(0.2, lambda: publish(shared, "job-live", run, live(host="h1")))
    second = later(0.5, lambda: publish(shared, "job-finish", run, done()))
    begun = time.monotonic()

    told = shared.get(f"/jobs/{job}?wait=60&until=done")

    took = time.monotonic() - begun
    first.join()
    second.join()
    assert (told["result"], told["done"]) == ("pass", True)
    assert took < WOKEN_S


def test_version_answers_at_once_for_a_job_that_is_done(shared: Daemon, run: str) -> None:
    job = publish_job(shared, run, live(result="pass"))
    version = shared.get(f"/jobs/{job}")["version"]
    begun = time.monotonic()

    told = shared.get(f"/jobs/{job}?wait=60&version={version}")

    assert told["done"]
    assert time.monotonic() - begun < WOKEN_S


def test_version_returns_at_the_next_change(shared: Daemon, run: str) -> None:
    job = publish_job(shared, run, live())
    version = shared.get(f"/jobs/{job}")["version"]
    beat = later(0.1, lambda: publish(shared, "job-live", run, live()))
    other = later(0.2, lambda: publish(shared, "job-live", run, live("another")))
    change = later(0.5, lambda: publish(shared, "job-live", run, live(host="h1")))
    begun = time.monotonic()

    told = shared.get(f"/jobs/{job}?wait=60&version={version}")

    took = time.monotonic() - begun
    for thread in (beat, other, change):
        thread.join()
    assert (told["host"], told["version"] > version) == ("h1", True)
    assert took < WOKEN_S


@pytest.mark.parametrize("query", ["wait=60", "wait=60&until=done", "wait=60&version=1", "until=done", "version=1"])
def test_a_job_that_is_done_or_changed_already_is_answered_at_once(shared: Daemon, run: str, query: str) -> None:
    job = publish_job(shared, run, done())
    begun = time.monotonic()

    told = shared.get(f"/jobs/{job}?{query}")

    assert told["done"] is True
    assert time.monotonic() - begun < WOKEN_S


def test_a_wait_for_a_job_that_runs_out_answers_with_the_job_as_it_is(shared: Daemon, run: str) -> None:
    job = publish_job(shared, run, live())
    begun = time.monotonic()

    told = shared.get(f"/jobs/{job}?wait=0.4&until=done")

    assert (told["result"], told["done"]) == ("live", False)
    assert time.monotonic() - begun >= 0.4


def test_what_happens_between_looking_and_waiting_is_not_missed(
    make_daemon: Callable[..., Daemon], tmp_path: Path
) -> None:
    prelude = """
looked = rooms.find("job_row")

async def slow(context, request):
    row = await looked(context, request)
    if "until" in request.query and not os.path.exists("finished"):
        open("looked", "w").close()
        while not os.path.exists("finished"):
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.3)
    return row

rooms.replace("job_row", slow)
"""
    daemon = make_daemon(CONFIG, program=driven(tmp_path / "daemon", prelude)).start()
    job = publish_job(daemon, "r", live())
    told: list[Any] = []
    waiting = threading.Thread(target=lambda: told.append(daemon.get(f"/jobs/{job}?wait=60&until=done")))
    begun = time.monotonic()
    waiting.start()
    wait_until((daemon.folder / "looked").exists)
    publish(daemon, "job-finish", "r", done())
    (daemon.folder / "finished").touch()

    waiting.join()

    assert told[0]["result"] == "pass"
    assert time.monotonic() - begun < WOKEN_S


def test_what_is_committed_between_a_look_at_the_feed_and_the_wait_is_not_missed(shared: Daemon, run: str) -> None:
    for number in range(20):
        start = newest(shared)
        thread = later(0, lambda name=f"{number}": publish(shared, "job-live", run, live(name)))  # type: ignore[misc]
        begun = time.monotonic()

        told = shared.get(f"/events?after={start}&wait=60")

        thread.join()
        assert told["items"]
        assert time.monotonic() - begun < WOKEN_S


def test_a_wait_ends_when_the_regression_takes_the_job_along(shared: Daemon, run: str) -> None:
    job = publish_job(shared, run, live())
    thread = later(0.2, lambda: publish(shared, "regr-finish", run, None))

    told = shared.get(f"/jobs/{job}?wait=60&until=done")

    thread.join()
    assert (told["result"], told["reason"], told["migrated"]) == ("fail", "missing", True)


def test_a_regression_is_waited_for_until_it_is_done(shared: Daemon, run: str) -> None:
    regr(shared, "regr-start", run, {})
    thread, told = waiting(shared, f"/regressions/{run}?wait=60&until=done")
    publish_job(shared, run, {**live(), "result": "pass"})
    thread.join(0.3)
    assert thread.is_alive()

    regr(shared, "regr-finish", run)

    thread.join(10)
    assert told[0]["status"] == "complete"


def test_a_regression_is_waited_for_until_it_changes(shared: Daemon, run: str) -> None:
    regr(shared, "regr-start", run, {})
    version = shared.get(f"/regressions/{run}")["version"]
    thread, told = waiting(shared, f"/regressions/{run}?wait=60&version={version}")
    publish_job(shared, f"{run}-other", live())
    thread.join(0.3)
    assert thread.is_alive()

    publish_job(shared, run, live())

    thread.join(10)
    assert told[0]["counts"]["live"] == 1
    assert told[0]["version"] > version


def test_a_status_is_waited_for(shared: Daemon, run: str) -> None:
    job = publish_job(shared, run, live())
    thread, told = waiting(shared, f"/jobs/{job}/status?wait=60&until=done")

    publish_job(shared, run, {**live(), "result": "fail", "fail_message": "x"})

    thread.join(10)
    assert set(told[0]) == {"id", "result", "reason", "done", "version"}
    assert (told[0]["result"], told[0]["done"]) == ("fail", True)


@pytest.mark.parametrize("path", ["/regressions/{run}", "/jobs/{job}", "/jobs/{job}/status"])
def test_until_takes_done_only(shared: Daemon, run: str, path: str) -> None:
    job = publish_job(shared, run, live())

    status, told, _ = shared.request("GET", f"/api/v1{path.format(run=run, job=job)}?wait=1&until=pass")

    assert (status, told["reason"]) == (400, "bad-query")


def test_what_happens_to_other_jobs_wakes_nobody(make_daemon: Callable[..., Daemon], tmp_path: Any) -> None:
    """Each look of a waiter is a SELECT; with many waiters a busy daemon must not look for all at each commit."""
    prelude = """
looked = rooms.find("job_row")

async def counted(context, request):
    with open("looks", "a") as file:
        file.write("x")
    return await looked(context, request)

rooms.replace("job_row", counted)
"""
    daemon = make_daemon(LIVE_SIGS, program=driven(tmp_path, prelude)).start()
    jobs = [publish_job(daemon, "r", live(f"j{number}")) for number in range(20)]
    waiters = [waiting(daemon, f"/jobs/{job}?wait=60&until=done") for job in jobs]
    looks = daemon.folder / "looks"
    wait_until(lambda: looks.exists() and looks.stat().st_size == 40, what="all to look before they wait")

    for number in range(30):
        publish_job(daemon, "r", live("other", phase=str(number)))
    publish_job(daemon, "r", {**live("j0"), "result": "pass"})
    waiters[0][0].join(10)

    assert waiters[0][1][0]["result"] == "pass"
    assert looks.stat().st_size <= 42
    daemon.stop()
    for thread, _ in waiters:
        thread.join(10)


def test_a_waiter_that_goes_away_is_forgotten(shared: Daemon, run: str) -> None:
    topics = Topics()
    loop = asyncio.new_event_loop()
    subject = Subject(1, 2)

    async def come_and_go() -> None:
        with topics.subscribe(subject), topics.subscribe(subject, b"log"):
            assert len(topics._waiting[subject]) == 2

    loop.run_until_complete(come_and_go())
    loop.close()

    assert topics._waiting == {}


def test_waiters_do_not_keep_the_daemon_from_stopping(make_daemon: Callable[..., Daemon]) -> None:
    daemon = make_daemon().start()
    job = publish_job(daemon, "r", live())
    waiters = [waiting(daemon, f"/{path}?wait=60&until=done") for path in (f"jobs/{job}", "regressions/r")]
    time.sleep(0.2)

    assert daemon.stop() == 0

    for thread, _ in waiters:
        thread.join(10)
        assert not thread.is_alive()
