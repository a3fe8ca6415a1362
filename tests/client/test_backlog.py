"""`run` while the tracker is in trouble, and the backlog that later calls send."""

from __future__ import annotations

import http.server
import json
import re
import signal
import socket
import stat
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from support.daemons import wait_until
from support.hosts import Host, problem, read_whole
from support.trackers import Answer, Tracker, receipt

import simscope


def run_to(host: Host, *where: object, script: str = "echo out; exit 3") -> subprocess.CompletedProcess[str]:
    return host("run", "--regression", "r", *where, "--", "sh", "-c", script)


def test_a_missing_spool_harms_nothing_and_is_caught_up_by_the_next_call(host: Host) -> None:
    gone = host.folder / "later"
    done = run_to(host, "--spool", gone)
    assert (done.returncode, done.stdout) == (3, "out\n")
    assert len(done.stderr.splitlines()) == 1
    assert re.match(r"simscope: warning: the spool folder \S+ does not exist.* kept for the next call", done.stderr)
    assert [item["type"] for item in host.kept()] == ["job-live", "job-finish"]
    assert {item["to"] for item in host.kept()} == {f"spool {gone}"}
    assert stat.S_IMODE(host.backlog.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in host.backlog.glob("*.json")} == {0o600}

    host("publish", "regr-finish", "--regression", "r", "--spool", host.spool)  # another destination
    assert len(host.kept()) == 2 and len(host.spooled()) == 1

    gone.mkdir()
    assert host("publish", "regr-finish", "--regression", "r", "--spool", gone).returncode == 0
    assert host.kept() == []
    sent = read_whole(gone)
    assert [item["type"] for item in sent] == ["regr-finish", "job-live", "job-finish"]
    assert set(sent[2]) == {"type", "regression", "body"} and sent[2]["body"]["exit_code"] == 3


