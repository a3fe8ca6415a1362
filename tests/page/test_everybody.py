"""The page for everybody, in a real Chromium: light and dark, on a phone, on paper, and what axe-core finds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from playwright.sync_api import Page, expect
from support.browsing import (
    Visitor,
    address,
    brightness,
    finish,
    job_id,
    live,
    overflows,
    part,
    row,
    rows,
    tab,
    tell,
    width,
)
from support.daemons import Daemon, wait_until

pytest_plugins = ("support.browsing",)
pytestmark = pytest.mark.browser


def every_long_view(daemon: Daemon, visitor: Visitor) -> Iterator[Page]:
    """The overview, a regression and two of its jobs, with names as long as they come."""
    name = "views/" + "long_name_without_any_place_to_break" * 4
    long: dict[str, Any] = {
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


def test_every_view_follows_the_readers_scheme_and_fits_a_phone(lab: Daemon, visitor: Visitor) -> None:
    for page in every_long_view(lab, visitor):
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            ground, ink = (brightness(page, name) for name in ("backgroundColor", "color"))
            assert (ground > 230 and ink < 60) if scheme == "light" else (ground < 40 and ink > 200)
        for size in (1280, 360):
            page.set_viewport_size({"width": size, "height": 780})
            assert not overflows(page), (page.url, size)


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
def test_axe_finds_nothing_on_any_view(lab: Daemon, make_visitor: Callable[..., Visitor], scheme: str) -> None:
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
def test_axe_finds_nothing_in_the_dialogs_and_on_the_first_page(
    daemon: Daemon, make_visitor: Callable[..., Visitor], scheme: str
) -> None:
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


def test_on_a_phone_the_rows_of_jobs_are_whole_and_the_comparison_has_its_tests(lab: Daemon, visitor: Visitor) -> None:
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


def test_a_regression_prints_as_a_report(lab: Daemon, visitor: Visitor) -> None:
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


def test_a_print_is_light_and_has_all_columns_and_nothing_to_press(
    lab: Daemon, make_visitor: Callable[..., Visitor]
) -> None:
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
    hints = ("click one", "Click one", "download", "As a table", "Copy")
    return buttons + [words for words in hints if words in page.inner_text("main")]
