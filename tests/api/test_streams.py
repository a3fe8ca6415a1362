"""Events as a stream (SSE): resumed, filtered, coalesced, kept open, and ended."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from support.asking import Stream, envelope, newest, streams
from support.daemons import LIVE_SIGS, Daemon, done, driven, live, publish, publish_job, wait_until

CONFIG = f'{LIVE_SIGS}[spool]\ndir = "spool"\nsettle_ms = 100\npoll_ms = 100\n'


def test_a_stream_begins_now_and_its_ids_are_those_of_the_events(shared: Daemon, run: str) -> None:
    publish(shared, "job-live", run, live("before"))
    wait_until(lambda: streams(shared) == 0)  # the first that begins has the feed catch up
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
    wait_until(lambda: streams(shared) == 0)  # the first that begins has the feed catch up
    stream = Stream(shared, f"?coalesce=1000&regression={run}")
    publish(shared, "job-live", run, live("a", host="start of the tick"))
    first = stream.take(1)

    batch = [envelope("job-live", run, live("a", host=f"h{number}")) for number in range(10)]
    batch += [envelope("job-finish", run, done("a")), envelope("job-live", run, live("b", host="h"))]
    assert shared.post("/messages", batch)[0] == 200
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
    first, second = (block and block.id for block in blocks)
    assert first is not None and second is not None and first < second


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

    def wait_for_news() -> None:
        with contextlib.suppress(OSError):  # where the stop is quicker than the request
            daemon.request("GET", f"/api/v1/events?after={newest(daemon)}&wait=60")

    waiting = threading.Thread(target=wait_for_news)
    waiting.start()
    wait_until(lambda: streams(daemon) == 50)
    publish(daemon, "job-live", "r", live(host="h"))

    code = daemon.stop()

    assert code == 0
    waiting.join(5)
    assert not waiting.is_alive()
    for reader in readers:
        while reader.block() is not None:
            pass
        reader.close()
    assert "Traceback" not in daemon.log.read_text()
