"""The page in a real Chromium, fed by the real daemon: what a reader sees, without ever reloading."""

from __future__ import annotations

import contextlib
import http.client
import http.server
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import threading
from collections.abc import Iterator
from urllib.parse import quote, urlsplit

import pytest
from playwright.sync_api import Page, expect
from support.browsing import (
    BIDI,
    BIDI_SHOWN,
    HOSTILE,
    Visitor,
    address,
    at,
    brightness,
    finish,
    job_id,
    live,
    overflows,
    part,
    row,
    rows,
    tell,
    width,
)
from support.daemons import Daemon, wait_until

pytest_plugins = ("support.browsing",)
pytestmark = pytest.mark.browser


# ---- the overview ----------------------------------------------------------------------------------------------------


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is missing: apt install curl")
def test_the_empty_page_teaches_two_commands_and_both_work(daemon, visitor):
    page = visitor.open(daemon)
    expect(page.get_by_role("heading", name="No regressions yet")).to_be_visible()
    over_http, by_spool = part(page, "curl").inner_text(), part(page, "spool").inner_text()
    assert daemon.url in over_http
    page.set_viewport_size({"width": 390, "height": 844})
    command, copy = part(page, "curl").bounding_box(), part(page, "copy-curl").bounding_box()
    assert copy["y"] >= command["y"] + command["height"]

    subprocess.run(["bash", "-ec", over_http.replace("demo/1", "demo/http")], check=True, capture_output=True)
    expect(row(page, "regressions", "demo/http")).to_be_visible()
    expect(part(page, "teach")).to_be_hidden()
    expect(page.locator("#live-off")).to_be_hidden()

    subprocess.run(["bash", "-ec", by_spool.replace("var/spool", str(daemon.spool))], check=True, capture_output=True)
    expect(row(page, "regressions", "demo/1")).to_be_visible()
    assert visitor.loads == 1


def test_a_file_in_the_spool_makes_a_regression_appear_and_its_bar_move_without_a_reload(lab, visitor):
    page = visitor.open(lab)
    lab.drop("night/1/regr-start.json", {"submitted": 4})
    night = row(page, "regressions", "night/1")
    expect(part(night, "status")).to_have_text("live")
    expect(part(night, "percent")).to_have_text("0 %")

    lab.drop("night/1/job-a.json", live("a")[1])
    expect(part(night, "live")).to_have_text("1")
    expect(part(night, "bar")).to_have_attribute("aria-label", "1 live, 3 to come")

    lab.drop("night/1/job-b.json", finish("b")[1])
    expect(part(night, "bar")).to_have_attribute("aria-label", "1 pass, 1 live, 2 to come")
    quarter = width(night.locator("i[data-kind=pass]"))
    lab.drop("night/1/job-c.json", finish("c")[1])
    expect(part(night, "percent")).to_have_text("50 %")
    assert width(night.locator("i[data-kind=pass]")) == pytest.approx(2 * quarter, rel=0.1)
    assert visitor.loads == 1


def test_the_filter_stands_in_the_address_and_a_second_page_shows_the_same(lab, visitor):
    tell(lab, "filter-me/1", ("regr-start", {"model_branch": "trunk"}))
    tell(lab, "other/1", ("regr-start", None))
    page = visitor.open(lab)
    expect(row(page, "regressions", "other/1")).to_be_visible()
    part(page, "q").fill("filter-me")
    expect(row(page, "regressions", "other/1")).to_have_count(0)
    part(page, "statuses").get_by_role("button", name="Live").click()
    expect(page).to_have_url(f"{lab.url}/?q=filter-me&status=live")

    second = visitor.open(lab, page.url.removeprefix(lab.url))
    expect(rows(second, "regressions")).to_have_count(1)
    expect(row(second, "regressions", "filter-me/1")).to_be_visible()
    expect(part(second, "q")).to_have_value("filter-me")
    expect(part(second, "statuses").get_by_role("button", name="Live")).to_have_attribute("aria-pressed", "true")

    part(second, "q").fill("no such name")
    expect(second.get_by_text("No regression matches this filter.")).to_be_visible()
    second.get_by_role("button", name="Clear the filter").click()
    expect(row(second, "regressions", "other/1")).to_be_visible()
    expect(second).to_have_url(f"{lab.url}/")


