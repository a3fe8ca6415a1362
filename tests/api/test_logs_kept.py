"""Logs of jobs: what is kept of them, through failures, prunes and limits; and what followers are told."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support import rooms
from support.asking import Followed, send, texts
from support.daemons import LIVE_SIGS, Daemon, done, driven, live, wait_until
from support.stories import Story

from simscope_server.ledger.batch import Batch
from simscope_server.ledger.deliveries import apply_deliveries
from simscope_server.ledger.expiry import forget_logs, prune_jobs
from simscope_server.messages.protocol import Context, Delivery, Message


def test_the_oldest_lines_go_where_a_log_is_too_large(story: Story, monkeypatch: Any) -> None:
    rooms.replace("LOG_SIZE_MOST", 10, monkeypatch)
    for lines in (["aaaa", "bbbb"], ["cccc"], ["d"], ["e" * 12]):
        story.live(log={"lines": lines})
        (row,) = story.rows("SELECT first_offset, next_offset, size FROM log")
        kept = [text for _, number, text in lines_kept(story) if number >= row["first_offset"]]
        assert (row["size"], row["next_offset"]) == (sum(map(len, kept)), row["first_offset"] + len(kept))
        assert kept[-1:] == ([] if len(lines[-1]) > 10 else lines[-1:])
    assert (row["first_offset"], row["next_offset"]) == (5, 5)


@pytest.mark.parametrize("reason", ["pruned", "log-offset-out-of-range"])
def test_a_followed_log_that_is_no_more_ends_with_the_problem(make_daemon: Callable[..., Daemon], reason: str) -> None:
    daemon = make_daemon(LIVE_SIGS + ("prunelivedays = 0.00002\n" if reason == "pruned" else "")).start()
    job = send(daemon, live(log={"lines": ["one", "two"]}))["job"]
    followed = Followed(daemon, job)
    followed.until('"two"')

    if reason != "pruned":
        runs = [{**live(), "result": "fail", "start_time": f"2025-01-0{day}T00:00:00Z"} for day in (1, 2)]
        assert daemon.post("/publish/batch-job-finish?regression=r", runs)[0] == 200
    told = followed.until(None)

    followed.close()
    assert told.count("HTTP/1.1") == 1
    problem = json.loads(told.partition("event: problem\ndata: ")[2].partition("\n")[0])
    assert (problem["status"], problem["reason"]) == (410 if reason == "pruned" else 422, reason)
    assert told.endswith("0\r\n\r\n")
    assert "Traceback" not in daemon.log.read_text()


def test_what_happens_to_other_jobs_wakes_no_reader_of_logs_or_events(
    make_daemon: Callable[..., Daemon], tmp_path: Path
) -> None:
    prelude = """
def counted(look):
    async def counting(*asked):
        with open("looks", "a") as file:
            file.write("x")
        return await look(*asked)
    return counting

rooms.replace("HEARTBEAT_S", 600)
rooms.replace("_log_page", counted(rooms.find("_log_page")))
rooms.replace("_events_after", counted(rooms.find("_events_after")))
"""
    daemon = make_daemon(LIVE_SIGS, program=driven(tmp_path, prelude)).start()
    jobs = [send(daemon, live(f"j{number}"))["job"] for number in range(10)]
    start = daemon.get("/events")["newest"]
    followed = [Followed(daemon, job) for job in jobs]
    paths = [f"/jobs/{job}/logs?wait=60" for job in jobs]
    paths += [f"/events?after={start}&wait=60&job={job}" for job in jobs]
    paths += [f"/events?after={start}&wait=60&types=job.passed"] * 10
    waiters = [threading.Thread(target=daemon.get, args=(path,)) for path in paths]
    for waiter in waiters:
        waiter.start()
    looks = daemon.folder / "looks"
    wait_until(lambda: looks.exists() and looks.stat().st_size == 41, what="all to look before they wait")

    for number in range(30):
        send(daemon, live("other", phase=str(number), log={"lines": ["one"]}))
    daemon.post(f"/jobs/{jobs[0]}/logs", {"lines": ["mine"]})
    waiters[0].join(20)

    assert '"mine"' in followed[0].until('"mine"')
    assert not waiters[0].is_alive()
    assert looks.stat().st_size <= 41 + 3
    metrics = daemon.request("GET", "/metrics")[1]
    assert "simscoped_streams 10.0" in metrics
    send(daemon, {**live("j1"), "result": "pass"})
    assert "event: complete" in followed[1].until(None)
    daemon.stop()
    for waiter in waiters:
        waiter.join(10)
        assert not waiter.is_alive()
    for each in followed:
        each.close()


def test_followed_logs_are_among_the_streams_of_which_there_may_be_so_many(
    make_daemon: Callable[..., Daemon], tmp_path: Path
) -> None:
    daemon = make_daemon(LIVE_SIGS, program=driven(tmp_path, "rooms.replace('STREAMS_MOST', 1)")).start()
    job = send(daemon, live(log={"lines": ["one"]}))["job"]
    first = Followed(daemon, job)
    first.until('"one"')

    status, told, _ = daemon.request("GET", f"/api/v1/jobs/{job}/logs", headers={"Accept": "text/event-stream"})
    first.close()

    assert (status, told["reason"]) == (503, "too-many-streams")
    wait_until(lambda: "simscoped_streams 0.0" in daemon.request("GET", "/metrics")[1])


# While a file "full" exists the database cannot be committed; a letter in it stands for each attempt to do so.
FAILING_BETWEEN_THE_COMMITS = """
def passing(point):
    if point == "before-commit" and os.path.exists("full"):
        with open("full", "a") as file:
            file.write("x")
        error = sqlite3.OperationalError("database or disk is full")
        error.sqlite_errorcode = sqlite3.SQLITE_FULL
        raise error

