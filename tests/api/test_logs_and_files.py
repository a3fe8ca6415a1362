"""Logs and files of jobs, against the real daemon."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import os
import socket
import sqlite3
import threading
import urllib.parse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support import rooms
from support.daemons import LIVE_SIGS, Daemon, done, driven, live, wait_until
from support.stories import Story

from simscope_server.api.declared import HASHED_BYTES, _opened, sha256_of
from simscope_server.api.problems import Problem
from simscope_server.ledger.actions import add_lines
from simscope_server.ledger.batch import Batch
from simscope_server.ledger.deliveries import apply_deliveries
from simscope_server.ledger.expiry import forget_logs, prune_jobs
from simscope_server.ledger.logbook import LogComplete
from simscope_server.messages.protocol import Context, Delivery, Message
from simscope_server.settings import Config

SIM_LOG = "/api/v1/jobs/1/files/log/sim.log"


def publish(daemon: Daemon, body: dict[str, Any]) -> dict[str, Any]:
    kind = "job-live" if body["result"] == "live" else "job-finish"
    status, told = daemon.post(f"/publish/{kind}?regression=r", body)
    assert status == 200, told
    return told["details"][0]


def texts(page: dict[str, Any]) -> list[str]:
    return [line["message"] for line in page["lines"]]


def test_lines_have_dense_offsets_and_a_repeated_offset_changes_nothing(daemon: Daemon) -> None:
    job = publish(daemon, live())["job"]

    first = daemon.post(f"/jobs/{job}/logs", {"lines": ["a", "b"]})
    again = daemon.post(f"/jobs/{job}/logs", {"offset": 1, "lines": ["b", "c"]})
    whole = daemon.post(f"/jobs/{job}/logs", {"offset": 1, "lines": ["b", "c"]})

    assert first == (200, {"first_offset": 0, "next_offset": 2, "complete": False})
    assert again == whole == (200, {"first_offset": 0, "next_offset": 3, "complete": False})
    page = daemon.get(f"/jobs/{job}/logs")
    assert [(line["offset"], line["message"]) for line in page["lines"]] == [(0, "a"), (1, "b"), (2, "c")]
    assert texts(daemon.get(f"/jobs/{job}/logs?offset=1&limit=1")) == ["b"]


def test_the_log_of_a_job_that_is_run_again_begins_again(daemon: Daemon) -> None:
    first = {"uniqueid": "again", "result": "fail", "start_time": "2025-01-01T00:00:00Z"}
    second = {"uniqueid": "again", "result": "pass", "start_time": "2025-01-02T00:00:00Z"}
    job = publish(daemon, live(**first) | {"log": {"lines": ["old 0", "old 1"]}})["job"]

    publish(daemon, live(**second, log={"offset": 7, "lines": ["new 7", "new 8"]}))

    page = daemon.get(f"/jobs/{job}/logs?offset=7")
    assert (texts(page), page["first_offset"], page["complete"]) == (["new 7", "new 8"], 7, True)


def test_lines_come_with_live_messages_and_with_the_finish_by_either_door(daemon: Daemon) -> None:
    daemon.drop("r/1.json", live(log={"offset": 0, "lines": ["one"]}))
    wait_until(lambda: daemon.get("/jobs")["items"])
    job = daemon.get("/jobs")["items"][0]["id"]

    publish(daemon, live(log={"offset": 0, "lines": ["one", "two"]}))
    publish(daemon, {**live(), "result": "pass", "log": {"lines": ["end"]}})

    page = daemon.get(f"/jobs/{job}/logs")
    assert texts(page) == ["one", "two", "end"]
    assert (page["next_offset"], page["complete"]) == (3, True)


def test_a_job_that_ran_into_its_limit_goes_on_writing_until_its_own_verdict(daemon: Daemon) -> None:
    job = publish(daemon, live(time_limit_ms=1, log={"lines": ["one"]}))["job"]
    wait_until(lambda: daemon.get(f"/jobs/{job}")["reason"] == "time-limit")

    publish(daemon, live(log={"offset": 1, "lines": ["two"]}))
    publish(daemon, {**live(), "result": "pass", "log": {"offset": 2, "lines": ["three"]}})
    late = publish(daemon, live(log={"offset": 3, "lines": ["four"]}))

    page = daemon.get(f"/jobs/{job}/logs")
    assert (texts(page), page["complete"]) == (["one", "two", "three"], True)
    assert late["warnings"] == ["log: the job has its verdict; the lines are not taken"]


def test_lines_are_a_sign_of_life(daemon: Daemon) -> None:
    job = publish(daemon, live())["job"]
    before, run = daemon.get(f"/jobs/{job}"), daemon.get("/regressions/r")

    daemon.post(f"/jobs/{job}/logs", {"lines": ["one"]})

    after = daemon.get(f"/jobs/{job}")
    assert after["last_seen_at"] > before["last_seen_at"]
    assert after["version"] == before["version"]
    assert daemon.get("/regressions/r")["last_activity_at"] > run["last_activity_at"]


def test_a_gap_and_lines_after_the_verdict_are_refused(daemon: Daemon) -> None:
    job = publish(daemon, live())["job"]

    gap = daemon.post(f"/jobs/{job}/logs", {"offset": 5, "lines": ["x"]})
    told = publish(daemon, live(log={"offset": 7, "lines": ["x"]}))
    publish(daemon, {**live(), "result": "pass"})
    late = daemon.post(f"/jobs/{job}/logs", {"lines": ["x"]})

    assert (gap[0], gap[1]["reason"]) == (409, "log-gap")
    assert told["outcome"] == "applied"
    assert "gap" in told["warnings"][0]
    assert (late[0], late[1]["reason"]) == (409, "log-complete")


def test_lines_that_the_verdict_overtook_on_their_way_are_not_taken(story: Story) -> None:
    job = story.live(log={"lines": ["one"]}).job
    story.finish()

    with pytest.raises(LogComplete, match="its log is complete"):
        story.change(add_lines, job, 1, ["two"])

    assert [row["next_offset"] for row in story.rows("SELECT next_offset FROM log")] == [1]


def test_lines_that_are_there_already_may_be_sent_again_after_the_verdict(daemon: Daemon) -> None:
    job = publish(daemon, live())["job"]
    daemon.post(f"/jobs/{job}/logs", {"offset": 0, "lines": ["a", "b"]})
    publish(daemon, {**live(), "result": "pass"})

    def sent(offset: int, *lines: str) -> tuple[int, Any]:
        status, told = daemon.post(f"/jobs/{job}/logs", {"offset": offset, "lines": lines})
        return status, told.get("reason") or (told["next_offset"], told["complete"])

    assert [sent(0, "a", "b"), sent(1, "b"), sent(2)] == [(200, (2, True))] * 3
    assert [sent(1, "b", "c"), sent(2, "c"), sent(7, "d"), sent(7)] == [(409, "log-complete")] * 4
    assert texts(daemon.get(f"/jobs/{job}/logs")) == ["a", "b"]


def test_lines_with_a_zero_character_are_kept(daemon: Daemon) -> None:
    job = publish(daemon, live())["job"]

    status, _ = daemon.post(f"/jobs/{job}/logs", {"lines": ["a\0b\0", "c"]})

    assert (status, texts(daemon.get(f"/jobs/{job}/logs"))) == (200, ["a\ufffdb\ufffd", "c"])


@pytest.mark.parametrize(
    ("body", "status", "reason", "path"),
    [
        ({}, 422, "missing-field", "$.lines"),
        ({"offset": 3}, 422, "missing-field", "$.lines"),
        ({"lines": "abc"}, 422, "wrong-type", "$.lines"),
        ({"lines": None}, 422, "wrong-type", "$.lines"),
        ({"lines": ["a", 5]}, 422, "wrong-type", "$.lines[1]"),
        ({"lines": ["a"], "offset": -1}, 422, "wrong-type", "$.offset"),
        (["a"], 422, "wrong-type", "$"),
        (b'{"lines": ["a"', 400, "bad-json", None),
        (b'{"lines": ["\xff"]}', 400, "bad-json", None),
    ],
)
def test_what_are_no_lines_is_told_with_its_place(
    daemon: Daemon, body: Any, status: int, reason: str, path: str | None
) -> None:
    job = publish(daemon, live())["job"]

    answer, told = daemon.post(f"/jobs/{job}/logs", body)

    assert (answer, told["reason"], told.get("path")) == (status, reason, path)
    assert daemon.get(f"/jobs/{job}/logs")["next_offset"] == 0
    described = daemon.get("/openapi.json")["paths"]["/jobs/{id}/logs"]["post"]["requestBody"]
    assert described["content"]["application/json"]["schema"]["required"] == ["lines"]


@pytest.mark.parametrize("offset", ["1", "-1", "x"])
def test_an_offset_beyond_the_end_is_422(daemon: Daemon, offset: str) -> None:
    job = publish(daemon, live())["job"]

    status, told, _ = daemon.request("GET", f"/api/v1/jobs/{job}/logs?offset={offset}")

    assert (status, told["reason"]) == (422, "log-offset-out-of-range")
    assert daemon.get(f"/jobs/{job}/logs?offset=0")["lines"] == []


def test_only_the_newest_lines_are_kept(make_daemon: Callable[..., Daemon]) -> None:
    daemon = make_daemon(f"{LIVE_SIGS}[limits]\nlog_lines = 10\n").start()
    job = publish(daemon, live(log={"lines": [str(number) for number in range(25)]}))["job"]

    page = daemon.get(f"/jobs/{job}/logs")

    assert (page["first_offset"], page["next_offset"]) == (15, 25)
    assert texts(page) == [str(number) for number in range(15, 25)]


def test_a_reader_waits_for_the_next_line_and_ends_with_the_verdict(daemon: Daemon) -> None:
    job = publish(daemon, live())["job"]
    threading.Timer(0.3, lambda: daemon.post(f"/jobs/{job}/logs", {"lines": ["late"]})).start()

    page = daemon.get(f"/jobs/{job}/logs?wait=10")
    threading.Timer(0.3, lambda: publish(daemon, {**live(), "result": "pass"})).start()
    end = daemon.get(f"/jobs/{job}/logs?offset=1&wait=10")

    assert texts(page) == ["late"]
    assert (end["lines"], end["complete"]) == ([], True)


def test_a_stream_follows_ten_thousand_lines_through_disconnects_without_gap_or_repeat(daemon: Daemon) -> None:
    job = publish(daemon, live())["job"]
    count = 10_000

    def write() -> None:
        for start in range(0, count, 137):
            lines = [f"line {number}" for number in range(start, min(start + 137, count))]
            daemon.post(f"/jobs/{job}/logs", {"offset": start, "lines": lines})
        publish(daemon, {**live(), "result": "pass"})

    writer = threading.Thread(target=write)
    writer.start()
    got: list[str] = []
    while not follow(daemon, job, got, stop_after=len(got) + 3000):
        pass
    writer.join()

    assert got == [f"line {number}" for number in range(count)]


def follow(daemon: Daemon, job: int, got: list[str], stop_after: int) -> bool:
    """Read the stream on from where `got` ends, and hang up after some lines. -> True if the log was complete."""
    address = urllib.parse.urlsplit(daemon.url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=20)
    resumed = {"Last-Event-ID": str(len(got) - 1)} if got else {}
    connection.request("GET", f"/api/v1/jobs/{job}/logs", headers={"Accept": "text/event-stream", **resumed})
    answer = connection.getresponse()
    complete = False
    while not complete and len(got) < stop_after and (line := answer.readline()):
        if line.startswith(b"event: complete"):
            complete = True
        elif line.startswith(b"data: "):
            got.append(json.loads(line[6:])["message"])
    connection.close()
    return complete


def test_a_page_that_ends_with_the_last_line_of_a_complete_log_says_so(shared: Daemon) -> None:
    job = publish(shared, {**live("four", log={"lines": list("abcd")}), "result": "pass"})["job"]

    told = [shared.get(f"/jobs/{job}/logs?{query}")["complete"] for query in ("limit=4", "limit=3", "offset=3&limit=1")]

    assert told == [True, False, True]


def test_the_oldest_lines_go_where_a_log_is_too_large(story: Story, monkeypatch: Any) -> None:
    rooms.replace("LOG_SIZE_MOST", 10, monkeypatch)
    for lines in (["aaaa", "bbbb"], ["cccc"], ["d"], ["e" * 12]):
        story.live(log={"lines": lines})
        (row,) = story.rows("SELECT first_offset, next_offset, size FROM log")
        kept = [text for _, number, text in lines_kept(story) if number >= row["first_offset"]]
        assert (row["size"], row["next_offset"]) == (sum(map(len, kept)), row["first_offset"] + len(kept))
        assert kept[-1:] == ([] if len(lines[-1]) > 10 else lines[-1:])
    assert (row["first_offset"], row["next_offset"]) == (5, 5)


class Followed:
    """A log that is followed; read as it comes over the line."""

    def __init__(self, daemon: Daemon, job: int, offset: int = 0) -> None:
        address = urllib.parse.urlsplit(daemon.url)
        self.channel = socket.create_connection((address.hostname, address.port), 20)
        head = "Host: localhost\r\nAccept: text/event-stream\r\nConnection: close"
        self.channel.sendall(f"GET /api/v1/jobs/{job}/logs?offset={offset} HTTP/1.1\r\n{head}\r\n\r\n".encode())
        self.raw = b""

    def until(self, text: str | None) -> str:
        """All that has come, once that text is there; without one, at the end."""
        while (text is None or text.encode() not in self.raw) and (more := self.channel.recv(65536)):
            self.raw += more
        return self.raw.decode()

    def close(self) -> None:
        self.channel.close()


@pytest.mark.parametrize("reason", ["pruned", "log-offset-out-of-range"])
def test_a_followed_log_that_is_no_more_ends_with_the_problem(make_daemon: Callable[..., Daemon], reason: str) -> None:
    daemon = make_daemon(LIVE_SIGS + ("prunelivedays = 0.00002\n" if reason == "pruned" else "")).start()
    job = publish(daemon, live(log={"lines": ["one", "two"]}))["job"]
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
    jobs = [publish(daemon, live(f"j{number}"))["job"] for number in range(10)]
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
        publish(daemon, live("other", phase=str(number), log={"lines": ["one"]}))
    daemon.post(f"/jobs/{jobs[0]}/logs", {"lines": ["mine"]})
    waiters[0].join(20)

    assert '"mine"' in followed[0].until('"mine"')
    assert not waiters[0].is_alive()
    assert looks.stat().st_size <= 41 + 3
    metrics = daemon.request("GET", "/metrics")[1]
    assert "simscoped_streams 10.0" in metrics
    publish(daemon, {**live("j1"), "result": "pass"})
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
    job = publish(daemon, live(log={"lines": ["one"]}))["job"]
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
    job = publish(daemon, live(log={"lines": ["0", "1"]}))["job"]
    (daemon.folder / "full").touch()

    for _ in range(3):
        assert daemon.post(f"/jobs/{job}/logs", {"lines": ["lost 2", "lost 3", "lost 4"]})[0] == 507
        assert daemon.post("/publish/job-live?regression=r", live(log={"lines": ["lost 2"]}))[0] == 507
    meanwhile = daemon.get(f"/jobs/{job}/logs")
    beyond, _ = daemon.request("GET", f"/api/v1/jobs/{job}/logs?offset=3")[:2]
    (daemon.folder / "full").unlink()
    publish(daemon, live(log={"lines": ["2", "3"]}))

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
    old = publish(daemon, live(log={"offset": 0, "lines": ["old 0", "old 1", "old 2"]}))["job"]
    wait_until(lambda: daemon.request("GET", f"/api/v1/jobs/{old}")[0] == 410, what="the job to be pruned")

    new = publish(daemon, done(log={"offset": 0, "lines": ["new 0", "new 1"]}))

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
    publish(daemon, live(**first) | {"log": {"lines": ["old 0", "old 1"]}})
    publish(daemon, live(**first | {"result": "pass", "start_time": "2025-01-02T00:00:00Z"}))
    daemon.stop()

    daemon.start()

    wait_until(lambda: daemon.rows("SELECT count(*) FROM log") == [(0,)], what="the first run's log to be forgotten")
    with contextlib.closing(sqlite3.connect(f"{daemon.db}.logs")) as conn:
        assert conn.execute("SELECT count(*) FROM log_line").fetchone() == (0,)


def test_a_log_whose_lines_are_lost_goes_on_where_it_ended(make_daemon: Callable[..., Daemon]) -> None:
    daemon = make_daemon().start()
    job = publish(daemon, live(log={"lines": ["0", "1"]}))["job"]
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
    job = publish(daemon, live(log={"lines": ["one"]}))["job"]

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
    job = publish(daemon, live(log={"lines": ["one"]}))["job"]
    followed = Followed(daemon, job)
    wait_until((daemon.folder / "begun").exists)

    followed.close()

    assert texts(daemon.get(f"/jobs/{job}/logs")) == ["one"]


@pytest.fixture
def with_files(make_daemon: Callable[..., Daemon], tmp_path: Path) -> Daemon:
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "sim.log").write_text("0123456789")
    (tmp_path / "secret").write_text("secret")
    daemon = make_daemon(f'file_roots = ["{tmp_path / "runs"}"]\n[spool]\ndir = "spool"\n{LIVE_SIGS}').start()
    files = [
        {"kind": "log", "name": "sim.log", "path": "sim.log"},
        {"kind": "result", "name": "out", "path": str(tmp_path / "secret")},
        {"kind": "result", "name": "up", "path": "../secret"},
        {"kind": "result", "name": "link", "path": "link"},
        {"kind": "result", "name": "gone", "path": "gone"},
        {"kind": "result", "name": "db", "path": str(daemon.db)},
    ]
    os.symlink(tmp_path / "secret", tmp_path / "runs" / "link")
    publish(daemon, live(jobdir=str(tmp_path / "runs"), files=files))
    return daemon


def test_declared_files_are_listed_and_read_with_ranges_and_their_hash(with_files: Daemon) -> None:
    listed = with_files.get("/jobs/1/files?kind=log")["items"]

    whole = with_files.request("GET", listed[0]["_links"]["content"]["href"])
    part = with_files.request("GET", SIM_LOG, headers={"Range": "bytes=2-4"})

    assert [file["name"] for file in listed] == ["sim.log"]
    assert (whole[0], whole[1]) == (200, "0123456789")
    assert hashlib.sha256(b"0123456789").digest() == _digest(whole[2]["repr-digest"])
    assert whole[2]["etag"]
    assert "attachment" in whole[2]["content-disposition"]
    assert (part[0], part[1]) == (206, "234")
    again = with_files.request("GET", SIM_LOG, headers={"If-None-Match": whole[2]["etag"]})
    assert again[0] == 304


def test_size_and_hash_of_a_served_file_are_told_where_the_job_does_not(with_files: Daemon, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    (runs / "big").write_bytes(bytes(HASHED_BYTES))
    declared = {"kind": "log", "name": "mine", "path": "sim.log", "size": 3, "sha256": "ab" * 32}
    files = [
        {"kind": "log", "name": name, "path": name} for name in ("sim.log", "big", "../secret", "link", "gone", "")
    ]

    def told(result: str) -> list[tuple[int | None, str | None]]:
        job = publish(with_files, {**live("b"), "result": result, "jobdir": str(runs), "files": [declared, *files]})[
            "job"
        ]
        items = with_files.get(f"/jobs/{job}/files")["items"]
        return [(file.get("size"), file.get("sha256")) for file in items]

    digest = hashlib.sha256(b"0123456789").hexdigest()
    big, nothing = HASHED_BYTES, [(None, None)] * 4
    assert told("live") == [(3, "ab" * 32), (10, None), (big, None), *nothing]  # it may still be written to
    assert told("pass") == [(3, "ab" * 32), (10, digest), (big, None), *nothing]


def test_only_what_is_served_has_a_link_to_its_content(with_files: Daemon) -> None:
    links = {file["name"]: file["_links"] for file in with_files.get("/jobs/1/files")["items"]}

    assert links.pop("sim.log") == {"content": {"href": SIM_LOG}}
    assert list(links) == ["out", "up", "link", "gone", "db"]
    assert not any(links.values())


def _digest(header: str) -> bytes:
    return __import__("base64").b64decode(header.removeprefix("sha-256=:").removesuffix(":"))


@pytest.mark.parametrize(
    ("wanted", "status", "content"),
    [
        ("bytes=0-3", 206, "0123"),
        ("BYTES=7-", 206, "789"),
        ("bytes=-2", 206, "89"),
        ("bytes=8-99999999999", 206, "89"),
        ("bytes=-99", 206, "0123456789"),
        ("bytes=abc", 200, "0123456789"),
        ("bytes=-", 200, "0123456789"),
        ("bytes=5-2", 200, "0123456789"),
        ("items=0-1", 200, "0123456789"),
        ("bytes=0-0,2-3", 200, "0123456789"),
        (f"bytes=0-{'9' * 5000}", 200, "0123456789"),
    ],
)
def test_one_range_of_bytes_is_answered_and_any_other_means_the_whole_file(
    with_files: Daemon, wanted: str, status: int, content: str
) -> None:
    answer = with_files.request("GET", SIM_LOG, headers={"Range": wanted})

    assert answer[:2] == (status, content)


@pytest.mark.parametrize("wanted", ["bytes=10-", "bytes=100-200", "bytes=-0"])
def test_a_range_behind_the_end_of_a_file_is_416_with_its_size(with_files: Daemon, wanted: str) -> None:
    status, told, headers = with_files.request("GET", SIM_LOG, headers={"Range": wanted})

    assert (status, told["reason"], headers["content-range"]) == (416, "range-not-satisfiable", "bytes */10")


def test_a_range_counts_only_for_the_file_that_if_range_means(with_files: Daemon) -> None:
    now = with_files.request("HEAD", SIM_LOG)[2]
    said = {
        now["etag"]: 206,
        now["last-modified"]: 206,
        '"other"': 200,
        f"W/{now['etag']}": 200,
        "Mon, 01 Jan 2001 00:00:00 GMT": 200,
        "Mon, 01 Jan 2091 00:00:00 GMT": 200,
        "x": 200,
    }

    answers = [with_files.request("GET", SIM_LOG, headers={"Range": "bytes=2-4", "If-Range": known}) for known in said]

    assert [answer[0] for answer in answers] == list(said.values())
    assert {answer[1] for answer in answers} == {"234", "0123456789"}


def test_preconditions_hold_with_a_range_too(with_files: Daemon) -> None:
    tag = with_files.request("HEAD", SIM_LOG)[2]["etag"]

    for name, value, status in (
        ("If-None-Match", tag, 304),
        ("If-None-Match", "\xff", 206),
        ("If-Match", tag, 206),
        ("If-Match", '"other"', 412),
    ):
        assert with_files.request("GET", SIM_LOG, headers={"Range": "bytes=1-1", name: value})[0] == status, name


def test_a_compressed_file_beside_a_declared_one_is_not_its_content(with_files: Daemon, tmp_path: Path) -> None:
    (tmp_path / "runs" / "sim.log.gz").write_bytes(b"other")

    _, content, headers = with_files.request("GET", SIM_LOG, headers={"Accept-Encoding": "gzip"})

    assert content == "0123456789"
    assert "content-encoding" not in headers


# The file is replaced by a link, or its folder is, just after a step of the daemon's.
REPLACING = """
real = rooms.find("STEP")

