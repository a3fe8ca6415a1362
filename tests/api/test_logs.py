"""Logs of jobs: lines in, pages and streams out."""

from __future__ import annotations

import http.client
import json
import threading
import urllib.parse
from collections.abc import Callable
from typing import Any

import pytest
from support.asking import send, texts
from support.daemons import LIVE_SIGS, Daemon, live, wait_until
from support.stories import Story

from simscope_server.ledger.actions import add_lines
from simscope_server.ledger.logbook import LogComplete

SIM_LOG = "/api/v1/jobs/1/files/log/sim.log"


def test_lines_have_dense_offsets_and_a_repeated_offset_changes_nothing(shared: Daemon, run: str) -> None:
    job = send(shared, live(), run)["job"]

    first = shared.post(f"/jobs/{job}/logs", {"lines": ["a", "b"]})
    again = shared.post(f"/jobs/{job}/logs", {"offset": 1, "lines": ["b", "c"]})
    whole = shared.post(f"/jobs/{job}/logs", {"offset": 1, "lines": ["b", "c"]})

    assert first == (200, {"first_offset": 0, "next_offset": 2, "complete": False})
    assert again == whole == (200, {"first_offset": 0, "next_offset": 3, "complete": False})
    page = shared.get(f"/jobs/{job}/logs")
    assert [(line["offset"], line["message"]) for line in page["lines"]] == [(0, "a"), (1, "b"), (2, "c")]
    assert texts(shared.get(f"/jobs/{job}/logs?offset=1&limit=1")) == ["b"]


def test_the_log_of_a_job_that_is_run_again_begins_again(shared: Daemon, run: str) -> None:
    first = {"uniqueid": "again", "result": "fail", "start_time": "2025-01-01T00:00:00Z"}
    second = {"uniqueid": "again", "result": "pass", "start_time": "2025-01-02T00:00:00Z"}
    job = send(shared, live(**first) | {"log": {"lines": ["old 0", "old 1"]}}, run)["job"]

    send(shared, live(**second, log={"offset": 7, "lines": ["new 7", "new 8"]}), run)

    page = shared.get(f"/jobs/{job}/logs?offset=7")
    assert (texts(page), page["first_offset"], page["complete"]) == (["new 7", "new 8"], 7, True)


def test_lines_come_with_live_messages_and_with_the_finish_by_either_door(shared: Daemon, run: str) -> None:
    shared.drop(f"{run}/1.json", live(log={"offset": 0, "lines": ["one"]}))
    [(job,)] = wait_until(lambda: shared.rows("SELECT id FROM jobs WHERE regression = ?", run))

    send(shared, live(log={"offset": 0, "lines": ["one", "two"]}), run)
    send(shared, {**live(), "result": "pass", "log": {"lines": ["end"]}}, run)

    page = shared.get(f"/jobs/{job}/logs")
    assert texts(page) == ["one", "two", "end"]
    assert (page["next_offset"], page["complete"]) == (3, True)


def test_a_job_that_ran_into_its_limit_goes_on_writing_until_its_own_verdict(shared: Daemon, run: str) -> None:
    job = send(shared, live(time_limit_ms=1, log={"lines": ["one"]}), run)["job"]
    wait_until(lambda: shared.get(f"/jobs/{job}")["reason"] == "time-limit")

    send(shared, live(log={"offset": 1, "lines": ["two"]}), run)
    send(shared, {**live(), "result": "pass", "log": {"offset": 2, "lines": ["three"]}}, run)
    late = send(shared, live(log={"offset": 3, "lines": ["four"]}), run)

    page = shared.get(f"/jobs/{job}/logs")
    assert (texts(page), page["complete"]) == (["one", "two", "three"], True)
    assert late["warnings"] == ["log: the job has its verdict; the lines are not taken"]


def test_lines_are_a_sign_of_life(shared: Daemon, run: str) -> None:
    job = send(shared, live(), run)["job"]
    before, whole = shared.get(f"/jobs/{job}"), shared.get(f"/regressions/{run}")

    shared.post(f"/jobs/{job}/logs", {"lines": ["one"]})

    after = shared.get(f"/jobs/{job}")
    assert after["last_seen_at"] > before["last_seen_at"]
    assert after["version"] == before["version"]
    assert shared.get(f"/regressions/{run}")["last_activity_at"] > whole["last_activity_at"]


def test_a_gap_and_lines_after_the_verdict_are_refused(shared: Daemon, run: str) -> None:
    job = send(shared, live(), run)["job"]

    gap = shared.post(f"/jobs/{job}/logs", {"offset": 5, "lines": ["x"]})
    told = send(shared, live(log={"offset": 7, "lines": ["x"]}), run)
    send(shared, {**live(), "result": "pass"}, run)
    late = shared.post(f"/jobs/{job}/logs", {"lines": ["x"]})

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