rooms.replace("passing", passing)
"""


def test_lines_of_a_transaction_that_failed_after_they_were_committed_are_not_shown_and_taken_once_in_the_end(
    make_daemon: Callable[..., Daemon], tmp_path: Path
) -> None:
    daemon = make_daemon(program=driven(tmp_path, FAILING_BETWEEN_THE_COMMITS)).start()
    job = send(daemon, live(log={"lines": ["0", "1"]}))["job"]
    (daemon.folder / "full").touch()

    for _ in range(3):
        assert daemon.post(f"/jobs/{job}/logs", {"lines": ["lost 2", "lost 3", "lost 4"]})[0] == 507
        assert daemon.post("/publish/job-live?regression=r", live(log={"lines": ["lost 2"]}))[0] == 507
    meanwhile = daemon.get(f"/jobs/{job}/logs")
    beyond, _ = daemon.request("GET", f"/api/v1/jobs/{job}/logs?offset=3")[:2]
    (daemon.folder / "full").unlink()
    send(daemon, live(log={"lines": ["2", "3"]}))

    assert (texts(meanwhile), meanwhile["next_offset"], beyond) == (["0", "1"], 2, 422)
    page = daemon.get(f"/jobs/{job}/logs")
    assert [(line["offset"], line["message"]) for line in page["lines"]] == [(n, str(n)) for n in range(4)]
    assert page["next_offset"] == 4


def test_a_file_whose_transaction_fails_is_tried_again_and_its_lines_are_there_once(
    make_daemon: Callable[..., Daemon], tmp_path: Path
) -> None:
    daemon = make_daemon(program=driven(tmp_path, FAILING_BETWEEN_THE_COMMITS)).start()
    (daemon.folder / "full").touch()
    daemon.drop("r/1.json", live(log={"lines": ["a", "b"]}))
    wait_until(lambda: len((daemon.folder / "full").read_text()) >= 3, what="a third attempt")

    (daemon.folder / "full").unlink()

    wait_until(lambda: daemon.get("/jobs")["items"])
    assert texts(daemon.get("/jobs/1/logs")) == ["a", "b"]


def test_a_failed_transaction_leaves_neither_lines_nor_a_log_behind_for_another_job(story: Story) -> None:
    story.live(uniqueid="a", log={"lines": ["a 0"]})
    batch = story.batch()
    story.conn.execute("BEGIN")
    batch.begin_log(99, 0)
    batch.append_lines(99, None, ["lost 0", "lost 1", "lost 2"])
    batch.logbook.commit()
    story.conn.execute("ROLLBACK")

    story.live(uniqueid="b", log={"lines": ["b 0"]})

    assert lines_kept(story) == [(1, 0, "a 0"), (2, 0, "b 0")]


def lines_kept(story: Story) -> list[tuple[int, int, str]]:
    """What lies in the file of lines: log, offset, text."""
    return story.logbook.conn.execute("SELECT log, number, message FROM log_line ORDER BY log, number").fetchall()


def test_a_message_that_is_refused_for_a_mistake_of_ours_leaves_no_lines(story: Story, monkeypatch: Any) -> None:
    story.live(log={"lines": ["0"]})

    def mistaken(batch: Batch, message: Message, *_: Any) -> list[str]:
        batch.append_lines(1, None, ["lost", "lost"])
        raise KeyError("a mistake of ours")

    item = json.dumps(live(log={"lines": ["1"]})).encode()
    delivery = Delivery("x", "x", [item], Context(regression="r/1"))
    with monkeypatch.context() as patched:
        rooms.replace("keep_lines", mistaken, patched)
        [receipt] = story.change(apply_deliveries, [delivery], careful=True)
    story.live(log={"lines": ["1"]})

    assert receipt.rejected == 1
    assert lines_kept(story) == [(1, 0, "0"), (1, 1, "1")]


def test_a_job_of_the_name_of_a_pruned_one_has_a_log_of_its_own(make_daemon: Callable[..., Daemon]) -> None:
    daemon = make_daemon(f"{LIVE_SIGS}prunelivedays = 0.00001\n").start()
    old = send(daemon, live(log={"offset": 0, "lines": ["old 0", "old 1", "old 2"]}))["job"]
    wait_until(lambda: daemon.request("GET", f"/api/v1/jobs/{old}")[0] == 410, what="the job to be pruned")

    new = send(daemon, done(log={"offset": 0, "lines": ["new 0", "new 1"]}))

    assert new["outcome"] == "applied"
    assert texts(daemon.get(f"/jobs/{new['job']}/logs")) == ["new 0", "new 1"]
    assert daemon.request("GET", f"/api/v1/jobs/{old}/logs")[0] == 410


def test_lines_of_pruned_jobs_and_of_earlier_runs_are_deleted_some_logs_at_a_time(monkeypatch: Any) -> None:
    rooms.replace("SLICE_LOGS", 2, monkeypatch)
    story = Story(autotimeouthours=0)
    for uniqueid in "abc":
        story.live(uniqueid=uniqueid, log={"lines": [uniqueid]})
    story.pass_time(8 * 24 * 3600)
    story.live(uniqueid="d", log={"lines": ["d"]})
    story.change(prune_jobs)
    story.finish(uniqueid="d", start_time="2025-01-01T00:00:00Z")
    story.finish(uniqueid="d", start_time="2025-01-02T00:00:00Z", log={"offset": 7, "lines": ["again 7"]})
    assert [text for _, _, text in lines_kept(story)] == ["a", "b", "c", "d", "again 7"]

    slices = [story.change(forget_logs) for _ in range(3)]

    assert slices == [True, True, False]
    assert lines_kept(story) == [(5, 7, "again 7")]
    assert story.rows("SELECT * FROM log") == [{"id": 5, "job_id": 4, "first_offset": 7, "next_offset": 8, "size": 7}]


def test_the_daemon_deletes_the_lines_that_no_job_has(make_daemon: Callable[..., Daemon]) -> None:
    daemon = make_daemon().start()
    first = {"uniqueid": "again", "result": "fail", "start_time": "2025-01-01T00:00:00Z"}
    send(daemon, live(**first) | {"log": {"lines": ["old 0", "old 1"]}})
    send(daemon, live(**first | {"result": "pass", "start_time": "2025-01-02T00:00:00Z"}))
    daemon.stop()

    daemon.start()

    wait_until(lambda: daemon.rows("SELECT count(*) FROM log") == [(0,)], what="the first run's log to be forgotten")
    with contextlib.closing(sqlite3.connect(f"{daemon.db}.logs")) as conn:
        assert conn.execute("SELECT count(*) FROM log_line").fetchone() == (0,)


def test_a_log_whose_lines_are_lost_goes_on_where_it_ended(make_daemon: Callable[..., Daemon]) -> None:
    daemon = make_daemon().start()
    job = send(daemon, live(log={"lines": ["0", "1"]}))["job"]
    daemon.stop()
    for path in daemon.folder.glob("simscope.db.logs*"):
        path.unlink()
    daemon.start()

    empty = daemon.get(f"/jobs/{job}/logs")
    daemon.post(f"/jobs/{job}/logs", {"lines": ["2"]})

    assert (empty["first_offset"], empty["next_offset"], empty["lines"]) == (2, 2, [])
    page = daemon.get(f"/jobs/{job}/logs")
    assert (page["first_offset"], texts(page)) == (2, ["2"])


def test_lines_that_the_disk_does_not_give_are_507(make_daemon: Callable[..., Daemon], tmp_path: Path) -> None:
    prelude = """
