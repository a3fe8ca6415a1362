"""Short words for tests of the spool folder: files that are put into it, and what became of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.parse
from typing import Any

from support.daemons import LIVE_SIGS, ROOT, Daemon, live, wait_until

SETTLE_MS = 400
SPOOL = (
    f'{LIVE_SIGS}[spool]\ndir = "spool"\nsettle_ms = {SETTLE_MS}\npoll_ms = 100\n'
    "[limits]\nbody_mib = 1\nmessage_kib = 64\n"
)


def envelope(kind: str, regression: str, body: Any) -> dict[str, Any]:
    return {"type": kind, "regression": regression, "body": body}


def lines(*values: Any) -> str:
    """NDJSON"""
    return "".join(f"{json.dumps(value)}\n" for value in values)


def receipts(daemon: Daemon, name: str) -> Any:
    """All receipts of a file, the newest first."""
    return daemon.get(f"/receipts?limit=500&name={urllib.parse.quote(name, safe='')}")["items"]


def receipt(daemon: Daemon, name: str) -> Any:
    """The receipt of a file, waited for."""
    return wait_until(lambda: receipts(daemon, name), what=f"a receipt of {name!r}")[0]


def results(daemon: Daemon, regression: str) -> dict[str, str]:
    """The jobs of a regression: uniqueid -> result."""
    return dict(daemon.rows("SELECT key, result_name FROM jobs WHERE regression = ?", regression))


def count(daemon: Daemon, regression: str) -> int:
    """How many jobs a regression has."""
    sql = "SELECT count(*) FROM job JOIN regression AS r ON r.id = regression_id WHERE r.name = ?"
    return int(daemon.rows(sql, regression)[0][0])


def command(daemon: Daemon, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command of simscoped to its end, as a process."""
    line = [sys.executable, str(ROOT / "simscoped.py"), *arguments, "--config", str(daemon.config)]
    return subprocess.run(line, capture_output=True, text=True, timeout=20)


def rescanned(daemon: Daemon, run: str) -> None:
    """Come back when everything that lies in the spool by now was looked at, and was left alone for settle_ms."""
    daemon.drop(f"{run}-witness/lines.ndjson", lines(live("witness")))
    receipt(daemon, f"{run}-witness/lines.ndjson")


def put(daemon: Daemon, name: str, content: Any) -> None:
    """Publish a file whose name has no room for a temporary suffix."""
    target = daemon.spool / name
    target.parent.mkdir(parents=True, exist_ok=True)
    daemon.drop("unnamed.part", content).rename(target)


def long_name(size: int, character: str) -> str:
    """A file name of so many bytes."""
    suffix = "-.json"
    characters, rest = divmod(size - len(suffix), len(character.encode()))
    return "a" * rest + character * characters + suffix


def skipped(daemon: Daemon) -> Any:
    """The files that are not taken, each with why."""
    return daemon.request("GET", "/healthz")[1]["spool"]["skipped"]


def in_work(daemon: Daemon) -> list[str]:
    """What lies in the work folder, but for the lock."""
    below = os.walk(daemon.spool / ".work")
    return [name for _, folders, files in below for name in (*folders, *files) if name != ".lock"]


def waiting(daemon: Daemon) -> list[str]:
    """What lies in the spool, but for what belongs to the daemon."""
    found = []
    for folder, folders, files in os.walk(daemon.spool):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [f"{folder}/{name}" for name in files if not name.startswith(".")]
    return found


def all_taken(daemon: Daemon) -> bool:
    """Is nothing left in the spool, and nothing claimed?"""
    return not waiting(daemon) and not in_work(daemon)


def refused(daemon: Daemon) -> list[str]:
    """What lies in .bad: refused files and their reasons, by their paths there."""
    bad = daemon.spool / ".bad"
    return sorted(str(path.relative_to(bad)) for path in bad.rglob("*") if path.is_file())


def counted(daemon: Daemon, rows: str, *parameters: Any) -> int:
    """How many rows there are of a table, and a condition, if one is told behind its name."""
    return int(daemon.rows(f"SELECT count(*) FROM {rows}", *parameters)[0][0])


def assert_sound(daemon: Daemon) -> None:
    """The file is whole, and all counters say what COUNT says."""
    assert daemon.rows("PRAGMA integrity_check") == [("ok",)]
    assert daemon.rows("PRAGMA foreign_key_check") == []
    wrong = daemon.rows("""
        SELECT r.name FROM regression AS r
        WHERE r.n_pass <> (SELECT count(*) FROM job WHERE regression_id = r.id AND result = 1)
           OR r.n_fail <> (SELECT count(*) FROM job WHERE regression_id = r.id AND result = 2)
           OR r.n_live <> (SELECT count(*) FROM job WHERE regression_id = r.id AND result = 0)
    """)
    assert wrong == []
