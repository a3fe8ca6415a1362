"""The page in a real Firefox: every view opens without a complaint, follows along without reloading, and takes keys.

Firefox is asked over WebDriver BiDi, JSON messages over a web socket, which it understands by itself.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from support.browsing import address, finish, job_id, live, tell
from support.daemons import Daemon

pytestmark = pytest.mark.firefox

TIMEOUT_S = 30.0  # a first start makes a profile
RUNS = ("ff/1", "ff/2")


class Firefox:
    """One tab of a browser, and all that the browser complained about."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket
        self.number = 0
        self.tab = ""
        self.complaints: list[str] = []

    async def ask(self, method: str, **params: Any) -> Any:
        """Send one command and wait for its answer; what is told in between is looked at for complaints."""
        self.number += 1
        await self.socket.send_json({"id": self.number, "method": method, "params": params})
        while True:
            told = json.loads((await self.socket.receive(TIMEOUT_S)).data)
            if told.get("method") == "log.entryAdded" and told["params"]["level"] in ("error", "warn"):
                self.complaints.append(told["params"]["text"])
            if told.get("id") == self.number:
                assert told["type"] == "success", told
                return told["result"]

    async def begin(self) -> None:
        await self.ask("session.new", capabilities={})
        await self.ask("session.subscribe", events=["log.entryAdded"])
        self.tab = (await self.ask("browsingContext.getTree"))["contexts"][0]["context"]

    async def open(self, url: str) -> None:
        """A view, as soon as its stream is open."""
        await self.ask("browsingContext.navigate", context=self.tab, url=url, wait="complete")
        await self.see("document.querySelector('#connection')?.textContent.trim() === 'Connected'")

    async def value(self, expression: str) -> Any:
        asked = {"expression": expression, "target": {"context": self.tab}, "awaitPromise": False}
        answer = await self.ask("script.evaluate", **asked)
        assert answer["type"] == "success", answer
        return answer["result"].get("value")

    async def see(self, expression: str) -> None:
        """Wait until a JavaScript expression is true."""
        end = time.monotonic() + TIMEOUT_S
        while not await self.value(f"Boolean({expression})"):
            assert time.monotonic() < end, (expression, await self.value("document.querySelector('main').innerText"))
            await asyncio.sleep(0.02)

    async def press(self, key: str) -> None:
        actions = [{"type": "keyDown", "value": key}, {"type": "keyUp", "value": key}]
        keyboard = [{"type": "key", "id": "keyboard", "actions": actions}]
        await self.ask("input.performActions", context=self.tab, actions=keyboard)


async def connect(session: aiohttp.ClientSession, port: int) -> aiohttp.ClientWebSocketResponse:
    async with asyncio.timeout(TIMEOUT_S):
        while True:
            try:
                return await session.ws_connect(f"ws://127.0.0.1:{port}/session", max_msg_size=0)
            except aiohttp.ClientError:
                await asyncio.sleep(0.1)


def free_port() -> int:
    with socket.socket() as asked:
        asked.bind(("127.0.0.1", 0))
        return int(asked.getsockname()[1])


@pytest.fixture
async def firefox(tmp_path: Path) -> AsyncIterator[Firefox]:
    """Nothing may have been complained about at the end: scripts, policies, missing files."""
    port = free_port()
    arguments = ["--headless", "--no-remote", "--profile", str(tmp_path), "--remote-debugging-port", str(port)]
    program = shutil.which("firefox-esr") or "firefox-esr"
    with (tmp_path / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(program, *arguments, stdout=log, stderr=log)
    try:
        async with aiohttp.ClientSession() as session:
            browser = Firefox(await connect(session, port))
            await browser.begin()
            yield browser
            assert browser.complaints == []
    finally:
        process.kill()
        await process.wait()


def fill(daemon: Daemon) -> int:
    """Two runs of a series, the second one live. -> the id of a job that failed in it."""
    for name in RUNS:
        jobs = [finish(f"p{number}", runtime_ms=1000 * number, host="n3", cycles=500) for number in range(1, 8)]
        failed = finish("f", "fail", config="fifo", fail_message="UVM_ERROR @ 12 ns: overrun <b>", runtime_ms=900)
        tell(daemon, name, ("regr-start", {"submitted": 20}), *jobs, failed)
    tell(daemon, RUNS[0], ("regr-finish", None))
    tell(daemon, RUNS[1], live("l", host="n4", phase="running"))
    return job_id(daemon, RUNS[1], "f")


async def test_every_view_opens_and_says_what_it_shows(shared: Daemon, firefox: Firefox) -> None:
    job = fill(shared)
    run = address(RUNS[1])
    for path, place, words in (
        ("/", "table.regressions", RUNS[1]),
        (run, '[data-part="tab"]', "overrun <b>"),
        (f"{run}?tab=pictures", '[data-part="tab"]', "n3"),
        (f"{run}?tab=compare", '[data-part="tab"]', "Still failing"),
        (f"{run}?tab=history", '[data-part="tab"]', "started"),
        (f"/j/{job}", "main", "overrun <b>"),
    ):
        await firefox.open(shared.url + path)
        await firefox.see(f"document.querySelector({json.dumps(place)})?.innerText.includes({json.dumps(words)})")


async def test_a_finish_is_shown_without_reloading_and_keys_lead_on(shared: Daemon, firefox: Firefox) -> None:
    tell(shared, "ff/live", live("seen"))
    await firefox.open(shared.url + address("ff/live"))
    await firefox.see("document.querySelector('table.live')?.innerText.includes('seen')")
    await firefox.value("window.same = 1")
    tell(shared, "ff/live", finish("seen", "fail", fail_message="it broke"))
    await firefox.see("document.querySelector('main').innerText.includes('it broke')")
    await firefox.press("g")
    await firefox.see("location.pathname === '/' && document.querySelector('main').innerText.includes('ff/live')")
    assert await firefox.value("window.same") == 1