def test_the_list_says_which_live_run_is_silent_and_which_has_something_new(daemon, visitor):
    tell(daemon, "alarm/1", finish("a", "fail", fail_message="UVM_ERROR known"), ("regr-finish", None))
    tell(daemon, "alarm/2", live("a"), finish("b", "fail", fail_message="UVM_ERROR known"))
    tell(daemon, "alarm/3", live("a"), finish("b", "fail", fail_message="FATAL unheard of"))
    daemon.stop()
    with sqlite3.connect(daemon.db) as conn:
        conn.execute("UPDATE regression SET last_activity_at = last_activity_at - 1470000 WHERE name = 'alarm/2'")
    page = visitor.open(daemon.start())
    expect(part(row(page, "regressions", "alarm/1"), "why")).to_have_text("")
    expect(part(row(page, "regressions", "alarm/2"), "why")).to_have_text("silent 24m")
    expect(part(row(page, "regressions", "alarm/3"), "why")).to_have_text("1 new signature")

    tell(daemon, "alarm/2", finish("c", "fail", fail_message="ASSERT never seen"))
    expect(part(row(page, "regressions", "alarm/2"), "why")).to_have_text("1 new signature")


def test_where_all_is_tanked_the_list_says_so(daemon, visitor):
    tell(daemon, "given-up/1", ("regr-start", None))
    assert daemon.post("/regressions/given-up%2F1/tank")[0] == 200
    page = visitor.open(daemon)
    expect(page.get_by_role("heading", name="Only tanked regressions")).to_be_visible()
    expect(part(page, "teach")).to_be_hidden()
    page.get_by_role("link", name="Show tanked regressions").click()
    expect(row(page, "regressions", "given-up/1")).to_be_visible()
    expect(page).to_have_url(f"{daemon.url}/?status=tanked")
    shown = visitor.open(daemon, "/?tanked=1")
    expect(row(shown, "regressions", "given-up/1")).to_be_visible()
    shown.get_by_role("button", name="with tanked ones ×").click()
    expect(shown.get_by_role("heading", name="Only tanked regressions")).to_be_visible()


def test_the_list_fits_a_narrow_window_and_no_word_is_cut(lab, visitor):
    told = {"submitted": 130, "running": 10, "starttime": "2025-01-05T10:00:00Z"}
    tell(lab, "narrow/1", finish("a"), ("regr-finish", None))
    tell(lab, "narrow/2", ("regr-start", told), live("a"), finish("b"), finish("c", "fail", fail_message="E narrow"))
    page = visitor.open(lab, "/?series=narrow")
    expect(part(row(page, "regressions", "narrow/2"), "heard")).to_have_text(re.compile("^first seen "))
    expect(part(row(page, "regressions", "narrow/1"), "heard")).to_have_text("")
    for size in (1400, 1024):
        page.set_viewport_size({"width": size, "height": 800})
        cut = "cells => cells.filter(cell => cell.scrollWidth > cell.clientWidth).map(cell => cell.textContent)"
        assert page.locator(".regressions :is(th, td, .under):visible").evaluate_all(cut) == []
        assert page.locator(".regressions thead th:visible").count() == 12
        field = "field => { field.value = field.placeholder; return field.scrollWidth <= field.clientWidth; }"
        assert part(page, "q").evaluate(field)


