"""Events out of the real daemon: the feed, the stream, the long poll.

In this order: pages of the feed, filters, waiting, cursors that are no good, the stream, streams that end, one job
waited for.
"""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
import tracemalloc
import urllib.parse
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from support.daemons import LIVE_SIGS, Daemon, done, driven, live, publish, publish_job, wait_until

from simscope_server.ledger.ledger import Notifier, Topics, cancel
from simscope_server.reading.feed import BEHIND_MOST, EVERYTHING, FEED_TICK_S, Feed

CONFIG = f'{LIVE_SIGS}[spool]\ndir = "spool"\nsettle_ms = 100\npoll_ms = 100\n'


def newest(daemon: Daemon) -> int:
    return daemon.get("/events?limit=1")["newest"]


def types(items: list[Any]) -> list[str]:
    return [item["type"] for item in items]


def later(seconds: float, action: Callable[[], Any]) -> threading.Thread:
    """Do something while the caller waits."""

    def act() -> None:
        time.sleep(seconds)
        action()

    thread = threading.Thread(target=act)
    thread.start()
    return thread


class Frame(NamedTuple):
    """A block of a stream."""

    id: int | None
    event: str | None
    data: Any
    comments: list[str]


class Stream:
    """A reader of /events/stream; reads only when it is asked to."""

    def __init__(self, daemon: Daemon, query: str = "", **headers: str) -> None:
        address = urllib.parse.urlsplit(daemon.url)
        self.channel = socket.create_connection((address.hostname, address.port), 10)
        head = {"Host": "localhost"} | {name.replace("_", "-"): value for name, value in headers.items()}
        lines = "".join(f"{name}: {value}\r\n" for name, value in head.items())
        self.channel.sendall(f"GET /api/v1/events/stream{query} HTTP/1.0\r\n{lines}\r\n".encode())
        self.file = self.channel.makefile("rb")
        self.status = int(self.file.readline().split()[1])
        self.headers = {}
        while line := self.file.readline().strip():
            name, _, value = line.decode().partition(":")
            self.headers[name.lower()] = value.strip()
        self.first = self.block() if self.status == 200 else None

    def block(self) -> Frame | None:
        """The next block; None at the end."""
        fields: dict[str, str] = {}
        comments = []
        while line := self.file.readline().decode():
            if line == "\n":
                value = json.loads(fields["data"]) if "data" in fields else None
                return Frame(int(fields["id"]) if "id" in fields else None, fields.get("event"), value, comments)
            name, _, value = line.rstrip("\n").partition(":")
            if name:
                fields[name] = value.removeprefix(" ")
            else:
                comments.append(value.strip())
        return None

    def take(self, count: int) -> list[Frame]:
        """The next frames with data."""
        found: list[Frame] = []
        while len(found) < count:
            frame = self.block()
            assert frame is not None, "the stream ended"
            if frame.data is not None:
                found.append(frame)
        return found

    def close(self) -> None:
        self.file.close()
        self.channel.close()


def streams(daemon: Daemon) -> float:
    lines = daemon.request("GET", "/metrics")[1].splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith("simscoped_streams "))


# --- pages of the feed ------------------------------------------------------------------------------------------------


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


# --- filters ----------------------------------------------------------------------------------------------------------


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


# --- waiting ----------------------------------------------------------------------------------------------------------


def test_wait_returns_as_soon_as_something_is_committed(shared: Daemon, run: str) -> None:
    start = newest(shared)
    thread = later(0.3, lambda: publish(shared, "job-live", run, live()))
    begun = time.monotonic()

    told = shared.get(f"/events?after={start}&wait=30")

    took = time.monotonic() - begun
    thread.join()
    assert types(told["items"])[0] == "regression.started"
    assert 0.25 < took < 3


def test_wait_goes_on_while_only_events_come_that_are_not_wanted(shared: Daemon, run: str) -> None:
    start = newest(shared)
    first = later(0.1, lambda: publish(shared, "job-live", f"{run}other", live()))
    second = later(0.5, lambda: publish(shared, "job-finish", run, done()))
    begun = time.monotonic()

    told = shared.get(f"/events?after={start}&wait=30&types=job.passed")

    took = time.monotonic() - begun
    first.join()
    second.join()
    assert types(told["items"]) == ["job.passed"]
    assert took > 0.4


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


