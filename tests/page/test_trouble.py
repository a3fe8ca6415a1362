"""The page in trouble, in a real Chromium: cut off, behind a proxy, at strange addresses, shown hostile text."""

from __future__ import annotations

import contextlib
import http.client
import http.server
import re
import signal
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from playwright.sync_api import expect
from support.browsing import (
    BIDI,
    BIDI_SHOWN,
    HOSTILE,
    Visitor,
    address,
    box,
    finish,
    job_id,
    live,
    overflows,
    part,
    row,
    rows,
    tell,
)
from support.daemons import Daemon, wait_until

pytest_plugins = ("support.browsing",)
pytestmark = pytest.mark.browser


def test_a_lost_connection_is_told_and_all_is_caught_up_when_the_daemon_is_back(
    make_daemon: Callable[..., Daemon], visitor: Visitor
) -> None:
    visitor.expected = ("ERR_CONNECTION_REFUSED", "ERR_INCOMPLETE_CHUNKED_ENCODING", "ERR_CONNECTION_RESET")
    daemon = make_daemon()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    daemon.config.write_text(daemon.config.read_text().replace("127.0.0.1:0", f"127.0.0.1:{port}", 1))
    daemon.start()
    tell(daemon, "cut/0", *(finish(f"quick-{n}", name="a", runtime_ms=2000) for n in range(6)), ("regr-finish", None))
    tell(daemon, "cut/1", ("regr-start", {"submitted": 2}), live("a"))
    page = visitor.open(daemon, address("cut/1"))
    expect(rows(page, "live")).to_have_count(1)
    daemon.stop(signal.SIGKILL)
    expect(page.locator("#stale")).to_contain_text("Connection lost, showing data of")
    expect(page.locator("#connection")).to_have_text("Connection lost")
    expect(rows(page, "live")).to_have_count(1)
    times = [part(page, name).first.inner_text() for name in ("elapsed", "activity", "seen")]
    page.wait_for_timeout(3000)  # longer than any of its kind took
    assert [part(page, name).first.inner_text() for name in ("elapsed", "activity", "seen")] == times
    page.locator(".tabs").get_by_role("link", name="Pictures").click()
    expect(part(page, "loading").locator("visible=true")).to_have_text("Not read yet: the connection is lost.")
    page.go_back()
    page.set_viewport_size({"width": 390, "height": 844})
    crumb, told = box(page.locator("#crumbs a").last), box(page.locator("#connection"))
    assert crumb["x"] + crumb["width"] <= told["x"]

    daemon.drop("cut/1/1.json", finish("a")[1])
    daemon.drop("cut/1/2.json", live("b")[1])
    daemon.start()
    expect(page.locator("#connection")).to_have_text("Connected", timeout=20_000)
    expect(part(row(page, "jobs", "a").first, "result")).to_have_text("pass")
    expect(row(page, "live", "b")).to_be_visible()
    expect(page.locator("#stale")).to_have_text("Connected again: the page is up to date.")
    assert visitor.loads == 1


def test_what_could_not_be_read_is_asked_for_again_without_a_word(lab: Daemon, visitor: Visitor) -> None:
    visitor.expected = ("ERR_FAILED",)
    tell(lab, "again/1", finish("a"))
    page = visitor.context.new_page()
    page.clock.install()
    page.route("**/jobs?*", lambda route: route.abort())
    page.goto(lab.url + address("again/1"))
    expect(part(page, "pass").first).to_have_text("1")
    expect(rows(page, "jobs")).to_have_count(0)
    page.unroute("**/jobs?*")
    page.clock.run_for(31_000)
    expect(row(page, "jobs", "a")).to_be_visible()


def test_a_reader_whose_clock_is_wrong_sees_how_long_ago_it_is_by_the_servers(lab: Daemon, visitor: Visitor) -> None:
    tell(lab, "wrong-clock/1", ("regr-start", None), live("runs"))
    for hours in (-3, 3):
        page = visitor.context.new_page()
        page.clock.install(time=time.time() + hours * 3600)
        page.goto(lab.url + address("wrong-clock/1"))
        expect(part(row(page, "live", "runs"), "seen")).to_have_text(re.compile(r"^just now$|^\d+s ago$"))
        page.close()


