"""Who may ask: hosts, origins, the token; and what stands in headers."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from support.asking import problem, raw
from support.daemons import LIVE_SIGS, Daemon, live, publish

SPOOL = '[spool]\ndir = "spool"\nsettle_ms = 100\npoll_ms = 50\n'
CONFIG = f'file_roots = ["files"]\n{LIVE_SIGS}{SPOOL}[limits]\nbody_mib = 1\nmessage_kib = 64\n'


def test_writing_needs_the_token_and_reading_does_not(make_daemon: Callable[..., Daemon]) -> None:
    daemon = make_daemon(f'token = "sesame"\n{CONFIG.partition("[limits]")[0]}').start()
    paths = ["/publish/job-live?regression=r", "/messages", "/regressions/r/tank", "/jobs/1/tank", "/nowhere"]
    wrong = [{}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic sesame"}]
    wrong += [{"Authorization": f"Bearer {token}"} for token in ("sésame", "sesame0", "sesam", "esame", "SESAME", "")]

    refused = [daemon.request("POST", f"/api/v1{path}", live(), headers) for path in paths for headers in wrong]
    said = {"Authorization": "Bearer sesame"}
    status, told, _ = daemon.request("POST", f"/api/v1{paths[0]}", live(), said)

    for answer in refused:
        problem(answer, 401, "token")
        assert answer[2]["www-authenticate"] == "Bearer"
    assert (status, told["applied"]) == (200, 1)
    assert daemon.rows("SELECT count(*) FROM receipt") == [(1,)]
    for scheme in ("bearer", "BEARER", "Bearer "):
        said = {"Authorization": f"{scheme} sesame"}
        assert daemon.request("POST", "/api/v1/messages", [], said)[0] == 200, scheme
    assert daemon.get("/jobs")["items"][0]["uniqueid"] == "a"
    assert daemon.get("/")["token_required"] is True
    assert [daemon.request("GET", path)[0] for path in ("/healthz", "/metrics", "/", "/r/r")] == [200] * 4
    assert "sesame" not in daemon.log.read_text()


def test_without_a_token_only_loopback_is_listened_on(make_daemon: Callable[..., Daemon]) -> None:
    daemon = make_daemon()
    for listen in ("0.0.0.0:0", "[::]:0", ":0", "192.0.2.1:0"):
        daemon.config.write_text(daemon.config.read_text().replace("127.0.0.1:0", listen))

        daemon.start(wait=False)

        assert daemon.process is not None
        assert daemon.process.wait(10) == 2
        assert "token" in daemon.log.read_text()
        daemon.config.write_text(daemon.config.read_text().replace(listen, "127.0.0.1:0"))


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8040", "localhost.evil.example", "", "127.0.0.1.evil:1"]
)
@pytest.mark.parametrize("path", ["/api/v1/jobs", "/", "/static/page.js", "/healthz", "/metrics", "/nowhere"])
def test_a_foreign_host_is_refused(shared: Daemon, host: str, path: str) -> None:
    problem(shared.request("GET", path, headers={"Host": host}), 403, "foreign-host")


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1234", "127.0.0.1", "[::1]:8040", "10.1.2.3:8040"])
def test_localhost_and_literal_addresses_are_no_foreign_hosts(shared: Daemon, host: str) -> None:
    assert shared.request("GET", "/api/v1/jobs", headers={"Host": host})[0] == 200


@pytest.mark.parametrize(
    "origin", ["null", "http://evil.example", "http://127.0.0.1:1", "https://localhost", "", "file://"]
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_foreign_origin_is_refused(shared: Daemon, run: str, origin: str, method: str) -> None:
    path = "/api/v1/jobs" if method == "GET" else f"/api/v1/publish/job-live?regression={run}"
    headers = {"Origin": origin, "Content-Type": "text/plain"}

    answer = shared.request(method, path, live() if method == "POST" else None, headers)

    problem(answer, 403, "foreign-origin")
    assert shared.request("GET", f"/api/v1/regressions/{run}")[0] == 404


def test_the_own_origin_is_allowed(shared: Daemon, run: str) -> None:
    for origin in (shared.url, shared.url.replace("http:", "https:")):
        status, _, headers = shared.request(
            "POST", f"/api/v1/publish/job-live?regression={run}", live(), {"Origin": origin}
        )

        assert status == 200
        assert "access-control-allow-origin" not in headers


def test_names_of_hosts_and_origins_are_the_same_in_any_case(make_daemon: Callable[..., Daemon]) -> None:
    extra = 'public_url = "https://Sim.Lab.example"\nallowed_hosts = ["tracker.lab"]\n'
    daemon = make_daemon(f"{extra}{CONFIG}").start()

    for host, origin in (
        ("TRACKER.LAB", "http://tracker.lab"),
        ("tracker.lab", "HTTP://Tracker.Lab"),
        ("localhost", "https://sim.lab.example"),
    ):
        answer = daemon.request("POST", "/api/v1/messages", [], {"Host": host, "Origin": origin})
        assert answer[0] == 200, (host, origin)
    foreign = {"Host": "TRACKER.LAB", "Origin": "http://tracker.lab.evil"}
    problem(daemon.request("POST", "/api/v1/messages", [], foreign), 403, "foreign-origin")


def test_a_public_address_is_allowed_and_stands_in_links(make_daemon: Callable[..., Daemon]) -> None:
    extra = 'public_url = "https://sim.lab.example/scope/"\nallowed_hosts = ["farm7"]\n'
    daemon = make_daemon(f"{extra}{CONFIG}").start()
    daemon.url = daemon.url.removesuffix("/scope")
    publish(daemon, "batch-job-live", "r/1", [live("a"), live("b")])

    own = {"Host": "sim.lab.example", "Origin": "https://sim.lab.example"}
    status, told, headers = daemon.request("GET", "/api/v1/regressions/r%2F1/jobs?limit=1", headers=own)

    assert status == 200
    base = "https://sim.lab.example/scope"
    assert told["items"][0]["_links"]["self"]["href"].startswith(f"{base}/api/v1/jobs/")
    assert headers["link"].startswith(f"<{base}/api/v1/regressions/r%2F1/jobs?limit=1&after=")
    assert daemon.request("GET", "/api/v1/jobs", headers={"Host": "farm7:8040"})[0] == 200
    assert daemon.request("GET", "/api/v1/jobs", headers={"Host": "FARM7"})[0] == 200
    problem(daemon.request("GET", "/api/v1/jobs", headers={"Host": "farm8"}), 403, "foreign-host")
    problem(daemon.request("GET", "/api/v1/jobs", headers={"Origin": "http://sim.lab.example"}), 403, "foreign-origin")
    assert "/scope/static/" in daemon.request("GET", "/")[1]
    assert daemon.get("/openapi.json")["servers"][0]["url"] == f"{base}/api/v1"


@pytest.mark.parametrize(
    "name", ["Authorization", "Host", "Origin", "Last-Event-ID", "If-None-Match", "Prefer", "Accept"]
)
@pytest.mark.parametrize("token", ["", "secret"])
def test_header_bytes_that_are_not_utf_8_are_no_mistake_of_ours(
    daemons_with_and_without_token: dict[str, Daemon], name: str, token: str
) -> None:
    daemon = daemons_with_and_without_token[token]
    host = b"" if name == "Host" else b"Host: localhost\r\n"
    path = b"/api/v1/events/stream" if name == "Last-Event-ID" else b"/api/v1/messages"
    method = b"POST" if name == "Authorization" else b"GET"
    logged = daemon.log.stat().st_size

    answer = raw(
        daemon,
        b"%b %b HTTP/1.1\r\n%b%b: \xff\xfe\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        % (method, path, host, name.encode()),
    )

    status = int(answer.split()[1])
    assert status == 200 if name == "Last-Event-ID" else 400 <= status < 500
    assert b"Traceback" not in daemon.log.read_bytes()[logged:]


@pytest.fixture(scope="module")
def daemons_with_and_without_token(
    shared: Daemon, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Daemon]]:
    locked = Daemon(tmp_path_factory.mktemp("locked"), f'token = "secret"\n{CONFIG}').start()
    yield {"": shared, "secret": locked}
    locked.stop()