def test_a_strip_and_a_bar_show_the_same_share_of_fails(lab, visitor):
    tell(lab, "share/1", *(finish(f"j{n}", "pass" if n else "fail") for n in range(4)), ("regr-finish", None))
    line = row(visitor.open(lab, "/?series=share"), "regressions", "share/1")
    high = [line.locator(f".column [data-kind={kind}]").bounding_box()["height"] for kind in ("pass", "fail")]
    assert high[0] == pytest.approx(3 * high[1], rel=0.15)


# ---- a regression ----------------------------------------------------------------------------------------------------


def test_the_elapsed_time_of_a_live_job_ticks(lab, visitor):
    tell(lab, "tick/1", ("regr-start", None), live("ticking"))
    page = visitor.open(lab, address("tick/1"))
    elapsed = part(row(page, "live", "ticking"), "elapsed")
    expect(elapsed).to_have_text(re.compile(r"^\d+s$"))
    first = int(elapsed.inner_text().removesuffix("s"))
    later = "([node, seconds]) => parseInt(node.textContent) >= seconds"
    page.wait_for_function(later, arg=[elapsed.element_handle(), first + 2])


def test_a_finish_moves_the_job_from_the_live_table_to_its_verdict(lab, visitor):
    tell(lab, "moves/1", ("regr-start", {"submitted": 4}), live("good"), live("bad"), live("runs on"))
    page = visitor.open(lab, address("moves/1"))
    expect(rows(page, "live")).to_have_count(3)
    head = page.locator(".view .bar.big")
    expect(head).to_have_attribute("aria-label", "3 live, 1 to come")
    before = width(head.locator("i[data-kind=live]"))

    tell(lab, "moves/1", finish("good"), finish("bad", "fail", fail_message="UVM_ERROR @ 10: overrun"))
    expect(rows(page, "live")).to_have_count(1)
    expect(head).to_have_attribute("aria-label", "1 pass, 1 fail, 1 live, 1 to come")
    for name, figure in {"pass": "1", "fail": "1", "skip": "0", "live": "1", "pending": "1", "percent": "50 %"}.items():
        expect(part(page.locator("dl.figures"), name)).to_have_text(figure)
    assert width(head.locator("i[data-kind=live]")) == pytest.approx(before / 3, rel=0.1)
    expect(part(row(page, "jobs", "good"), "result")).to_have_text("pass")
    expect(part(row(page, "jobs", "bad"), "result")).to_have_text("fail")
    expect(page).to_have_title("50 % · 1 fail · moves/1")

    expect(part(page, "activity-word")).to_have_text("Last activity")
    tell(lab, "moves/1", ("regr-finish", None))
    expect(part(page, "activity-word")).to_have_text("Finished")
    expect(part(page, "activity")).to_have_text(re.compile(r"^\d\d:\d\d:\d\d$"))
    expect(part(row(page, "jobs", "runs on"), "result")).to_have_text("cut off")
    expect(part(row(page, "jobs", "runs on"), "runtime")).to_have_text(re.compile("^> "))
    expect(part(page, "status")).to_have_text("aborted")
    expect(part(page, "sentence")).to_contain_text("1 job cut off, 1 never seen")
    expect(head.locator("i[data-kind=migrated]")).to_be_visible()
    expect(part(page, "live-section")).to_be_hidden()
    assert visitor.loads == 1