def replacing(*args):
    result = real(*args)
    if os.path.exists(FLAG):
        os.rename(MOVED, MOVED + ".before")
        os.symlink(INSTEAD, MOVED)
        os.remove(FLAG)
    return result

rooms.replace("STEP", replacing)
"""


def test_files_on_a_disk_that_hangs_hold_up_neither_the_spool_nor_the_stop(
    make_daemon: Callable[..., Daemon], tmp_path: Path
) -> None:
    prelude = """
import threading

def hanging(*asked):
    open(f"hangs{threading.get_ident()}", "w").close()
    threading.Event().wait()

rooms.replace("FILE_THREADS", 40)
rooms.replace("_real_path", hanging)
"""
    daemon = make_daemon(LIVE_SIGS, program=driven(tmp_path, prelude)).start()
    job = publish(daemon, live(files=[{"kind": "log", "name": "sim.log", "path": "/mnt/sim.log"}]))["job"]
    paths = [f"/api/v1/jobs/{job}/files", SIM_LOG] * 20
    address = urllib.parse.urlsplit(daemon.url)
    channels = [socket.create_connection((address.hostname, address.port), 20) for _ in paths]
    for channel, path in zip(channels, paths, strict=True):
        channel.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    wait_until(lambda: len(list(daemon.folder.glob("hangs*"))) >= 6)

    daemon.drop("r/1.json", live("b"))

    wait_until(lambda: len(daemon.get("/jobs")["items"]) == 2)
    assert daemon.stop() == 0
    assert "Traceback" not in daemon.log.read_text()
    for channel in channels:
        channel.close()


def test_a_file_that_can_be_opened_but_not_read_is_listed_without_its_hash_and_404(
    make_daemon: Callable[..., Daemon], tmp_path: Path
) -> None:
    prelude = """
