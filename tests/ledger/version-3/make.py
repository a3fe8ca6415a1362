"""Makes the fixture beside it: a database of schema version 3 with jobs and regressions in all states, and what the
daemon that made it answered about them.

    python make.py CHECKOUT_OF_0.1.0

It was run once, with the code of release 0.1.0; the files it wrote are the fixture."""

from __future__ import annotations

import gzip
import itertools
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
CONFIG = """
[server]
listen = "127.0.0.1:0"
db = "simscope.db"
[spool]
dir = "spool"
[sigs]
enablelivejobs = true
livetimeoutsignature = "LIVE Job Timeout or Missing"
prunelivedays = 0
[regr]
autotimeouthours = {hours}
[limits]
keep_events_days = 36500
keep_receipts_days = 36500
"""


class Daemon:
    """A daemon of some checkout in a folder of its own."""

    def __init__(self, program: Path, folder: Path, hours: float = 0) -> None:
        (folder / "simscope.config").write_text(CONFIG.format(hours=hours))
        log = (folder / "log").open("w")
        command = [sys.executable, str(program), "serve", "--config", str(folder / "simscope.config")]
        self.process = subprocess.Popen(command, stderr=log, cwd=folder, env=os.environ | {"PYTHONPATH": ""})
        while " on http://" not in (text := (folder / "log").read_text()):
            assert self.process.poll() is None, text
            time.sleep(0.05)
        self.url = text.partition(" on ")[2].split()[0].rstrip("/")

    def ask(self, path: str, body: Any = None) -> tuple[int, Any]:
        asked = urllib.request.Request(self.url + path, None if body is None else json.dumps(body).encode())
        try:
            with urllib.request.urlopen(asked) as answer:
                raw = answer.read()
                return answer.status, json.loads(raw) if "json" in answer.headers["Content-Type"] else raw.decode()
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())

    def post(self, path: str, body: Any) -> Any:
        status, told = self.ask(f"/api/v1{path}", body)
        assert status in (200, 422), told
        return told

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(20) == 0


def tell(daemon: Daemon, regression: str, *messages: tuple[str, Any]) -> None:
    daemon.post("/messages", [{"type": kind, "regression": regression, "body": body} for kind, body in messages])


def job(chance: random.Random, number: int) -> dict[str, Any]:
    return {
        "category": chance.choice(("sim", "sim", "lint")),
        "uniqueid": f"job-{number}",
        "name": f"test_{number % 17}" if number % 5 else None,
        "config": f"run +seed={number} +test={number % 17}",
        "seed": str(number),
        "host": f"farm{number % 7}",
        "build": "b7",
        "start_time": f"2026-01-02T0{number % 10}:00:00Z",
    }


def said(body: dict[str, Any]) -> dict[str, Any]:
    return {field: value for field, value in body.items() if value is not None}


def finish(chance: random.Random, number: int) -> dict[str, Any]:
    result = chance.choices(("pass", "fail", "skip"), (80, 17, 3))[0]
    more: dict[str, Any] = {"result": result, "runtime_ms": chance.randint(1000, 90_000), "cycles": number * 1000}
    more["compute_ms"] = more["runtime_ms"] - 500
    if result == "fail":
        more |= {"fail_message": f"ERROR at {number} ns: {chance.choice('abcdefghij')} is stuck", "exit_code": 1}
    if number % 9 == 0:
        more |= {"metadata": [["bufsize", str(number)]], "files": [{"kind": "log", "name": "sim.log", "path": "/x"}]}
    return said(job(chance, number)) | more