# --- cursors that are no good -----------------------------------------------------------------------------------------


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


# --- the stream -------------------------------------------------------------------------------------------------------


def test_a_stream_begins_now_and_its_ids_are_those_of_the_events(shared: Daemon, run: str) -> None:
    publish(shared, "job-live", run, live("before"))
    wait_until(lambda: shared.get("/events?limit=1"))
    time.sleep(0.2)  # so that the feed has taken in what was before
    start = newest(shared)
    stream = Stream(shared)

    publish(shared, "job-live", run, live("after"))

    (frame,) = stream.take(1)
    stream.close()
    assert (stream.status, stream.headers["content-type"]) == (200, "text/event-stream")
    assert stream.headers["cache-control"] == "no-store"
    assert stream.first is not None
    assert stream.first.comments == [f"epoch {shared.get('/')['epoch']}"]
    (event,) = shared.get(f"/events?after={start}")["items"]
    assert (frame.id, frame.event, frame.data) == (event["seq"], None, event)


def test_a_stream_is_resumed_without_gap_or_repeat_over_restarts(make_daemon: Callable[..., Daemon]) -> None:
    daemon = make_daemon(CONFIG).start()
    got: list[int] = []
    last = 0
    for part in range(3):
        stream = Stream(daemon, Last_Event_ID=str(last))
        for number in range(20):
            publish(daemon, "job-live", "r", live(f"{part}-{number}"))
        wanted = 15 if part < 2 else daemon.rows("SELECT count(*) FROM event")[0][0] - len(got)
        frames = stream.take(wanted)
        got += [frame.data["seq"] for frame in frames]
        last = frames[-1].id or 0
        stream.close()
        daemon.stop()
        daemon.start()

    assert got == [seq for (seq,) in daemon.rows("SELECT seq FROM event ORDER BY seq")]
    assert len(got) == 61


def test_after_in_the_address_is_the_cursor_where_no_last_event_id_is_sent(shared: Daemon, run: str) -> None:
    start = newest(shared)
    publish(shared, "job-live", run, live("a"))
    middle = newest(shared)
    publish(shared, "job-live", run, live("b"))

    by_address = Stream(shared, f"?after={start}")
    by_header = Stream(shared, f"?after={start}", Last_Event_ID=str(middle))

    assert [frame.data["type"] for frame in by_address.take(3)] == ["regression.started", "job.live", "job.live"]
    assert by_header.take(1)[0].data["seq"] == newest(shared)
    by_address.close()
    by_header.close()


@pytest.mark.parametrize("headers", [{"Last_Event_ID": "999999999"}, {}], ids=["of the future", "of another database"])
def test_a_stream_with_a_cursor_that_means_nothing_says_reset_and_goes_on(
    shared: Daemon, run: str, headers: dict[str, str]
) -> None:
    stream = Stream(shared, "" if headers else "?after=1&epoch=00000000", **headers)

    (frame,) = stream.take(1)
    publish(shared, "job-live", run, live())
    following = stream.take(2)

    stream.close()
    assert (frame.event, frame.data["reason"]) == ("reset", "cursor-expired")
    assert frame.id == frame.data["newest"]
    assert [each.data["regression"] for each in following] == [run, run]
    assert [each.event for each in following] == [None, None]


def test_a_last_event_id_that_is_no_number_says_reset(shared: Daemon) -> None:
    stream = Stream(shared, Last_Event_ID="nonsense")

    status, frame = stream.status, stream.take(1)[0] if stream.status == 200 else None
    stream.close()

    assert status == 200
    assert frame is not None
    assert frame.event == "reset"


