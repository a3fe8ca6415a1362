"""What is refused, and as what: addresses, bodies, methods, what is not HTTP."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from support.asking import problem, raw
from support.daemons import LIVE_SIGS, Daemon, driven, live, publish

SPOOL = '[spool]\ndir = "spool"\nsettle_ms = 100\npoll_ms = 50\n'
CONFIG = f'file_roots = ["files"]\n{LIVE_SIGS}{SPOOL}[limits]\nbody_mib = 1\nmessage_kib = 64\n'


@pytest.mark.parametrize("bad", ["a%FF", "%ED%A0%80", "%C3", "a%C3b%A9"])
def test_an_address_that_is_not_utf_8_is_refused_as_a_body_is(shared: Daemon, bad: str) -> None:
    before = shared.rows("SELECT count(*) FROM receipt")

    problem(shared.request("POST", f"/api/v1/publish/job-live?regression={bad}", live()), 400, "bad-text")
    problem(shared.request("POST", f"/api/v1/messages?regression={bad}", live()), 400, "bad-text")
    problem(shared.request("GET", f"/api/v1/regressions/{bad}"), 400, "bad-text")
    problem(shared.request("GET", f"/api/v1/jobs?host={bad}"), 400, "bad-text")
    problem(shared.request("GET", f"/r/{bad}"), 400, "bad-text")

    assert shared.rows("SELECT count(*) FROM receipt") == before
    assert b" 400 " in raw(shared, b"GET /api/v1/jobs?host=\xff HTTP/1.1\r\nHost: localhost\r\n\r\n").splitlines()[0]


def test_a_request_that_is_too_large_is_told_alike_wherever_it_goes(shared: Daemon, run: str) -> None:
    job = publish(shared, "job-live", run, live())["details"][0]["job"]

    for place in (
        f"jobs/{job}/logs",
        f"jobs/{job}/extend",
        f"regressions/{run}/tank",
        f"publish/job-live?regression={run}",
    ):
        problem(shared.request("POST", f"/api/v1/{place}", b"x" * ((1 << 20) + 1)), 413, "too-large")


def test_a_body_that_is_not_packed_as_its_header_says_is_no_mistake_of_ours(shared: Daemon, run: str) -> None:
    job = publish(shared, "job-live", run, live())["details"][0]["job"]
    logged = shared.log.stat().st_size

    for place in (f"publish/job-live?regression={run}", f"regressions/{run}/tank", f"jobs/{job}/logs", "nowhere"):
        answer = shared.request("POST", f"/api/v1/{place}", b"not gzip", {"Content-Encoding": "gzip"})

        problem(answer, *((404, "not-found") if place == "nowhere" else (400, "unreadable")))
    assert b"Traceback" not in shared.log.read_bytes()[logged:]


@pytest.mark.parametrize("size", [1, 2000])
def test_a_mistake_of_ours_in_reading_messages_is_not_told_as_the_senders(
    make_daemon: Callable[..., Daemon], tmp_path: Path, size: int
) -> None:
    prelude = """
def mistaken(*asked, **named):
    raise ValueError("our own")

rooms.replace("items_of", mistaken)
"""
    daemon = make_daemon(program=driven(tmp_path, prelude)).start()

    answer = daemon.request("POST", "/api/v1/publish/job-live?regression=r", live(host="h" * size * 100))

    problem(answer, 500, "internal-error")
    assert "ValueError: our own" in daemon.log.read_text()


@pytest.mark.parametrize(
    "request_",
    [
        b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 9000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"G@T / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET http://[::1 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /\0 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"POST /api/v1/messages HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n",
        b"POST /api/v1/messages HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\nab\r\n",
        b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03" + b"\0" * 50,
    ],
    ids=lambda request_: repr(request_[:20]),
)
def test_what_is_not_http_is_400_and_no_mistake_of_ours(shared: Daemon, request_: bytes) -> None:
    logged = shared.log.stat().st_size

    answer = raw(shared, request_)

    assert answer.split()[1] == b"400"
    assert b"Traceback" not in shared.log.read_bytes()[logged:]


@pytest.mark.parametrize(
    "path", ["/api/v1/nowhere", "/api/v2/jobs", "/nowhere", "/static/nowhere.js", "/static/..%2Fx"]
)
def test_an_address_that_is_not_there_is_404(shared: Daemon, path: str) -> None:
    problem(shared.request("GET", path), 404, "not-found")


@pytest.mark.parametrize(
    ("path", "accept", "kind"),
    [
        ("/nowhere", "text/html,application/xhtml+xml,*/*;q=0.8", "text/html"),
        ("/r/", "text/html", "text/html"),
        ("/nowhere", "*/*", "application/problem+json"),
        ("/api/v1/nowhere", "text/html", "application/problem+json"),
        ("/static/nowhere.js", "text/html", "application/problem+json"),
    ],
)
def test_a_browser_at_an_address_that_is_not_there_gets_the_page(
    shared: Daemon, path: str, accept: str, kind: str
) -> None:
    status, _, headers = shared.request("GET", path, headers={"Accept": accept})

    assert (status, headers["content-type"].partition(";")[0]) == (404, kind)
    assert ("content-security-policy" in headers) == (kind == "text/html")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", "/api/v1/jobs", "GET,HEAD"),
        ("DELETE", "/api/v1/jobs/1", "GET,HEAD"),
        ("PUT", "/api/v1/jobs/1/logs", "GET,HEAD,POST"),
        ("PUT", "/api/v1/regressions/1", "GET,HEAD"),
        ("HEAD", "/api/v1/events/stream", "GET"),
        ("HEAD", "/api/v1/messages", "POST"),
        ("GET", "/api/v1/messages", "POST"),
        ("GET", "/api/v1/publish/job-live", "POST"),
        ("OPTIONS", "/api/v1/messages", "POST"),
        ("POST", "/healthz", "GET,HEAD"),
    ],
)
def test_a_method_that_is_not_there_is_405(shared: Daemon, method: str, path: str, allowed: str) -> None:
    answer = shared.request(method, path)

    if method != "HEAD":
        problem(answer, 405, "method-not-allowed")
    assert (answer[0], answer[2]["allow"]) == (405, allowed)