def test_a_dead_server_harms_nothing_and_is_caught_up_by_the_next_run(host: Host, tracker: Tracker) -> None:
    port = tracker.server.server_port
    tracker.server.shutdown()
    tracker.server.server_close()
    done = run_to(host, "--server", tracker.url, "--token", "s3cret")
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (3, "out\n", 1)
    assert [item["type"] for item in host.kept()] == ["job-live", "job-finish"]
    assert "s3cret" not in "".join(path.read_text() for path in host.backlog.glob("*.json"))

    tracker.server = http.server.ThreadingHTTPServer(("127.0.0.1", port), tracker.server.RequestHandlerClass)
    threading.Thread(target=tracker.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    assert run_to(host, "--server", tracker.url, script="exit 0").returncode == 0
    assert host.kept() == []
    assert sorted(tracker.types()) == ["job-finish", "job-finish", "job-live", "job-live"]
    assert {request["body"]["result"] for request in tracker.requests} == {"live", "pass", "fail"}


def test_a_wrong_token_keeps_the_messages(host: Host, tracker: Tracker) -> None:
    tracker.answer = lambda request: (
        (200, receipt())
        if request["headers"].get("Authorization") == "Bearer right"
        else problem(401, "Unauthorized", detail="wrong token")
    )
    done = run_to(host, "--server", tracker.url, "--token", "wrong")
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (3, "out\n", 1)
    assert "401: Unauthorized: wrong token; the token was not accepted" in done.stderr
    assert len(host.kept()) == 2
    finish = ("publish", "regr-finish", "--regression", "r", "--server", tracker.url)
    assert host(*finish, SIMSCOPE_TOKEN="wrong").returncode == 2
    assert len(host.kept()) == 2
    assert host(*finish, SIMSCOPE_TOKEN="right").returncode == 0
    assert host.kept() == []


def test_a_slow_server_delays_neither_the_command_nor_for_long_its_end(host: Host) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        process = host.start(
            "run", "--regression", "r", "--server", url, "--timeout", "0.2", "--heartbeat", "0.1", "--", "sh", "-c",
            "echo a; echo b; exit 5",
        )  # fmt: skip
        output, errors = process.communicate(timeout=15)
    assert (process.returncode, output) == (5, b"a\nb\n")
    assert len(errors.splitlines()) == 1 and b"kept for the next call" in errors
    assert [item["type"] for item in host.kept()] == ["job-live", "job-finish"]


def test_a_server_that_never_answers_holds_up_the_end_of_a_run_for_seconds_only(host: Host) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        began = time.monotonic()
        done = run_to(host, "--server", url, "--timeout", "18", script="exit 5")
    assert done.returncode == 5
    assert simscope.FINISH_SECONDS <= time.monotonic() - began < 18
    assert done.stderr == f"simscope: warning: the server {url} does not answer; the finish is kept for the next call\n"
    assert [item["type"] for item in host.kept()] == ["job-finish"]


def test_a_refused_finish_goes_to_bad(host: Host, tracker: Tracker) -> None:
    wrong = {
        "index": 0,
        "type": "job-finish",
        "regression": "r",
        "outcome": "rejected",
        "reason": "bad-field",
        "path": "x",
    }
    tracker.answer = lambda request: (
        problem(422, "Refused", **receipt(wrong, applied=0, rejected=1))
        if "job-finish" in request["path"]
        else (200, receipt())
    )
    done = run_to(host, "--server", tracker.url)
    assert done.returncode == 3
    assert "job-finish for r was rejected: bad-field at x; it is in the folder bad of the backlog" in done.stderr
    assert host.kept() == []
    [bad] = host.kept("bad")
    assert bad["body"]["exit_code"] == 3 and "422" in bad["refused"]


def test_kept_messages_that_are_refused_go_to_bad_and_do_not_hold_up_others(host: Host, tracker: Tracker) -> None:
    backlog = simscope.Backlog(str(host.backlog))
    key = "server " + tracker.url
    for name in ("good1", "evil", "good2"):
        backlog.keep(key, simscope.Message("job-finish", "r", json.dumps({"uniqueid": name}), "test"))
    Path(backlog.waiting(key)[0]).with_name(f"0000.{simscope.destination_mark(key)}.json").write_text("{torn")
    tracker.answer = lambda request: (
        problem(400, "Bad request", reason="bad-json") if b"evil" in request["raw"] else (200, receipt())
    )
    done = host("publish", "regr-finish", "--regression", "r", "--server", tracker.url)
    assert done.returncode == 0
    assert (
        "job-finish for r, kept earlier, was refused" in done.stderr
        and "cannot be read; it is moved to the folder bad" in done.stderr
    )
    assert [request["body"]["uniqueid"] for request in tracker.requests[1:]] == ["good1", "evil", "good2"]
    assert host.kept() == [] and len(list((host.backlog / "bad").iterdir())) == 2


def test_a_call_whose_own_message_is_refused_sends_nothing_else(host: Host, tracker: Tracker) -> None:
    keep(host, tracker.url, 2)
    tracker.answer = lambda request: problem(422, "Refused")

    done = host("publish", "regr-finish", "--regression", "r", "--server", tracker.url)

    assert (done.returncode, len(tracker.requests), len(host.kept())) == (1, 1, 2)


def test_a_kept_message_goes_to_its_own_destination_only(host: Host, tracker: Tracker) -> None:
    """The mark in its name is short: another destination may have the same."""
    server = simscope.Server(simscope.Address(tracker.url, "", 10))
    backlog = simscope.Backlog(str(host.backlog))
    path = Path(str(backlog.keep("server http://other", simscope.Message("job-live", "r", "{}", "test"))))
    path.rename(path.with_name(f"0.{simscope.destination_mark(server.key)}.json"))

    assert (backlog.resend(server), tracker.requests, len(host.kept())) == (0, [], 1)


def test_a_refused_message_that_cannot_be_put_aside_stays(host: Host, tracker: Tracker, capfd: Any) -> None:
    server = simscope.Server(simscope.Address(tracker.url, "", 10))
    backlog = simscope.Backlog(str(host.backlog))
    backlog.keep(server.key, simscope.Message("job-live", "r", "{}", "test"))
    (host.backlog / "bad").touch()
    tracker.answer = lambda request: problem(422, "Refused")

    assert (backlog.resend(server), len(host.kept())) == (0, 1)


def test_one_call_sends_a_bounded_number_oldest_first(host: Host) -> None:
    backlog = simscope.Backlog(str(host.backlog))
    key = simscope.Spool(str(host.spool)).key
    for number in range(simscope.BACKLOG_PER_CALL + 7):
        backlog.keep(key, simscope.Message("job-live", "r", json.dumps({"n": number}), "test"))
    host("publish", "regr-finish", "--regression", "r", "--spool", host.spool)
    assert [item["body"]["n"] for item in host.spooled()[1:]] == list(range(simscope.BACKLOG_PER_CALL))
    host("publish", "regr-finish", "--regression", "r", "--spool", host.spool)
    assert host.kept() == []


def keep(host: Host, url: str, count: int) -> simscope.Backlog:
    """A backlog with messages for a server."""
    backlog = simscope.Backlog(str(host.backlog))
    for number in range(count):
        backlog.keep("server " + url, simscope.Message("job-live", "r", json.dumps({"n": number}), "test"))
    return backlog


def test_the_backlog_makes_way_for_the_finish(host: Host, tracker: Tracker) -> None:
    """Fifty kept messages take the server seconds; the command ends at the first one."""
    keep(host, tracker.url, 50)

    def answer(request: dict[str, Any]) -> Answer:
        if "n" in request["body"]:
            time.sleep(0.05)
            (host.folder / "go").touch()
        return 200, receipt()

    tracker.answer = answer
    run_to(host, "--server", tracker.url, script="until [ -e go ]; do sleep 0.01; done")

    bodies = [request["body"] for request in tracker.requests]
    assert bodies[0]["result"] == "live" and bodies[1] == {"n": 0}
    assert "n" in bodies[-1], "the finish came last"
    assert sorted(body["n"] for body in bodies if "n" in body) == list(range(50))


def test_a_call_spends_only_so_long_on_the_backlog(
    host: Host, tracker: Tracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    backlog = keep(host, tracker.url, 3)
    server = simscope.Server(simscope.Address(tracker.url, "", 10))

    with monkeypatch.context() as patch:
        patch.setattr(simscope, "BACKLOG_SECONDS", -1.0)
        assert (backlog.resend(server), len(host.kept())) == (0, 3)
    assert (backlog.resend(server), len(host.kept())) == (3, 0)


def test_a_live_message_that_was_kept_is_forgotten_when_the_finish_has_arrived(host: Host, tracker: Tracker) -> None:
    tracker.answer = lambda request: problem(503, "Unavailable") if "live" in request["path"] else (200, receipt())

    run_to(host, "--server", tracker.url, script="exit 0")

    assert (tracker.types(), host.kept()) == (["job-live", "job-finish"], [])


def test_two_calls_do_not_send_the_backlog_twice(host: Host, tracker: Tracker) -> None:
    backlog = simscope.Backlog(str(host.backlog))
    for number in range(20):
        backlog.keep("server " + tracker.url, simscope.Message("job-live", "r", json.dumps({"n": number}), "test"))
    processes = [host.start("publish", "regr-finish", "--regression", "r", "--server", tracker.url) for _ in range(3)]
    for process in processes:
        process.communicate(timeout=20)
    sent = [request["body"]["n"] for request in tracker.requests if request["body"]]
    assert sorted(sent) == list(range(20))


def test_the_finish_is_kept_before_it_is_sent_when_somebody_wants_us_to_end(host: Host, tracker: Tracker) -> None:
    """A batch system sends SIGKILL soon after SIGTERM: the moment that the server is asked, the finish is on disk."""
    seen: list[dict[str, Any]] = []

    def look_and_kill(request: dict[str, Any]) -> Answer:
        if "job-finish" in request["path"]:
            seen.extend(host.kept())
            process.kill()
        return 200, receipt()

    tracker.answer = look_and_kill
    process = host.start(
        "run", "--regression", "r", "--server", tracker.url, "--", "sh", "-c", "echo ready; exec sleep 30"
    )
    assert process.stdout is not None and process.stdout.readline() == b"ready\n"
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=20)

    assert [item["type"] for item in seen] == ["job-finish"]
    assert host.kept() == seen and seen[0]["body"]["reason"] == "killed"


def test_after_a_stop_nothing_is_left_in_the_backlog_when_the_server_answers(host: Host, tracker: Tracker) -> None:
    process = host.start(
        "run", "--regression", "r", "--server", tracker.url, "--no-stream", "--", "sh", "-c", "echo x; exec sleep 30"
    )
    assert process.stdout is not None and process.stdout.readline() == b"x\n"
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=10)
    assert (process.returncode, tracker.types(), host.kept()) == (143, ["job-live", "job-finish"], [])


