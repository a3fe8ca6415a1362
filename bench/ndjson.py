"""NDJSON bodies of 1,000 messages over HTTP, against what one thread could write at best.

usage: python bench/ndjson.py [--messages 200000] [--reps 1] [--quick] [--work FOLDER]

Two connections, each with one request under way; an answer means that its messages are durable.
"""

import statistics

from common import Daemon, lines_at_limit, ndjson_bodies, options, post_all, report_ratio, work_folder


def main() -> None:
    chosen = options(
        __doc__, ("--messages", {"type": int, "default": 200_000}), ("--reps", {"type": int, "default": 1})
    )
    count = 20_000 if chosen.quick else chosen.messages
    bodies = ndjson_bodies(count)
    limits, ours = [], []
    with work_folder(chosen) as folder:
        for repetition in range(chosen.reps):
            limits.append(lines_at_limit(bodies, folder / f"limit{repetition}.db"))
            daemon = Daemon(chosen, folder / f"daemon{repetition}")
            daemon.start()
            ours.append(post_all(daemon, bodies))
            memory = daemon.rss_mb()
            daemon.stop()
    limit, spent = statistics.median(limits), statistics.median(ours)
    report_ratio(
        "NDJSON of 1,000, 2 connections", count / spent, count / limit, "messages/s", 0.40, 0.65, memory_mb=memory
    )


if __name__ == "__main__":
    main()
