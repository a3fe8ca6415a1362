"""The real daemon as a process on a free port, and short words to tell it things."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


LIVE_SIGS = """
[sigs]
enablelivejobs = true
livetimeoutsignature = "LIVE Job Timeout or Missing"
"""


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
                env=os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"} | (env or {}),
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
    modules = "asyncio, errno, functools, hashlib, math, os, secrets, signal, sqlite3, sys, time, aiosqlite"
    head = f"import {modules}\nimport simscoped\nfrom support import rooms\n"
    path.write_text(f"{head}{prelude}\nsys.exit(simscoped.main())\n")
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
