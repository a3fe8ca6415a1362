"""Reading over HTTP from a database with a million jobs, and writing on top of it.

usage: python bench/queries.py [--jobs 1000000] [--quick] [--work FOLDER]

The database is filled directly: finished jobs in regressions of 500 each, of which the newest 40 are live and have 500
live jobs more; counters and events as the daemon writes them, without receipts.
"""

import contextlib
import gc
import http.client
import itertools
import json
import os
import random
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from common import (
    FAILS,
    Daemon,
    job,
    make_database,
    ndjson_bodies,
    options,
    percentile,
    post_all,
    report_most,
    report_ratio,
    work_folder,
)

EACH = 500  # jobs per regression
SIDE_BY_SIDE = 20  # regressions that run at once: their jobs alternate
LIVE_REGRESSIONS = 40
LIVE_EACH = 500
SIGNATURES = 100
SERIES = 20
TESTS = 200
EPOCH_MS = 1_750_000_000_000
ASKED = 500
API = "/api/v1"

REGRESSION = """
    INSERT INTO regression
        (id, name, series, number, component, project, submitted, fields, ended, created_at, ended_at, last_activity_at,
         active_tick, first_tick, first_failure, version)
    VALUES (?, ?, ?, ?, 'core', 'bench', ?, '{}', ?, ?, ?, ?, 0, 0, 1, ?)
"""
JOB = """
    INSERT INTO job
        (id, regression_id, key, result, state, category, signature_id, test_id, config, seed, build, testgroup, jobdir,
         start_at, compute_ms, fail_message, metadata, submitted_at, running_at, done_at, seen_at, seen_tick,
         running_tick, version)
    VALUES (?, ?, ?, ?, ?, 'sim', ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0, 0, ?)
"""
EVENT = "INSERT INTO event VALUES (?, ?, ?, ?, ?, ?, 'http:127.0.0.1', NULL)"
TYPES = ("job.live", "job.passed", "job.failed")
COUNT = """
    UPDATE regression SET (n_pass, n_fail, n_live, sum_compute_ms, sum_runtime_ms) = (
        SELECT sum(result = 1), sum(result = 2), sum(result = 0), sum(compute_ms), sum(compute_ms)
        FROM job WHERE regression_id = regression.id)
"""
USED = (
    "SELECT (page_count - freelist_count) * page_size FROM pragma_page_count, pragma_freelist_count, pragma_page_size"
)


