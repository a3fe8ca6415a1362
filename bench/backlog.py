"""A backlog in the spool: files that lie there before the start, against what one thread could do at best.

usage: python bench/backlog.py [--files 100000] [--reps 1] [--quick] [--work FOLDER]

Time from the start of the process until all files are committed and cleared away; memory before and after; database
bytes per finished job. The limit reads, removes, decodes and writes the same files in the same run.
"""

import contextlib
import sqlite3
from pathlib import Path
from time import perf_counter

from common import (
    Daemon,
    Spent,
    files_at_limit,
    median,
    messages,
    options,
    publish,
    report_most,
    report_ratio,
    work_folder,
)

USED_PAGES = (
    "SELECT (page_count - freelist_count) * page_size FROM pragma_page_count, pragma_freelist_count, pragma_page_size"
)
TABLES = ("job", "event", "receipt")


def main() -> None:
    chosen = options(__doc__, ("--files", {"type": int, "default": 100_000}), ("--reps", {"type": int, "default": 1}))
    count = 10_000 if chosen.quick else chosen.files
    with work_folder(chosen) as folder:
        idle = idle_memory(chosen, folder / "idle")
        told = messages(count)
        limits, ours = [], []
        for repetition in range(chosen.reps):
            limits.append(at_limit(folder / f"limit{repetition}", told))
            daemon = Daemon(chosen, folder / f"daemon{repetition}")
            ours.append(drained(daemon, told))
            memory, peak = daemon.memory_mb(), daemon.peak_mb()
            daemon.stop()
        same = rows(daemon.db) == rows(folder / f"limit{repetition}/limit.db")
        full, pruned = bytes_per_job(daemon.db)
    limit, spent = median(limits), median(ours)
    what = f"spool backlog of {count:,} files"
    more = {
        "cpu_ratio": round(limit.cpu / spent.cpu, 3),
        "seconds": round(spent.wall, 2),
        "cpu_s": round(spent.cpu, 2),
        "same_rows": same,
    }
    report_ratio(what, count / spent.wall, count / limit.wall, "messages/s", 0.40, 0.70, **more)
    report_most("memory after the backlog", memory, "MB", 110, 75, peak_mb=peak)
    report_most("memory when idle", idle, "MB", 70, 48)
    report_most("database bytes per finished job, nothing pruned", full, "bytes", 1200, 650)
    report_most("database bytes per finished job, receipts and updates pruned", pruned, "bytes", 600, 430)


def idle_memory(chosen: object, folder: Path) -> float:
    daemon = Daemon(chosen, folder)
    daemon.start()
    memory = daemon.memory_mb()
    daemon.stop()
    return memory


def at_limit(folder: Path, told: list[bytes]) -> Spent:
    spool = folder / "spool"
    spool.mkdir(parents=True)
    publish(spool, told)
    return files_at_limit(spool, folder / "limit.db")


def drained(daemon: Daemon, told: list[bytes]) -> Spent:
    publish(daemon.spool, told)
    daemon.launch()
    daemon.await_drained(len(told))
    return Spent(perf_counter() - daemon.started, daemon.cpu_s())


def rows(path: Path) -> list[int]:
    """How many rows were written, without the events about regressions, of which the limit knows nothing."""
    with contextlib.closing(sqlite3.connect(path)) as conn:
        return [
            conn.execute(f"SELECT COUNT(*) FROM {table}" + " WHERE job_id NOTNULL" * (table == "event")).fetchone()[0]
            for table in TABLES
        ]


def bytes_per_job(path: Path) -> tuple[float, float]:
    """Used pages per job as they are, and without receipts and updates."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as conn:
        (jobs,) = conn.execute("SELECT COUNT(*) FROM job").fetchone()
        (full,) = conn.execute(USED_PAGES).fetchone()
        conn.executescript("DELETE FROM receipt; DELETE FROM event WHERE type = 'job.updated';")
        (pruned,) = conn.execute(USED_PAGES).fetchone()
    return full / jobs, pruned / jobs


if __name__ == "__main__":
    main()