def test_heartbeats_repeat_the_live_message_until_the_finish(host: Host, tracker: Tracker) -> None:
    process = host.start(
        "run", "--regression", "r", "--server", tracker.url, "--heartbeat", "0.05", "--", "sh", "-c", "read x; exit 0",
        stdin=subprocess.PIPE,
    )  # fmt: skip
    wait_until(lambda: len(tracker.requests) >= 4)
    process.communicate(b"\n", timeout=10)
    *lives, last = tracker.requests
    assert last["body"]["result"] == "pass"
    assert len(lives) >= 4 and all(request["body"] == lives[0]["body"] for request in lives)


@pytest.mark.parametrize("how", ["ignored", "rejected"])
def test_heartbeats_stop_where_live_messages_are_not_wanted(host: Host, tracker: Tracker, how: str) -> None:
    said = {"index": 0, "type": "job-live", "regression": "r", "outcome": how, "reason": "live-disabled"}
    unwanted = {
        "ignored": (200, receipt(said, applied=0, ignored=1)),
        "rejected": problem(422, "Refused", **receipt(said, applied=0, rejected=1)),
    }[how]
    tracker.answer = lambda request: unwanted if "live" in request["path"] else (200, receipt())
    done = host("run", "--regression", "r", "--server", tracker.url, "--heartbeat", "0.02", "--", "sleep", "0.2")
    assert tracker.types() == ["job-live", "job-finish"]
    assert done.stderr == f"simscope: warning: run: job-live for r was {how}: live-disabled\n"


