"""The list of regressions in a real Chromium: rows appear and change, filters stand in the address."""

from __future__ import annotations

import contextlib
import re
import shutil
import sqlite3
import subprocess

import pytest
from playwright.sync_api import expect
from support.browsing import Visitor, box, finish, live, part, row, rows, tell, width
from support.daemons import Daemon

pytest_plugins = ("support.browsing",)
pytestmark = pytest.mark.browser


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is missing: apt install curl")
def test_the_empty_page_teaches_two_commands_and_both_work(daemon: Daemon, visitor: Visitor) -> None:
    page = visitor.open(daemon)
    expect(page.get_by_role("heading", name="No regressions yet")).to_be_visible()
    over_http, by_spool = part(page, "curl").inner_text(), part(page, "spool").inner_text()
    assert daemon.url in over_http
    page.set_viewport_size({"width": 390, "height": 844})
    command, copy = box(part(page, "curl")), box(part(page, "copy-curl"))
    assert copy["y"] >= command["y"] + command["height"]

    subprocess.run(["bash", "-ec", over_http.replace("demo/1", "demo/http")], check=True, capture_output=True)
    expect(row(page, "regressions", "demo/http")).to_be_visible()
    expect(part(page, "teach")).to_be_hidden()
    expect(page.locator("#live-off")).to_be_hidden()

    subprocess.run(["bash", "-ec", by_spool.replace("var/spool", str(daemon.spool))], check=True, capture_output=True)
    expect(row(page, "regressions", "demo/1")).to_be_visible()
    assert visitor.loads == 1


def test_a_file_in_the_spool_makes_a_regression_appear_and_its_bar_move_without_a_reload(
    lab: Daemon, visitor: Visitor
) -> None:
    page = visitor.open(lab)
    lab.drop("night/1/regr-start.json", {"submitted": 4})
    night = row(page, "regressions", "night/1")
    expect(part(night, "status")).to_have_text("live")
    expect(part(night, "percent")).to_have_text("0 %")

    lab.drop("night/1/job-a.json", live("a")[1])
    expect(part(night, "live")).to_have_text("1")
    expect(night.locator(".bar")).to_have_attribute("aria-label", "1 live, 3 to come")

    lab.drop("night/1/job-b.json", finish("b")[1])
    expect(night.locator(".bar")).to_have_attribute("aria-label", "1 pass, 1 live, 2 to come")
    quarter = width(night.locator(".bar").locator("i[data-kind=pass]"))
    lab.drop("night/1/job-c.json", finish("c")[1])
    expect(part(night, "percent")).to_have_text("50 %")
    assert width(night.locator(".bar").locator("i[data-kind=pass]")) == pytest.approx(2 * quarter, rel=0.1)
    assert visitor.loads == 1


def test_the_filter_stands_in_the_address_and_a_second_page_shows_the_same(lab: Daemon, visitor: Visitor) -> None:
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


def test_the_list_says_which_live_run_is_silent_and_which_has_something_new(daemon: Daemon, visitor: Visitor) -> None:
    tell(daemon, "alarm/1", finish("a", "fail", fail_message="UVM_ERROR known"), ("regr-finish", None))
    tell(daemon, "alarm/2", live("a"), finish("b", "fail", fail_message="UVM_ERROR known"))
    tell(daemon, "alarm/3", live("a"), finish("b", "fail", fail_message="FATAL unheard of"))
    daemon.stop()
    with contextlib.closing(sqlite3.connect(daemon.db)) as conn, conn:
        conn.execute("UPDATE regression SET last_activity_at = last_activity_at - 1470000 WHERE name = 'alarm/2'")
    page = visitor.open(daemon.start())
    expect(part(row(page, "regressions", "alarm/1"), "why")).to_have_text("")
    expect(part(row(page, "regressions", "alarm/2"), "why")).to_have_text("silent 24m")
    expect(part(row(page, "regressions", "alarm/3"), "why")).to_have_text("1 new signature")

    tell(daemon, "alarm/2", finish("c", "fail", fail_message="ASSERT never seen"))
    expect(part(row(page, "regressions", "alarm/2"), "why")).to_have_text("1 new signature")


def test_where_all_is_tanked_the_list_says_so(daemon: Daemon, visitor: Visitor) -> None:
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


def test_the_list_fits_a_narrow_window_and_no_word_is_cut(lab: Daemon, visitor: Visitor) -> None:
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


def test_a_strip_and_a_bar_show_the_same_share_of_fails(lab: Daemon, visitor: Visitor) -> None:
    tell(lab, "share/1", *(finish(f"j{n}", "pass" if n else "fail") for n in range(4)), ("regr-finish", None))
    line = row(visitor.open(lab, "/?series=share"), "regressions", "share/1")
    high = [box(line.locator(f".column [data-kind={kind}]"))["height"] for kind in ("pass", "fail")]
    assert high[0] == pytest.approx(3 * high[1], rel=0.15)


def test_the_overview_shows_the_last_runs_of_a_series_and_a_click_goes_there(lab: Daemon, visitor: Visitor) -> None:
    for number in range(1, 4):
        tell(lab, f"strip/{number}", finish("a", "pass" if number != 2 else "fail"), ("regr-finish", None))
    page = visitor.open(lab, "/?series=strip")
    runs = rows(page, "regressions").first.locator(".run")
    expect(runs).to_have_count(3)
    expect(runs.nth(1)).to_have_attribute("aria-label", re.compile("0 of 1 passed"))
    runs.nth(1).click()
    expect(part(page, "name")).to_have_text("strip/2")


def test_a_live_run_that_nobody_told_the_size_of_does_not_look_finished(lab: Daemon, visitor: Visitor) -> None:
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