def fill(daemon: Daemon) -> None:
    """Tell of jobs and regressions in all states."""
    chance = random.Random(3)
    for run in range(1, 9):
        name = f"nightly/{run}"
        start = {"component": "core", "project": "chip", "starttime": f"2026-01-0{run}T00:00:00Z", "submitted": 300}
        tell(daemon, name, ("regr-start", start | {"model_branch": "main", "custom_metadata": [["owner", "ann"]]}))
        bodies = [finish(chance, number) for number in range(300)]
        daemon.post(f"/publish/batch-job-finish?regression={urllib.parse.quote(name, safe='')}", bodies)
        tell(daemon, name, ("regr-finish", {"tag": f"tag{run}"}))
    lives = [said(job(chance, number)) | {"result": "live", "phase": "run"} for number in range(40)]
    logged = [
        live | {"log": {"lines": [f"line {count} of {live['uniqueid']}" for count in range(30)]}} for live in lives
    ]
    for name in ("live/1", "finished/1", "tanked/1", "limited/1", "again/1"):
        tell(daemon, name, ("regr-start", {"component": "core", "starttime": "2026-02-01T00:00:00Z", "submitted": 60}))
        tell(daemon, name, *(("job-live", live) for live in logged))
        tell(daemon, name, *(("job-finish", finish(chance, number)) for number in range(30, 36)))
        tell(daemon, name, ("job-finish", finish(chance, 30) | {"start_time": "2026-03-01T00:00:00Z"}))  # run again
        tell(daemon, name, ("job-live", lives[0] | {"progress": {"done": 3, "total": 10}, "host": "farm9"}))
    tell(daemon, "finished/1", ("regr-finish", {}))
    tell(daemon, "finished/1", ("job-finish", finish(chance, 1)))  # corrected
    tell(daemon, "limited/1", *(("job-live", live | {"time_limit_ms": 1}) for live in lives[:9]))
    tell(daemon, "again/1", ("regr-start", {"starttime": "2026-02-02T00:00:00Z", "component": "core"}))
    daemon.post("/regressions/tanked%2F1/tank", {"reason": "wrong build"})
    (first, *_) = daemon.ask("/api/v1/regressions/live%2F1/jobs?result=live&limit=5")[1]["items"]
    daemon.post(f"/jobs/{first['id']}/tank", {"reason": "hangs"})
    tell(daemon, "live/1", ("job-live", said(job(chance, 900)) | {"result": "live", "time_limit_ms": 3_600_000}))
    (newest, *_) = daemon.ask("/api/v1/regressions/live%2F1/jobs?limit=1")[1]["items"]
    daemon.post(f"/jobs/{newest['id']}/extend", {"by_ms": 600_000})
    daemon.post("/messages?regression=live%2F1", [{"category": "sim"}, 7])  # refused
    time.sleep(3)


def addresses(daemon: Daemon) -> Iterator[str]:
    """What is asked about the fixture."""
    yield from ("/badge/nightly.svg", "/api/v1/series?limit=100", "/api/v1/receipts?limit=500")
    yield from (f"/api/v1/regressions?tanked=1&limit={limit}" for limit in (3, 100))
    yield from ("/api/v1/jobs?limit=50", "/api/v1/jobs?q=stuck&limit=20", "/api/v1/jobs?filter=result=fail,cycles>9000")
    items = daemon.ask("/api/v1/regressions?tanked=1&limit=100")[1]["items"]
    for number in sorted(item["id"] for item in items):
        own = f"/api/v1/regressions/{number}"
        yield from (own, f"{own}/jobs?sort=name&limit=40", f"{own}/signatures", f"{own}/hosts", f"{own}/history")
    yield from (f"/api/v1/regressions/{number}/charts" for number in (1, 9))
    yield from (f"/api/v1/regressions/8/diff?by={by}&limit=5" for by in ("config", "test"))
    jobs = [item["id"] for item in daemon.ask("/api/v1/jobs?limit=500")[1]["items"]]
    for number in [*range(1, 60, 13), *sorted(jobs)[::9]]:
        own = f"/api/v1/jobs/{number}"
        yield from (own, f"{own}/status", f"{own}/history", f"{own}/logs?limit=5", f"{own}/files", f"{own}/earlier")
    after = 0
    for _ in range(3):
        yield f"/api/v1/events?after={after}&limit=100"
        after = daemon.ask(f"/api/v1/events?after={after}&limit=100")[1]["next"]


def main(checkout: Path) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        daemon = Daemon(checkout / "simscoped.py", folder)
        fill(daemon)
        daemon.stop()
        daemon = Daemon(checkout / "simscoped.py", folder, hours=1 / 3600)  # what is live times out
        time.sleep(4)
        daemon.stop()
        daemon = Daemon(checkout / "simscoped.py", folder)
        tell(daemon, "live/2", ("job-live", {"category": "sim", "uniqueid": "a", "result": "live", "host": "h1"}))
        daemon.stop()
        for part in ("simscope.db", "simscope.db.logs"):
            conn = sqlite3.connect(folder / part)
            conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            conn.execute("VACUUM")
            conn.close()
            with gzip.GzipFile(HERE / f"{part}.gz", "wb", mtime=0) as packed, (folder / part).open("rb") as plain:
                shutil.copyfileobj(plain, packed)
        daemon = Daemon(checkout / "simscoped.py", folder)
        answers = {path: daemon.ask(path) for path in dict.fromkeys(itertools.chain(addresses(daemon)))}
        daemon.stop()
        with gzip.GzipFile(HERE / "answers.json.gz", "wb", mtime=0) as packed:
            packed.write(json.dumps(answers, indent=0).encode())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
