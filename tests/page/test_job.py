"""A job in a real Chromium: its fields, its output, its files, its past."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import expect
from support.browsing import (
    BIDI,
    HOSTILE,
    Visitor,
    address,
    at,
    box,
    copied,
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
from support.daemons import LIVE_SIGS, Daemon

pytest_plugins = ("support.browsing",)
pytestmark = pytest.mark.browser


def test_the_page_of_a_job_shows_every_field_and_grows_with_its_history(lab: Daemon, visitor: Visitor) -> None:
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
    expect(part(page, "finished")).to_have_text(re.compile(r"^\d\d:\d\d:\d\d$"))
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


def test_a_job_that_never_was_is_said_to_be_none(lab: Daemon, visitor: Visitor) -> None:
    visitor.expected = ("404",)
    page = visitor.open(lab, "/j/987654321")
    expect(page.get_by_role("heading", name="No such job")).to_be_visible()
    expect(part(page, "problem")).to_be_hidden()


def test_the_output_of_a_job_follows_without_a_reload_and_hostile_lines_stay_lines(
    lab: Daemon, visitor: Visitor
) -> None:
    tell(lab, "log/1", ("regr-start", None), live("talks", log={"offset": 0, "lines": ["first", "\x1b[31mred\x1b[0m"]}))
    number = job_id(lab, "log/1", "talks")
    page = visitor.open(lab, f"/j/{number}")
    lines = part(page, "log").locator(".line")
    expect(lines).to_have_count(2)
    expect(lines.nth(1)).to_contain_text("^[[31mred^[[0m")

    long = "x" * 100_000
    assert lab.post(f"/jobs/{number}/logs", {"lines": [HOSTILE, BIDI, long]})[0] == 200
    expect(lines).to_have_count(5)
    expect(lines.nth(2)).to_contain_text(HOSTILE)
    expect(part(lines.nth(4), "text")).to_have_text("x" * 2000)
    part(lines.nth(4), "all").click()
    expect(part(lines.nth(4), "text")).to_have_text(long)
    assert page.evaluate("window.hacked") is None
    assert not overflows(page)

    assert lab.post(f"/jobs/{number}/logs", {"lines": [f"line {n}" for n in range(200)]})[0] == 200
    expect(part(page, "log-told")).to_have_text("205 lines, following")
    part(page, "log").scroll_into_view_if_needed()
    expect(lines.last).to_be_in_viewport()
    part(page, "log").evaluate("box => { box.scrollTop = 0; }")
    tell(lab, "log/1", finish("talks"))
    expect(part(page, "log-told")).to_have_text("205 lines")
    part(page, "log-end").click()
    expect(part(page, "log-end")).to_be_hidden()
    assert visitor.loads == 1


def test_a_very_long_line_of_output_is_unfolded_by_a_button_on_one_line(lab: Daemon, visitor: Visitor) -> None:
    tell(lab, "log/2", live("long", log={"offset": 0, "lines": ["short", "x" * 100_000]}))
    page = visitor.open(lab, f"/j/{job_id(lab, 'log/2', 'long')}")
    button = page.locator(".log").get_by_role("button", name="show all (100.0 kB)")
    assert width(button) > 100
    assert box(button)["height"] < 40
    button.click()
    expect(button).to_be_hidden()
    assert not overflows(page)


@pytest.fixture
def with_files(make_daemon: Callable[..., Daemon], tmp_path: Path) -> Daemon:
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "sim.log").write_text("all is well\n")
    return make_daemon(f'file_roots = ["{tmp_path / "runs"}"]\n[spool]\ndir = "spool"\n{LIVE_SIGS}').start()


def test_a_file_that_is_not_served_shows_its_path_to_copy(
    with_files: Daemon, make_visitor: Callable[..., Visitor]
) -> None:
    visitor = make_visitor(permissions=["clipboard-read", "clipboard-write"])
    files = [{"kind": "core", "name": "core.991", "path": "/elsewhere/core.991"}]
    tell(with_files, "files/2", finish("a", files=files))
    page = visitor.open(with_files, f"/j/{job_id(with_files, 'files/2', 'a')}")
    listed = rows(page, "files")
    expect(listed).to_contain_text("/elsewhere/core.991")
    expect(part(listed, "get")).to_be_hidden()
    listed.get_by_role("button", name="Copy path").click()
    expect(part(listed, "copy-path")).to_have_text("Copied")
    assert copied(page) == "/elsewhere/core.991"


def test_a_file_of_a_job_is_downloaded_and_its_raw_form_shown(
    with_files: Daemon, tmp_path: Path, visitor: Visitor
) -> None:
    files = [{"kind": "log", "name": "sim.log", "path": str(tmp_path / "runs" / "sim.log"), "size": 12}]
    tell(with_files, "files/1", finish("a", files=files, jobdir="https://farm.example/runs/1"))
    page = visitor.open(with_files, f"/j/{job_id(with_files, 'files/1', 'a')}")
    expect(part(page, "jobdir-link")).to_have_attribute("href", "https://farm.example/runs/1")
    with page.expect_download() as download:
        page.get_by_role("link", name="Download sim.log").click()
    assert Path(download.value.path()).read_text() == "all is well\n"
    page.get_by_role("heading", name="Raw JSON").click()
    expect(part(page, "raw")).to_contain_text('"uniqueid": "a"')


def test_the_same_test_in_earlier_runs_is_a_click_away(lab: Daemon, visitor: Visitor) -> None:
    for run, result in enumerate(("pass", "fail", "pass"), 1):
        tell(
            lab,
            f"past/{run}",
            finish("x", result, name="past_test", seed="7", runtime_ms=1000 * run),
            ("regr-finish", None),
        )
    page = visitor.open(lab, f"/j/{job_id(lab, 'past/3', 'x')}")
    expect(rows(page, "earlier").locator(".chip")).to_have_text(["fail", "pass"])
    expect(part(page, "earlier-told")).to_contain_text("passed in 1 of 2 runs")
    rows(page, "earlier").first.locator("a").last.click()
    expect(part(page, "result")).to_have_text("fail")


def test_of_a_test_with_many_jobs_a_run_the_jobs_are_counted_and_long_seeds_cut(lab: Daemon, visitor: Visitor) -> None:
    seed = "4" * 400
    for run in (1, 2):
        results = ["fail" if run == 2 and n == 0 else "pass" for n in range(5)]
        jobs = [
            finish(f"x{n}", result, name="seeds_test", seed=seed, runtime_ms=9000, finish_time="2025-01-05T10:00:00Z")
            for n, result in enumerate(results)
        ]
        tell(lab, f"seeds/{run}", ("regr-start", None), *jobs, ("regr-finish", None))
    tell(lab, "seeds/3", ("regr-start", None), finish("x", name="seeds_test", seed=seed, runtime_ms=9000))
    page = visitor.open(lab, f"/j/{job_id(lab, 'seeds/3', 'x')}")
    expect(part(page, "earlier-told")).to_contain_text("1 of 10 jobs failed; clean in 1 of 2 runs")
    bar = part(row(page, "earlier", "seeds/2"), "bar")
    assert width(bar.locator("[data-kind=pass]")) == pytest.approx(4 * width(bar.locator("[data-kind=fail]")), rel=0.1)
    expect(part(row(page, "earlier", "seeds/2"), "finished")).to_have_text("5 Jan 2025")
    shown = part(page.locator("dl.figures"), "seed")
    expect(shown).to_have_text("4" * 24 + "…")
    expect(shown).to_have_attribute("title", seed)