def test_signatures_count_their_fails_and_a_click_shows_only_their_jobs(lab, visitor):
    overruns = [finish(f"overrun-{n}", "fail", fail_message=f"UVM_ERROR @ {n}: fifo overrun") for n in range(3)]
    tell(lab, "sign/1", ("regr-start", None), *overruns, finish("x", "fail", fail_message="assertion failed"))
    tell(lab, "sign/1", finish("fine"))
    page = visitor.open(lab, address("sign/1"))
    expect(rows(page, "signatures")).to_have_count(2)
    first = rows(page, "signatures").first
    expect(first).to_contain_text("fifo overrun")
    expect(part(first, "count")).to_have_text("3")
    expect(part(first, "count")).to_have_attribute("title", "75 % of all fails")
    expect(rows(page, "jobs")).to_have_count(5)

    part(first, "choose").click()
    expect(rows(page, "jobs")).to_have_count(3)
    expect(part(first, "choose")).to_have_attribute("aria-pressed", "true")
    assert "signature=" in urlsplit(page.url).query
    expect(rows(visitor.open(lab, page.url.removeprefix(lab.url)), "jobs")).to_have_count(3)

    tell(lab, "sign/1", finish("overrun-9", "fail", fail_message="UVM_ERROR @ 999: fifo overrun"))
    expect(part(first, "count")).to_have_text("4")
    expect(rows(page, "jobs")).to_have_count(4)
    part(page, "unsign").click()
    expect(rows(page, "jobs")).to_have_count(6)
    page.get_by_role("button", name="Pass 1").click()
    expect(rows(page, "jobs")).to_have_count(1)
    expect(page).to_have_url(at(lab, address("sign/1")))
    assert urlsplit(page.url).query == "result=pass"


def test_a_signature_that_is_pressed_brings_its_jobs_into_sight(lab, visitor):
    fails = [finish(word, "fail", fail_message=f"E {word} happened") for word in ("one", "two", "three", "four")]
    tell(lab, "sight/1", ("regr-start", None), *(live(f"runs-{n}") for n in range(20)), *fails)
    page = visitor.open(lab, address("sight/1"))
    page.set_viewport_size({"width": 1000, "height": 600})
    expect(part(page, "jobs-summary")).not_to_be_in_viewport()
    two = part(row(page, "signatures", "two"), "choose")
    two.click()
    expect(row(page, "jobs", "two")).to_be_in_viewport()
    expect(rows(page, "jobs")).to_have_count(1)
    expect(part(page, "unsign")).to_be_focused()
    page.keyboard.press("Enter")
    expect(rows(page, "jobs")).to_have_count(4)
    expect(part(page, "jobs-panel")).to_be_focused()
    part(page, "results").get_by_role("button", name="All 24").click()
    expect(rows(page, "jobs")).to_have_count(24)
    expect(page).to_have_url(re.compile("result=all$"))
    expect(part(page, "jobs-summary")).to_have_text("")
    part(page, "results").get_by_role("button", name="Done 4").click()
    expect(rows(page, "jobs")).to_have_count(4)
    expect(page).to_have_url(at(lab, address("sight/1")))
    two.click()
    two.click()
    expect(two).to_be_focused()


def test_a_signature_is_new_to_all_runs_or_back_after_the_one_before(lab, visitor):
    def run(number: int, *words: str) -> None:
        fails = [finish(word, "fail", config=word, fail_message=f"E {word} happened") for word in words]
        tell(lab, f"back/{number}", ("regr-start", None), *fails, ("regr-finish", None))

    run(1, "overrun", "timeout")
    run(2, "timeout")
    run(3, "overrun", "timeout", "crash")
    page = visitor.open(lab, address("back/3"))
    expect(part(page, "since")).to_contain_text("Since back/2: 2 signatures not in back/2")
    expect(part(page, "signatures-summary")).to_contain_text("3, 1 never seen before")
    expect(part(row(page, "signatures", "crash"), "new")).to_have_text("new")
    expect(part(row(page, "signatures", "overrun"), "new")).to_have_text("back")
    expect(part(row(page, "signatures", "overrun"), "origin")).to_contain_text("back/1")
    expect(part(row(page, "signatures", "timeout"), "new")).to_be_hidden()


def test_a_live_run_that_nobody_told_the_size_of_does_not_look_finished(lab, visitor):
    tell(lab, "open/1", ("regr-start", None), finish("a"), finish("b"))
    page = visitor.open(lab)
    line = row(page, "regressions", "open/1")
    expect(part(line, "percent")).to_have_text("2 done")
    expect(line.locator(".bar")).to_have_attribute("aria-label", "2 pass, total unknown")
    tail = line.locator(".bar [data-kind=open]")
    expect(tail).to_be_visible()
    assert width(tail) > 10
    tell(lab, "open/1", ("regr-update", {"submitted": 4}))
    expect(part(line, "percent")).to_have_text("50 %")
    expect(tail).to_be_hidden()


