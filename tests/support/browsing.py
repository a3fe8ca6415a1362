"""What tests of the page share: a Chromium, visitors whose browsers may not complain, short words for both sides."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    FloatRect,
    Locator,
    Page,
    Playwright,
    expect,
    sync_playwright,
)

from support.daemons import Daemon

# --no-sandbox: Chromium refuses to run as root with it, and all that is shown here is our own.
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
ARGUMENTS += ["--disable-component-update", "--disable-sync"]
TIMEOUT_MS = 10_000
HOSTILE = "<script>window.hacked = 1</script><b>bold</b><img src=x onerror='window.hacked = 1'>"
BIDI = "\u202egnp.exe\u2066 \u0634\u0628\u0643\u0629"
BIDI_SHOWN = "⟨U+202E⟩gnp.exe⟨U+2066⟩ \u0634\u0628\u0643\u0629"


# ---- one browser, one visitor a test ---------------------------------------------------------------------------------


class Chromium:
    """One for all tests of a process that follow one another. While it is there an event loop of Playwright's runs in
    this thread, in which no other can be started: it is ended before a test that is none of a browser."""

    def __init__(self) -> None:
        self.playwright: Playwright | None = None
        self.browser: Browser | None = None

    def started(self) -> Browser:
        if self.browser is None:
            expect.set_options(timeout=TIMEOUT_MS)
            self.playwright = sync_playwright().start()
            self.browser = self.playwright.chromium.launch(executable_path=shutil.which("chromium"), args=ARGUMENTS)
        return self.browser

    def end(self) -> None:
        if self.browser is not None and self.playwright is not None:
            self.browser.close()
            self.playwright.stop()
        self.browser = self.playwright = None


chromium = Chromium()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(nextitem: pytest.Item | None) -> Iterator[None]:
    try:
        yield
    finally:
        if nextitem is None or nextitem.get_closest_marker("browser") is None:
            chromium.end()


@pytest.fixture
def browser() -> Browser:
    return chromium.started()


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """One daemon for all tests that need nothing special; each has regressions of its own."""
    daemon = Daemon(tmp_path_factory.mktemp("lab")).start()
    yield daemon
    daemon.stop()


class Visitor:
    """Somebody with a browser of his own; everything that the browser complains about is kept."""

    def __init__(self, context: BrowserContext) -> None:
        self.context = context
        self.complaints: list[str] = []
        self.expected: tuple[str, ...] = ()
        self.loads = 0
        context.set_default_timeout(TIMEOUT_MS)

    def open(self, daemon: Daemon, path: str = "/") -> Page:
        """A tab with an address, as soon as its stream is open."""
        page = self.context.new_page()
        page.on("console", self.note)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("load", self.count_load)
        page.goto(daemon.url + path)
        expect(page.locator("#connection")).to_have_text("Connected")
        return page

    def note(self, told: ConsoleMessage) -> None:
        if told.type in ("error", "warning"):
            self.complaints.append(told.text)

    def count_load(self, _: Page) -> None:
        self.loads += 1

    def unexpected(self) -> list[str]:
        return [text for text in self.complaints if not any(words in text for words in self.expected)]


@pytest.fixture
def make_visitor(browser: Browser) -> Iterator[Callable[..., Visitor]]:
    """Makes visitors; at the end nobody's browser may have complained, about scripts, policies or missing files."""
    made: list[Visitor] = []

    def make(**options: Any) -> Visitor:
        made.append(Visitor(browser.new_context(**options)))
        return made[-1]

    yield make
    for visitor in made:
        visitor.context.close()
        assert visitor.unexpected() == []


@pytest.fixture
def visitor(make_visitor: Callable[..., Visitor]) -> Visitor:
    return make_visitor()


# ---- telling and looking ---------------------------------------------------------------------------------------------


def tell(daemon: Daemon, regression: str, *messages: tuple[str, dict[str, Any] | None]) -> None:
    envelopes = [{"type": kind, "regression": regression, "body": body} for kind, body in messages]
    status, answer = daemon.post("/messages", envelopes)
    assert status == 200, answer


def live(uniqueid: str, **fields: Any) -> tuple[str, dict[str, Any]]:
    return "job-live", {"category": "sim", "uniqueid": uniqueid, "result": "live", "name": uniqueid} | fields


def finish(uniqueid: str, result: str = "pass", **fields: Any) -> tuple[str, dict[str, Any]]:
    return "job-finish", {"category": "sim", "uniqueid": uniqueid, "result": result, "name": uniqueid} | fields


def address(regression: str) -> str:
    return f"/r/{quote(regression, safe='')}"


def part(place: Page | Locator, name: str) -> Locator:
    return place.locator(f'[data-part="{name}"]')


def job_id(daemon: Daemon, regression: str, uniqueid: str) -> int:
    items = daemon.get(f"/regressions/{quote(regression, safe='')}/jobs?limit=100")["items"]
    return next(int(item["id"]) for item in items if item["uniqueid"] == uniqueid)


def rows(page: Page, table: str) -> Locator:
    return page.locator(f"table.{table} tbody tr")


def row(page: Page, table: str, text: str) -> Locator:
    return rows(page, table).filter(has_text=text)


def tab(page: Page, name: str) -> None:
    """Choose one of the views of a regression."""
    page.locator(".tabs").get_by_role("link", name=name).click()
    expect(page.locator(".tabs [aria-current=page]")).to_have_text(name)


def copied(page: Page) -> str:
    """What the clipboard holds."""
    return str(page.evaluate("navigator.clipboard.readText()"))


def box(place: Locator) -> FloatRect:
    """Where something is on the page; it must be visible."""
    found = place.bounding_box()
    assert found is not None
    return found


def width(place: Locator) -> float:
    box = place.bounding_box()
    return box["width"] if box else 0


def at(daemon: Daemon, path: str) -> re.Pattern[str]:
    """The address of a view, with any query."""
    return re.compile(f"^{re.escape(daemon.url + path)}(\\?.*)?$")


def overflows(page: Page) -> bool:
    return bool(page.evaluate("document.documentElement.scrollWidth > window.innerWidth"))


def brightness(page: Page, name: str) -> float:
    """How bright a colour of the page is, 0 to 255."""
    colour = page.evaluate(f"getComputedStyle(document.body).{name}")
    channels = [int(channel) for channel in re.findall(r"\d+", colour)[:3]]
    return sum(channels) / 3