def test_a_warning_says_that_live_tracking_is_off(make_daemon: Callable[..., Daemon], visitor: Visitor) -> None:
    page = visitor.open(make_daemon("[sigs]\nenablelivejobs = false\n").start())
    expect(page.locator("#live-off")).to_contain_text("Live tracking is off on this server")
    expect(part(page, "curl")).to_contain_text("job-finish")


def test_an_address_that_means_nothing_says_so(lab: Daemon, visitor: Visitor) -> None:
    page = visitor.context.new_page()
    for path in ("/zzz", "/zzz/r/1", "/j/not-a-number"):
        page.goto(f"{lab.url}{path}")
        expect(page.get_by_role("heading", name="There is no page at this address")).to_be_visible()
    page.get_by_role("link", name="all regressions").click()
    expect(page.get_by_role("heading", name="Regressions")).to_be_visible()


def test_a_server_in_trouble_says_so_on_every_page(daemon: Daemon, visitor: Visitor, tmp_path: Path) -> None:
    visitor.expected = ("503",)
    daemon.drop("r/first.json", live("first")[1])
    daemon.spool.rename(tmp_path / "away")
    daemon.spool.write_text("a file where the folder was")
    wait_until(lambda: daemon.request("GET", "/healthz")[0] == 503)
    page = visitor.open(daemon)
    expect(page.locator("#unwell")).to_contain_text("The server is in trouble, and updates may be missing: spool: ")


class Prefixed(http.server.BaseHTTPRequestHandler):
    """A reverse proxy that serves the daemon below /tools/sim/, and nothing beside it."""

    prefix = "/tools/sim"
    daemon: Daemon

    def do_GET(self) -> None:
        if not self.path.startswith(f"{self.prefix}/"):
            self.send_error(404)
            return
        connection = http.client.HTTPConnection(urlsplit(self.daemon.url).netloc)
        connection.request("GET", self.path.removeprefix(self.prefix), headers=dict(self.headers))
        answer = connection.getresponse()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name not in ("Transfer-Encoding", "Connection"):
                self.send_header(name, value)
        self.end_headers()
        with contextlib.suppress(OSError, http.client.HTTPException):  # one side has gone
            while piece := answer.read1(65536):
                self.wfile.write(piece)
        connection.close()

    def log_message(self, *_: object) -> None:
        pass


def test_the_page_works_below_a_path_prefix(make_daemon: Callable[..., Daemon], visitor: Visitor) -> None:
    proxy = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Prefixed)
    outside = f"http://127.0.0.1:{proxy.server_port}{Prefixed.prefix}"
    daemon = make_daemon()
    text = daemon.config.read_text()
    daemon.config.write_text(text.replace("[server]\n", f'[server]\npublic_url = "{outside}"\n', 1))
    Prefixed.daemon = daemon.start()
    threading.Thread(target=proxy.serve_forever, daemon=True).start()
    tell(daemon, "far/1", ("regr-start", {"submitted": 2}), live("a"))

    page = visitor.context.new_page()
    page.goto(f"{outside}/")
    expect(page.locator("#connection")).to_have_text("Connected")
    row(page, "regressions", "far/1").get_by_role("link", name="far/1", exact=True).click()
    expect(page).to_have_url(f"{outside}{address('far/1')}")
    tell(daemon, "far/1", finish("a", "fail", fail_message="UVM_ERROR too far"))
    rows(page, "jobs").get_by_role("link", name="a", exact=True).click()
    expect(page).to_have_url(re.compile(f"^{re.escape(outside)}/j/\\d+"))
    expect(page.get_by_text("UVM_ERROR too far").first).to_be_visible()
    page.reload()
    expect(page.get_by_text("UVM_ERROR too far").first).to_be_visible()

    page.close()
    proxy.shutdown()
    proxy.server_close()