def test_elapsed_says_since_when_where_the_publisher_began_earlier(lab, visitor):
    tell(lab, "apart/1", ("regr-start", {"starttime": "2025-01-05T10:00:00Z"}), live("a"))
    page = visitor.open(lab, address("apart/1"))
    started = part(page, "started").first
    expect(started).to_have_text(re.compile("^first seen "))
    expect(started).to_have_attribute("title", re.compile("^started 2025-01-05 "))
    tell(lab, "apart/2", ("regr-start", None), live("a"))
    expect(part(visitor.open(lab, address("apart/2")), "started").first).to_have_text(re.compile("^since "))


def test_a_regression_that_nobody_has_heard_of_shows_as_soon_as_it_starts(lab, visitor):
    visitor.expected = ("404",)
    page = visitor.open(lab, address("soon/1"))
    expect(page.get_by_role("heading", name="No such regression")).to_be_visible()
    tell(lab, "soon/1", ("regr-start", None), live("first"))
    expect(part(page, "name")).to_have_text("soon/1")
    expect(rows(page, "live")).to_have_count(1)
    assert visitor.loads == 1


def test_the_latest_of_a_series_follows_the_series(lab, visitor):
    tell(lab, "series/1", ("regr-start", None))
    tell(lab, "series/2", ("regr-start", None), finish("second"))
    page = visitor.open(lab, address("series/$"))
    expect(part(page, "name")).to_have_text("series/2")
    expect(row(page, "jobs", "second")).to_be_visible()
    tell(lab, "series/3", ("regr-start", None), finish("third"))
    expect(part(page, "name")).to_have_text("series/3")
    expect(row(page, "jobs", "third")).to_be_visible()
    expect(row(page, "jobs", "second")).to_have_count(0)


# ---- a job -----------------------------------------------------------------------------------------------------------


def test_the_page_of_a_job_shows_every_field_and_grows_with_its_history(lab, visitor):
    fields = {
        "host": "farm-12", "seed": 4711, "config": "axi burst +seed=4711", "jobdir": "/runs/axi/4711", "build": "b-77",
        "testgroup": "bursts", "phase": "reset", "metadata": [["corner", "slow"]], "env": {"LICENSE": "lab-3"},
        "files": [{"kind": "log", "name": "sim.log", "path": "/runs/sim.log", "size": 2048}],
        "a field of tomorrow": "kept",
        "progress": {"done": 10, "total": 40, "unit": "tests"},
    }  # fmt: skip
    tell(lab, "fields/1", ("regr-start", None), live("full", **fields))
    page = visitor.open(lab, f"/j/{job_id(lab, 'fields/1', 'full')}")
    expect(part(page, "result")).to_have_text("live")
    expect(part(page.locator("dl.figures"), "percent")).to_have_text("25 %")
    expect(part(page, "phase").first).to_have_text("reset")
    view = page.locator("#view")
    told = ("farm-12", "4711", "axi burst +seed=4711", "/runs/axi/4711", "b-77", "bursts", "corner", "slow")
    for text in (*told, "sim.log", "2.0 kB", "a field of tomorrow", "kept", "10 of 40 tests"):
        expect(view).to_contain_text(text)
    page.get_by_text("Environment").click()
    expect(page.get_by_text("lab-3")).to_be_visible()
    expect(page.locator(".timeline > li")).to_have_count(1)

    tell(lab, "fields/1", live("full", phase="traffic", host="farm-13"))
    expect(page.locator(".timeline > li")).to_have_count(2)
    expect(page.locator(".timeline > li").last).to_contain_text("farm-12 → farm-13")
    expect(part(page, "phase").first).to_have_text("traffic")

    end = {"fail_message": "UVM_ERROR @ 5: lost a beat\nsecond line", "exit_code": 3, "cycles": 12345}
    tell(lab, "fields/1", finish("full", "fail", runtime_ms=65_000, results="3 of 40 wrong", **end))
    expect(part(page, "result")).to_have_text("fail")
    expect(part(page, "elapsed")).to_have_text("1m 05s")
    expect(part(page, "fail")).to_have_text("UVM_ERROR @ 5: lost a beat\nsecond line")
    for text in ("12,345", "Exit code", "3 of 40 wrong", "farm-13", "slow"):
        expect(view).to_contain_text(text)
    expect(page.locator(".timeline > li").last).to_contain_text("failed")
    expect(page.locator(".timeline > li").last).to_contain_text("UVM_ERROR @ 5: lost a beat")
    expect(part(page, "tank")).to_be_hidden()

    part(page, "signature").click()
    expect(page).to_have_url(at(lab, address("fields/1")))
    expect(row(page, "jobs", "full")).to_be_visible()
    page.go_back()
    expect(part(page, "fail")).to_be_visible()
    assert visitor.loads == 1


