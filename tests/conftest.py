"""Fixtures: a database in memory with a clock set by hand, and the real daemon as a process on a free port."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import simscoped

pytest.register_assert_rewrite("browsing")

ROOT = Path(__file__).resolve().parent.parent

LIVE_SIGS = """
[sigs]
enablelivejobs = true
livetimeoutsignature = "LIVE Job Timeout or Missing"
"""


class Story:
    """A database in memory that messages are told to, one call a transaction, at a time set by hand."""

    def __init__(self, **options: Any) -> None:
        given = {"enablelivejobs": True, "livetimeoutsignature": "LIVE Job Timeout or Missing"}
        self.config = simscoped.Config(**(given | options))
        self.now = 1_700_000_000_000
        self.tick = 0
        self.conn = sqlite3.connect(":memory:", isolation_level=None)
        self.conn.row_factory = None
        simscoped._make_database(self.conn)
        self.logbook = simscoped.LogBook(":memory:")
        self.known = simscoped.Known()

    def pass_time(self, seconds: float) -> None:
        """Let both clocks go on."""
        self.now += round(seconds * 1000)
        self.tick += round(seconds * 1000)

    def batch(self) -> simscoped.Batch:
        return simscoped.Batch(self.conn, self.config, simscoped.Moment(self.now, self.tick), self.logbook, self.known)

    def change(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Run fn(batch, …) as one transaction, as the store does."""
        self.conn.execute("BEGIN IMMEDIATE")
        try:
            batch = self.batch()
            result = fn(batch, *args, **kwargs)
            simscoped.flush(batch)
            batch.close()
            self.logbook.commit()
        except BaseException:
            self.logbook.rollback()
            self.conn.execute("ROLLBACK")
            raise
        self.conn.execute("COMMIT")
        self.known = batch.known
        self.known.learn(batch.learned)
        return result

    def send(self, *messages: tuple[str, str, Any]) -> list[simscoped.Outcome]:
        """Apply (type, regression, body) messages in one batch. -> their outcomes."""
        items = [json.dumps({"type": kind, "regression": name, "body": body}).encode() for kind, name, body in messages]
        delivery = simscoped.Delivery("story", "story", items, simscoped.Context())
        [receipt] = self.change(simscoped.apply_deliveries, [delivery])
        return receipt.details

    def live(self, regression: str = "r/1", uniqueid: str = "a", **fields: Any) -> simscoped.Outcome:
        body = {"category": "sim", "uniqueid": uniqueid, "result": "live"} | fields
        return self.send(("job-live", regression, body))[0]

    def finish(
        self, regression: str = "r/1", uniqueid: str = "a", result: str = "pass", **fields: Any
    ) -> simscoped.Outcome:
        body = {"category": "sim", "uniqueid": uniqueid, "result": result} | fields
        return self.send(("job-finish", regression, body))[0]

    def regr(self, kind: str, regression: str = "r/1", **fields: Any) -> simscoped.Outcome:
        return self.send((kind, regression, fields or None))[0]

    def rows(self, sql: str, *parameters: Any) -> list[dict[str, Any]]:
        cursor = self.conn.execute(sql, parameters)
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor]

    def regression(self, name: str = "r/1") -> dict[str, Any]:
        return self.rows("SELECT * FROM regressions WHERE name = ?", name)[0]

    def job(self, uniqueid: str = "a", regression: str = "r/1") -> dict[str, Any]:
        return self.rows("SELECT * FROM jobs WHERE key = ? AND regression = ?", uniqueid, regression)[0]

    def events(self, prefix: str = "") -> list[str]:
        rows = self.conn.execute("SELECT type FROM event WHERE type GLOB ? ORDER BY seq", (f"{prefix}*",))
        return [kind for (kind,) in rows]


@pytest.fixture
def story() -> Story:
    return Story()