def test_hostile_text_is_shown_as_text_and_runs_nothing(lab: Daemon, visitor: Visitor) -> None:
    name = f"hostile/{HOSTILE}{BIDI}"
    line = "x" * 100_000
    both = {"host": HOSTILE, "config": BIDI, "jobdir": "javascript:window.hacked=1", "name": HOSTILE, "phase": HOSTILE}
    tell(lab, name, ("regr-start", {"custom_metadata": [[HOSTILE, HOSTILE]], "component": HOSTILE, HOSTILE: BIDI}))
    tell(lab, name, live("a", **both), finish("b", "fail", **both, fail_message=f"{HOSTILE} {line}"))
    tell(lab, name, finish("c", "fail", fail_message=f"{BIDI} \x1b[31m <b>", metadata=[[BIDI, line]], results=HOSTILE))

    overview = visitor.open(lab)
    expect(row(overview, "regressions", "hostile/")).to_contain_text(HOSTILE)
    regression = visitor.open(lab, address(name))
    expect(part(regression, "name")).to_have_text(f"hostile/{HOSTILE}{BIDI_SHOWN}")
    expect(regression).to_have_title(re.compile(re.escape(BIDI_SHOWN)))
    expect(rows(regression, "live").first).to_contain_text(HOSTILE)
    expect(rows(regression, "signatures")).to_have_count(2)
    jobs = [visitor.open(lab, f"/j/{job_id(lab, name, uniqueid)}") for uniqueid in "bc"]
    expect(part(jobs[0], "fail")).to_contain_text(HOSTILE)
    part(jobs[0], "fail-all").click()
    expect(part(jobs[0], "fail")).to_have_text(f"{HOSTILE} {line}")
    expect(part(jobs[1], "results")).to_have_text(HOSTILE)
    expect(part(jobs[1], "fail")).to_have_text(f"{BIDI_SHOWN} ^[[31m <b>")
    for page in (overview, regression, *jobs):
        assert page.locator("main :is(script, b, img), main a[href^='javascript']").count() == 0
        assert page.evaluate("window.hacked") is None
        assert not overflows(page)


def test_marks_that_turn_the_direction_of_text_are_named_and_not_obeyed(lab: Daemon, visitor: Visitor) -> None:
    name = f"turned/{BIDI}"
    told: dict[str, Any] = {"name": BIDI, "host": BIDI, "config": BIDI, "metadata": [[BIDI, BIDI]]}
    tell(lab, f"{name}/1", finish("a", **told), ("regr-finish", None))
    tell(lab, f"{name}/2", ("regr-start", {"component": BIDI, "username": BIDI}), live("l", phase=BIDI, **told))
    tell(lab, f"{name}/2", finish("a", "fail", fail_message=f"{BIDI} \x1b[31m <b>", **told))
    run = address(f"{name}/2")
    views = {
        f"/?component={quote(BIDI)}": f"component: {BIDI_SHOWN} ×",
        f"{run}?tab=compare": "Newly failing",
        f"{run}?tab=history": "started",
        f"{run}?tab=pictures": "Hosts",
        f"/j/{job_id(lab, f'{name}/2', 'a')}": f"{BIDI_SHOWN} ^[[31m <b>",
        run: "Fail signatures",
    }
    page = visitor.open(lab)
    for path, words in views.items():
        page.goto(lab.url + path)
        expect(page.locator("main")).to_contain_text(words)
        expect(page.locator("main")).to_contain_text(BIDI_SHOWN)
        assert page.evaluate(TURNING) == [], path
    expect(page).to_have_title(f"live · 1 fail · \u2068turned/{BIDI_SHOWN}/2\u2069")
    part(page, "unfold").click()
    expect(rows(page, "signatures")).to_contain_text(BIDI_SHOWN)
    assert page.evaluate(TURNING) == []


TURNING = r"""() => [document.body.innerText,
    ...[...document.querySelectorAll("[title], [aria-label]")].map(node => node.title + node.ariaLabel),
].filter(text => /[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/.test(text))"""


def test_the_policy_of_the_page_lets_no_foreign_script_in(lab: Daemon, visitor: Visitor) -> None:
    visitor.expected = ("Content Security Policy",)
    page = visitor.open(lab)
    blocked = """() => new Promise(resolve => {
        document.addEventListener("securitypolicyviolation", event => resolve(event.effectiveDirective));
        const script = document.createElement("script");
        script.textContent = "window.hacked = 1";
        document.body.append(script);
    })"""
    assert page.evaluate(blocked) == "script-src-elem"
    assert page.evaluate("window.hacked") is None
    expect(page.locator("#connection")).to_have_text("Connected")
    assert visitor.complaints
