"""What the reader does in a real Chromium: tank, finish, copy, keys, the token."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import expect
from support.browsing import (
    BIDI,
    BIDI_SHOWN,
    HOSTILE,
    Visitor,
    address,
    copied,
    finish,
    job_id,
    live,
    part,
    row,
    rows,
    tell,
)
from support.daemons import LIVE_SIGS, Daemon

pytest_plugins = ("support.browsing",)
pytestmark = pytest.mark.browser


def test_tanking_asks_hides_the_regression_and_untanking_brings_it_back(lab: Daemon, visitor: Visitor) -> None:
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


def test_a_job_can_be_tanked_and_a_regression_finished_by_hand(lab: Daemon, visitor: Visitor) -> None:
    tell(lab, "by-hand/1", ("regr-start", None), live("hangs"))
    page = visitor.open(lab, f"/j/{job_id(lab, 'by-hand/1', 'hangs')}")
    part(page, "tank").click()
    page.locator("dialog#confirm").get_by_role("button", name="Tank").click()
    expect(part(page, "result")).to_have_text("fail")
    expect(part(page, "sentence")).to_contain_text("Tanked by hand.")
    page.locator("#crumbs a").last.click()
    part(page, "finish").click()
    expect(part(page.locator("dialog#confirm"), "reason")).to_be_hidden()
    page.locator("dialog#confirm").get_by_role("button", name="Finish").click()
    expect(part(page, "status")).to_have_text("aborted")


def test_the_token_is_asked_for_when_the_daemon_needs_one_and_only_then(
    make_daemon: Callable[..., Daemon], visitor: Visitor
) -> None:
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


def test_the_keys_do_what_the_help_says(lab: Daemon, visitor: Visitor) -> None:
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


def test_copy_buttons_copy(lab: Daemon, make_visitor: Callable[..., Visitor]) -> None:
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


def test_the_badge_of_a_series_is_shown_with_a_line_to_copy(lab: Daemon, make_visitor: Callable[..., Visitor]) -> None:
    visitor = make_visitor(permissions=["clipboard-read", "clipboard-write"])
    tell(lab, "badged/1", finish("a"), ("regr-finish", None))
    page = visitor.open(lab, address("badged/1"))
    part(page, "badge").click()
    dialog = page.locator("dialog#badge")
    assert dialog.locator("img").evaluate("async image => { await image.decode(); return image.naturalWidth; }") > 20
    part(dialog, "copy").click()
    expect(part(dialog, "copy")).to_have_text("Copied")
    assert copied(page) == f"[![badged]({lab.url}/badge/badged.svg)]({lab.url}/r/badged%2F%24)"


def test_the_badge_links_to_the_latest_run_by_the_separator_of_this_server(
    make_daemon: Callable[..., Daemon], visitor: Visitor
) -> None:
    daemon = make_daemon(f'{LIVE_SIGS}[regr]\nseriesseparator = ":"\n').start()
    tell(daemon, "nightly:1", finish("a"), ("regr-finish", None))
    page = visitor.open(daemon, address("nightly:1"))
    part(page, "badge").click()
    expect(part(page.locator("dialog#badge"), "markdown")).to_contain_text("/r/nightly%3A%24)")