def test_hostile_text_is_shown_as_text_and_runs_nothing(lab, visitor):
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


def test_marks_that_turn_the_direction_of_text_are_named_and_not_obeyed(lab, visitor):
    name = f"turned/{BIDI}"
    told = {"name": BIDI, "host": BIDI, "config": BIDI, "metadata": [[BIDI, BIDI]]}
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


# ---- what the reader does --------------------------------------------------------------------------------------------


def test_tanking_asks_hides_the_regression_and_untanking_brings_it_back(lab, visitor):
    tell(lab, "tank-me/1", ("regr-start", None), live("stuck"))
    page = visitor.open(lab, address("tank-me/1"))
    dialog = page.locator("dialog#confirm")
    page.get_by_role("button", name="Tank", exact=True).click()
    expect(dialog).to_contain_text("1 live job")
    dialog.get_by_role("button", name="Cancel").click()
    expect(dialog).to_be_hidden()
    expect(part(page, "status")).to_have_text("live")

    page.get_by_role("button", name="Tank", exact=True).click()
    expect(part(dialog, "action")).to_have_class(re.compile("danger"))
    dialog.get_by_label("Reason").fill("wrong netlist")
    page.keyboard.press("Enter")
    expect(part(page, "status")).to_have_text("tanked")
    expect(part(page, "sentence")).to_have_text("tanked by hand: wrong netlist")
    expect(part(page.locator("dl.figures"), "fail")).to_have_text("1")

    overview = visitor.open(lab, "/?q=tank-me")
    expect(overview.get_by_text("No regression matches this filter.")).to_be_visible()
    part(overview, "statuses").get_by_role("button", name="Tanked").click()
    expect(row(overview, "regressions", "tank-me/1")).to_be_visible()

    page.get_by_role("button", name="Untank").click()
    expect(part(page, "status")).to_have_text("live")
    expect(row(page, "live", "stuck")).to_be_visible()


def test_a_job_can_be_tanked_and_a_regression_finished_by_hand(lab, visitor):
    tell(lab, "by-hand/1", ("regr-start", None), live("hangs"))
    page = visitor.open(lab, f"/j/{job_id(lab, 'by-hand/1', 'hangs')}")
    part(page, "tank").click()
    page.locator("dialog#confirm").get_by_role("button", name="Tank").click()
    expect(part(page, "result")).to_have_text("fail")
    expect(part(page, "sentence")).to_contain_text("Tanked by hand.")
    page.locator("#crumbs a").last.click()
    part(page, "finish").click()
    page.locator("dialog#confirm").get_by_role("button", name="Finish").click()
    expect(part(page, "status")).to_have_text("aborted")


