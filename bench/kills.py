"""kill -9 at random moments while files pour in; at the end nothing may be lost and nothing counted twice.

usage: python bench/kills.py [--kills 50] [--quick] [--work FOLDER]

Each round publishes a thousand files, starts the daemon on whatever lies there, goes on publishing, and kills it. Some
jobs send a line of their output with either message, without saying its number.
"""

import contextlib
import json
import random
import sqlite3
import time
from typing import Any

from common import Daemon, messages, options, publish, report_none, work_folder

FILES = 1000  # in each round
DURING = 100  # of them while the daemon runs
LONGEST_S = 0.3  # between its first answer, or thereabouts, and the kill


def main() -> None:
    chosen = options(__doc__, ("--kills", {"type": int, "default": 50}), ("--seed", {"type": int, "default": 1}))
    kills = 5 if chosen.quick else chosen.kills
    chance = random.Random(chosen.seed)
    told = [with_lines(raw) for raw in messages(kills * FILES, seed=chosen.seed)]
    with work_folder(chosen) as folder:
        daemon = Daemon(chosen, folder)
        usual = daemon.start()
        daemon.stop()
        claimed = settling = published = 0
        for _ in range(kills):
            published += publish(daemon.spool, told[published : published + FILES - DURING], published)
            daemon.launch()
            time.sleep(chance.uniform(usual / 2, usual))
            published += publish(daemon.spool, told[published : published + DURING], published)
            time.sleep(chance.uniform(0, LONGEST_S))
            daemon.kill()
            claimed += any((daemon.spool / ".work").glob("*/*.json"))
            settling += rows(daemon, "SELECT COUNT(*) FROM settling")[0][0] > 0
        published += publish(daemon.spool, told[published:], published)
        daemon.start()
        while daemon.files():
            time.sleep(0.05)
        daemon.stop()
        wrong = differences(daemon, told)
    report_none(f"{kills} kills", wrong, files=published, with_claimed_files=claimed, with_notes=settling)


def with_lines(raw: bytes) -> bytes:
    """The message, with a line of output if it is about one of those jobs that have some."""
    told = json.loads(raw)
    body = told["body"]
    if body["uniqueid"].startswith("0"):
        body["log"] = {"lines": [body["uniqueid"]]}
    return json.dumps(told).encode()


def differences(daemon: Daemon, told: list[bytes]) -> dict[str, Any]:
    """What is not as it must be: {what: [expected, found]}."""
    results = [json.loads(raw)["body"]["result"] for raw in told]
    live, passed, failed = (results.count(word) for word in ("live", "pass", "fail"))
    lines = sum(b'"log"' in raw for raw in told)
    expected = {
        "SELECT COUNT(*), sum(result = 1), sum(result = 2), sum(result = 0) FROM job": (live, passed, failed, 0),
        "SELECT sum(n_pass + n_fail), sum(n_pass), sum(n_fail), sum(n_live) FROM regression": (live, passed, failed, 0),
        "SELECT COUNT(*) FROM regression AS r WHERE (n_pass, n_fail, sum_compute_ms) <> (SELECT sum(result = 1), "
        "sum(result = 2), sum(compute_ms) FROM job WHERE regression_id = r.id)": (0,),
        "SELECT COUNT(*), COUNT(DISTINCT name), sum(applied) FROM receipt": (len(told), len(told), len(told)),
        "SELECT sum(type = 'job.live'), sum(type IN ('job.passed', 'job.failed')) FROM event": (live, live),
        "SELECT sum(message = key), sum(number BETWEEN first_offset AND next_offset - 1) FROM log JOIN lines.log_line "
        "ON log = log.id JOIN job ON job.id = job_id": (lines, lines),
        "PRAGMA integrity_check": ("ok",),
    }
    found = {sql: rows(daemon, sql)[0] for sql in expected}
    return {sql: [list(expected[sql]), list(found[sql])] for sql in expected if found[sql] != expected[sql]}


def rows(daemon: Daemon, sql: str) -> list[Any]:
    try:
        with contextlib.closing(sqlite3.connect(daemon.db)) as conn:
            conn.execute("ATTACH ? AS lines", (f"{daemon.db}.logs",))
            return conn.execute(sql).fetchall()
    except sqlite3.OperationalError:
        return [(0,)]


if __name__ == "__main__":
    main()
