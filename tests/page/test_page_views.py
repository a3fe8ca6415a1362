"""The views of a regression and of a job in a real Chromium: live jobs, filters, output, pictures, comparison."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect
from support.browsing import (
    BIDI,
    BIDI_SHOWN,
    HOSTILE,
    address,
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
from support.daemons import LIVE_SIGS, Daemon, wait_until

pytest_plugins = ("support.browsing",)
pytestmark = pytest.mark.browser


def tab(page: Page, name: str) -> None:
    page.locator(".tabs").get_by_role("link", name=name).click()
    expect(page.locator(".tabs [aria-current=page]")).to_have_text(name)


# ---- live jobs -------------------------------------------------------------------------------------------------------


def test_live_jobs_are_filtered_sorted_and_grouped_by_host_and_the_address_tells_it(lab, visitor):
    hosts = {"a1": "n1", "a2": "n2", "b1": "n2"}
    tell(lab, "group/1", ("regr-start", None), *(live(name, host=host) for name, host in hosts.items()))
    page = visitor.open(lab, address("group/1"))
    expect(rows(page, "live")).to_have_count(3)
    part(page, "live-q").fill("a n2")
    expect(rows(page, "live")).to_have_count(1)
    expect(part(page, "live-summary")).to_have_text("1 of 3 jobs")
    part(page, "live-q").fill("")

    part(page, "group").click()
    expect(rows(page, "live").locator(".name")).to_have_text(["n2, 2 jobs", "b1", "a2", "n1, 1 job", "a1"])
    expect(part(page, "live-head").get_by_role("button", name="Host")).to_be_hidden()
    expect(part(rows(page, "live").first, "elapsed")).to_have_text("")
    part(page, "live-head").get_by_role("button", name="Job").click()
    expect(page).to_have_url(re.compile(r"livesort=name&group=host$"))
    again = visitor.open(lab, page.url.removeprefix(lab.url))
    expect(rows(again, "live").first).to_contain_text("n2, 2 jobs")


def test_a_job_that_takes_longer_than_its_kind_is_flagged_long_before_any_timeout(lab, visitor):
    earlier = [finish(f"quick-{n}", name="quick", runtime_ms=200 + n) for n in range(6)]
    tell(lab, "slow/1", ("regr-start", None), *earlier, ("regr-finish", None))
    tell(lab, "slow/2", ("regr-start", None), live("hangs", name="quick"), live("other", name="never seen before"))
    page = visitor.open(lab, address("slow/2"))
    expect(part(page, "live-head").locator("[aria-sort=descending]")).to_have_text("For its kind")
    expect(rows(page, "live").first).to_contain_text("quick")
    flagged = part(row(page, "live", "quick"), "kind")
    expect(flagged).to_contain_text("slow, usually 2")
    expect(flagged).to_have_attribute("title", re.compile("99 of 100 earlier passes"))
    expect(part(row(page, "live", "never seen"), "kind")).to_have_text("")

    part(page, "live-head").get_by_role("button", name="For its kind").click()
    expect(rows(page, "live").last).to_contain_text("quick")
    part(page, "slow").click()
    expect(rows(page, "live")).to_have_count(1)
    expect(part(page, "slow")).to_have_text("1 slow for its kind")
    row(page, "live", "quick").locator("a").click()
    expect(part(page, "usual-note")).to_contain_text("slow: 99 of 100 took under")


def test_hosts_are_named_without_the_domain_that_all_of_them_have(lab, visitor):
    def host(number: int) -> str:
        return f"n{number}.lab.example"

    gathered = [finish(f"g{n}", "fail", fail_message="E core dumped", host=host(7 if n else 1)) for n in range(4)]
    spread = [finish(f"s{n}", "fail", fail_message="E no data came", host=host(n)) for n in range(3)]
    alone = [finish("a", "fail", fail_message="E overrun", host=host(5))]
    tell(lab, "hosts/1", ("regr-start", None), *gathered, *spread, *alone, live("runs", host=host(3)))
    page = visitor.open(lab, address("hosts/1"))
    for table, name in {"live": "runs", "jobs": "E overrun"}.items():
        cell = part(row(page, table, name), "host")
        expect(cell).to_have_text("n3" if table == "live" else "n5")
        expect(cell).to_have_attribute("title", re.compile("^n[35].lab.example$"))
    where = {"core dumped": ["3 of 4 on n7", "2 hosts"], "no data": ["3 hosts", ""], "overrun": ["n5", ""]}
    for title, (words, rest) in where.items():
        signature = row(page, "signatures", title)
        expect(part(signature, "hosts")).to_have_text(words)
        expect(part(signature, "hosts-rest")).to_have_text(rest)
    expect(part(row(page, "signatures", "overrun"), "hosts")).to_have_attribute("title", "n5.lab.example: 1")
    part(page, "group").click()
    expect(part(rows(page, "live").first, "host-group")).to_have_text("n3, 1 job")


def test_the_words_of_a_job_that_waits_or_has_no_total_have_their_room(lab, visitor):
    tell(lab, "room/1", live("waits", phase="queued"), live("counts", progress={"done": 7, "unit": "kcycles"}))
    tell(lab, "room/1", live("bars", progress={"done": 7, "total": 10}))
    page = visitor.open(lab, address("room/1"))
    page.set_viewport_size({"width": 1400, "height": 900})
    part(page, "results").get_by_role("button", name="All").click()
    runtime = part(row(page, "jobs", "waits"), "runtime")
    expect(runtime).to_have_attribute("title", re.compile("^waiting "))
    fits = "cell => { cell.textContent = 'waiting 15m 05s'; return cell.scrollWidth <= cell.clientWidth; }"
    assert runtime.evaluate(fits)
    words = part(row(page, "live", "counts"), "progress").bounding_box()
    bar = part(row(page, "live", "bars"), "bar").bounding_box()
    assert words
    assert bar
    assert words["x"] == bar["x"]


def test_a_heartbeat_is_seen_though_it_is_no_event(lab, visitor):
    tell(lab, "beat/1", ("regr-start", None), live("beats"))
    page = visitor.open(lab, address("beat/1"))
    seen = part(row(page, "live", "beats"), "seen")
    expect(seen).to_have_text(re.compile(r"^[3-9] s ago$"))
    tell(lab, "beat/1", live("beats"))
    expect(seen).to_have_text(re.compile(r"just now|^[2-4] s ago$"), timeout=20_000)


def test_the_table_of_live_jobs_keeps_its_height_while_one_looks(lab, visitor):
    tell(lab, "stand/1", ("regr-start", {"submitted": 20}), *(live(f"j{n}") for n in range(5)))
    page = visitor.open(lab, address("stand/1"))
    expect(rows(page, "live")).to_have_count(5)
    high = part(page, "live-panel").bounding_box()["height"]
    tell(lab, "stand/1", *(finish(f"j{n}") for n in range(4)))
    expect(rows(page, "live")).to_have_count(1)
    assert part(page, "live-panel").bounding_box()["height"] == high
    tell(lab, "stand/1", finish("j4"))
    expect(part(page, "live-nothing")).to_have_text("No job is live at this moment.")
    assert part(page, "live-panel").bounding_box()["height"] == high
    tell(lab, "stand/1", ("regr-finish", None))
    expect(part(page, "live-section")).to_be_hidden()


def test_a_job_that_waits_has_not_started_and_its_limit_does_not_run(lab, visitor):
    told = {"phase": "queued", "start_time": "2026-01-05T10:00:00Z", "time_limit_ms": 900_000}
    tell(lab, "waits/1", ("regr-start", None), live("waits", **told), live("runs", time_limit_ms=900_000))
    page = visitor.open(lab, address("waits/1"))
    elapsed = part(row(page, "live", "waits"), "elapsed")
    expect(elapsed).to_have_attribute("title", re.compile(r"^given up .* without news$"))
    expect(part(row(page, "live", "runs"), "elapsed")).to_have_attribute("title", re.compile("^time limit "))
    page.goto(f"{lab.url}/j/{job_id(lab, 'waits/1', 'waits')}")
    expect(part(page, "started-word")).to_have_text("Waits since")
    expect(part(page, "limit")).to_contain_text("given up")


# ---- all jobs --------------------------------------------------------------------------------------------------------


def test_jobs_are_filtered_by_terms_and_a_mistake_is_told_beside_the_field(lab, visitor):
    visitor.expected = ("422",)
    tell(lab, "terms/1", ("regr-start", None), finish("a", host="n11", runtime_ms=700_000))
    tell(lab, "terms/1", finish("b", "fail", host="n12", fail_message="FIFO overrun"), finish("c", "fail", host="m1"))
    page = visitor.open(lab, address("terms/1"))
    wanted = {
        "result=fail, host=~^n1": ["b"],
        "host=n11|m1": ["c", "a"],
        "!message=~FIFO, result=fail": ["c"],
        "runtime>10m": ["a"],
        "overrun": ["b"],
        "result!=fail": ["a"],
        "host!~^n": ["c"],
        '"OVERRUN n12"': ["b"],
    }
    for typed, names in wanted.items():
        part(page, "q").fill(typed)
        expect(rows(page, "jobs").locator(".name")).to_have_text(names)
    expect(part(page, "jobs-summary")).to_have_text("1 job found")
    second = visitor.open(lab, page.url.removeprefix(lab.url))
    expect(rows(second, "jobs").locator(".name")).to_have_text(["b"])

    part(page, "q").fill("message~FIFO")
    expect(part(page, "filter-problem")).to_contain_text("an operator is expected after message")
    part(page, "q").fill("hots=n1")
    expect(part(page, "filter-problem")).to_contain_text("there is no field hots")
    expect(rows(page, "jobs")).to_have_count(0)
    expect(part(page, "jobs-summary")).to_have_text("")
    expect(part(page, "problem")).to_be_hidden()
    part(page, "q").fill("host=n11")
    expect(part(page, "filter-problem")).to_be_hidden()
    part(page, "filter-help").click()
    expect(page.locator("dialog#filter-help")).to_contain_text("regular expression")


def test_a_long_table_of_jobs_keeps_few_rows_in_the_document_and_its_place_while_news_come(lab, visitor):
    for begin in range(0, 1500, 500):
        tell(lab, "long/1", *(finish(f"job-{n:04}", runtime_ms=n) for n in range(begin, begin + 500)))
    page = visitor.open(lab, address("long/1"))
    expect(rows(page, "jobs").first).to_contain_text("job-1499")
    panel = part(page, "jobs-panel")
    expect(page.locator("table.jobs")).to_have_attribute("aria-rowcount", "501")
    part(page, "q").fill("job")
    expect(part(page, "jobs-summary")).to_have_text("the first 500 that match")
    part(page, "q").fill("")
    expect(part(page, "jobs-summary")).to_have_text("")
    for _ in range(3):
        panel.evaluate("panel => { panel.scrollTop = panel.scrollHeight; }")
        page.wait_for_timeout(50)
    expect(page.locator("table.jobs")).to_have_attribute("aria-rowcount", re.compile("1001|1501"))
    assert rows(page, "jobs").count() < 100

    panel.evaluate("panel => { panel.scrollTop = 3000; }")
    expect(row(page, "jobs", "job-1395")).to_be_visible()
    first = "panel => { const top = panel.getBoundingClientRect().top + 60;"
    first += " return [...panel.querySelectorAll('tbody tr')].find(row => row.getBoundingClientRect().top >= top)"
    first += ".textContent; }"
    before = panel.evaluate(first)
    tell(lab, "long/1", *(finish(f"new-{n}") for n in range(7)))
    expect(part(page.locator("dl.figures"), "pass")).to_have_text("1,507")
    expect(page.locator("table.jobs")).to_have_attribute("aria-rowcount", re.compile("1008|1508"))
    assert panel.evaluate(first) == before


def test_a_column_head_sorts_all_jobs_not_only_those_that_are_loaded(lab, visitor):
    jobs = [finish(f"s{n}", host=f"n{9 - n}", runtime_ms=1000 + (n * 7) % 5) for n in range(5)]
    tell(lab, "sort/1", ("regr-start", None), *jobs)
    page = visitor.open(lab, address("sort/1"))
    names = rows(page, "jobs").locator(".name")
    expect(names).to_have_text(["s4", "s3", "s2", "s1", "s0"])
    head = part(page, "jobs-head")
    head.get_by_role("button", name="Runtime").click()
    expect(names.first).to_have_text("s2")
    expect(head.locator("[aria-sort=descending]")).to_have_text("Runtime")
    head.get_by_role("button", name="Host").click()
    expect(names).to_have_text(["s4", "s3", "s2", "s1", "s0"])
    head.get_by_role("button", name="Host").click()
    expect(names).to_have_text(["s0", "s1", "s2", "s3", "s4"])
    expect(page).to_have_url(re.compile("sort=-host$"))


def test_news_take_neither_the_focus_nor_what_is_marked(lab, visitor):
    tell(lab, "still/1", ("regr-start", None), *(live(f"job-{n}", host=f"host-{n}") for n in range(8)))
    page = visitor.open(lab, address("still/1"))
    kept = row(page, "live", "job-3")
    kept.locator("a").focus()
    part(kept, "host").evaluate("cell => getSelection().selectAllChildren(cell)")
    tell(lab, "still/1", *(live(f"job-{n}", phase="run") for n in range(8)), finish("job-0"), live("job-9"))
    expect(part(kept, "phase")).to_have_text("run")
    expect(rows(page, "live")).to_have_count(8)
    expect(kept.locator("a")).to_be_focused()
    assert page.evaluate("getSelection().toString()") == "host-3"


def test_a_signature_unfolds_its_message_and_marks_what_the_bucketing_left_out(lab, visitor):
    told = "UVM_ERROR tb/sb.sv(88) @ 1200 ns: fifo overrun\nexpected 3"
    tell(
        lab, "unfold/1", ("regr-start", None), finish("a", "fail", fail_message=told, host="n7", config="make a SEED=1")
    )
    page = visitor.open(lab, address("unfold/1"))
    first = rows(page, "signatures").first
    expect(part(first, "new")).to_be_visible()
    expect(part(first, "hosts")).to_be_hidden()  # the run has no other host
    part(first, "unfold").click()
    expect(part(first, "message")).to_have_text(told)
    expect(part(first, "message").locator("del").first).to_be_visible()
    expect(part(first, "unfold")).to_have_attribute("aria-expanded", "true")


# ---- a job -----------------------------------------------------------------------------------------------------------


def test_the_output_of_a_job_follows_without_a_reload_and_hostile_lines_stay_lines(lab, visitor):
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


def test_a_very_long_line_of_output_is_unfolded_by_a_button_on_one_line(lab, visitor):
    tell(lab, "log/2", live("long", log={"offset": 0, "lines": ["short", "x" * 100_000]}))
    page = visitor.open(lab, f"/j/{job_id(lab, 'log/2', 'long')}")
    button = page.locator(".log").get_by_role("button", name="show all (100.0 kB)")
    assert width(button) > 100
    assert button.bounding_box()["height"] < 40
    button.click()
    expect(button).to_be_hidden()
    assert not overflows(page)


@pytest.fixture
def with_files(make_daemon: Callable[..., Daemon], tmp_path: Path) -> Daemon:
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "sim.log").write_text("all is well\n")
    return make_daemon(f'file_roots = ["{tmp_path / "runs"}"]\n[spool]\ndir = "spool"\n{LIVE_SIGS}').start()


def test_a_file_that_is_not_served_shows_its_path_to_copy(with_files, make_visitor):
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


def test_a_file_of_a_job_is_downloaded_and_its_raw_form_shown(with_files, tmp_path, visitor):
    files = [{"kind": "log", "name": "sim.log", "path": str(tmp_path / "runs" / "sim.log"), "size": 12}]
    tell(with_files, "files/1", finish("a", files=files, jobdir="https://farm.example/runs/1"))
    page = visitor.open(with_files, f"/j/{job_id(with_files, 'files/1', 'a')}")
    expect(part(page, "jobdir-link")).to_have_attribute("href", "https://farm.example/runs/1")
    with page.expect_download() as download:
        page.get_by_role("link", name="Download sim.log").click()
    assert Path(download.value.path()).read_text() == "all is well\n"
    page.get_by_role("heading", name="Raw JSON").click()
    expect(part(page, "raw")).to_contain_text('"uniqueid": "a"')


def test_the_same_test_in_earlier_runs_is_a_click_away(lab, visitor):
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


def test_of_a_test_with_many_jobs_a_run_the_jobs_are_counted_and_long_seeds_cut(lab, visitor):
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


def copied(page: Page) -> str:
    return str(page.evaluate("navigator.clipboard.readText()"))


def test_copy_buttons_copy(lab, make_visitor):
    visitor = make_visitor(permissions=["clipboard-read", "clipboard-write"])
    message = f"UVM_ERROR {HOSTILE}\n{BIDI}"
    job = finish("a", "fail", config="make run SEED=7", jobdir="/proj/run 1", fail_message=message)
    tell(lab, "copy/1", ("regr-start", None), job)
    page = visitor.open(lab, f"/j/{job_id(lab, 'copy/1', 'a')}")
    for button, told in {"copy-config": "make run SEED=7", "copy-jobdir": "/proj/run 1", "copy-fail": message}.items():
        part(page, button).click()
        expect(part(page, button)).to_have_text("Copied")
        assert copied(page) == told
    regression = visitor.open(lab, address("copy/1"))
    part(regression, "rerun").click()
    expect(part(regression, "rerun")).to_have_text("Copied")
    assert copied(regression) == "make run SEED=7"
    turned = f"badge{BIDI}"
    tell(lab, f"{turned}/1", ("regr-start", None))
    badge = visitor.open(lab, address(f"{turned}/1"))
    part(badge, "badge").click()
    part(badge.locator("dialog#badge"), "copy").click()
    expect(part(badge.locator("dialog#badge"), "markdown")).to_contain_text(BIDI_SHOWN)
    assert BIDI in copied(badge)


# ---- the other views of a regression ---------------------------------------------------------------------------------


def test_pictures_show_hosts_and_have_a_table_behind_each(lab, visitor):
    jobs = [
        finish(f"p{n}", "fail" if n % 4 == 0 else "pass", host=f"n{n % 3}", start_time=f"2026-01-05T10:{n:02}:00Z",
               finish_time=f"2026-01-05T10:{n + 5:02}:00Z", runtime_ms=300_000 + n, compute_ms=290_000,
               cycles=10_000 * (n + 1))
        for n in range(24)
    ]  # fmt: skip
    tell(lab, "pictures/1", ("regr-start", {"submitted": 30}), *jobs, live("still runs", host="n9"))
    page = visitor.open(lab, address("pictures/1"))
    tab(page, "Pictures")
    for name in ("timeline", "finished", "runtimes", "cycles"):
        canvas = part(page, name).first
        expect(canvas).to_be_visible()
        assert drawn_colours(page, name) > 3
        page.locator(f'[data-part="{name}-table"] summary').click()
        expect(part(page, f"{name}-table").locator("tbody tr").first).to_be_visible()
    expect(part(page, "finished")).to_have_attribute("aria-label", re.compile("24 finished of 30"))
    expect(row(page, "hosts", "n0")).to_contain_text("25 %")
    part(page, "cycles-table").get_by_role("link").first.click()
    expect(part(page, "result")).to_have_text(re.compile("pass|fail"))


def test_pictures_say_which_jobs_they_leave_out(lab, visitor):
    jobs = [finish("a", runtime_ms=1000, start_time="2026-01-05T10:00:00Z"), live("lost"), live("gone")]
    tell(lab, "left/1", ("regr-start", None), *jobs, ("regr-finish", None))
    page = visitor.open(lab, f"{address('left/1')}?tab=pictures")
    expect(part(page, "finished-told")).to_contain_text("2 jobs that nobody gave a verdict")
    expect(part(page, "runtimes-told")).to_contain_text("1 passed, above the line; 0 failed, below; 2 jobs without a")


def drawn_colours(page: Page, name: str) -> int:
    """How many different colours there are in a canvas."""
    count = """name => {
        const canvas = document.querySelector(`canvas[data-part="${name}"]`);
        const {data} = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
        return new Set(new Uint32Array(data.buffer)).size;
    }"""
    return int(page.evaluate(count, name))


def test_a_job_in_the_timeline_is_opened_by_a_click(lab, visitor):
    times = {"start_time": "2026-01-05T10:00:00Z", "finish_time": "2026-01-05T10:30:00Z"}
    tell(lab, "click/1", finish("alone", host="n1", **times), ("regr-finish", None))
    page = visitor.open(lab, f"{address('click/1')}?tab=pictures")
    canvas = part(page, "timeline")
    expect(canvas).to_be_visible()
    box = canvas.bounding_box()
    assert box
    canvas.hover(position={"x": box["width"] / 2, "y": 8})
    expect(part(page, "timeline-tip")).to_contain_text("pass, n1")
    canvas.click(position={"x": box["width"] / 2, "y": 8})
    expect(part(page, "name")).to_have_text("alone")


# Counts the listeners that are hung on what outlives a view.
LISTENING = """
    window.listening = 0;
    const {addEventListener} = EventTarget.prototype;
    EventTarget.prototype.addEventListener = function (...given) {
        const stays = [window, document].includes(this) || this instanceof MediaQueryList;
        window.listening += stays ? 1 : 0;
        return addEventListener.apply(this, given);
    };