def test_the_token_is_asked_for_when_the_daemon_needs_one_and_only_then(make_daemon, visitor):
    visitor.expected = ("401",)
    daemon = make_daemon()
    daemon.config.write_text(daemon.config.read_text().replace("[server]\n", '[server]\ntoken = "open-sesame"\n', 1))
    daemon.start()
    daemon.drop("guarded/1/regr-start.json", {})
    page = visitor.open(daemon)
    row(page, "regressions", "guarded/1").locator("a").first.click()
    dialog = page.locator("dialog#token")
    expect(dialog).to_be_hidden()
    tank = page.get_by_role("button", name="Tank", exact=True)

    tank.click()
    page.locator("dialog#confirm").get_by_role("button", name="Tank").click()
    expect(dialog).to_be_visible()
    dialog.get_by_role("button", name="Cancel").click()
    expect(page.get_by_text("Nothing was changed: this needs the server's token.")).to_be_visible()
    expect(part(page, "status")).to_have_text("live")

    tank.click()
    page.locator("dialog#confirm").get_by_role("button", name="Tank").click()
    dialog.get_by_label("Token").fill("wrong")
    page.keyboard.press("Enter")
    expect(dialog.get_by_text("That token was not accepted.")).to_be_visible()
    dialog.get_by_label("Token").fill("open-sesame")
    page.keyboard.press("Enter")
    expect(part(page, "status")).to_have_text("tanked")
    assert part(dialog, "token").input_value() == ""  # what is typed does not stay in the page
    page.get_by_role("button", name="Untank").click()  # the token is known by now
    expect(part(page, "status")).to_have_text("live")
    expect(dialog).to_be_hidden()


def test_the_keys_do_what_the_help_says(lab, visitor):
    for number in (1, 2, 3):
        tell(lab, f"keys/{number}", ("regr-start", None), finish("a"), finish("b"))
    page = visitor.open(lab, "/?series=keys")
    links = page.locator("table.regressions .row-link")
    expect(links).to_have_text(["keys/3", "keys/2", "keys/1"])
    page.keyboard.press("j")
    expect(links.nth(0)).to_be_focused()
    page.keyboard.press("j")
    page.keyboard.press("j")
    expect(links.nth(2)).to_be_focused()
    page.keyboard.press("k")
    expect(links.nth(1)).to_be_focused()
    page.keyboard.press("Enter")
    expect(part(page, "name")).to_have_text("keys/2")

    page.keyboard.press("/")
    expect(part(page, "q")).to_be_focused()
    page.keyboard.type("gjk?")
    expect(part(page, "q")).to_have_value("gjk?")
    expect(page.get_by_text("No job matches this filter.")).to_be_visible()
    page.keyboard.press("Escape")
    expect(part(page, "q")).not_to_be_focused()
    expect(rows(page, "jobs")).to_have_count(2)

    page.keyboard.press("?")
    expect(page.locator("dialog#help")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("dialog#help")).to_be_hidden()
    page.keyboard.press("g")
    expect(page.get_by_role("heading", name="Regressions")).to_be_visible()
    expect(page).to_have_url(f"{lab.url}/")
    page.go_back()
    page.go_back()
    expect(links.nth(1)).to_be_focused()  # where one has been
    assert visitor.loads == 1


# ---- trouble ---------------------------------------------------------------------------------------------------------


def test_a_lost_connection_is_told_and_all_is_caught_up_when_the_daemon_is_back(make_daemon, visitor):
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
    crumb, told = page.locator("#crumbs a").last.bounding_box(), page.locator("#connection").bounding_box()
    assert crumb["x"] + crumb["width"] <= told["x"]

    daemon.drop("cut/1/1.json", finish("a")[1])
    daemon.drop("cut/1/2.json", live("b")[1])
    daemon.start()
    expect(page.locator("#connection")).to_have_text("Connected", timeout=20_000)
    expect(part(row(page, "jobs", "a").first, "result")).to_have_text("pass")
    expect(row(page, "live", "b")).to_be_visible()
    expect(page.locator("#stale")).to_have_text("Connected again: the page is up to date.")
    assert visitor.loads == 1