class Daemon:
    """The real daemon as a process, in a folder of its own, on a free port."""

    def __init__(self, folder: Path, config: str = LIVE_SIGS, program: list[str] | None = None) -> None:
        self.folder = folder
        self.spool = folder / "spool"
        self.db = folder / "simscope.db"
        self.config = folder / "simscope.config"
        head = '[server]\nlisten = "127.0.0.1:0"\ndb = "simscope.db"\n'
        self.config.write_text(head + ("" if "[spool]" in config else '[spool]\ndir = "spool"\n') + config)
        self.program = program or [sys.executable, str(ROOT / "simscoped.py")]
        self.log = folder / "log"
        self.process: subprocess.Popen[bytes] | None = None
        self.url = ""

    def start(self, *, wait: bool = True, env: dict[str, str] | None = None) -> Daemon:
        with self.log.open("ab") as log:
            begins = log.tell()
            self.process = subprocess.Popen(
                [*self.program, "serve", "--config", str(self.config)],
                stderr=log,
                stdout=log,
                cwd=self.folder,
                env=os.environ | {"PYTHONPATH": str(ROOT)} | (env or {}),
            )
        if wait:
            wait_until(lambda: self._address(begins) or self._died(), 20, "the daemon to start")
            self.url = self._address(begins).rstrip("/")
        return self

    def _address(self, begins: int) -> str:
        for line in self.log.read_bytes()[begins:].decode().splitlines():
            if " on http://" in line:
                return line.rpartition(" on ")[2]
        return ""

    def _died(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise AssertionError(f"the daemon ended with {self.process.returncode}:\n{self.log.read_text()}")
        return False

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Stop it and wait. -> exit code."""
        if self.process is None or self.process.poll() is not None:
            return -1
        self.process.send_signal(number)
        return self.process.wait(10)

    def drop(self, name: str, content: Any) -> Path:
        """Publish a file as a careful publisher does: temporary name, then rename."""
        path = self.spool / name
        path.parent.mkdir(parents=True, exist_ok=True)
        text = content if isinstance(content, str | bytes) else json.dumps(content)
        hidden = path.with_name(f".{path.name}.tmp")
        hidden.write_bytes(text if isinstance(text, bytes) else text.encode())
        hidden.rename(path)
        return path

    def request(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> tuple[int, Any, dict[str, str]]:
        """-> status, decoded body (text where it is not JSON), headers in lower case."""
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        url = path if path.startswith("http") else self.url + path
        asked = urllib.request.Request(url, data, {"Content-Type": "application/json"} | (headers or {}), method=method)
        try:
            with urllib.request.urlopen(asked, timeout=70) as answer:
                return self._read(answer)
        except urllib.error.HTTPError as error:
            return self._read(error)

    def _read(self, answer: Any) -> tuple[int, Any, dict[str, str]]:
        raw = answer.read()
        headers = {name.lower(): value for name, value in answer.headers.items()}
        value = json.loads(raw) if "json" in headers.get("content-type", "") and raw else raw.decode()
        return answer.status, value, headers

    def get(self, path: str) -> Any:
        status, value, _ = self.request("GET", f"/api/v1{path}")
        assert status == 200, (path, status, value)
        return value

    def post(self, path: str, body: Any = None) -> Any:
        return self.request("POST", f"/api/v1{path}", body)[:2]

    def rows(self, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """Read the database as another program would."""
        conn = sqlite3.connect(f"file:{self.db}?mode=ro", uri=True)
        try:
            return conn.execute(sql, parameters).fetchall()
        finally:
            conn.close()


def driven(folder: Path, prelude: str) -> list[str]:
    """A program that is the daemon with something in it replaced."""
    folder.mkdir(exist_ok=True)
    path = folder / "driven.py"
    modules = "asyncio, errno, os, signal, sqlite3, sys, time"
    path.write_text(f"import {modules}\nimport simscoped\n{prelude}\nsys.exit(simscoped.main())\n")
    return [sys.executable, str(path)]


def wait_until(condition: Callable[[], Any], seconds: float = 10, what: str = "") -> Any:
    """Wait for a condition to be true, and give what it gave."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"waited {seconds} s in vain for {what or condition}")
        time.sleep(0.01)


@pytest.fixture
def make_daemon(tmp_path: Path) -> Iterator[Callable[..., Daemon]]:
    """Makes daemons, not started yet; ends them all, and shows the log of a test that failed."""
    made: list[Daemon] = []

    def make(config: str = LIVE_SIGS, folder: str = "daemon", program: list[str] | None = None) -> Daemon:
        place = tmp_path / folder
        place.mkdir(exist_ok=True)
        made.append(Daemon(place, config, program))
        return made[-1]

    yield make
    for daemon in made:
        if daemon.process is not None and daemon.process.poll() is None:
            daemon.process.kill()
            daemon.process.wait()
        if daemon.log.exists():
            print(daemon.log.read_text())


@pytest.fixture
def daemon(make_daemon: Callable[..., Daemon]) -> Daemon:
    return make_daemon().start()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--everything", action="store_true", help="fail where a program that tests drive is missing")


NEEDED = {
    "browser": ("chromium", "chromium"),
    "firefox": ("firefox-esr", "firefox-esr"),
    "icarus": ("iverilog", "iverilog"),
    "node": ("node", "nodejs"),
    "zsh": ("zsh", "zsh"),
}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out, and say so, what needs a program that is not installed; with --everything it fails instead."""
    for item in items:
        for marker, (program, package) in NEEDED.items():
            if item.get_closest_marker(marker) and shutil.which(program) is None and not config.option.everything:
                item.add_marker(pytest.mark.skip(reason=f"{program} is missing: apt install {package}"))


@pytest.fixture(scope="module")
def shared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """One daemon for all tests of a module, with the CONFIG of the module, if it has one."""
    daemon = Daemon(tmp_path_factory.mktemp("shared"), getattr(request.module, "CONFIG", LIVE_SIGS)).start()
    yield daemon
    daemon.stop()


numbers = itertools.count(1)


@pytest.fixture
def run() -> str:
    """A regression that no other test uses."""
    return f"run{next(numbers)}"


def live(uniqueid: str = "a", **fields: Any) -> dict[str, Any]:
    return {"category": "sim", "uniqueid": uniqueid, "result": "live"} | fields


def done(uniqueid: str = "a", result: str = "pass", **fields: Any) -> dict[str, Any]:
    return {"category": "sim", "uniqueid": uniqueid, "result": result} | fields


def publish(daemon: Daemon, kind: str, regression: str, body: Any, status: int = 200) -> Any:
    """Publish over HTTP. -> the receipt, or the problem where another status is expected."""
    said, told = daemon.post(f"/publish/{kind}?regression={urllib.parse.quote(regression, safe='')}", body)
    assert said == status, told
    return told


def publish_job(daemon: Daemon, regression: str, body: dict[str, Any]) -> int:
    """Publish a job over HTTP. -> its id."""
    kind = "job-live" if body["result"] == "live" else "job-finish"
    return int(publish(daemon, kind, regression, body)["details"][0]["job"])
