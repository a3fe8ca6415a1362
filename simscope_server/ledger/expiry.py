"""What the clock does: time limits that are over, and records that are old. Each step is a function of a batch, which
handles at most a slice and says whether there is more to do.
"""

from __future__ import annotations

import sqlite3

from simscope_server.ledger import life
from simscope_server.ledger.actions import regression_by_id
from simscope_server.ledger.batch import SLICE_JOBS, Batch
from simscope_server.ledger.effects import flush
from simscope_server.ledger.jobs import limit_job
from simscope_server.messages.times import DAY_MS, HOUR_MS, in_words, utc
from simscope_server.settings import Config

SLICE_LOGS = 20  # logs forgotten per transaction: 200,000 lines at most, unless [limits] log_lines says otherwise
PRUNE_ROWS = 5000  # rows pruned per transaction


# What the clock does.


def expire(batch: Batch) -> bool:
    """Act on every time limit that is over, and go on with what is not done yet. -> True if there is more to do.

    1. Regressions without a message for autotimeouthours, and those past their own time limit, are to end.
    2. Regressions whose end has jobs left to give up, from an earlier call or before a restart, are taken up again.
    3. Live jobs past their own time limit become fails, each for itself: SLICE_JOBS at most.
    4. What is left of that slice gives up jobs of ending regressions, in the order of 1 and 2; the one whose last job
       that was is over, as seen from outside, with this commit (flush).

    So one call handles at most a slice of jobs, of all regressions together, and messages are taken between two."""
    conn, tick, config = batch.conn, batch.moment.tick, batch.config
    batch.origin = "daemon:timeout"
    for name, how in _overdue_regressions(conn, tick, config):
        life.end(batch, batch.regression(name), how)
    for (name,) in conn.execute(f"SELECT name FROM regression WHERE {life.is_unfinished(config)} ORDER BY id"):
        batch.regression(name)
    late = batch.load_slice("result = 0 AND limit_tick <= ?", tick)
    for job in late:
        limit_job(batch, regression_by_id(batch, job.regression_id), job)
    flush(batch)
    more = conn.execute(f"SELECT 1 FROM regression WHERE {life.is_unfinished(config)}").fetchone() is not None
    return more or len(late) == SLICE_JOBS


def _overdue_regressions(conn: sqlite3.Connection, tick: int, config: Config) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    live = f"FROM regression WHERE {life.IS_OPEN}"
    if config.autotimeouthours:
        silent = tick - round(config.autotimeouthours * HOUR_MS)
        found += [
            (name, "timeout")
            for (name,) in conn.execute(f"SELECT name {live} AND active_tick <= ? ORDER BY id", (silent,))
        ]
    limit = conn.execute(f"SELECT name {live} AND limit_tick <= ? ORDER BY id", (tick,))
    return found + [(name, "time-limit") for (name,) in limit]


def anything_due(conn: sqlite3.Connection, config: Config, tick: int) -> bool:
    """Is a time limit over, or an end not done yet? A few look-ups in partial indexes."""
    row = conn.execute(
        """
        SELECT EXISTS (SELECT 1 FROM job WHERE result = 0 AND limit_tick <= ?)
            OR EXISTS (SELECT 1 FROM regression WHERE """
        + life.is_unfinished(config)
        + ")",
        (tick,),
    ).fetchone()
    return bool(row[0]) or bool(_overdue_regressions(conn, tick, config))


TICK_SAVED_MS, TICK_SAVED_RARELY_MS = 600, 10_000


def is_tick_old(conn: sqlite3.Connection, config: Config, tick: int) -> bool:
    """Is it time to save the uptime? Each transaction does; between them no more than a second of it, of two looks at
    the deadlines, may be lost by a kill as long as a time limit runs, else ten."""
    sql = f"""
        SELECT ? - tick >= iif(
            EXISTS (SELECT 1 FROM job WHERE result = 0 AND limit_tick IS NOT NULL)
            OR EXISTS (SELECT 1 FROM regression
                WHERE {life.MAY_END} AND (limit_tick IS NOT NULL OR ?)), ?, ?) FROM daemon
    """
    found = conn.execute(sql, (tick, config.autotimeouthours > 0, TICK_SAVED_MS, TICK_SAVED_RARELY_MS))
    return bool(found.fetchone()[0])


def prune_jobs(batch: Batch) -> bool:
    """Delete live jobs without news for prunelivedays, leaving a tombstone and an event. -> True if there are more."""
    if not batch.config.prunelivedays:
        return False
    batch.origin = "daemon:prune"
    since = batch.moment.tick - round(batch.config.prunelivedays * DAY_MS)
    where = "result = 0 AND seen_tick <= ? AND regression_id IN (SELECT id FROM regression WHERE n_live > 0)"
    jobs = batch.load_slice(where, since)
    for job in jobs:
        regression = regression_by_id(batch, job.regression_id)
        silent = in_words(round(batch.config.prunelivedays * DAY_MS))
        why = f"live without news for {silent} (prunelivedays); last sign of life {utc(job.seen_at)}"
        batch.tell("job.pruned", regression, job, description=why)
        regression.n_live -= 1
        batch.conn.execute("INSERT INTO pruned_job VALUES (?, ?, ?)", (job.id, regression.id, batch.moment.now))
        batch.conn.execute("DELETE FROM job WHERE id = ?", (job.id,))
        batch.leave_log(job.id)
    flush(batch)
    return len(jobs) == SLICE_JOBS


def forget_logs(batch: Batch) -> bool:
    """Delete the lines of logs that no job has any more, some logs at a time. -> True if there are more.

    The lines go first, see LogBook: after a crash the log is still there to be forgotten."""
    logs = batch.conn.execute("SELECT id FROM log WHERE job_id IS NULL ORDER BY id LIMIT ?", (SLICE_LOGS,)).fetchall()
    for (log,) in logs:
        batch.logbook.forget(log)
    batch.conn.executemany("DELETE FROM log WHERE id = ?", logs)
    return len(logs) == SLICE_LOGS


def prune_records(batch: Batch) -> bool:
    """Forget old receipts and let old events leave the feed, a slice at a time. -> True if there is more to do.

    Events of an existing job or regression that tell a change of state stay for its history; only updates go."""
    conn, now, config = batch.conn, batch.moment.now, batch.config
    gone = conn.execute(
        "DELETE FROM receipt WHERE id IN (SELECT id FROM receipt WHERE received_at < ? ORDER BY id LIMIT ?)",
        (now - round(config.keep_receipts_days * DAY_MS), PRUNE_ROWS),
    ).rowcount
    conn.execute("DELETE FROM idempotency WHERE at < ?", (now - round(config.keep_receipts_days * DAY_MS),))
    before = now - round(config.keep_events_days * DAY_MS)
    rows = conn.execute(
        "SELECT seq, at FROM event WHERE seq > ? ORDER BY seq LIMIT ?", (batch.counters.events_from_seq, PRUNE_ROWS)
    ).fetchall()
    old = [seq for seq, at in rows if at < before]
    if old:
        conn.execute(
            """
            DELETE FROM event WHERE seq > ? AND seq <= ? AND (type IN ('job.updated', 'regression.updated')
                OR job_id IS NOT NULL AND NOT EXISTS (SELECT 1 FROM job WHERE job.id = event.job_id))
            """,
            (batch.counters.events_from_seq, old[-1]),
        )
        batch.counters.events_from_seq = old[-1]
    flush(batch)
    return gone == PRUNE_ROWS or len(old) == PRUNE_ROWS


def save_tick(batch: Batch) -> None:
    """Nothing to write but the uptime, which every Batch writes."""