def test_a_reader_more_than_five_thousand_events_behind_starts_anew(make_daemon: Callable[..., Daemon]) -> None:
    daemon = make_daemon(CONFIG).start()
    publish(daemon, "job-live", "r", live("first"))
    for part in range(6):
        publish(daemon, "batch-job-live", "r", [live(f"{part}-{number}") for number in range(900)])
    wait_until(lambda: daemon.rows("SELECT count(*) FROM event") == [(5402,)])
    end = newest(daemon)

    far = Stream(daemon, Last_Event_ID="1")
    near = Stream(daemon, Last_Event_ID=str(end - 4000))

    assert far.take(1)[0].event == "reset"
    assert [frame.id for frame in near.take(4000)] == list(range(end - 3999, end + 1))
    far.close()
    near.close()


def test_filters_hold_for_streams(shared: Daemon, run: str) -> None:
    job = publish_job(shared, run, live("a"))
    start = newest(shared)
    by_job = Stream(shared, f"?after={start}&job={job}")
    by_type = Stream(shared, f"?after={start}&types=job.finished,regression.finished&regression={run}")
    by_regression = Stream(shared, f"?after={start}&regression={run}")

    publish(shared, "job-finish", f"{run}other", done("a"))
    publish(shared, "job-live", run, live("b"))
    publish(shared, "job-finish", run, done("a"))
    publish(shared, "regr-finish", run, None)

    assert [frame.data["type"] for frame in by_job.take(1)] == ["job.passed"]
    assert [frame.data["type"] for frame in by_type.take(3)] == ["job.passed", "job.missing", "regression.finished"]
    assert {frame.data["regression"] for frame in by_regression.take(5)} == {run}
    for stream in (by_job, by_type, by_regression):
        stream.close()


def test_coalesce_sends_the_newest_event_of_each_job_and_regression_in_each_tick(shared: Daemon, run: str) -> None:
    job = publish_job(shared, run, live("a"))
    publish(shared, "job-live", run, live("b"))
    time.sleep(0.2)  # so that the feed has taken in what was before
    stream = Stream(shared, f"?coalesce=1000&regression={run}")
    publish(shared, "job-live", run, live("a", host="start of the tick"))
    first = stream.take(1)

    for number in range(10):
        publish(shared, "job-live", run, live("a", host=f"h{number}"))
    publish(shared, "job-finish", run, done("a"))
    publish(shared, "job-live", run, live("b", host="h"))
    second = stream.take(2)

    stream.close()
    assert [frame.data["type"] for frame in first] == ["job.updated"]
    assert [frame.data["type"] for frame in second] == ["job.passed", "job.updated"]
    assert second[0].data["job"] == job
    assert second[1].id == newest(shared)


def test_an_idle_stream_is_kept_open_by_comments_that_carry_the_cursor(
    make_daemon: Callable[..., Daemon], tmp_path: Path
) -> None:
    daemon = make_daemon(CONFIG, program=driven(tmp_path / "daemon", "rooms.replace('HEARTBEAT_S', 0.2)")).start()
    publish(daemon, "job-live", "r", live())
    stream = Stream(daemon, "?types=job.tanked", Last_Event_ID="0")

    blocks = [stream.block() for _ in range(3)]

    stream.close()
    assert [block and (block.comments, block.data) for block in blocks] == [(["alive"], None)] * 3
    assert blocks[2] is not None
    assert blocks[2].id == newest(daemon)


def test_a_stream_that_passes_over_what_others_do_is_kept_open_and_moves_on(
    make_daemon: Callable[..., Daemon], tmp_path: Path
) -> None:
    daemon = make_daemon(CONFIG, program=driven(tmp_path / "daemon", "rooms.replace('HEARTBEAT_S', 1)")).start()
    publish(daemon, "job-live", "r", live())
    stream, over = Stream(daemon, "?types=job.tanked", Last_Event_ID="0"), threading.Event()

    def go_on() -> None:
        while not over.is_set():
            publish(daemon, "job-live", "r", live(phase=str(time.monotonic())))

    others = threading.Thread(target=go_on)
    others.start()
    blocks = [stream.block() for _ in range(2)]

    over.set()
    others.join()
    stream.close()
    assert [block and block.comments for block in blocks] == [["alive"]] * 2
    assert blocks[0] and blocks[1] and int(blocks[0].id) < int(blocks[1].id)


