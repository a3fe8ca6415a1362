"""The pictures of a run and its comparison with others, in a real Chromium."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.sync_api import Page, expect
from support.browsing import Visitor, address, box, finish, live, part, row, tab, tell
from support.daemons import Daemon

pytest_plugins = ("support.browsing",)
pytestmark = pytest.mark.browser


def test_pictures_show_hosts_and_have_a_table_behind_each(lab: Daemon, visitor: Visitor) -> None:
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
        drawn, below = drawn_colours(page, name)
        assert drawn > 3
        assert below > 1  # the words of its axis
        page.locator(f'[data-part="{name}-table"] summary').click()
        expect(part(page, f"{name}-table").locator("tbody tr").first).to_be_visible()
        assert part(page, f"{name}-table").locator("th:not([scope=col])").count() == 0
    expect(part(page, "finished")).to_have_attribute("aria-label", re.compile("24 finished of 30"))
    expect(row(page, "hosts", "n0")).to_contain_text("25 %")
    lanes = part(page, "timeline-table").locator("tbody tr")
    expect(lanes).to_have_count(25)
    tell(lab, "pictures/1", finish("one more", host="n9"))
    expect(lanes).to_have_count(26, timeout=20_000)
    part(page, "cycles-table").get_by_role("link").first.click()
    expect(part(page, "result")).to_have_text(re.compile("pass|fail"))


def test_pictures_say_which_jobs_they_leave_out(lab: Daemon, visitor: Visitor) -> None:
    jobs = [finish("a", runtime_ms=1000, start_time="2026-01-05T10:00:00Z"), live("lost"), live("gone")]
    tell(lab, "left/1", ("regr-start", None), *jobs, ("regr-finish", None))
    page = visitor.open(lab, f"{address('left/1')}?tab=pictures")
    expect(part(page, "finished-told")).to_contain_text("2 jobs without a reported verdict")
    expect(part(page, "runtimes-told")).to_contain_text("1 passed, above the line; 0 failed, below; 2 jobs without a")


def drawn_colours(page: Page, name: str) -> tuple[int, int]:
    """How many different colours there are in a canvas, and in its lowest lines."""
    count = """name => {
        const canvas = document.querySelector(`canvas[data-part="${name}"]`);
        const {data} = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
        const colours = new Uint32Array(data.buffer);
        return [colours, colours.slice(-16 * canvas.width)].map(some => new Set(some).size);
    }"""
    drawn, below = page.evaluate(count, name)
    return drawn, below


def test_the_table_behind_a_picture_stays_as_it_is_while_nothing_is_new(lab: Daemon, visitor: Visitor) -> None:
    times = {"start_time": "2026-01-05T10:00:00Z", "finish_time": "2026-01-05T10:30:00Z"}
    tell(lab, "table/1", finish("alone", host="n1", **times), ("regr-finish", None))
    page = visitor.open(lab, f"{address('table/1')}?tab=pictures")
    page.locator('[data-part="timeline-table"] summary').click()
    first = part(page, "timeline-table").locator("tbody tr").first.element_handle()
    page.wait_for_timeout(2500)  # the clock of the page paints each second
    assert first.evaluate("row => row.isConnected")


def test_a_job_in_the_timeline_is_opened_by_a_click(lab: Daemon, visitor: Visitor) -> None:
    times = {"start_time": "2026-01-05T10:00:00Z", "finish_time": "2026-01-05T10:30:00Z"}
    tell(lab, "click/1", finish("alone", host="n1", **times), ("regr-finish", None))
    page = visitor.open(lab, f"{address('click/1')}?tab=pictures")
    canvas = part(page, "timeline")
    expect(canvas).to_be_visible()
    place = box(canvas)
    canvas.hover(position={"x": place["width"] / 2, "y": 8})
    expect(part(page, "timeline-tip")).to_contain_text("pass, n1")
    canvas.click(position={"x": place["width"] / 2, "y": 8})
    expect(part(page, "name")).to_have_text("alone")


def test_dragging_over_the_timeline_enlarges_that_time(lab: Daemon, visitor: Visitor) -> None:
    times = {"start_time": "2026-01-05T10:00:00Z", "finish_time": "2026-01-05T10:30:00Z"}
    late = {"start_time": "2026-01-05T11:30:00Z", "finish_time": "2026-01-05T12:00:00Z"}
    tell(lab, "zoom/1", finish("early", host="n1", **times), finish("late", host="n1", **late), ("regr-finish", None))
    page = visitor.open(lab, f"{address('zoom/1')}?tab=pictures")
    expect(part(page, "timeline-told")).to_have_text("2 jobs on 1 host")
    place = box(part(page, "timeline"))
    page.mouse.move(place["x"] + place["width"] - 200, place["y"] + 8)
    page.mouse.down()
    page.mouse.move(place["x"] + place["width"] - 20, place["y"] + 8, steps=5)
    page.mouse.up()
    expect(page).to_have_url(re.compile(r"from=2026-01-05T11%3A.*to=2026-01-05T1"))
    expect(part(page, "timeline-told")).to_have_text("1 job on 1 host")
    part(page, "zoom-out").click()
    expect(part(page, "timeline-told")).to_have_text("2 jobs on 1 host")


def test_a_run_is_compared_with_the_one_before_and_with_any_other(lab: Daemon, visitor: Visitor) -> None:
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
    expect(section["slower"]).to_contain_text("+50 %, 4s → 6s")

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


def test_a_base_of_another_series_is_named_and_one_that_is_unknown_leaves_no_other_sentence(
    lab: Daemon, visitor: Visitor
) -> None:
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


def test_runs_with_seeds_of_their_own_are_compared_by_test_unless_another_choice_is_made(
    lab: Daemon, visitor: Visitor
) -> None:
    def seeds(first: int, *results: str) -> list[tuple[str, dict[str, Any]]]:
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


def test_nothing_is_fixed_or_missing_before_the_run_is_over(lab: Daemon, visitor: Visitor) -> None:
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
