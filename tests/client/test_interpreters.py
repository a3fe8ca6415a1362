"""Both files under every Python that is promised: publish, run, backlog, jobs, wait, at a real daemon."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.daemons import Daemon, live, wait_until
from support.hosts import SCRIPT, Host, dead_url

VERSIONS = ("3.8", "3.11", "3.12", "3.13")


def interpreter(version: str) -> str | None:
    """An interpreter of that version: of pyenv, or on the path; None where there is none that works."""
    found = sorted((Path.home() / ".pyenv" / "versions").glob(f"{version}.*/bin/python"))
    candidates = [*map(str, found), shutil.which(f"python{version}"), sys.executable]
    return next((path for path in candidates if path and is_of(path, version)), None)


def is_of(path: str, version: str) -> bool:
    try:
        told = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=20).stdout
    except (OSError, subprocess.TimeoutExpired):
        return False
    return re.match(rf"Python {re.escape(version)}\.", told) is not None


class OldHost(Host):
    """A host whose Python is another one; warnings are errors there."""

    python = ""

    def command(self, *arguments: object) -> list[str]:
        return [self.python, "-W", "error", str(SCRIPT), *map(str, arguments)]

    def good(self, *arguments: object, stdin: bytes | int = subprocess.DEVNULL) -> list[Any]:
        """Run something that must work without a word on standard error; return the objects that it prints."""
        found = self(*arguments, stdin=stdin)
        assert (found.returncode, found.stderr) == (0, ""), arguments
        return [json.loads(line) for line in found.stdout.splitlines()]


@pytest.fixture(params=VERSIONS)
def old(request: pytest.FixtureRequest, tmp_path: Path) -> OldHost:
    found = interpreter(request.param)
    if found is None:
        pytest.skip(f"there is no Python {request.param} here, neither of pyenv nor python{request.param} on the path")
    host = OldHost(tmp_path)
    host.python = found
    return host


def test_what_the_client_does_works_under_every_python(old: OldHost, make_daemon: Callable[..., Daemon]) -> None:
    url = dead_url()
    server, regression = ("--server", url), ("--regression", "n/1")

    lost = old("run", *regression, *server, "--", "sh", "-c", "echo out; exit 3")
    assert (lost.returncode, lost.stdout, lost.stderr.count("\n")) == (3, "out\n", 1)
    assert [kept["type"] for kept in old.kept()] == ["job-live", "job-finish"]
    daemon = make_daemon().start(env={"SIMSCOPE_LISTEN": url.removeprefix("http://")})
    body = json.dumps(live("b", time_limit_ms=3_600_000)).encode()
    [receipt] = old.good("publish", "job-live", *regression, *server, "--json", "-", stdin=body)
    assert (receipt["applied"], old.kept()) == (1, [])
    assert old("run", *regression, "--spool", daemon.spool, "--", "true").returncode == 0
    wait_until(lambda: len(daemon.get("/jobs?result=pass")["items"]) == 1)

    jobs = {job["uniqueid"]: job for job in old.good("jobs", "--json", *server)}
    assert sorted(job["result"] for job in jobs.values()) == ["fail", "live", "pass"]
    number = jobs["b"]["id"]
    assert old.good("extend", number, "--until", "18:30", "--json", *server)[0]["id"] == number
    waiting = old.start("wait", number, *server)
    assert waiting.stdout is not None and waiting.stdout.readline()
    body = json.dumps(live("b") | {"result": "pass", "log": {"lines": ["end"]}}).encode()
    old.good("publish", "job-finish", *regression, *server, "-", stdin=body)
    waiting.communicate(timeout=20)
    assert waiting.returncode == 0
    assert old("logs", number, "--follow", *server).stdout == "end\n"
    for words in (f"job {number}", "regressions", "regression n/1", f"history {number}", "watch n/1 --once"):
        assert old(*words.split(), *server).returncode == 0, words
    assert old("completion", "zsh").stdout.startswith("#compdef")
