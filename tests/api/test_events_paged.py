"""Events in pages: the feed, its filters, waiting, cursors that cannot be used."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from support.asking import WOKEN_S, Stream, later, newest, types
from support.daemons import LIVE_SIGS, Daemon, done, live, publish, publish_job, wait_until

CONFIG = f'{LIVE_SIGS}[spool]\ndir = "spool"\nsettle_ms = 100\npoll_ms = 100\n'


def test_after_zero_starts_at_the_oldest_and_pages_follow_one_another(shared: Daemon, run: str) -> None:
    for number in range(5):
        publish(shared, "batch-job-live", run, [live(f"{number}-{each}") for each in range(5)])
    everything = shared.get("/events?after=0&limit=500")
    paged, after = [], 0
    while True:
        page = shared.get(f"/events?after={after}&limit=7")
        assert len(page["items"]) <= 7
        paged += page["items"]
        after = page["next"]
        if not page["items"]:
            break

    assert paged == everything["items"]
    assert after == everything["newest"] == everything["next"]
    seqs = [item["seq"] for item in paged]
    assert seqs == sorted(set(seqs))
    assert types(shared.get("/events")["items"])[:2] == ["regression.started", "job.live"]


def test_a_page_of_the_feed_has_a_link_while_more_is_waiting_behind_it(shared: Daemon, run: str) -> None:
    start = newest(shared)
    publish(shared, "batch-job-live", run, [live(str(number)) for number in range(7)])
    path, sizes = f"/api/v1/events?after={start}&limit=3&regression={run}&types=job.live", []

    while path:
        _, page, headers = shared.request("GET", path)
        sizes.append(len(page["items"]))
        path = headers.get("link", "").partition(">")[0].removeprefix("<")
    whole = shared.request("GET", f"/api/v1/events?after={start}&limit=7&regression={run}&types=job.live")

    assert sizes == [3, 3, 1]
    assert len(whole[1]["items"]) == 7
    assert "link" not in whole[2]


def test_pages_of_the_feed_neither_repeat_nor_lose_any_while_more_arrive(shared: Daemon, run: str) -> None:
    start = newest(shared)
    publish(shared, "batch-job-live", run, [live(str(number)) for number in range(20)])
    found: list[str] = []
    after = start
    for step in range(12):
        page = shared.get(f"/events?after={after}&limit=3&types=job.live")
        found += [item["data"]["created_by"] and str(item["job"]) for item in page["items"]]
        after = page["next"]
        if step < 8:
            publish(shared, "job-live", run, live(f"late-{step}"))

    told = [
        str(number) for (number,) in shared.rows("SELECT job_id FROM event WHERE seq > ? AND type = 'job.live'", start)
    ]
    assert found == told
    assert len(found) == 28


def test_an_event_tells_what_happened_to_whom(shared: Daemon, run: str) -> None:
    start = newest(shared)
    job = publish_job(shared, run, live(phase="queued"))
    publish(shared, "job-finish", run, done(result="fail", fail_message="ERROR x"))

    items = shared.get(f"/events?after={start}&limit=500")["items"]

    assert types(items) == ["regression.started", "job.live", "job.failed", "regression.first_failure"]
    assert [item["job"] for item in items] == [None, job, job, None]
    assert {item["regression"] for item in items} == {run}
    assert items[1]["data"]["phase"] == "queued"
    assert (items[2]["data"]["result"], items[2]["data"]["created_by"]) == ("fail", "http:127.0.0.1")
    assert all(item["at"].endswith("Z") for item in items)
    assert shared.get(f"/jobs/{job}")["version"] == items[2]["seq"]
    assert shared.get(f"/regressions/{run}")["version"] == items[3]["seq"]


def test_heartbeats_write_no_event_and_progress_replaces_the_progress_before(shared: Daemon, run: str) -> None:
    job = publish_job(shared, run, live(progress={"done": 0, "total": 9}))
    start = newest(shared)
    for _ in range(5):
        publish(shared, "job-live", run, live())

    assert newest(shared) == start
    for number in range(1, 6):
        publish(shared, "job-live", run, live(progress={"done": number, "total": 9}))
    items = shared.get(f"/events?job={job}&after={start}")["items"]
    assert types(items) == ["job.updated"]
    assert items[0]["data"]["progress"]["done"] == 5
    history = shared.get(f"/jobs/{job}/history")["items"]
    assert [entry["type"] for entry in history] == ["job.live", "job.updated"]
    assert shared.get(f"/jobs/{job}")["version"] == items[0]["seq"] == start + 5


@pytest.fixture(scope="module")
def story(shared: Daemon) -> tuple[Daemon, int, int]:
    """A little of everything. -> daemon, cursor before it, a job."""
    start = newest(shared)
    publish(shared, "regr-start", "told/1", {"component": "cpu"})
    job = publish_job(shared, "told/1", live("a"))
    publish(shared, "job-live", "told/1", live("b"))
    publish(shared, "job-live", "told/2", live("a"))
    publish(shared, "job-finish", "told/1", done("a"))
    publish(shared, "job-finish", "told/2", done("a", "fail", fail_message="ERROR"))
    publish(shared, "job-finish", "told/2", done("s", "skip"))
    publish(shared, "regr-finish", "told/1", None)
    assert job is not None
    return shared, start, job


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("types=job.live", "job.live job.live job.live"),
        ("types=job.passed,job.failed", "job.passed job.failed"),
        ("types=regression.*", "regression.started regression.started regression.first_failure "
                               "regression.first_failure regression.finished"),
        ("types=job.finished", "job.passed job.failed job.skipped job.missing"),
        ("types=job.live,regression.finished", "job.live job.live job.live regression.finished"),
        ("types=job.p*", None),
        ("regression=told%2F2", "regression.started job.live job.failed regression.first_failure job.skipped"),
        ("regression=told%2F%24&types=job.*", "job.live job.failed job.skipped"),
        ("job={job}", "job.live job.passed"),
        ("job={job}&regression=told%2F2", ""),
        ("job={job}&types=job.passed", "job.passed"),
        ("types=regression.tanked", ""),
        ("types=*&job={job}", "job.live job.passed"),
        ("types=&job={job}", "job.live job.passed"),
    ],
)  # fmt: skip
def test_every_filter_of_the_feed(story: tuple[Daemon, int, int], query: str, expected: str | None) -> None:
    daemon, start, job = story
    path = f"/api/v1/events?after={start}&limit=500&{query.format(job=job)}"

    status, told, _ = daemon.request("GET", path)

    if expected is None:
        assert (status, told["reason"], told["path"]) == (400, "bad-query", "types")
        return
    ours = [item for item in told["items"] if item["regression"].startswith("told/")]
    assert sorted(types(ours)) == sorted(expected.split())
    assert told["next"] == told["newest"]


@pytest.mark.parametrize(
    ("query", "status"),
    [("types=nothing", 400), ("after=-1", 400), ("after=x", 400), ("wait=x", 400), ("wait=-1", 400), ("wait=inf", 400),
     ("regression=nowhere", 404), ("job=x", 404)],
)  # fmt: skip
def test_a_filter_that_cannot_be_is_refused(shared: Daemon, query: str, status: int) -> None:
    assert shared.request("GET", f"/api/v1/events?{query}")[0] == status
    if not query.startswith("wait"):
        stream = Stream(shared, f"?{query}")
        stream.close()
        assert stream.status == status


def test_wait_returns_as_soon_as_something_is_committed(shared: Daemon, run: str) -> None:
    start = newest(shared)
    thread = later(0.3, lambda: publish(shared, "job-live", run, live()))
    begun = time.monotonic()

    told = shared.get(f"/events?after={start}&wait=60")

    took = time.monotonic() - begun
    thread.join()
    assert types(told["items"])[0] == "regression.started"
    assert took < WOKEN_S


def test_wait_goes_on_while_only_events_come_that_are_not_wanted(shared: Daemon, run: str) -> None:
    start = newest(shared)
    first = later(0.1, lambda: publish(shared, "job-live", f"{run}other", live()))
    second = later(0.5, lambda: publish(shared, "job-finish", run, done()))

    told = shared.get(f"/events?after={start}&wait=60&types=job.passed")

    first.join()
    second.join()
    assert types(told["items"]) == ["job.passed"]


def test_wait_that_runs_out_answers_with_nothing_and_the_cursor_goes_on(shared: Daemon) -> None:
    start = newest(shared)
    begun = time.monotonic()

    told = shared.get(f"/events?after={start}&wait=0.3")

    assert (told["items"], told["next"]) == ([], start)
    assert time.monotonic() - begun >= 0.3


def test_prefer_wait_is_understood_too(shared: Daemon) -> None:
    begun = time.monotonic()

    status, told, _ = shared.request("GET", f"/api/v1/events?after={newest(shared)}", headers={"Prefer": "wait=1"})

    assert (status, told["items"]) == (200, [])
    assert time.monotonic() - begun >= 1


def test_a_cursor_of_the_future_or_of_another_database_is_410(shared: Daemon, run: str) -> None:
    publish(shared, "job-live", run, live())
    now = newest(shared)

    future = shared.request("GET", f"/api/v1/events?after={now + 1}")
    other = shared.request("GET", f"/api/v1/events?after={now}&epoch=00000000")
    own = shared.request("GET", f"/api/v1/events?after={now}&epoch={shared.get('/')['epoch']}")

    for status, told, headers in (future, other):
        assert (status, told["reason"]) == (410, "cursor-expired")
        assert headers["content-type"].startswith("application/problem+json")
        assert (told["newest"], told["epoch"]) == (now, shared.get("/")["epoch"])
    assert own[0] == 200


def test_a_cursor_older_than_what_is_kept_is_410_and_the_stream_says_reset(make_daemon: Callable[..., Daemon]) -> None:
    daemon = make_daemon(f"{CONFIG}[limits]\nkeep_events_days = 0.000001\n").start()
    job = publish_job(daemon, "r", live())
    for number in range(5):
        publish(daemon, "job-live", "r", live(host=f"h{number}"))
    newest_of_them = newest(daemon)
    daemon.stop()
    daemon.start()
    wait_until(lambda: daemon.get("/events")["oldest"] >= newest_of_them, what="old events to leave the feed")
    daemon.stop()
    daemon.start()

    status, told, _ = daemon.request("GET", "/api/v1/events?after=1")
    feed = daemon.get("/events?after=0")
    history = daemon.get(f"/jobs/{job}/history")["items"]
    stream = Stream(daemon, Last_Event_ID="1")
    (frame,) = stream.take(1)
    stream.close()
    stream = Stream(daemon, "?after=0")
    publish(daemon, "job-live", "r", live(host="later"))
    kept = stream.take(1 + len(feed["items"]))
    stream.close()

    assert (status, told["reason"]) == (410, "cursor-expired")
    assert [frame.id for frame in kept[:-1]] == [item["seq"] for item in feed["items"]]
    assert kept[-1].data["data"]["changed"]["host"][1] == "later"
    assert feed["oldest"] == told["oldest"]
    assert all(item["seq"] > feed["oldest"] for item in feed["items"])
    assert [entry["type"] for entry in history] == ["job.live"]
    assert frame.event == "reset"