def failing(file, digest):
    raise OSError(5, "Input/output error")

hashlib.file_digest = failing
"""
    (tmp_path / "sim.log").write_text("0123456789")
    roots = f'file_roots = ["{tmp_path}"]\n[spool]\ndir = "spool"\n{LIVE_SIGS}'
    daemon = make_daemon(roots, program=driven(tmp_path, prelude)).start()
    declared = [{"kind": "log", "name": "sim.log", "path": str(tmp_path / "sim.log")}]
    publish(daemon, {**live(files=declared), "result": "pass"})

    (listed,) = daemon.get("/jobs/1/files")["items"]
    status, told, _ = daemon.request("GET", SIM_LOG)

    assert (listed["size"], listed.get("sha256"), bool(listed["_links"])) == (10, None, True)
    assert (status, told["reason"]) == (404, "no-such-file")
    assert "Input/output error" in told["detail"]


def test_the_hash_of_a_file_outlives_that_many_others_are_looked_at_meanwhile(tmp_path: Path) -> None:
    class Crowded(dict[Any, bytes]):
        """Another thread empties it at once."""

        def __setitem__(self, state: Any, digest: bytes) -> None:
            super().__setitem__(state, digest)
            self.clear()

    (tmp_path / "file").write_bytes(b"0123456789")

    with (tmp_path / "file").open("rb", buffering=0) as file:
        assert sha256_of(Crowded(), file) == hashlib.sha256(b"0123456789").digest()


def test_a_file_that_was_replaced_is_not_left_open(tmp_path: Path, monkeypatch: Any) -> None:
    rooms.replace("_real_path", lambda config, job, declared: tmp_path / "link" / declared, monkeypatch)
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "sim.log").touch()
    (tmp_path / "link").symlink_to("runs")
    before = os.listdir("/proc/self/fd")

    with pytest.raises(Problem, match="replaced") as told:
        _opened(Config(), {}, "sim.log")

    assert told.tb is not None  # as long as it is kept, so is what the function had
    assert os.listdir("/proc/self/fd") == before


@pytest.mark.parametrize("moved", ["runs/sub/sim.log", "runs/sub"])
@pytest.mark.parametrize(("step", "status"), [("_real_path", 404), ("sha256_of", 200)])
def test_a_file_that_is_replaced_while_it_is_asked_for_leads_nowhere_else(
    make_daemon: Callable[..., Daemon], tmp_path: Path, moved: str, step: str, status: int
) -> None:
    (tmp_path / "runs" / "sub").mkdir(parents=True)
    (tmp_path / "runs" / "sub" / "sim.log").write_text("0123456789")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "sim.log").write_text("secret")
    instead = "elsewhere/sim.log" if moved.endswith(".log") else "elsewhere"
    names = {"STEP": step, "FLAG": repr(str(tmp_path / "flag")), "MOVED": repr(str(tmp_path / moved))}
    prelude = REPLACING
    for name, text in (names | {"INSTEAD": repr(str(tmp_path / instead))}).items():
        prelude = prelude.replace(name, text)
    roots = f'file_roots = ["{tmp_path / "runs"}"]\n[spool]\ndir = "spool"\n{LIVE_SIGS}'
    daemon = make_daemon(roots, program=driven(tmp_path, prelude)).start()
    publish(daemon, live(files=[{"kind": "log", "name": "sim.log", "path": str(tmp_path / "runs/sub/sim.log")}]))
    (tmp_path / "flag").touch()

    code, content, headers = daemon.request("GET", SIM_LOG)

    assert (code, (tmp_path / "flag").exists(), (tmp_path / moved).is_symlink()) == (status, False, True)
    if code == 200:
        assert content == "0123456789"
        assert _digest(headers["repr-digest"]) == hashlib.sha256(b"0123456789").digest()
    else:
        assert content["reason"] == "no-such-file"
    assert daemon.request("GET", SIM_LOG)[0] == 403
    assert daemon.process is not None
    opened = [os.readlink(entry) for entry in Path(f"/proc/{daemon.process.pid}/fd").iterdir()]
    assert [name for name in opened if "sim.log" in name] == []


def test_a_file_is_offered_under_its_declared_name_and_linked_if_it_has_a_path(
    with_files: Daemon, tmp_path: Path
) -> None:
    os.symlink(tmp_path / "runs" / "sim.log", tmp_path / "runs" / "latest")
    files = [{"kind": "log", "name": "out/run é.log", "path": "latest"}, {"kind": "log", "name": "nowhere"}]
    job = publish(with_files, live("named", jobdir=str(tmp_path / "runs"), files=files))["job"]

    listed = with_files.get(f"/jobs/{job}/files")["items"]
    _, content, headers = with_files.request("GET", listed[0]["_links"]["content"]["href"])

    assert content == "0123456789"
    assert headers["content-disposition"] == "attachment; filename*=UTF-8''run%20%C3%A9.log"
    assert listed[1]["_links"] == {}


@pytest.mark.parametrize("name", ["out", "up", "link", "db"])
def test_nothing_outside_the_roots_is_read(with_files: Daemon, name: str) -> None:
    status, told, _ = with_files.request("GET", f"/api/v1/jobs/1/files/result/{name}")

    assert (status, told["reason"]) == (403, "outside-roots")


@pytest.mark.parametrize("place", ["result/gone", "result/nothing", "input/sim.log"])
def test_a_file_that_is_not_there_or_not_declared_is_404(with_files: Daemon, place: str) -> None:
    status, told, _ = with_files.request("GET", f"/api/v1/jobs/1/files/{place}")

    assert (status, told["reason"]) == (404, "no-such-file")


def test_files_are_listed_in_pages_of_at_most_five_hundred(daemon: Daemon) -> None:
    names = [f"f{number}" for number in range(1203)]
    publish(daemon, live(files=[{"kind": "log" if name == "f7" else "cov", "name": name} for name in names]))

    pages, path = [], "/api/v1/jobs/1/files?kind=cov"
    while path:
        status, page, headers = daemon.request("GET", path)
        pages.append([file["name"] for file in page["items"]])
        path = headers.get("link", "").partition(">")[0].removeprefix("<")
        assert (status, page["next"] is None) == (200, not path)

    assert [len(page) for page in pages] == [500, 500, 202]
    assert [name for page in pages for name in page] == [name for name in names if name != "f7"]
    few = daemon.get("/jobs/1/files?limit=3&after=1201")
    assert ([file["name"] for file in few["items"]], few["next"]) == (["f1201", "f1202"], None)
    assert daemon.get("/jobs/1/files?limit=2")["next"] == 2
    for wrong in ("limit=0", "limit=501", "after=x"):
        assert daemon.request("GET", f"/api/v1/jobs/1/files?{wrong}")[1]["reason"] == "bad-query"


def test_without_roots_files_are_listed_only(daemon: Daemon, tmp_path: Path) -> None:
    (tmp_path / "x").write_text("x")
    publish(daemon, live(files=[{"kind": "log", "name": "x", "path": str(tmp_path / "x")}]))

    listed = daemon.get("/jobs/1/files")["items"][0]
    assert (listed["name"], listed["_links"]) == ("x", {})
    assert daemon.request("GET", "/api/v1/jobs/1/files/log/x")[0] == 403