def test_a_warning_says_that_live_tracking_is_off(make_daemon, visitor):
    page = visitor.open(make_daemon("[sigs]\nenablelivejobs = false\n").start())
    expect(page.locator("#live-off")).to_contain_text("Live tracking is off on this server")
    expect(part(page, "curl")).to_contain_text("job-finish")


# ---- in every light and on every screen ------------------------------------------------------------------------------


def every_view(daemon: Daemon, visitor: Visitor) -> Iterator[Page]:
    """The overview, a regression and two of its jobs, with names as long as they come."""
    name = "views/" + "long_name_without_any_place_to_break" * 4
    long = {
        "config": "+define+" * 60,
        "host": "a-host-name.with.a.long.domain.example",
        "metadata": [["k" * 90, "v" * 300]],
    }
    progress = {"done": 1, "total": 3, "unit": "tests", "note": "of the long kind"}
    tell(daemon, name, ("regr-start", {"submitted": 5, "custom_metadata": [["k" * 90, "v" * 300]], "tag": "t" * 80}))
    tell(daemon, name, live("runs", **long, progress=progress), finish("fine", **long), finish("left out", "skip"))
    tell(daemon, name, finish("broken", "fail", **long, fail_message="UVM_ERROR " + "no_space" * 60))
    jobs = [f"/j/{job_id(daemon, name, job)}" for job in ("runs", "broken")]
    for path in ("/", address(name), *jobs):
        page = visitor.open(daemon, path)
        page.wait_for_selector("main tbody tr, main .timeline li")
        yield page
        page.close()


def test_every_view_follows_the_readers_scheme_and_fits_a_phone(lab, visitor):
    for page in every_view(lab, visitor):
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            ground, ink = (brightness(page, name) for name in ("backgroundColor", "color"))
            assert (ground > 230 and ink < 60) if scheme == "light" else (ground < 40 and ink > 200)
        for size in (1280, 360):
            page.set_viewport_size({"width": size, "height": 780})
            assert not overflows(page), (page.url, size)


def test_the_policy_of_the_page_lets_no_foreign_script_in(lab, visitor):
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


def test_an_address_that_means_nothing_says_so(lab, visitor):
    page = visitor.context.new_page()
    for path in ("/zzz", "/zzz/r/1", "/j/not-a-number"):
        page.goto(f"{lab.url}{path}")
        expect(page.get_by_role("heading", name="There is no page at this address")).to_be_visible()
    page.get_by_role("link", name="all regressions").click()
    expect(page.get_by_role("heading", name="Regressions")).to_be_visible()


def test_a_job_that_never_was_is_said_to_be_none(lab, visitor):
    visitor.expected = ("404",)
    page = visitor.open(lab, "/j/987654321")
    expect(page.get_by_role("heading", name="No such job")).to_be_visible()
    expect(part(page, "problem")).to_be_hidden()


def test_a_server_in_trouble_says_so_on_every_page(daemon, visitor, tmp_path):
    visitor.expected = ("503",)
    daemon.drop("r/first.json", live("first")[1])
    daemon.spool.rename(tmp_path / "away")
    daemon.spool.write_text("a file where the folder was")
    wait_until(lambda: daemon.request("GET", "/healthz")[0] == 503)
    page = visitor.open(daemon)
    expect(page.locator("#unwell")).to_contain_text("The server is in trouble, and updates may be missing: spool: ")


def test_a_regression_that_nobody_described_shows_no_empty_box(lab, visitor):
    tell(lab, "bare/1", finish("a"))
    page = visitor.open(lab, address("bare/1"))
    expect(row(page, "jobs", "a")).to_be_visible()
    expect(part(page, "facts-panel")).to_be_hidden()


# ---- behind a proxy --------------------------------------------------------------------------------------------------


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


def test_the_page_works_below_a_path_prefix(make_daemon, visitor):
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
