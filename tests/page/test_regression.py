"""A regression in a real Chromium: figures, series, fail signatures, history, without ever reloading."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import expect
from support.browsing import Visitor, address, at, finish, live, part, row, rows, tab, tell, width
from support.daemons import Daemon

pytest_plugins = ("support.browsing",)
pytestmark = pytest.mark.browser


def test_the_elapsed_time_of_a_live_job_ticks(lab: Daemon, visitor: Visitor) -> None:
    tell(lab, "tick/1", ("regr-start", None), live("ticking"))
    page = visitor.open(lab, address("tick/1"))
    elapsed = part(row(page, "live", "ticking"), "elapsed")
    expect(elapsed).to_have_text(re.compile(r"^\d+s$"))
    first = int(elapsed.inner_text().removesuffix("s"))
    later = "([node, seconds]) => parseInt(node.textContent) >= seconds"
    page.wait_for_function(later, arg=[elapsed.element_handle(), first + 2])


def test_a_finish_moves_the_job_from_the_live_table_to_its_verdict(lab: Daemon, visitor: Visitor) -> None:
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


def test_elapsed_says_since_when_where_the_publisher_began_earlier(lab: Daemon, visitor: Visitor) -> None:
    tell(lab, "apart/1", ("regr-start", {"starttime": "2025-01-05T10:00:00Z"}), live("a"))
    page = visitor.open(lab, address("apart/1"))
    started = part(page, "started").first
    expect(started).to_have_text(re.compile("^first seen "))
    expect(started).to_have_attribute("title", re.compile("^started 2025-01-05 "))
    tell(lab, "apart/2", ("regr-start", None), live("a"))
    expect(part(visitor.open(lab, address("apart/2")), "started").first).to_have_text(re.compile("^since "))


def test_a_regression_that_nobody_has_heard_of_shows_as_soon_as_it_starts(lab: Daemon, visitor: Visitor) -> None:
    visitor.expected = ("404",)
    page = visitor.open(lab, address("soon/1"))
    expect(page.get_by_role("heading", name="No such regression")).to_be_visible()
    expect(part(page, "missing-name")).to_have_text("soon/1")
    tell(lab, "soon/1", ("regr-start", None), live("first"))
    expect(part(page, "name")).to_have_text("soon/1")
    expect(rows(page, "live")).to_have_count(1)
    assert visitor.loads == 1


def test_the_latest_of_a_series_follows_the_series(lab: Daemon, visitor: Visitor) -> None:
    tell(lab, "series/1", ("regr-start", None))
    tell(lab, "series/2", ("regr-start", None), finish("second"))
    page = visitor.open(lab, address("series/$"))
    expect(part(page, "name")).to_have_text("series/2")
    expect(row(page, "jobs", "second")).to_be_visible()
    tell(lab, "series/3", ("regr-start", None), finish("third"))
    expect(part(page, "name")).to_have_text("series/3")
    expect(row(page, "jobs", "third")).to_be_visible()
    expect(row(page, "jobs", "second")).to_have_count(0)


def test_a_regression_that_nobody_described_shows_no_empty_box(lab: Daemon, visitor: Visitor) -> None:
    tell(lab, "bare/1", finish("a"))
    page = visitor.open(lab, address("bare/1"))
    expect(row(page, "jobs", "a")).to_be_visible()
    expect(part(page, "facts-panel")).to_be_hidden()


def test_the_history_of_a_run_tells_every_death_with_its_rule(lab: Daemon, visitor: Visitor) -> None:
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


def test_the_keys_1_to_4_choose_a_view_and_the_tab_carries_the_state(lab: Daemon, visitor: Visitor) -> None:
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


def test_no_visit_of_a_view_leaves_listeners_behind(lab: Daemon, visitor: Visitor) -> None:
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


def test_signatures_count_their_fails_and_a_click_shows_only_their_jobs(lab: Daemon, visitor: Visitor) -> None:
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


def test_a_signature_that_is_pressed_brings_its_jobs_into_sight(lab: Daemon, visitor: Visitor) -> None:
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


def test_a_signature_is_new_to_all_runs_or_back_after_the_one_before(lab: Daemon, visitor: Visitor) -> None:
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


def test_a_signature_unfolds_its_message_and_marks_what_the_bucketing_left_out(lab: Daemon, visitor: Visitor) -> None:
    told = "UVM_ERROR tb/sb.sv(88) @ 1200 ns: credit underflow\nexpected 3"
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


def test_hosts_are_named_without_the_domain_that_all_of_them_have(lab: Daemon, visitor: Visitor) -> None:
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


def test_hosts_of_two_domains_are_named_whole_also_where_only_some_are_listed(lab: Daemon, visitor: Visitor) -> None:
    passes = [finish(f"p{n}", host=f"n{n}.lab.example") for n in (1, 2)]
    failed = finish("f", "fail", fail_message="E two domains", host="f1.farm.example")
    tell(lab, "domains/1", ("regr-start", None), *passes, failed)
    page = visitor.open(lab, f"{address('domains/1')}?result=pass")
    expect(rows(page, "jobs")).to_have_count(2)
    expect(rows(page, "signatures")).to_have_count(1)
    expect(part(row(page, "jobs", "p1"), "host")).to_have_text("n1.lab.example")