def test_lines_that_are_there_already_may_be_sent_again_after_the_verdict(shared: Daemon, run: str) -> None:
    job = send(shared, live(), run)["job"]
    shared.post(f"/jobs/{job}/logs", {"offset": 0, "lines": ["a", "b"]})
    send(shared, {**live(), "result": "pass"}, run)

    def sent(offset: int, *lines: str) -> tuple[int, Any]:
        status, told = shared.post(f"/jobs/{job}/logs", {"offset": offset, "lines": lines})
        return status, told.get("reason") or (told["next_offset"], told["complete"])

    assert [sent(0, "a", "b"), sent(1, "b"), sent(2)] == [(200, (2, True))] * 3
    assert [sent(1, "b", "c"), sent(2, "c"), sent(7, "d"), sent(7)] == [(409, "log-complete")] * 4
    assert texts(shared.get(f"/jobs/{job}/logs")) == ["a", "b"]


def test_lines_with_a_zero_character_are_kept(shared: Daemon, run: str) -> None:
    job = send(shared, live(), run)["job"]

    status, _ = shared.post(f"/jobs/{job}/logs", {"lines": ["a\0b\0", "c"]})

    assert (status, texts(shared.get(f"/jobs/{job}/logs"))) == (200, ["a\ufffdb\ufffd", "c"])


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
    shared: Daemon, run: str, body: Any, status: int, reason: str, path: str | None
) -> None:
    job = send(shared, live(), run)["job"]

    answer, told = shared.post(f"/jobs/{job}/logs", body)

    assert (answer, told["reason"], told.get("path")) == (status, reason, path)
    assert shared.get(f"/jobs/{job}/logs")["next_offset"] == 0
    described = shared.get("/openapi.json")["paths"]["/jobs/{id}/logs"]["post"]["requestBody"]
    assert described["content"]["application/json"]["schema"]["required"] == ["lines"]


@pytest.mark.parametrize("offset", ["1", "-1", "x"])
def test_an_offset_beyond_the_end_is_422(shared: Daemon, run: str, offset: str) -> None:
    job = send(shared, live(), run)["job"]

    status, told, _ = shared.request("GET", f"/api/v1/jobs/{job}/logs?offset={offset}")

    assert (status, told["reason"]) == (422, "log-offset-out-of-range")
    assert shared.get(f"/jobs/{job}/logs?offset=0")["lines"] == []


def test_only_the_newest_lines_are_kept(make_daemon: Callable[..., Daemon]) -> None:
    daemon = make_daemon(f"{LIVE_SIGS}[limits]\nlog_lines = 10\n").start()
    job = send(daemon, live(log={"lines": [str(number) for number in range(25)]}))["job"]

    page = daemon.get(f"/jobs/{job}/logs")

    assert (page["first_offset"], page["next_offset"]) == (15, 25)
    assert texts(page) == [str(number) for number in range(15, 25)]


def test_a_reader_waits_for_the_next_line_and_ends_with_the_verdict(shared: Daemon, run: str) -> None:
    job = send(shared, live(), run)["job"]
    threading.Timer(0.3, lambda: shared.post(f"/jobs/{job}/logs", {"lines": ["late"]})).start()

    page = shared.get(f"/jobs/{job}/logs?wait=10")
    threading.Timer(0.3, lambda: send(shared, {**live(), "result": "pass"}, run)).start()
    end = shared.get(f"/jobs/{job}/logs?offset=1&wait=10")

    assert texts(page) == ["late"]
    assert (end["lines"], end["complete"]) == ([], True)


def test_a_stream_follows_ten_thousand_lines_through_disconnects_without_gap_or_repeat(
    shared: Daemon, run: str
) -> None:
    job = send(shared, live(), run)["job"]
    count = 10_000

    def write() -> None:
        for start in range(0, count, 137):
            lines = [f"line {number}" for number in range(start, min(start + 137, count))]
            shared.post(f"/jobs/{job}/logs", {"offset": start, "lines": lines})
        send(shared, {**live(), "result": "pass"}, run)

    writer = threading.Thread(target=write)
    writer.start()
    got: list[str] = []
    while not follow(shared, job, got, stop_after=len(got) + 3000):
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
    job = send(shared, {**live("four", log={"lines": list("abcd")}), "result": "pass"})["job"]

    told = [shared.get(f"/jobs/{job}/logs?{query}")["complete"] for query in ("limit=4", "limit=3", "offset=3&limit=1")]

    assert told == [True, False, True]