def main() -> None:
    chosen = options(__doc__, ("--jobs", {"type": int, "default": 1_000_000}))
    regressions = max(LIVE_REGRESSIONS, (50_000 if chosen.quick else chosen.jobs) // EACH)
    with work_folder(chosen) as folder:
        empty, full = Daemon(chosen, folder / "empty"), Daemon(chosen, folder / "full")
        size = fill(full.db, regressions)
        report_most("database bytes per finished job, no receipts", size / (regressions * EACH), "bytes", 600, 430)
        report_most("start to first answer, empty", empty.start(), "s", 1, 0.4)
        first_answer = full.start()
        report_most("start to first answer, full", first_answer, "s", 1, 0.4, memory_mb=full.memory_mb())
        ask_all(full, regressions)
        names = ["/".join(name_of(regressions - number)) for number in range(SIDE_BY_SIDE)]
        bodies = ndjson_bodies(20_000 if chosen.quick else 100_000, names)
        count = sum(body.count(b"\n") + 1 for body in bodies)
        limit, ours = count / post_all(empty, bodies), count / post_all(full, bodies)
        report_ratio(
            f"intake on top of {regressions * EACH:,} jobs, against none", ours, limit, "messages/s", 0.6, 0.85
        )
        empty.stop()
        full.stop()
        check(full.db)


# Filling.


def fill(path: Path, regressions: int) -> int:
    """Make the database. -> bytes in use."""
    with contextlib.closing(make_database(path)) as conn:
        conn.executescript("PRAGMA synchronous = OFF; PRAGMA cache_size = -262144; BEGIN")
        conn.executemany(
            "INSERT INTO signature VALUES (?, 'sim', ?, ?, 1, ?)",
            ((number, f"Store buffer underflow {number}", EPOCH_MS, EPOCH_MS) for number in range(1, SIGNATURES + 1)),
        )
        conn.executemany(
            "INSERT INTO test (id, key, title) VALUES (?, randomblob(16), ?)",
            ((number, f"sim +test={number} +seed=*") for number in range(1, TESTS + 1)),
        )
        sightings = (
            (number, f"project{series}/nightly") for number in range(1, SIGNATURES + 1) for series in range(SERIES)
        )
        conn.executemany(f"INSERT INTO sighting VALUES (?, ?, {EPOCH_MS})", sightings)
        seq = 0
        conn.executemany(REGRESSION, (regression_row(number, regressions) for number in range(1, regressions + 1)))
        for chunk in chunks(jobs(regressions), 10_000):
            conn.executemany(JOB, chunk)
            conn.executemany(EVENT, itertools.chain.from_iterable(map(events, chunk)))
            seq = chunk[-1][-1]
        conn.execute(COUNT)
        last = "UPDATE daemon SET seq = ?, last_job_id = (SELECT max(id) FROM job)"
        conn.execute(last, (seq,))
        conn.execute("COMMIT")
        conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        os.sync()  # so that the writing out of what was filled in does not run beside the questions
        return int(conn.execute(USED).fetchone()[0])


def regression_row(number: int, regressions: int) -> tuple[Any, ...]:
    live = number > regressions - LIVE_REGRESSIONS
    at = EPOCH_MS + number * 60_000
    ended, ended_at = (None, None) if live else ("finish", at + 3_600_000)
    submitted = EACH + LIVE_EACH * live
    series, place = name_of(number)
    return (number, f"{series}/{place}", series, int(place), submitted, ended, at, ended_at, ended_at or at, 0)


def name_of(regression: int) -> tuple[str, str]:
    """Series and number; the series take turns."""
    return f"project{regression % SERIES}/nightly", str(regression // SERIES)


def jobs(regressions: int) -> Iterator[tuple[Any, ...]]:
    """Rows of table job; every job has taken two numbers for its changes, a live one just one."""
    chance = random.Random(3)
    ids = itertools.count(1)
    for first in range(1, regressions + 1, SIDE_BY_SIDE):
        group = range(first, min(first + SIDE_BY_SIDE, regressions + 1))
        for number, regression in itertools.product(range(EACH), group):
            result = 2 if chance.random() < 0.1 else 1
            yield job_row(chance, next(ids), regression, number, result)
    for number, regression in itertools.product(
        range(LIVE_EACH), range(regressions - LIVE_REGRESSIONS + 1, regressions + 1)
    ):
        yield job_row(chance, next(ids), regression, EACH + number, 0)


def job_row(chance: random.Random, number: int, regression: int, place: int, result: int) -> tuple[Any, ...]:
    told = job(chance, "/".join(name_of(regression)), place)
    signature, message, compute, done = None, None, None, None
    at = EPOCH_MS + number * 50
    if result:
        compute, done = chance.randrange(1000, 600_000), at
    if result == 2:
        signature = 1 + (regression + chance.randrange(20)) % SIGNATURES
        message = chance.choice(FAILS).format(*(chance.randrange(8) for _ in range(3)))
    said = [told[name] for name in ("config", "seed", "build", "testgroup", "jobdir")]
    state = "done" if result else "live"
    key = (number, regression, told["uniqueid"], result, state, signature, 1 + place % TESTS)
    metadata = f'{{"bufsize":"{chance.randrange(10000)}"}}'
    return (*key, *said, at, compute, message, metadata, at, at, done, at, 2 * number)


def events(row: Sequence[Any]) -> Iterator[tuple[Any, ...]]:
    number, regression, result, version = row[0], row[1], row[3], row[-1]
    if result:
        yield (version - 1, row[-4], TYPES[0], regression, number, 0)
    yield (version, row[-4], TYPES[result], regression, number, result)


def chunks(rows: Iterator[Any], size: int) -> Iterator[list[Any]]:
    while chunk := list(itertools.islice(rows, size)):
        yield chunk


def check(path: Path) -> None:
    """Counters must equal what COUNT says, also after the intake."""
    counted = """
        SELECT COUNT(*) FROM regression AS r WHERE (n_pass, n_fail, n_live, sum_compute_ms) <> (
            SELECT sum(result = 1), sum(result = 2), sum(result = 0), coalesce(sum(compute_ms), 0)
            FROM job WHERE regression_id = r.id)
    """
    with contextlib.closing(sqlite3.connect(path)) as conn:
        if wrong := conn.execute(counted).fetchone()[0]:
            raise SystemExit(f"{wrong} regressions whose counters are wrong")


# Asking.


def ask_all(daemon: Daemon, regressions: int) -> None:
    chance = random.Random(5)
    jobs = regressions * EACH
    live = lambda: regressions - chance.randrange(LIVE_REGRESSIONS)  # noqa: E731
    questions: dict[str, tuple[Callable[[], str], int]] = {
        "regression list of 50": (lambda: "/regressions?limit=50", 3),
        "live jobs of a regression, 100": (lambda: f"/regressions/{live()}/jobs?result=live&limit=100", 4),
        "newest live jobs of all": (lambda: "/jobs?result=live", 4),
        "signatures of a regression": (lambda: f"/regressions/{chance.randint(1, regressions)}/signatures", 4),
        "job page": (lambda: f"/jobs/{chance.randint(1, jobs)}", 4),
        "job history": (lambda: f"/jobs/{chance.randint(1, jobs)}/history", 4),
        "runs of 20 series": (lambda: "/series?" + "&".join(f"series={name_of(n)[0]}" for n in range(SERIES)), 10),
        "earlier runs of a job's test": (lambda: f"/jobs/{chance.randint(jobs // 2, jobs)}/earlier", 10),
        "hosts of a regression": (lambda: f"/regressions/{live()}/hosts", 10),
        "timeline of a regression": (lambda: f"/regressions/{live()}/timeline", 20),
        "charts of a regression": (lambda: f"/regressions/{live()}/charts", 20),
        "comparison with the run before, counts": (lambda: f"/regressions/{live()}/diff?limit=0", 10),
        "filtered jobs of a regression": (
            lambda: f"/regressions/{live()}/jobs?filter=result%3Dfail,message%3D~FATAL|timed.*[0-9]|fifo[0-3]",
            10,
        ),
        "jobs of a regression by runtime": (lambda: f"/regressions/{live()}/jobs?sort=-runtime&limit=100", 10),
    }
    connection = daemon.connection()
    for what, (path, goal) in questions.items():
        times = [timed(connection, API + path()) for _ in range(ASKED)]
        p50 = round(percentile(times, 50), 2)
        report_most(f"p99 of {what}", percentile(times, 99), "ms", 10, goal, p50_ms=p50)


def timed(connection: http.client.HTTPConnection, path: str) -> float:
    """From the request to the last byte of the answer, in ms. What is the client's own is left out: to decode the
    answer, and to collect its garbage, which now and then takes longer than the answer itself."""
    gc.collect()
    gc.disable()
    begun = time.perf_counter()
    connection.request("GET", path)
    answer = connection.getresponse()
    raw = answer.read()
    spent = (time.perf_counter() - begun) * 1000
    gc.enable()
    if answer.status != 200 or json.loads(raw).get("items") == []:
        raise SystemExit(f"{path}: {answer.status} {raw!r:.200}")
    return spent


if __name__ == "__main__":
    main()
