"""From the rename of a file into the spool until its row is visible to another connection, and what idling costs.

usage: python bench/latency.py [--seconds 10] [--quick] [--work FOLDER]

Files come at 100 and at 1,000 a second from a process of its own; a second connection looks every millisecond. A file's
name is the time just before its rename, and its receipt is written in the transaction of its job.
"""

import contextlib
import multiprocessing
import time

from common import Daemon, drop, messages, options, percentile, report_most, work_folder

BARS = {"p50": (20, 8), "p99": (60, 20)}


def main() -> None:
    chosen = options(__doc__, ("--seconds", {"type": int, "default": 10}))
    seconds = 2 if chosen.quick else chosen.seconds
    with work_folder(chosen) as folder:
        daemon = Daemon(chosen, folder)
        daemon.start()
        for seed, rate in enumerate((100, 1000)):
            at_rate(daemon, rate, seconds, seed)
        daemon.await_drained(0)
        time.sleep(2)
        used = daemon.cpu_s()
        time.sleep(seconds)
        report_most("CPU when idle", (daemon.cpu_s() - used) / seconds * 100, "% of a core", None, 1)
        daemon.stop()


def at_rate(daemon: Daemon, rate: int, seconds: int, seed: int) -> None:
    told = messages(rate * seconds, seed=seed)
    publisher = multiprocessing.get_context("fork").Process(target=publish_at, args=(daemon.spool, told, rate))
    before = daemon.receipts()
    used = daemon.cpu_s()
    publisher.start()
    delays = watch(daemon, before, len(told))
    cpu = (daemon.cpu_s() - used) / seconds * 100
    publisher.join()
    for name, (bar, goal) in BARS.items():
        delay = percentile(delays, float(name[1:]))
        report_most(
            f"{name} of rename to visible at {rate:,}/s", delay, "ms", bar, goal, worst_ms=round(max(delays), 1)
        )
    report_most(f"CPU at {rate:,} files/s", cpu, "% of a core", None, 8)


def publish_at(spool: object, told: list[bytes], rate: int) -> None:
    begun = time.perf_counter()
    for count, raw in enumerate(told):
        time.sleep(max(0.0, begun + count / rate - time.perf_counter()))
        drop(f"{spool}/.next", f"{spool}/{time.time_ns()}.json", raw)


def watch(daemon: Daemon, last: int, count: int) -> list[float]:
    """Delay of each receipt that appears, in ms."""
    delays: list[float] = []
    with contextlib.closing(daemon.reader()) as conn:
        while len(delays) < count:
            rows = conn.execute("SELECT id, name FROM receipt WHERE id > ? ORDER BY id", (last,)).fetchall()
            now = time.time_ns()
            delays += [(now - int(name.partition(".")[0])) / 1e6 for _, name in rows]
            last = rows[-1][0] if rows else last
            time.sleep(0.001)
    return delays


if __name__ == "__main__":
    main()