def test_a_full_backlog_takes_no_more_and_the_loss_is_told(
    host: Host, capfd: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(simscope, "BACKLOG_FILES", 2)
    keep(host, "http://h", 3)

    assert [kept["body"]["n"] for kept in host.kept()] == [0, 1]
    assert re.fullmatch(
        r"simscope: warning: job-live for r is lost, for the backlog \S+ cannot take it: it holds 2 messages already\n",
        capfd.readouterr().err,
    )


def test_where_nothing_can_be_kept_the_loss_is_told(host: Host) -> None:
    blocked = host.file("blocked", "a file, not a folder")
    done = host(
        "run",
        "--regression",
        "r",
        "--spool",
        "nowhere",
        "--",
        "sh",
        "-c",
        "exit 3",
        SIMSCOPE_BACKLOG=str(blocked / "x"),
    )
    assert done.returncode == 3
    assert "job-finish for r is lost, for the backlog" in done.stderr
    assert "kept for the next call" not in done.stderr


@pytest.mark.parametrize(
    ("environ", "folder"),
    [
        ({"SIMSCOPE_BACKLOG": "/b", "XDG_STATE_HOME": "/x"}, "/b"),
        ({"XDG_STATE_HOME": "/x"}, "/x/simscope/backlog"),
        ({"XDG_STATE_HOME": "relative"}, "/home/u/.local/state/simscope/backlog"),
        ({}, "/home/u/.local/state/simscope/backlog"),
    ],
)
def test_where_the_backlog_is(monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], folder: str) -> None:
    monkeypatch.setenv("HOME", "/home/u")
    assert simscope.backlog_folder(environ) == folder