connection = aiosqlite.Connection
read = connection.execute_fetchall

async def failing(self, sql, *parameters):
    if "FROM log_line" in sql:
        error = sqlite3.OperationalError("disk I/O error")
        error.sqlite_errorcode = sqlite3.SQLITE_IOERR_READ
        raise error
    return await read(self, sql, *parameters)

connection.execute_fetchall = failing
"""
    daemon = make_daemon(LIVE_SIGS, program=driven(tmp_path, prelude)).start()
    job = send(daemon, live(log={"lines": ["one"]}))["job"]

    status, told, _ = daemon.request("GET", f"/api/v1/jobs/{job}/logs")

    assert (status, told["reason"], told["detail"]) == (
        507,
        "storage",
        "the database cannot be used just now: disk I/O error",
    )


def test_a_long_look_for_lines_whose_reader_has_left_is_ended(
    make_daemon: Callable[..., Daemon], tmp_path: Path
) -> None:
    prelude = """
read = aiosqlite.Connection.execute_fetchall

async def long(self, sql, *parameters):
    if "FROM log_line" in sql and not os.path.exists("begun"):
        open("begun", "w").close()
        sql, parameters = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i FROM n) SELECT i FROM n WHERE i > 1", ()
    return await read(self, sql, *parameters)

rooms.replace("READ_MOST_S", 600)
aiosqlite.Connection.execute_fetchall = long
"""
    daemon = make_daemon(LIVE_SIGS, program=driven(tmp_path, f"import os\n{prelude}")).start()
    job = send(daemon, live(log={"lines": ["one"]}))["job"]
    followed = Followed(daemon, job)
    wait_until((daemon.folder / "begun").exists)

    followed.close()

    assert texts(daemon.get(f"/jobs/{job}/logs")) == ["one"]