"""


def test_no_visit_of_a_view_leaves_listeners_behind(lab, visitor):
    jobs = [finish("a", runtime_ms=1000, cycles=9, start_time="2026-01-05T10:00:00Z"), live("b")]
    tell(lab, "visited/1", ("regr-start", None), *jobs)
    visitor.context.add_init_script(LISTENING)
    page = visitor.open(lab, address("visited/1"))
    expect(rows(page, "live")).to_have_count(1)
    before = page.evaluate("listening")
    assert before > 5
    for _ in range(2):
        tab(page, "Pictures")
        expect(part(page, "cycles")).to_be_visible()
        tab(page, "Compare")
        tab(page, "History")
        tab(page, "Jobs")
        expect(rows(page, "live")).to_have_count(1)
    assert page.evaluate("listening") == before


def test_dragging_over_the_timeline_enlarges_that_time(lab, visitor):
    times = {"start_time": "2026-01-05T10:00:00Z", "finish_time": "2026-01-05T10:30:00Z"}
    late = {"start_time": "2026-01-05T11:30:00Z", "finish_time": "2026-01-05T12:00:00Z"}
    tell(lab, "zoom/1", finish("early", host="n1", **times), finish("late", host="n1", **late), ("regr-finish", None))
    page = visitor.open(lab, f"{address('zoom/1')}?tab=pictures")
    expect(part(page, "timeline-told")).to_have_text("2 jobs on 1 host")
    box = part(page, "timeline").bounding_box()
    assert box
    page.mouse.move(box["x"] + box["width"] - 200, box["y"] + 8)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] - 20, box["y"] + 8, steps=5)
    page.mouse.up()
    expect(page).to_have_url(re.compile(r"from=2026-01-05T11%3A.*to=2026-01-05T1"))
    expect(part(page, "timeline-told")).to_have_text("1 job on 1 host")
    part(page, "zoom-out").click()
    expect(part(page, "timeline-told")).to_have_text("2 jobs on 1 host")


def test_a_run_is_compared_with_the_one_before_and_with_any_other(lab, visitor):
    def run(number: int, **results: tuple[str, int]) -> None:
        jobs = [
            finish(name, result, config=name, runtime_ms=runtime, fail_message="E broken" if result == "fail" else "")
            for name, (result, runtime) in results.items()
        ]
        tell(lab, f"compare/{number}", ("regr-start", None), *jobs, ("regr-finish", None))

    run(1, a=("pass", 1000), b=("pass", 1000), c=("pass", 4000))
    run(2, a=("pass", 1000), b=("fail", 1000), c=("pass", 4000), gone=("pass", 1))
    run(3, a=("fail", 1000), b=("pass", 1000), c=("pass", 6000), fresh=("pass", 1))
    page = visitor.open(lab, address("compare/3"))
    expect(part(page, "since")).to_contain_text("Since compare/2: 1 newly failing test, 1 fixed test, 1 slower test")
    expect(page.locator(".since .run")).to_have_count(3)
    tab(page, "Compare")
    section = {
        name: page.locator(f"[data-section={name}] tbody tr")
        for name in ("newly_failing", "fixed", "slower", "missing", "added")
    }
    for name, test in {"newly_failing": "a", "fixed": "b", "slower": "c", "missing": "gone", "added": "fresh"}.items():
        expect(section[name].locator(".name")).to_have_text([test])
    expect(section["slower"]).to_contain_text("+50 %, 4 s → 6 s")

    part(page, "slower").fill("60")
    expect(section["slower"]).to_have_count(0)
    expect(page).to_have_url(re.compile("slower=60$"))
    addresses = []
    page.on("framenavigated", lambda frame: addresses.append(frame.url))
    part(page, "slower").fill("60000000")
    page.evaluate("new Promise(over => setTimeout(over, 500))")  # the page's own timer is over before
    part(page, "slower").fill("70")
    expect(page).to_have_url(re.compile("slower=70$"))
    assert [url.rpartition("=")[2] for url in addresses] == ["70"]
    part(page, "base").select_option("compare/1")
    expect(section["fixed"]).to_have_count(0)
    expect(page).to_have_url(re.compile(r"base=compare%2F1&slower=70$"))
    second = visitor.open(lab, page.url.removeprefix(lab.url))
    expect(second.locator("[data-section=newly_failing] tbody .name")).to_have_text(["a"])
    expect(part(second, "base")).to_have_value("compare/1")


def test_a_base_of_another_series_is_named_and_one_that_is_unknown_leaves_no_other_sentence(lab, visitor):
    visitor.expected = ("404",)
    for name in ("elsewhere/9", "based/1"):
        tell(lab, name, finish("a", config="a"), ("regr-finish", None))
    page = visitor.open(lab, f"{address('based/1')}?tab=compare")
    expect(part(page, "none")).to_be_visible()
    part(page, "other").fill("elsewhere/9")
    part(page, "other").press("Enter")
    expect(part(page, "against")).to_have_text(
        "The other run is elsewhere/9. Jobs are matched by config. Nothing differs."
    )
    page.reload()
    expect(part(page, "against")).to_contain_text("elsewhere/9")
    expect(part(page, "base").locator("option:checked")).to_have_text("another run")

    part(page, "other").fill("nobody/1")
    part(page, "other").press("Enter")
    expect(part(page, "base-problem")).to_contain_text("nobody/1")
    expect(part(page, "problem")).to_be_hidden()
    for name in ("none", "against", "loading"):
        expect(part(page, name).last).to_be_hidden()


def test_runs_with_seeds_of_their_own_are_compared_by_test_unless_another_choice_is_made(lab, visitor):
    def seeds(first: int, *results: str) -> list[dict[str, Any]]:
        told = enumerate(results, first)
        message = {"fail": "E broken"}
        return [finish(f"s{n}", r, name="smoke", config=f"+seed={n}", fail_message=message.get(r, "")) for n, r in told]

    tell(lab, "nights/1", ("regr-start", None), *seeds(10, "pass", "pass", "pass"), ("regr-finish", None))
    tell(lab, "nights/2", ("regr-start", None), *seeds(20, "pass", "fail", "pass", "fail"), ("regr-finish", None))
    page = visitor.open(lab, address("nights/2"))
    expect(part(page, "since")).to_have_text("Since nights/1: 1 signature not in nights/1, 1 newly failing test")
    tab(page, "Compare")
    expect(part(page, "by")).to_have_value("test")
    expect(part(page, "matched")).to_contain_text("by test, whatever their seeds: few configs are in both runs.")
    newly = page.locator("[data-section=newly_failing] tbody tr")
    expect(newly.locator(".name")).to_have_text(["smoke"])
    expect(newly).to_contain_text("0/3 → 2/4 fail")
    heads = page.locator("[data-section=newly_failing] thead th:visible")
    expect(heads).to_have_text(["Test", "Jobs", "Result", "Before"])
    expect(page.locator("[data-section=new_signatures] thead th:visible")).to_have_text(["Signature", "Result"])

    part(page, "by").select_option("config")
    expect(page).to_have_url(re.compile(r"tab=compare&by=config$"))
    expect(part(page, "matched")).to_have_text("Jobs are matched by config.")
    expect(page.locator("[data-section=added] tbody tr")).to_have_count(4)
    expect(page.locator("[data-section=added] thead th:visible")).to_have_text(["Test"])
    words = "Since nights/1: 1 signature not in nights/1, 3 missing tests, 4 added tests"
    expect(part(page, "since")).to_have_text(words)
    again = visitor.open(lab, page.url.removeprefix(lab.url))
    expect(part(again, "by")).to_have_value("config")
    tab(page, "Jobs")
    expect(part(page, "since")).to_contain_text("1 newly failing test")


def test_nothing_is_fixed_or_missing_before_the_run_is_over(lab, visitor):
    tell(lab, "early/1", finish("a", "fail", config="a", fail_message="E early"), finish("b", config="b"))
    tell(lab, "early/1", ("regr-finish", None))
    tell(lab, "early/2", ("regr-start", {"submitted": 3}), finish("a", config="a"), finish("c", config="c"))
    page = visitor.open(lab, address("early/2"))
    expect(part(page, "since")).to_have_text("Since early/1: 1 added test")
    tab(page, "Compare")
    expect(part(page, "told")).to_have_text("What is fixed or missing shows when this run is over.")
    expect(page.locator("[data-section=added]")).to_be_visible()
    expect(page.locator("[data-section=missing]")).to_be_hidden()
    tell(lab, "early/2", ("regr-finish", None))
    words = "Since early/1: 1 fixed signature, 1 fixed test, 1 missing test, 1 added test"
    expect(part(page, "since")).to_have_text(words)
    expect(page.locator("[data-section=missing]")).to_be_visible()
    expect(page.locator("[data-section=fixed_signatures] tbody")).to_contain_text("1 fail before")


def test_the_history_of_a_run_tells_every_death_with_its_rule(lab, visitor):
    lost = [live(f"lost-{n}") for n in range(6)]
    tell(lab, "story/1", ("regr-start", None), *lost, ("regr-finish", None))
    page = visitor.open(lab, f"{address('story/1')}?tab=history")
    story = page.locator(".timeline > li")
    expect(story.first).to_contain_text("started")
    expect(story.filter(has_text="given up as missing")).to_have_count(3)
    expect(story.filter(has_text="given up as missing").last).to_contain_text("and the same for 3 more jobs")
    expect(story.filter(has_text="given up as missing").first).to_contain_text("last sign of life")
    expect(part(story.filter(has_text="given up as missing").first, "job")).to_have_text("lost-0")
    part(story.filter(has_text="given up as missing").last, "more").click()
    expect(rows(page, "jobs")).to_have_count(6)
    expect(part(page, "q")).to_have_value("reason=missing")
    page.go_back()
    tell(lab, "story/1", finish("lost-0"))
    expect(story.last).to_contain_text("corrected by a late result")


def test_the_overview_shows_the_last_runs_of_a_series_and_a_click_goes_there(lab, visitor):
    for number in range(1, 4):
        tell(lab, f"strip/{number}", finish("a", "pass" if number != 2 else "fail"), ("regr-finish", None))
    page = visitor.open(lab, "/?series=strip")
    runs = rows(page, "regressions").first.locator(".run")
    expect(runs).to_have_count(3)
    expect(runs.nth(1)).to_have_attribute("aria-label", re.compile("0 of 1 passed"))
    runs.nth(1).click()
    expect(part(page, "name")).to_have_text("strip/2")


def test_the_badge_of_a_series_is_shown_with_a_line_to_copy(lab, make_visitor):
    visitor = make_visitor(permissions=["clipboard-read", "clipboard-write"])
    tell(lab, "badged/1", finish("a"), ("regr-finish", None))
    page = visitor.open(lab, address("badged/1"))
    part(page, "badge").click()
    dialog = page.locator("dialog#badge")
    assert dialog.locator("img").evaluate("async image => { await image.decode(); return image.naturalWidth; }") > 20
    part(dialog, "copy").click()
    expect(part(dialog, "copy")).to_have_text("Copied")
    assert copied(page) == f"[![badged]({lab.url}/badge/badged.svg)]({lab.url}/r/badged%2F%24)"


def test_the_keys_1_to_4_choose_a_view_and_the_tab_carries_the_state(lab, visitor):
    tell(lab, "tabs/1", ("regr-start", {"submitted": 2}), finish("a", "fail"), live("b"))
    page = visitor.open(lab, address("tabs/1"))
    expect(part(page, "name")).to_have_text("tabs/1")
    for key, name in {"2": "Pictures", "3": "Compare", "4": "History", "1": "Jobs"}.items():
        page.keyboard.press(key)
        expect(page.locator(".tabs [aria-current=page]")).to_have_text(name)
    expect(page).to_have_title("50 % · 1 fail · tabs/1")
    icon = page.locator("#favicon")
    expect(icon).to_have_attribute("href", re.compile("c22f1f"))
    tell(lab, "tabs/1", finish("b", "fail"), ("regr-finish", None))
    expect(icon).to_have_attribute("href", re.compile("path"))
    assert visitor.loads == 1


# ---- for everybody ---------------------------------------------------------------------------------------------------


def every_view(daemon: Daemon) -> Iterator[str]:
    """Addresses of all views, with something on each."""
    for number in (1, 2):
        jobs = [
            finish(f"j{n}", "fail" if n % 3 == 0 else "pass", host=f"n{n}", config=f"make {n}", runtime_ms=1000 * n + 1,
                   cycles=5000 + n, compute_ms=900, fail_message=f"UVM_ERROR @ {n}: no data" if n % 3 == 0 else "",
                   start_time=f"2026-01-05T10:0{n}:00Z", metadata=[["corner", "slow"]], env={"A": "b"})
            for n in range(1, 8)
        ]  # fmt: skip
        tell(
            daemon, f"axe/{number}", ("regr-start", {"submitted": 12, "component": "c", "model_branch": "main"}), *jobs
        )
    tell(daemon, "axe/1", ("regr-finish", None))
    runs = live("runs", phase="traffic", progress={"done": 1, "total": 3}, host="n1", log={"lines": ["one", "two"]})
    tell(daemon, "axe/2", runs, live("waits", phase="queued"), live("j1", name="j1"))
    failed = finish(
        "kept", "fail", name="j3", files=[{"kind": "log", "name": "sim.log", "path": "/x"}], results="3 of 4"
    )
    tell(daemon, "axe/2", failed)
    yield "/"
    yield "/?q=nothing+has+this+name"
    for name in ("", "pictures", "compare", "history"):
        yield f"{address('axe/2')}?tab={name}"
    yield f"{address('axe/2')}?group=host&q=result%3Dfail"
    for job in ("runs", "kept"):
        yield f"/j/{job_id(daemon, 'axe/2', job)}"


def violations(page: Page) -> list[tuple[Any, ...]]:
    found = Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
    return [(one["id"], one["help"], [node["html"][:200] for node in one["nodes"][:3]]) for one in found]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_on_any_view(lab, make_visitor, scheme):
    visitor = make_visitor(color_scheme=scheme, bypass_csp=True)
    for path in every_view(lab):
        page = visitor.open(lab, path)
        page.wait_for_selector("main h1 >> visible=true")
        expect(page.get_by_text("Loading…").locator("visible=true")).to_have_count(0)
        for details in page.locator("details").all():
            details.evaluate("node => { node.open = true; }")
        if "tab=&" in path or path.endswith("tab="):
            part(page, "unfold").first.click()
        assert violations(page) == [], path
        page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_in_the_dialogs_and_on_the_first_page(daemon, make_visitor, scheme):
    visitor = make_visitor(color_scheme=scheme, bypass_csp=True)
    page = visitor.open(daemon)
    expect(page.get_by_role("heading", name="No regressions yet")).to_be_visible()
    assert violations(page) == []
    tell(daemon, "dialogs/1", live("a"))
    row(page, "regressions", "dialogs/1").locator("a").first.click()
    for button in ("tank", "finish", "badge", "filter-help"):
        part(page, button).click()
        expect(page.locator("dialog[open]")).to_be_visible()
        assert violations(page) == [], button
        page.keyboard.press("Escape")
    page.keyboard.press("?")
    expect(page.locator("dialog#help")).to_be_visible()
    assert violations(page) == []


def test_on_a_phone_the_rows_of_jobs_are_whole_and_the_comparison_has_its_tests(lab, visitor):
    host = "farm-node-0123.eda.lab.example.com"
    told = {"host": host, "config": "make long_test_name SEED=4711", "seed": "4711"}
    fails = [
        finish(f"f{n}", "fail", fail_message=f"UVM_ERROR @ {n}: no data came" + " more" * 90, **told) for n in range(3)
    ]
    earlier = [finish(f"q{n}", name="quick", runtime_ms=200) for n in range(6)]
    tell(lab, "phone/1", finish("a", config=told["config"]), *earlier, ("regr-finish", None))
    tell(lab, "phone/2", *fails, live("quick", phase="traffic", **told), live("waits", host=host))
    page = visitor.open(lab, address("phone/2"))
    page.set_viewport_size({"width": 390, "height": 844})
    expect(part(row(page, "live", "quick"), "kind")).to_contain_text("slow")
    for table in ("live", "jobs"):
        assert rows(page, table).evaluate_all(SLICED) == []
    part(page, "results").get_by_role("button", name="All").click()
    expect(rows(page, "jobs")).to_have_count(5)
    assert len(set(rows(page, "jobs").locator(".name").evaluate_all(LEFTS))) == 1
    part(page, "unfold").click()
    expect(part(page, "detail")).to_be_visible()
    assert width(rows(page, "signatures").locator(".name")) < 390
    tab(page, "Compare")
    name = page.locator("[data-section=newly_failing] tbody .name a")
    expect(name).to_have_text(told["config"])
    assert name.evaluate("link => link.scrollWidth <= link.clientWidth")
    assert not overflows(page)


LEFTS = "cells => cells.map(cell => cell.getBoundingClientRect().x)"


SLICED = """rows => rows.flatMap(row => [...row.children].filter(cell => {
    const [outer, inner] = [row.getBoundingClientRect(), cell.getBoundingClientRect()];
    return cell.textContent && inner.height && (inner.top < outer.top || inner.bottom > outer.bottom);
}).map(cell => cell.textContent))"""


def test_a_regression_prints_as_a_report(lab, visitor):
    host = "farm-node-0123.eda.lab.example.com"
    told = {"host": host, "fail_message": "E no data came, though it was asked for more than once"}
    tell(lab, "print/1", ("regr-start", None), *(finish(f"job-{n}", "fail", **told) for n in range(120)))
    page = visitor.open(lab, address("print/1"))
    expect(rows(page, "jobs").first).to_be_visible()
    page.emulate_media(media="print")
    expect(rows(page, "jobs")).to_have_count(120)
    expect(page.locator("header.top")).to_be_hidden()
    expect(part(page, "q")).to_be_hidden()
    page.set_viewport_size({"width": 700, "height": 1000})
    cut = "cells => cells.filter(cell => cell.scrollWidth > cell.clientWidth).map(cell => cell.textContent)"
    assert rows(page, "jobs").locator("td, th").evaluate_all(cut) == []
    assert page.locator("table.jobs thead").evaluate("head => getComputedStyle(head).display") == "table-header-group"
    page.emulate_media(media="screen")
    assert visitor.loads == 1


def test_a_print_is_light_and_has_all_columns_and_nothing_to_press(lab, make_visitor):
    visitor = make_visitor(color_scheme="dark")
    log = {"offset": 0, "lines": [f"line {n}" for n in range(100)]}
    files = [{"kind": "log", "name": "sim.log", "path": "/x/sim.log"}]
    fail = finish("f", "fail", fail_message="E gone", cycles=9, runtime_ms=7000, host="n1", log=log, files=files)
    tell(lab, "paper/0", fail, ("regr-finish", None))

    page = visitor.open(lab, f"{address('paper/0')}?tab=pictures")
    wait_until(lambda: page.evaluate(ALL_DRAWN), what="all pictures to be drawn")
    dark = page.evaluate(PIXELS)
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.evaluate(PIXELS) != dark
    assert brightness(page, "color") < 60
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.evaluate(PIXELS) == dark
    page.emulate_media(media="print")
    assert brightness(page, "color") < 60

    page.set_viewport_size({"width": 900, "height": 1200})
    tell(lab, "paper/1", ("regr-start", {"tag": "t" * 3000, "submitted": 9}), live("a" * 300), fail)
    views = (f"{address('paper/1')}?tab=pictures", "/?series=paper", address("paper/1"))
    for path in (*views, f"/j/{job_id(lab, 'paper/1', 'f')}"):
        page.goto(lab.url + path)
        page.wait_for_selector("main h1 >> visible=true")
        expect(page.get_by_text("Loading…").locator("visible=true")).to_have_count(0)
        assert not overflows(page), path
        assert pressable(page) == [], path
    expect(page.locator(".log .line:visible")).to_have_count(60)
    expect(page.locator(".log")).to_contain_text("line 99")


# A drawn canvas has a height of its own and is as wide as its place.
ALL_DRAWN = """[...document.querySelectorAll("canvas")].every(canvas =>
    canvas.style.height && canvas.width === canvas.parentElement.clientWidth) && document.querySelector("canvas")"""
PIXELS = "[...document.querySelectorAll('canvas')].map(canvas => canvas.toDataURL())"


def pressable(page: Page) -> list[str]:
    """What can only be pressed, and says so."""
    buttons = page.locator("button:visible:not(.row-link, .pill, thead *)").all_inner_texts()
    hints = ("press one", "Press one", "download", "As a table", "Copy")
    return buttons + [words for words in hints if words in page.inner_text("main")]


# ---- many ------------------------------------------------------------------------------------------------------------


def test_twenty_thousand_live_jobs_and_two_hundred_events_a_second_leave_the_page_smooth(daemon, visitor, tmp_path):
    many = 20_000
    for begin in range(0, many, 1000):
        tell(daemon, "many/1", *(live(f"j{n}", host=f"n{n % 300}", phase="run") for n in range(begin, begin + 1000)))
    page = visitor.open(daemon, address("many/1"))
    expect(part(page, "live-summary")).to_have_text("20,000 jobs", timeout=60_000)
    assert rows(page, "live").count() < 100

    stop = threading.Event()
    feeder = threading.Thread(target=feed, args=(daemon, many, stop))
    feeder.start()
    page.context.browser.start_tracing(page=page, path=tmp_path / "trace.json", categories=["devtools.timeline"])
    for _ in range(50):
        part(page, "live-panel").evaluate("panel => { panel.scrollTop += 400; }")
        page.wait_for_timeout(100)
    longest = longest_script_ms(page.context.browser.stop_tracing())
    stop.set()
    feeder.join()
    expect(part(page, "live-summary")).to_have_text(re.compile(r"^19,9\d\d jobs$|^20,000 jobs$"))
    assert longest < 50, longest


def feed(daemon: Daemon, many: int, stop: threading.Event) -> None:
    """Two hundred messages a second: progress of jobs, now and then a verdict."""
    turn = 0
    while not stop.wait(0.1):
        turn += 1
        progress = [live(f"j{(turn * 19 + n) * 7 % many}", progress={"done": turn, "total": 900}) for n in range(19)]
        tell(daemon, "many/1", *progress, finish(f"j{many - turn}"))


SCRIPT = ("FunctionCall", "TimerFire", "EventDispatch", "RunMicrotasks", "FireAnimationFrame")


def longest_script_ms(trace: bytes) -> float:
    """The longest stretch of script of the page in milliseconds of its thread's own time, so that a busy machine does
    not count."""
    events = [event for event in json.loads(trace)["traceEvents"] if event.get("name") in SCRIPT]
    ours = [event for event in events if "tdur" in event]
    assert ours
    return max(event["tdur"] for event in ours) / 1000
