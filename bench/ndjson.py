"""NDJSON bodies of 1,000 messages over HTTP, against what one thread could write at best.

usage: python bench/ndjson.py [--messages 200000] [--reps 1] [--quick] [--work FOLDER]

Two connections, each with one request under way; an answer means that its messages are durable.
"""

from common import Daemon, Spent, lines_at_limit, median, ndjson_bodies, options, post_all, report_ratio, work_folder


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
            begun = daemon.cpu_s()
            wall = post_all(daemon, bodies)
            ours.append(Spent(wall, daemon.cpu_s() - begun))
            memory = daemon.memory_mb()
            daemon.stop()
    limit, spent = median(limits), median(ours)
    more = {"cpu_ratio": round(limit.cpu / spent.cpu, 3), "memory_mb": memory}
    what = "NDJSON of 1,000, 2 connections"
    report_ratio(what, count / spent.wall, count / limit.wall, "messages/s", 0.40, 0.65, **more)


if __name__ == "__main__":
    main()
