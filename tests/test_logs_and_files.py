"""Logs and files of jobs, against the real daemon."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import threading
import urllib.parse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import LIVE_SIGS, Daemon, Story, live, wait_until

import simscoped

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


def test_a_log_survives_a_rollback_under_the_identity_of_its_job() -> None:
    story = Story()
    book = simscoped.LogBook(":memory:")
    batch = simscoped.Batch(story.conn, story.config, simscoped.Moment(1, 1), book)

    batch.append_lines("r", "a", 0, ["one"])
    book.rollback()

    assert book.span(simscoped.log_key("r", "a")) == (0, 0)
    assert simscoped.log_key("r", "a") != simscoped.log_key("r", b"a".hex())


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