def test_a_place_in_a_database_that_was_here_before_is_refused(make_daemon: Callable[..., Daemon]) -> None:
    daemon = make_daemon(CONFIG).start()
    publish(daemon, "job-live", "r", live())
    place = daemon.get("/events")["next"]
    daemon.stop()
    for path in daemon.folder.glob("simscope.db*"):
        path.unlink()
    daemon.start()
    for number in range(9):
        publish(daemon, "job-live", "r", live(str(number)))

    status, told, _ = daemon.request("GET", f"/api/v1/events?after={place}")
    stream = Stream(daemon, "", Last_Event_ID=str(place))
    event = stream.block()

    stream.close()
    assert (status, told["reason"]) == (410, "cursor-expired")
    assert event and event.event == "reset"


def test_every_committed_event_reaches_every_reader_once(shared: Daemon, run: str) -> None:
    readers = [Stream(shared, f"?after={newest(shared)}&types=job.live") for _ in range(4)]

    def write(writer: int) -> None:
        for number in range(25):
            publish(shared, "job-live", run, live(f"{writer}-{number}"))

    threads = [threading.Thread(target=write, args=(writer,)) for writer in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    expected = [job["id"] for job in shared.get(f"/jobs?regression={run}&limit=500")["items"]][::-1]
    assert len(expected) == 100
    for reader in readers:
        assert [frame.data["job"] for frame in reader.take(100)] == expected
        reader.close()


def test_a_feed_that_cannot_be_read_in_time_is_read_again(make_daemon: Callable[..., Daemon], tmp_path: Path) -> None:
    prelude = """
read, tried = rooms.find("Readers").read, []

async def late(self, sql, *parameters, **named):
    if sql.endswith("WHERE e.seq > ? ORDER BY e.seq LIMIT ?"):
        tried.append(sql)
        if len(tried) == 1:
            raise rooms.find("ReadTooLong")("no answer within 5 s")
        if len(tried) == 2:
            raise rooms.find("StorageError")("disk I/O error")
    return await read(self, sql, *parameters, **named)

rooms.find("Readers").read = late
"""
    daemon = make_daemon(CONFIG, program=driven(tmp_path / "daemon", prelude)).start()
    stream = Stream(daemon, "?types=job.live")

    publish(daemon, "job-live", "r", live())

    assert stream.take(1)[0].data["job"] == 1
    stream.close()
    assert "Traceback" not in daemon.log.read_text()


class Table:
    """The event table as the feed sees it; what run() and the loading read comes when it is let go."""

    def __init__(self, newest: int) -> None:
        self.committed = Notifier()
        self.topics = Topics()
        self.newest = newest
        self.given = 0  # rows
        self.paged = asyncio.Event()
        self.let_go = asyncio.Event()
        self.let_go.set()

    def rows(self, after: int) -> list[dict[str, Any]]:
        names = ("seq", "at", "type", "regression_id", "regression", "job_id", "result", "origin", "data")
        values = (0, "job.live", 1, "r", 1, 0, "x", json.dumps({"description": "d" * 200}))
        return [dict(zip(names, (seq, *values), strict=True)) for seq in range(after + 1, self.newest + 1)]

    @property
    def seq(self) -> int:
        return self.newest

    async def read(self, sql: str, parameters: tuple[int, ...] = ()) -> list[dict[str, Any]]:
        if "events_from_seq" in sql:
            return [{"events_from_seq": 0}]
        if "DESC" in sql:
            return (await self.read_surely(sql, parameters))[: -parameters[1] - 1 : -1]
        return self.taken(parameters)

    async def read_surely(self, sql: str, parameters: tuple[int, ...]) -> list[dict[str, Any]]:
        rows = self.taken(parameters)
        self.paged.set()
        await self.let_go.wait()
        return rows

    def taken(self, parameters: tuple[int, ...]) -> list[dict[str, Any]]:
        rows = self.rows(parameters[0])
        self.given += len(rows)
        return rows


def test_the_feed_does_not_go_backwards_when_it_is_loaded_during_a_commit() -> None:
    async def reload() -> list[int]:
        table = Table(10)
        feed = Feed(table, table)  # type: ignore[arg-type]
        async with feed.listening():
            table.newest = 12
            table.let_go.clear()
            running = asyncio.create_task(feed.run())
            await table.paged.wait()
        table.newest = 14
        async with feed.listening():
            cursor = feed.last
            table.newest = 15
            news = feed.news.next()
            table.let_go.set()
            await news
            await cancel(running)
            return [cursor, *(frame.seq for frame in feed.behind(13) or ())]

    assert asyncio.run(reload()) == [14, 14, 15]


def test_what_is_committed_while_the_feed_loads_comes_without_another_commit() -> None:
    async def load() -> bool:
        table = Table(10)
        table.let_go.clear()
        feed = Feed(table, table)  # type: ignore[arg-type]
        running = asyncio.create_task(feed.run())

        async def wait_for_news() -> bool:
            async with feed.listening():
                return await feed.brings(EVERYTHING, 10, 20)

        waiting = asyncio.create_task(wait_for_news())
        await table.paged.wait()
        table.newest = 11
        table.committed.notify()
        await asyncio.sleep(2 * FEED_TICK_S)
        table.let_go.set()
        news = await waiting
        await cancel(running)
        return news

    assert asyncio.run(load())


def test_a_feed_that_nobody_listened_to_reads_only_what_it_missed_unless_that_is_much() -> None:
    async def pause(missed: int) -> tuple[int, list[int]]:
        table = Table(3000)
        feed = Feed(table, table)  # type: ignore[arg-type]
        async with feed.listening():
            table.given = 0
        table.newest += missed
        async with feed.listening():
            return table.given, [frame.seq for frame in feed.behind(2998 + missed) or ()]

    assert asyncio.run(pause(0)) == (0, [2999, 3000])
    assert asyncio.run(pause(7)) == (7, [3006, 3007])
    assert asyncio.run(pause(BEHIND_MOST + 1)) == (3000 + BEHIND_MOST + 1, [8000, 8001])


def test_streams_that_begin_anywhere_leave_no_text_behind() -> None:
    async def begin() -> int:
        feed = Feed(table := Table(4000), table)  # type: ignore[arg-type]
        async with feed.listening():
            tracemalloc.start()
            for cursor in range(100):
                assert feed.text(cursor, EVERYTHING, coalesced=False)
            return tracemalloc.get_traced_memory()[0]

    try:
        assert asyncio.run(begin()) < 20_000_000
    finally:
        tracemalloc.stop()


# --- streams that end -------------------------------------------------------------------------------------------------


def test_a_reader_that_goes_away_leaves_nothing_behind(shared: Daemon, run: str) -> None:
    wait_until(lambda: streams(shared) == 0)
    readers = [Stream(shared) for _ in range(20)]
    wait_until(lambda: streams(shared) == 20)

    for reader in readers:
        reader.close()

    wait_until(lambda: streams(shared) == 0)
    publish(shared, "job-live", run, live())


def test_a_reader_that_does_not_read_holds_up_nobody(shared: Daemon, run: str) -> None:
    lazy = Stream(shared)
    eager = Stream(shared, f"?types=job.passed&regression={publish(shared, 'job-live', run, live()) and run}")
    for part in range(4):
        publish(shared, "batch-job-live", run, [live(f"{part}-{number}", host="h" * 500) for number in range(500)])

    publish(shared, "job-finish", run, done())

    assert eager.take(1)[0].data["type"] == "job.passed"
    eager.close()
    lazy.close()
    wait_until(lambda: streams(shared) == 0)


def test_fifty_open_streams_do_not_keep_the_daemon_from_stopping(make_daemon: Callable[..., Daemon]) -> None:
    daemon = make_daemon(CONFIG).start()
    publish(daemon, "job-live", "r", live())
    readers = [Stream(daemon, f"?coalesce={number % 2 * 10_000}") for number in range(50)]
    waiting = threading.Thread(target=lambda: daemon.request("GET", f"/api/v1/events?after={newest(daemon)}&wait=60"))
    waiting.start()
    wait_until(lambda: streams(daemon) == 50)
    publish(daemon, "job-live", "r", live(host="h"))
    begun = time.monotonic()

    code = daemon.stop()

    assert (code, time.monotonic() - begun < 2) == (0, True)
    waiting.join(5)
    assert not waiting.is_alive()
    for reader in readers:
        while reader.block() is not None:
            pass
        reader.close()
    assert "Traceback" not in daemon.log.read_text()


# --- one job waited for -----------------------------------------------------------------------------------------------


def test_until_done_returns_when_the_job_is_done_and_not_before(shared: Daemon, run: str) -> None:
    job = publish_job(shared, run, live())
    first = later(0.2, lambda: publish(shared, "job-live", run, live(host="h1")))
    second = later(0.5, lambda: publish(shared, "job-finish", run, done()))
    begun = time.monotonic()

    told = shared.get(f"/jobs/{job}?wait=30&until=done")

    took = time.monotonic() - begun
    first.join()
    second.join()
    assert (told["result"], told["done"]) == ("pass", True)
    assert 0.4 < took < 4


def test_version_answers_at_once_for_a_job_that_is_done(shared: Daemon, run: str) -> None:
    job = publish_job(shared, run, live(result="pass"))
    version = shared.get(f"/jobs/{job}")["version"]
    begun = time.monotonic()

    told = shared.get(f"/jobs/{job}?wait=20&version={version}")

    assert told["done"]
    assert time.monotonic() - begun < 10


def test_version_returns_at_the_next_change(shared: Daemon, run: str) -> None:
    job = publish_job(shared, run, live())
    version = shared.get(f"/jobs/{job}")["version"]
    beat = later(0.1, lambda: publish(shared, "job-live", run, live()))
    other = later(0.2, lambda: publish(shared, "job-live", run, live("another")))
    change = later(0.5, lambda: publish(shared, "job-live", run, live(host="h1")))
    begun = time.monotonic()

    told = shared.get(f"/jobs/{job}?wait=30&version={version}")

    took = time.monotonic() - begun
    for thread in (beat, other, change):
        thread.join()
    assert (told["host"], told["version"] > version) == ("h1", True)
    assert 0.4 < took < 4


@pytest.mark.parametrize("query", ["wait=30", "wait=30&until=done", "wait=30&version=1", "until=done", "version=1"])
def test_a_job_that_is_done_or_changed_already_is_answered_at_once(shared: Daemon, run: str, query: str) -> None:
    job = publish_job(shared, run, done())
    begun = time.monotonic()

    told = shared.get(f"/jobs/{job}?{query}")

    assert told["done"] is True
    assert time.monotonic() - begun < 2


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
    waiting = threading.Thread(target=lambda: told.append(daemon.get(f"/jobs/{job}?wait=30&until=done")))
    begun = time.monotonic()
    waiting.start()
    wait_until((daemon.folder / "looked").exists)
    publish(daemon, "job-finish", "r", done())
    (daemon.folder / "finished").touch()

    waiting.join()

    assert told[0]["result"] == "pass"
    assert time.monotonic() - begun < 10


def test_what_is_committed_between_a_look_at_the_feed_and_the_wait_is_not_missed(shared: Daemon, run: str) -> None:
    for number in range(20):
        start = newest(shared)
        thread = later(0, lambda name=f"{number}": publish(shared, "job-live", run, live(name)))  # type: ignore[misc]
        begun = time.monotonic()

        told = shared.get(f"/events?after={start}&wait=10")

        thread.join()
        assert told["items"]
        assert time.monotonic() - begun < 5


def test_a_wait_ends_when_the_regression_takes_the_job_along(shared: Daemon, run: str) -> None:
    job = publish_job(shared, run, live())
    thread = later(0.2, lambda: publish(shared, "regr-finish", run, None))

    told = shared.get(f"/jobs/{job}?wait=30&until=done")

    thread.join()
    assert (told["result"], told["reason"], told["migrated"]) == ("fail", "missing", True)
