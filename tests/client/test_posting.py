"""`publish` to a server: what is sent, and what becomes of each answer."""

from __future__ import annotations

import json
import socket
import threading
from typing import Any

import pytest
from support.hosts import Host, Inside, dead_url, problem
from support.trackers import Answer, Tracker, receipt

import simscope


def test_post_is_the_bare_body(host: Host, tracker: Tracker) -> None:
    path = host.file("job.json", {"category": "sim", "uniqueid": "1", "result": "live"})
    done = host(
        "publish",
        "job-live",
        "--regression",
        "my run/1",
        path,
        "--server",
        tracker.url + "/",
        SIMSCOPE_TOKEN="s3cret\n",
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    [request] = tracker.requests
    assert request["path"] == "/api/v1/publish/job-live?regression=my%20run%2F1"
    assert request["headers"]["Authorization"] == "Bearer s3cret"
    assert request["headers"]["Content-Type"] == "application/json"
    assert request["body"] == {"category": "sim", "uniqueid": "1", "result": "live"}


def test_post_of_nothing_for_a_regr_finish(inside: Inside, tracker: Tracker) -> None:
    assert inside("publish", "regr-finish", "--regression", "r", "--server", tracker.url + "/sub") == (0, "", "")
    [request] = tracker.requests
    assert (request["path"], request["raw"]) == ("/sub/api/v1/publish/regr-finish?regression=r", b"")
    assert "Authorization" not in request["headers"]


def test_proxies_of_the_environment_are_not_used(host: Host, tracker: Tracker) -> None:
    done = host("publish", "regr-finish", "--regression", "r", "--server", tracker.url, http_proxy=dead_url())
    assert (done.returncode, len(tracker.requests)) == (0, 1)


def test_many_bodies_are_one_post_of_envelopes(host: Host, inside: Inside, tracker: Tracker) -> None:
    path = host.file("a.ndjson", '{"n": 1}\n{"n": 2}\n{"n": 3}')
    wrong = {
        "index": 1,
        "type": "job-live",
        "regression": "r",
        "outcome": "rejected",
        "reason": "bad-time",
        "path": "$.body.start_time",
        "detail": "Expected a zone",
    }
    tracker.answer = lambda request: problem(422, "Some refused", **receipt(wrong, applied=2, rejected=1))
    code, _, errors = inside("publish", "job-live", "--regression", "r", path, "--server", tracker.url)
    assert code == 1
    assert (
        errors == f"simscope: {path}: line 2: job-live for r was rejected: bad-time at $.start_time: Expected a zone\n"
    )
    [request] = tracker.requests
    assert request["path"] == "/api/v1/messages"
    assert request["body"][2] == {"type": "job-live", "regression": "r", "body": {"n": 3}}


def test_what_is_sent_together_has_a_bounded_size() -> None:
    third = simscope.PARCEL_CHARACTERS // 3
    messages = [
        simscope.Message("job-live", "r", "x" * size, "test") for size in (third, third, third, 1, 3 * third, 9)
    ]

    sizes = [[len(message.body or "") for message in parcel] for parcel in simscope.parcels(messages)]

    assert sizes == [[third, third, third, 1], [3 * third], [9]]


def test_a_refused_message_is_exit_1_and_the_others_are_sent(host: Host, tracker: Tracker) -> None:
    files = [host.file(f"{name}.json", {"uniqueid": name}) for name in "abc"]
    wrong = {"index": 0, "type": "job-live", "regression": "r", "outcome": "rejected", "reason": "bad-result"}
    wrong |= {"path": "$.body", "detail": "no body of ours"}

    def answer(request: dict[str, Any]) -> Answer:
        if request["body"]["uniqueid"] == "b":
            return problem(422, "Nothing applied", **receipt(wrong, applied=0, rejected=1))
        return 200, receipt()

    tracker.answer = answer
    done = host("publish", "job-live", "--regression", "r", *files, "--server", tracker.url, "--json")
    assert done.returncode == 1
    assert done.stderr == f"simscope: {files[1]}: job-live for r was rejected: bad-result at $.body: no body of ours\n"
    assert [json.loads(line)["applied"] for line in done.stdout.splitlines()] == [1, 0, 1]


def test_a_refusal_in_a_good_answer_is_exit_1(host: Host, inside: Inside, tracker: Tracker) -> None:
    wrong = {"index": 1, "type": "job-live", "regression": "r", "outcome": "rejected", "reason": "bad-time"}
    tracker.answer = lambda request: (200, receipt(wrong, applied=1, rejected=1))
    path = host.file("a.ndjson", '{"n": 1}\n{"n": 2}')

    code, _, errors = inside("publish", "job-live", "--regression", "r", "--server", tracker.url, path)

    assert (code, errors) == (1, f"simscope: {path}: line 2: job-live for r was rejected: bad-time\n")


def test_an_ignored_message_is_told_and_is_no_error(host: Host, inside: Inside, tracker: Tracker) -> None:
    ignored = {"index": 0, "type": "job-live", "regression": "r", "outcome": "ignored", "reason": "live-disabled"}
    tracker.answer = lambda request: (200, receipt(ignored, applied=0, ignored=1))
    host.file("a.json", {})
    code, _, errors = inside("publish", "job-live", "--regression", "r", "--server", tracker.url, "a.json")
    assert code == 0
    assert errors == "simscope: a.json: job-live for r was ignored: live-disabled\n"


def test_a_long_receipt_says_what_it_leaves_out(host: Host, inside: Inside, tracker: Tracker) -> None:
    wrong = [{"index": n, "type": "job-live", "regression": "r", "outcome": "rejected", "reason": "x"} for n in (3, 5)]
    tracker.answer = lambda request: problem(422, "Refused", **receipt(*wrong, applied=0, rejected=9))
    host.file("a.json", [{}])
    _, _, errors = inside("publish", "batch-job-live", "--regression", "r", "--server", tracker.url, "a.json")
    assert errors.splitlines() == [
        "simscope: a.json: item 3: job-live for r was rejected: x",
        "simscope: a.json: item 5: job-live for r was rejected: x",
        "simscope: 7 more were rejected or ignored, see the receipt 7",
    ]


@pytest.mark.parametrize(
    ("answer", "code", "words"),
    [
        (
            problem(400, "Bad request", detail="no JSON at 7", reason="bad-json"),
            1,
            "400: Bad request: no JSON at 7 (bad-json)",
        ),
        (problem(413, "Too large", reason="too-large"), 1, "413: Too large (too-large)"),
        ((413, b"<html>"), 1, "413: the message is too large"),
        (
            problem(401, "Unauthorized", detail="wrong token"),
            2,
            "401: Unauthorized: wrong token; the token is not set\n",
        ),
        (problem(401, "Unauthorized", detail="x", reason="token"), 2, "401: Unauthorized: x; the token is not set\n"),
        (problem(403, "Forbidden", reason="bad-host"), 2, "403: Forbidden (bad-host)"),
        ((404, b"<html>not here</html>"), 2, "404, which is not a reply of simscoped"),
        ((302, b""), 2, "302, which is not a reply of simscoped"),
        ((200, b"<html>please log in</html>"), 2, "200, which is not a reply of simscoped"),
        ((200, {"hello": "world"}), 2, "without a receipt"),
        (problem(503, "Unavailable", detail="shutting down"), 3, "503: Unavailable: shutting down"),
        (problem(507, "Disk full"), 3, "507: Disk full"),
    ],
    ids=lambda value: str(value[0]) if isinstance(value, tuple) else None,
)
def test_answers_and_exit_codes(inside: Inside, tracker: Tracker, answer: Answer, code: int, words: str) -> None:
    tracker.answer = lambda request: answer
    got, _, errors = inside("publish", "regr-finish", "--regression", "r", "--server", tracker.url)
    assert got == code
    assert words in errors


def test_a_dead_server_is_exit_3(host: Host) -> None:
    files = [host.file(f"{n}.json", {"n": n}) for n in range(3)]
    done = host("publish", "job-live", "--regression", "r", *files, "--server", dead_url())
    assert done.returncode == 3
    assert "cannot be reached: connection refused; 3 of 3 messages not sent" in done.stderr


def test_a_server_that_hangs_up_is_exit_3(host: Host) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=lambda: server.accept()[0].close(), daemon=True).start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        assert host("publish", "regr-finish", "--regression", "r", "--server", url).returncode == 3


def test_a_silent_server_is_given_up(host: Host) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        done = host("publish", "regr-finish", "--regression", "r", "--server", url, "--timeout", "0.2")
    assert done.returncode == 3
    assert "timed out" in done.stderr


def test_a_refusal_in_the_middle_of_a_large_body_is_read(host: Host) -> None:
    """The server answers 413 and hangs up before the body is through."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def refuse() -> None:
            connection = server.accept()[0]
            connection.recv(1000)
            text = json.dumps(problem(413, "Too large")[1])
            head = "HTTP/1.1 413 X\r\nContent-Type: application/problem+json\r\n"
            connection.sendall(f"{head}Content-Length: {len(text)}\r\n\r\n{text}".encode())
            connection.shutdown(socket.SHUT_WR)
            connection.close()

        threading.Thread(target=refuse, daemon=True).start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        body = json.dumps({"pad": "x" * 8_000_000}).encode()
        done = host("publish", "job-live", "--regression", "r", "--server", url, stdin=body)
    assert done.returncode in (1, 3)  # 3 where the system throws the answer away with the connection
    assert "Traceback" not in done.stderr
