"""The tables of a regression's jobs in a real Chromium: those that live, and all."""

from __future__ import annotations

import json
import re
import threading
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect
from support.browsing import Visitor, address, box, finish, job_id, live, part, row, rows, tell, width
from support.daemons import Daemon

pytest_plugins = ("support.browsing",)
pytestmark = pytest.mark.browser


def test_live_jobs_are_filtered_sorted_and_grouped_by_host_and_the_address_tells_it(
    lab: Daemon, visitor: Visitor
) -> None:
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


def test_a_job_that_takes_longer_than_its_kind_is_flagged_long_before_any_timeout(
    lab: Daemon, visitor: Visitor
) -> None:
    earlier = [finish(f"quick-{n}", name="quick", runtime_ms=200 + n) for n in range(6)]
    tell(lab, "slow/1", ("regr-start", None), *earlier, ("regr-finish", None))
    tell(lab, "slow/2", ("regr-start", None), live("hangs", name="quick"), live("other", name="never seen before"))
    page = visitor.open(lab, address("slow/2"))
    expect(part(page, "live-head").locator("[aria-sort=descending]")).to_have_text("Usual runtime")
    expect(rows(page, "live").first).to_contain_text("quick")
    flagged = part(row(page, "live", "quick"), "kind")
    expect(flagged).to_contain_text("slow, usually 2")
    expect(flagged).to_have_attribute("title", re.compile("99 of 100 earlier passes"))
    expect(part(row(page, "live", "never seen"), "kind")).to_have_text("")

    part(page, "live-head").get_by_role("button", name="Usual runtime").click()
    expect(rows(page, "live").last).to_contain_text("quick")
    part(page, "slow").click()
    expect(rows(page, "live")).to_have_count(1)
    expect(part(page, "slow")).to_have_text("1 slow job")
    row(page, "live", "quick").locator("a").click()
    expect(part(page, "usual-note")).to_contain_text("slow: 99 of 100 took under")


def test_the_words_of_a_job_that_waits_or_has_no_total_have_their_room(lab: Daemon, visitor: Visitor) -> None:
    tell(lab, "room/1", live("waits", phase="queued"), live("counts", progress={"done": 7, "unit": "kcycles"}))
    tell(lab, "room/1", live("bars", progress={"done": 7, "total": 10}))
    page = visitor.open(lab, address("room/1"))
    page.set_viewport_size({"width": 1400, "height": 900})
    part(page, "results").get_by_role("button", name="All").click()
    runtime = part(row(page, "jobs", "waits"), "runtime")
    expect(runtime).to_have_attribute("title", re.compile("^waiting "))
    fits = "cell => { cell.textContent = 'waiting 15m 05s'; return cell.scrollWidth <= cell.clientWidth; }"
    assert runtime.evaluate(fits)
    words = box(part(row(page, "live", "counts"), "progress"))
    bar = box(part(row(page, "live", "bars"), "bar"))
    assert words["x"] == bar["x"]
    shares = part(row(page, "live", "bars"), "bar").locator("i")
    assert width(shares.first) == pytest.approx(7 / 3 * width(shares.last), rel=0.1)


def test_a_heartbeat_is_seen_though_it_is_no_event(lab: Daemon, visitor: Visitor) -> None:
    tell(lab, "beat/1", ("regr-start", None), live("beats"))
    page = visitor.open(lab, address("beat/1"))
    seen = part(row(page, "live", "beats"), "seen")
    expect(seen).to_have_text(re.compile(r"^[3-9]s ago$"))
    tell(lab, "beat/1", live("beats"))
    expect(seen).to_have_text(re.compile(r"just now|^[2-4]s ago$"), timeout=20_000)


def test_the_table_of_live_jobs_keeps_its_height_while_one_looks(lab: Daemon, visitor: Visitor) -> None:
    tell(lab, "stand/1", ("regr-start", {"submitted": 20}), *(live(f"j{n}") for n in range(5)))
    page = visitor.open(lab, address("stand/1"))
    expect(rows(page, "live")).to_have_count(5)
    high = box(part(page, "live-panel"))["height"]
    tell(lab, "stand/1", *(finish(f"j{n}") for n in range(4)))
    expect(rows(page, "live")).to_have_count(1)
    assert box(part(page, "live-panel"))["height"] == high
    tell(lab, "stand/1", finish("j4"))
    expect(part(page, "live-nothing")).to_have_text("No job is live at this moment.")
    assert box(part(page, "live-panel"))["height"] == high
    tell(lab, "stand/1", ("regr-finish", None))
    expect(part(page, "live-section")).to_be_hidden()


def test_a_job_that_waits_has_not_started_and_its_limit_does_not_run(lab: Daemon, visitor: Visitor) -> None:
    told = {"phase": "queued", "start_time": "2026-01-05T10:00:00Z", "time_limit_ms": 900_000}
    tell(lab, "waits/1", ("regr-start", None), live("waits", **told), live("runs", time_limit_ms=900_000))
    page = visitor.open(lab, address("waits/1"))
    elapsed = part(row(page, "live", "waits"), "elapsed")
    expect(elapsed).to_have_attribute("title", re.compile(r"^given up at .* without a message$"))
    expect(part(row(page, "live", "runs"), "elapsed")).to_have_attribute("title", re.compile("^time limit "))
    page.goto(f"{lab.url}/j/{job_id(lab, 'waits/1', 'waits')}")
    expect(part(page, "started-word")).to_have_text("Waiting since")
    expect(part(page, "limit")).to_contain_text("given up")


def test_news_take_neither_the_focus_nor_what_is_marked(lab: Daemon, visitor: Visitor) -> None:
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


def test_twenty_thousand_live_jobs_and_two_hundred_events_a_second_leave_the_page_smooth(
    daemon: Daemon, browser: Browser, visitor: Visitor, tmp_path: Path
) -> None:
    many = 20_000
    for begin in range(0, many, 1000):
        tell(daemon, "many/1", *(live(f"j{n}", host=f"n{n % 300}", phase="run") for n in range(begin, begin + 1000)))
    page = visitor.open(daemon, address("many/1"))
    expect(part(page, "live-summary")).to_have_text("20,000 jobs", timeout=60_000)
    assert rows(page, "live").count() < 100

    stop = threading.Event()
    feeder = threading.Thread(target=feed, args=(daemon, many, stop))
    feeder.start()
    try:
        browser.start_tracing(page=page, path=tmp_path / "trace.json", categories=["devtools.timeline"])
        for _ in range(50):
            part(page, "live-panel").evaluate("panel => { panel.scrollTop += 400; }")
            page.wait_for_timeout(100)
        longest = longest_script_ms(browser.stop_tracing())
    finally:
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
    return float(max(event["tdur"] for event in ours)) / 1000


def test_jobs_are_filtered_by_terms_and_a_mistake_is_told_beside_the_field(lab: Daemon, visitor: Visitor) -> None:
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


def test_a_long_table_of_jobs_keeps_few_rows_in_the_document_and_its_place_while_news_come(
    lab: Daemon, visitor: Visitor
) -> None:
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


def test_a_column_head_sorts_all_jobs_not_only_those_that_are_loaded(lab: Daemon, visitor: Visitor) -> None:
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
